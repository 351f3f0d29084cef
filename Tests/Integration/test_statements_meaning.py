"""What a text means depends on settings when it is prepared: a client gets what its own settings say, whoever prepared it.

And what stands before a message in the same packet has its effect before that message is read.
"""

from __future__ import annotations

import pytest

import wire
from wire import bind, close, execute, extended, parse, query, sync

pytestmark = pytest.mark.every_backend

# A setting, a text, and what it returns for each value of the setting.
MEANINGS = [
    ("DateStyle", "select ('1/2/2024'::date)::text", {"ISO, MDY": "2024-01-02", "ISO, DMY": "2024-02-01"}),
    ("TimeZone", "select extract(epoch from timestamptz '2024-01-01 00:00')::bigint::text",
     {"UTC": "1704067200", "Asia/Tokyo": "1704034800"}),
    ("standard_conforming_strings", "select 'a\\\\b'", {"on": "a\\\\b", "off": "a\\b"}),
    ("transform_null_equals", "select (null = null)::text", {"on": "true", "off": None}),
    ("bytea_output", "select '\\x41'::bytea::text", {"hex": "\\x41", "escape": "A"}),
]  # fmt: skip


def named(text: str) -> bytes:
    return close("S", "s") + parse(text, "s") + bind(name="s") + execute() + sync()


@pytest.mark.parametrize("options", [{}, {"cache_unnamed_statements": 1}], ids=str)
@pytest.mark.parametrize("name,text,results", MEANINGS, ids=[row[0] for row in MEANINGS])
def test_a_text_means_to_each_client_what_its_settings_say(weir_factory, options, name, text, results):
    weir = weir_factory(default_pool_size=1, **options)
    clients = {}
    for value in results:
        clients[value] = weir.connect()
        clients[value].query(f"set {name} = {value if ',' in value else repr(value)}")
    for send in (named, extended, named, extended):
        for value, expected in results.items():
            assert clients[value].exchange(send(text)).value == expected
    # And each finds its own again.
    for value, expected in results.items():
        assert clients[value].exchange(bind(name="s") + execute() + sync()).value == expected


def test_clients_whose_settings_say_the_same_share_a_statement(weir_factory, postgres):
    weir = weir_factory(default_pool_size=1)
    clients = [weir.connect(application_name=f"number {number}") for number in range(3)]
    clients[1].query("set work_mem = '9MB'")
    for client in clients:
        client.exchange(named("select 1"))
    assert clients[0].value("select count(*) from pg_prepared_statements") == 1


def test_a_statement_that_is_prepared_anew_after_a_change_is_no_one_elses(weir_factory):
    weir = weir_factory(default_pool_size=2)
    name, text, results = MEANINGS[1]
    (here, now), (_, elsewhere) = results.items()
    client, other, holder = weir.connect(), weir.connect(), weir.connect()
    client.exchange(named(text))
    # The statement's server is taken; where the client goes now, the statement is not known.
    holder.query("begin")
    servers = [holder.value("select pg_backend_pid()"), client.value("select pg_backend_pid()")]
    assert servers[0] != servers[1]
    client.query("set TimeZone = 'Asia/Tokyo'")
    for _ in range(2):
        assert client.exchange(bind(name="s") + execute() + sync()).value == elsewhere
        assert other.exchange(named(text)).value == now
    holder.query("commit")
    assert other.exchange(named(text)).value == now


@pytest.mark.parametrize("change", ["set TimeZone = 'Asia/Tokyo'", "select set_config('TimeZone', 'Asia/Tokyo', false)"])
def test_a_statement_behind_a_setting_in_the_same_batch_is_no_one_elses(weir_factory, change):
    weir = weir_factory(default_pool_size=1)
    name, text, results = MEANINGS[1]
    now, elsewhere = results.values()
    client, other = weir.connect(), weir.connect()
    batch = parse(change) + bind() + execute() + parse(text, "s") + bind(name="s") + execute() + sync()
    assert client.exchange(batch).rows[-1] == [elsewhere]
    for _ in range(2):
        assert other.exchange(named(text)).value == now
        assert client.exchange(bind(name="s") + execute() + sync()).value == elsewhere


# The server does not report this setting.
ON, OFF = "set local transform_null_equals = on", "set local transform_null_equals = off"
SET_CONFIG = "select set_config('transform_null_equals', 'on', true)"
BY_PARAMETERS = parse("select set_config($1, $2, true)") + bind("Transform_Null_Equals", "on") + execute() + sync()
AGAIN = bind(name="l") + execute() + sync()
LOCALLY = {
    "set local": [query("begin"), query(ON)],
    "one text": [query("begin; SET LOCAL Transform_Null_Equals TO 'on'")],
    "set_config": [query(f"begin; {SET_CONFIG}")],
    "by parameters": [query("begin"), BY_PARAMETERS],
    "again": [parse(ON, "l") + sync(), query("begin"), AGAIN, query("commit"), query("begin"), AGAIN],
    "extended": [extended("begin"), extended(ON)],
    "behind a savepoint": [query(f"begin; {ON}; savepoint s; {OFF}"), query("rollback to s")],
}


@pytest.mark.parametrize("options", [{}, {"cache_unnamed_statements": 1}], ids=str)
@pytest.mark.parametrize("how", LOCALLY)
def test_a_statement_behind_a_local_setting_is_no_one_elses(weir_factory, how, options):
    weir = weir_factory(default_pool_size=1, **options)
    name, text, results = MEANINGS[3]
    locally, otherwise = results.values()
    client, other = weir.connect(), weir.connect()
    for send in (named, extended):
        for request in LOCALLY[how]:
            assert client.exchange(request).errors == []
        assert client.exchange(send(text)).value == locally
        client.query("commit")
        for _ in range(2):
            assert other.exchange(send(text)).value == otherwise
            assert client.exchange(send(text)).value == otherwise
        client.exchange(close("S", "l") + sync())


def test_a_statement_behind_a_local_setting_in_the_same_batch_is_no_one_elses(weir_factory):
    weir = weir_factory(default_pool_size=1)
    name, text, results = MEANINGS[1]
    now, elsewhere = results.values()
    client, other = weir.connect(), weir.connect()
    batch = b"".join(parse(sql) + bind() + execute() for sql in ("begin", "set local TimeZone = 'Asia/Tokyo'"))
    batch += parse(text, "s") + bind(name="s") + execute() + sync()
    assert client.exchange(query("select 1") + batch).value == 1
    assert client.result().rows[-1] == [elsewhere]
    client.query("commit")
    assert other.exchange(named(text)).value == now


def test_local_settings_that_mean_nothing_to_texts_part_no_statements(weir_factory):
    weir = weir_factory(default_pool_size=1)
    clients = [weir.connect() for _ in range(3)]
    for client, setting in zip(clients, ("work_mem = '9MB'", "role app", "search_path = one")):
        client.query(f"begin; set local {setting}")
        client.exchange(named("select 1"))
        client.query("commit")
    # What one transaction had locally is over with it.
    clients[0].query("begin; set local TimeZone = 'Asia/Tokyo'; commit")
    clients[0].exchange(named("select 1"))
    assert clients[0].value("select count(*) from pg_prepared_statements") == 1


def test_a_set_that_is_only_prepared_is_nothing_to_carry_over(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    assert client.exchange(parse("set shared_buffers = 1") + sync()).types == "1Z"
    for _ in range(2):
        assert other.value("select 1") == 1
        assert client.value("select 1") == 1


def test_an_unlisten_counts_though_a_transaction_that_is_rolled_back_follows_in_its_packet(weir_factory):
    weir = weir_factory(default_pool_size=2)
    client = weir.connect()
    for unlisten in (query("unlisten *"), extended("unlisten c"), extended("unlisten *")):
        client.query("listen c")
        client.exchange(unlisten + query("begin"))
        assert client.result().status == "T"
        client.query("rollback")
        with wire.Connection(("127.0.0.1", weir.postgres.port)) as direct:
            direct.login("app", "app")
            client.query("listen d")
            direct.query("notify c; notify d")
        heard = []
        while not heard or heard[-1][0] != "d":
            reply = client.read()
            assert reply.type == "A"
            heard.append((reply.body[4:].split(b"\0")[0].decode(), ""))
        assert [channel for channel, _ in heard] == ["d"]
        client.query("unlisten *")


@pytest.mark.parametrize("text", ["deallocate all", "discard all"])
def test_an_error_speaks_of_the_clients_name_behind_the_end_of_all_statements(weir_factory, text):
    client = weir_factory().connect()
    for end in (query(text), extended(text)):
        assert client.exchange(parse("select 1", "s") + sync()).types == "1Z"
        client.exchange(end + bind(name="s") + sync())
        error = client.result().errors[0]
        assert (error.sqlstate, error.message) == ("26000", 'prepared statement "s" does not exist')


@pytest.mark.parametrize("text", ["deallocate all", "discard all"])
def test_a_statement_that_is_needed_behind_the_end_of_all_statements_harms_nobody(weir_factory, text):
    weir = weir_factory(default_pool_size=1, max_prepared_statements=1)
    client = weir.connect()
    client.exchange(parse("select 1", "s") + sync())
    # The server has room for one: this one takes the place of the other.
    client.exchange(parse("select 2", "t") + sync())
    client.exchange(parse(text) + bind() + execute() + bind(name="s") + sync())
    assert client.exchange(named("select 3")).value == "3"
    assert weir.connect().value("select 4") == 4


def test_an_unnamed_statement_outlives_the_error_of_a_batch_before_its_own(weir_factory):
    client = weir_factory().connect()
    # The first batch waits, so that its error comes when the second is half there.
    failing = parse("select pg_sleep(0.1), 1 / 0") + bind() + execute() + parse("select 1") + sync()
    client.send(failing + parse("select 2") + sync())
    assert client.result().errors[0].sqlstate == "22012"
    client.send(bind() + execute() + sync())
    assert client.result().errors == []
    assert client.result().rows == [["2"]]
