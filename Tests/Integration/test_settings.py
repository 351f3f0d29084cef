"""What a client sets at login or later follows it from server to server, and reaches no other client."""

from __future__ import annotations

import threading

import pytest

import wire
from wire import bind, describe, execute, extended, parse, query, sync

# Parameter, a value that is not the default, how the server shows it.
PARAMETERS = [
    ("application_name", "a name", "a name"),
    ("DateStyle", "German", "German, DMY"),
    ("TimeZone", "Asia/Tokyo", "Asia/Tokyo"),
    ("IntervalStyle", "iso_8601", "iso_8601"),
    ("client_encoding", "LATIN1", "LATIN1"),
    ("standard_conforming_strings", "off", "off"),
]


@pytest.mark.every_backend
@pytest.mark.parametrize("name, value, shown", PARAMETERS)
def test_a_parameter_of_the_login_holds_on_every_server(weir_factory, name, value, shown):
    weir = weir_factory(default_pool_size=1)
    plain = weir.connect()
    default = plain.value(f"show {name}")
    client = weir.connect(**{name: value})
    for _ in range(3):
        assert client.value(f"show {name}") == shown
        assert plain.value(f"show {name}") == default


@pytest.mark.every_backend
@pytest.mark.parametrize("name, value, shown", PARAMETERS)
def test_a_parameter_set_later_follows_the_client_and_does_not_leak(weir_factory, name, value, shown):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    default = other.value(f"show {name}")
    client.query(f"set {name} = '{value}'")
    assert client.parameters[name] == shown
    for _ in range(3):
        assert other.value(f"show {name}") == default
        assert other.exchange(extended(f"show {name}")).value == default
        assert client.exchange(extended(f"show {name}")).value == shown
        assert client.value(f"show {name}") == shown


def test_settings_are_applied_before_pipelined_requests(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(TimeZone="Asia/Tokyo"), weir.connect(TimeZone="Europe/Oslo")
    for _ in range(10):
        client.send(query("show timezone") + extended("show timezone") + query("show timezone"))
        other.send(extended("show timezone") + query("show timezone"))
        assert [client.result().value for _ in range(3)] == ["Asia/Tokyo"] * 3
        assert [other.result().value for _ in range(2)] == ["Europe/Oslo"] * 2


def test_the_client_sees_nothing_of_the_inserted_set(weir_factory):
    """No CommandComplete SET, no extra ReadyForQuery; at most ParameterStatus, which may come at any time."""
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(TimeZone="Asia/Tokyo"), weir.connect(TimeZone="Europe/Oslo")
    for _ in range(5):
        for one in (client, other):
            assert one.exchange(query("select 1")).types.replace("S", "") == "TDCZ"
            assert (
                one.exchange(parse("select 1") + bind() + describe() + execute() + sync()).types.replace("S", "")
                == "12TDCZ"
            )
            assert one.is_silent(0.02)


def test_a_setting_is_taken_back_when_the_transaction_rolls_back(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    client.query("begin")
    client.query("set timezone = 'Asia/Tokyo'")
    client.query("rollback")
    other.value("select 1")
    assert client.value("show timezone") == "UTC"


def test_set_local_ends_with_its_transaction(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    client.query("begin")
    client.query("set local timezone = 'Asia/Tokyo'")
    assert client.value("show timezone") == "Asia/Tokyo"
    client.query("commit")
    assert other.value("show timezone") == "UTC"
    assert client.value("show timezone") == "UTC"


def test_reset_brings_the_servers_default_back(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    client.query("set timezone = 'Asia/Tokyo'")
    other.value("select 1")
    client.query("reset timezone")
    other.value("select 1")
    assert client.value("show timezone") == "UTC"


def test_a_value_with_quotes_and_backslashes_arrives_unchanged(weir_factory):
    weir = weir_factory(default_pool_size=1)
    odd = 'it\'s \\ "odd"; select 1'
    client, other = weir.connect(application_name=odd), weir.connect(application_name="plain")
    strict_off = weir.connect(standard_conforming_strings="off", application_name=odd)
    for _ in range(3):
        assert other.value("show application_name") == "plain"
        assert client.value("show application_name") == odd
        assert strict_off.value("show application_name") == odd


def test_an_unknown_value_at_login_is_an_error_of_that_client_alone(weir_factory):
    weir = weir_factory(default_pool_size=1)
    good = weir.connect()
    with pytest.raises((wire.ServerError, EOFError)):
        weir.connect(TimeZone="No/Such_Place").value("select 1")
    assert good.value("select 1") == 1


@pytest.mark.sanitizer_short
@pytest.mark.every_backend
def test_nothing_leaks_between_many_clients_on_few_servers(weir_factory):
    weir = weir_factory(default_pool_size=3)
    zones = ["Asia/Tokyo", "Europe/Oslo", "UTC", "America/Lima", "Africa/Cairo"]
    problems = []

    def work(number: int) -> None:
        zone, name = zones[number % 5], f"client {number}"
        client = weir.connect(TimeZone=zone, application_name=name, timeout=30)
        for round_ in range(30):
            if round_ == 15:
                zone = zones[(number + 1) % 5]
                client.query(f"set timezone = '{zone}'")
            row = client.query("select current_setting('timezone'), current_setting('application_name')").rows[0]
            if row != [zone, name]:
                problems.append((number, round_, row, zone))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert not problems


@pytest.mark.parametrize(
    "options",
    [
        "-c TimeZone=Asia/Tokyo",
        "-cTimeZone=Asia/Tokyo",
        "--TimeZone=Asia/Tokyo",
        "--timezone=Asia/Tokyo -c DateStyle=ISO",
    ],
)
@pytest.mark.one_backend
def test_options_set_parameters(weir, options):
    assert weir.connect(options=options).value("show timezone") == "Asia/Tokyo"


@pytest.mark.one_backend
def test_options_with_an_escaped_space(weir):
    assert weir.connect(options="-c application_name=two\\ words").value("show application_name") == "two words"


def refusal(weir, **parameters) -> wire.ServerError:
    with pytest.raises(wire.ServerError) as raised:
        weir.connect(**parameters)
    return raised.value


@pytest.mark.one_backend
@pytest.mark.parametrize("options", ["-x", "-c", "word", "-d 5"])
def test_options_that_are_no_settings_are_refused(weir, options):
    error = refusal(weir, options=options)
    assert error.severity == "FATAL" and "unsupported" in error.message and "options" in error.message


@pytest.mark.one_backend
def test_an_unsupported_startup_parameter_is_named(weir):
    error = refusal(weir, local_preload_libraries="auto_explain")
    assert error.severity == "FATAL"
    assert "unsupported startup parameter: local_preload_libraries" in error.message


@pytest.mark.one_backend
def test_ignored_startup_parameters_are_ignored(weir_factory):
    weir = weir_factory(ignore_startup_parameters="extra_float_digits, search_path, options")
    client = weir.connect(extra_float_digits="3", search_path="nowhere", options="-c work_mem=1MB")
    assert client.value("show search_path") == '"$user", public'


@pytest.mark.one_backend
def test_parameters_of_a_database_are_the_default_of_its_clients(weir_factory, postgres):
    weir = weir_factory(
        databases={
            "app": f"host=127.0.0.1 port={postgres.port} timezone=Asia/Tokyo application_name=fixed "
            "datestyle=German client_encoding=UTF8"
        }
    )
    client = weir.connect()
    assert client.query("select current_setting('timezone'), current_setting('datestyle')").rows == [
        ["Asia/Tokyo", "German, DMY"]
    ]


@pytest.mark.one_backend
def test_application_name_add_host(weir_factory):
    weir = weir_factory(application_name_add_host=1)
    client = weir.connect(application_name="tool")
    port = client.socket.getsockname()[1]
    assert client.value("show application_name") == f"tool - 127.0.0.1:{port}"


@pytest.mark.one_backend
def test_the_welcome_tells_the_clients_own_values(weir):
    weir.connect().value("select 1")
    client = weir.connect(TimeZone="Asia/Tokyo", application_name="mine")
    assert client.parameters["application_name"] == "mine"
    assert client.parameters["TimeZone"] == "Asia/Tokyo"


RESETS = ["reset all", "discard all", "reset application_name; reset datestyle; reset timezone"]


@pytest.mark.every_backend
@pytest.mark.parametrize("reset", RESETS)
def test_a_reset_goes_back_to_what_the_login_asked_for(weir_factory, reset):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect(application_name="mine", DateStyle="German", TimeZone="Asia/Tokyo")
    other = weir.connect(application_name="theirs")
    client.query("set application_name = 'later'; set timezone = 'Europe/Oslo'")
    client.query(reset)
    for _ in range(2):
        assert other.value("show application_name") == "theirs"
        assert client.value("show application_name") == "mine"
        assert client.value("show datestyle") == "German, DMY"
        assert client.value("show timezone") == "Asia/Tokyo"
    assert client.parameters["application_name"] == "mine"
    assert client.parameters["TimeZone"] == "Asia/Tokyo"


def test_a_reset_goes_back_to_the_login_on_a_held_server_too(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect(application_name="mine")
    client.query("create temp table held (i int)")
    client.query("set application_name = 'later'")
    client.query("reset all")
    assert client.value("show application_name") == "mine"
    assert client.value("select count(*) from held") == 0


def test_a_reset_that_is_rolled_back_changes_nothing(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(application_name="mine"), weir.connect(application_name="theirs")
    client.query("set application_name = 'later'")
    client.query("begin; reset all; rollback")
    assert other.value("show application_name") == "theirs"
    assert client.value("show application_name") == "later"
