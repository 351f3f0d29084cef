"""Settings that servers do not report: what a client sets follows it from server to server and reaches no other.

Nearly every test has one server and two clients: whatever the one leaves behind, the other would find.
"""

from __future__ import annotations

import os
import signal

import psycopg
import pytest

import wire
from waiting import wait_until
from wire import bind, close, describe, execute, extended, parse, query, sync

pytestmark = pytest.mark.every_backend


def pair(weir_factory, **settings):
    """A Weir with one server, and two clients of it."""
    weir = weir_factory(default_pool_size=1, **settings)
    return weir, weir.connect(), weir.connect()


def shown(client, name: str):
    return client.value(f"select current_setting('{name}', true)")


def check_follows(client, other, name: str, value: str, default) -> None:
    """The client has its value and the other has not, turn by turn on the same server."""
    for _ in range(3):
        assert shown(client, name) == value
        assert client.exchange(extended(f"select current_setting('{name}')")).value == value
        assert shown(other, name) in ((default, "") if default is None else (default,))
        assert other.exchange(extended("select current_setting($1, true)", name)).value in (default, "")


# How it is set, the setting, the value that is shown.
KINDS = [
    ("set statement_timeout = '5s'", "statement_timeout", "5s"),
    ("SET SESSION lock_timeout TO 7000", "lock_timeout", "7s"),
    ("set work_mem = '7MB'", "work_mem", "7MB"),
    ("set search_path = ''", "search_path", '""'),
    ("set search_path = 'A b', public, \"x,\"\"y\"", "search_path", '"A b", public, "x,""y"'),
    ("set schema 'other_schema'", "search_path", "other_schema"),
    ("set app.user_id = '42'", "app.user_id", "42"),
    ("set \"user\".id = 'it''s \\ é'", "user.id", "it's \\ é"),
    ("set app.\"select\" to 'x'", "app.select", "x"),
    ("set session characteristics as transaction isolation level serializable", "default_transaction_isolation",
     "serializable"),
    ("set session characteristics as transaction deferrable", "default_transaction_deferrable", "on"),
    ("set xml option document", "xmloption", "document"),
    ("set bytea_output = 'escape'", "bytea_output", "escape"),
    ("set temp_tablespaces = ''", "temp_tablespaces", '""'),
    ("set extra_float_digits = 0", "extra_float_digits", "0"),
]


def test_every_kind_of_setting_follows_its_client(weir_factory):
    weir = weir_factory(default_pool_size=1)
    other = weir.connect()
    for text, name, value in KINDS:
        default = shown(other, name)
        for send in (query, extended):
            client = weir.connect()
            assert client.exchange(send(text)).errors == []
            check_follows(client, other, name, value, default)
            client.close()
    assert weir.show("PINS") == []


def named(text: str) -> bytes:
    """Prepared in one batch, executed in another."""
    return parse(text, name="s") + sync() + bind(name="s") + describe() + execute() + sync()


def test_set_config_is_seen_in_every_protocol(weir_factory):
    weir = weir_factory(default_pool_size=1)
    other = weir.connect()
    texts = [
        "select set_config('work_mem', '9MB', false)",
        "select 1, pg_catalog.set_config('work_mem', '9MB', false)",
        "select 'x' from (select set_config('work_mem', '9MB', false)) t(c) where c is not null",
        "with a as (select set_config('work_mem', '9MB', false) as v) select v from a",
    ]
    for text in texts:
        for send, replies in ((query, 1), (extended, 1), (named, 2)):
            client = weir.connect()
            client.send(send(text))
            for _ in range(replies):
                assert client.result().errors == []
            check_follows(client, other, "work_mem", "9MB", "4MB")
            client.close()


def test_set_config_with_a_parameter_for_its_value(weir_factory):
    """As applications with row-level security do it."""
    weir, client, other = pair(weir_factory)
    client.exchange(extended("select set_config('app.user_id', $1, false)", "17"))
    check_follows(client, other, "app.user_id", "17", None)
    client.exchange(parse("select set_config('app.user_id', $1, false)", name="s") + sync())
    for user in ("18", "19"):
        client.exchange(bind(user, name="s") + execute() + sync())
        check_follows(client, other, "app.user_id", user, None)


def test_a_named_statement_sets_each_time_it_is_executed(weir_factory):
    weir, client, other = pair(weir_factory)
    client.exchange(parse("set work_mem = '9MB'", name="s") + sync())
    assert shown(client, "work_mem") == "4MB"
    for _ in range(2):
        client.exchange(bind(name="s") + execute() + sync())
        check_follows(client, other, "work_mem", "9MB", "4MB")
        client.query("reset work_mem")
        check_follows(client, other, "work_mem", "4MB", "4MB")


def test_an_unnamed_statement_sets_each_time_it_is_executed(weir_factory):
    weir, client, other = pair(weir_factory)
    statement = parse("select set_config('app.a', $1, false)")
    client.exchange(statement + sync())
    for value in ("1", "2"):
        assert client.exchange(bind(value) + execute() + sync()).errors == []
        assert other.value("select current_setting('app.a', true)") in (None, "")
    client.exchange(statement + bind("3") + execute() + sync())
    assert client.exchange(bind("4") + execute() + sync()).errors == []
    check_follows(client, other, "app.a", "4", None)


@pytest.mark.parametrize("send", [query, lambda text: query(f"select 1; {text}; select 2")], ids=["alone", "between"])
def test_a_text_of_several_statements(weir_factory, send):
    weir, client, other = pair(weir_factory)
    result = client.exchange(send("set work_mem = '9MB'; set app.a = '1'; set lock_timeout = '3s'"))
    assert result.errors == []
    check_follows(client, other, "work_mem", "9MB", "4MB")
    check_follows(client, other, "app.a", "1", None)
    check_follows(client, other, "lock_timeout", "3s", "0")


def test_what_commits_counts_and_what_rolls_back_does_not(weir_factory):
    weir, client, other = pair(weir_factory)
    for name, first, second, default in [("work_mem", "9MB", "11MB", "4MB"), ("app.a", "1", "2", None)]:
        client.query(f"begin; set {name} = '{first}'")
        assert shown(client, name) == first
        client.query("rollback")
        assert shown(client, name) in (default, "")
        check_follows(client, other, name, shown(client, name), default)
        client.query(f"begin; set {name} = '{first}'; commit")
        check_follows(client, other, name, first, default)
        client.query(f"begin; set {name} = '{second}'; rollback")
        check_follows(client, other, name, first, default)


def test_savepoints_decide_like_in_postgresql(weir_factory):
    weir, client, other = pair(weir_factory)
    client.query("begin; set work_mem = '9MB'; savepoint a; set work_mem = '11MB'; set lock_timeout = '3s'")
    client.query("rollback to a; commit")
    check_follows(client, other, "work_mem", "9MB", "4MB")
    check_follows(client, other, "lock_timeout", "0", "0")
    client.query("begin; savepoint a; set lock_timeout = '5s'; release a; commit")
    check_follows(client, other, "lock_timeout", "5s", "0")


def test_a_setting_is_lost_with_a_commit_that_fails(weir_factory, table):
    weir, client, other = pair(weir_factory)
    client.query("create table child (id int references t (id) deferrable initially deferred)")
    client.query("begin; set work_mem = '9MB'; insert into child values (1)")
    assert client.exchange(query("commit")).errors[0].sqlstate == "23503"
    check_follows(client, other, "work_mem", "4MB", "4MB")
    client.query("drop table child")


def test_a_setting_is_lost_with_an_error_in_its_text(weir_factory):
    weir, client, other = pair(weir_factory)
    assert client.exchange(query("set work_mem = '9MB'; select 1/0")).errors[0].sqlstate == "22012"
    check_follows(client, other, "work_mem", "4MB", "4MB")
    client.exchange(parse("set work_mem = '9MB'") + bind() + execute() + parse("select 1/0") + bind() + execute() + sync())
    check_follows(client, other, "work_mem", "4MB", "4MB")


def test_a_parse_that_is_never_executed_sets_nothing(weir_factory):
    weir, client, other = pair(weir_factory)
    assert client.exchange(parse("set work_mem = '9MB'") + sync()).errors == []
    assert client.exchange(parse("set work_mem = '9MB'", name="s") + describe("S", "s") + sync()).errors == []
    check_follows(client, other, "work_mem", "4MB", "4MB")


def test_a_setting_that_may_not_be_set_harms_nobody(weir_factory):
    """What was refused must not be put in place on the next server, where it would be refused again."""
    weir = weir_factory(default_pool_size=2)
    client, other = weir.connect(), weir.connect()
    refused = [
        ("set log_statement = 'all'", "42501"),
        ("set shared_buffers = '1GB'", "55P02"),
        ("set server_version_num = 1", "55P02"),
        ("set data_directory = '/'", "55P02"),
        ("set no_such_setting = 1", "42704"),
        ("set work_mem = 'much'", "22023"),
        ("select set_config('log_statement', 'all', false)", "42501"),
        ("select set_config('data_directory', '/', false)", "55P02"),
    ]
    for text, state in refused:
        for send in (query, extended):
            assert client.exchange(send(text)).errors[0].sqlstate == state, text
            other.query("begin")
            assert client.value("select 1") == 1
            other.query("commit")
            assert client.value("select 1") == 1
    for text, _ in refused:
        client.query("begin; savepoint a")
        assert client.exchange(query(text)).status == "E"
        client.query("rollback to a; commit")
        other.query("begin")
        assert client.value("select 1") == 1
        other.query("commit")
    assert weir.show("PINS") == []
    assert "closing because" not in "".join(line for line in weir.log().splitlines() if "invalid server" in line)


def test_reset_brings_the_default_back(weir_factory):
    weir, client, other = pair(weir_factory)
    for reset in ("reset work_mem", "set work_mem to default", "reset all", "discard all"):
        client.query("set work_mem = '9MB'")
        client.query("set app.a = '1'")
        check_follows(client, other, "work_mem", "9MB", "4MB")
        client.query(reset)
        check_follows(client, other, "work_mem", "4MB", "4MB")
        if "all" in reset:
            check_follows(client, other, "app.a", "", None)
        client.exchange(extended("reset app.a"))
        check_follows(client, other, "app.a", "", None)


def test_set_and_reset_in_one_transaction(weir_factory):
    weir, client, other = pair(weir_factory)
    client.query("begin; set work_mem = '9MB'; reset work_mem; reset all; set lock_timeout = '3s'; commit")
    check_follows(client, other, "work_mem", "4MB", "4MB")
    check_follows(client, other, "lock_timeout", "3s", "0")
    client.query("begin; reset all; rollback")
    check_follows(client, other, "lock_timeout", "3s", "0")


def test_set_local_ends_with_its_transaction(weir_factory):
    weir, client, other = pair(weir_factory)
    client.query("begin; set local work_mem = '9MB'; select set_config('app.a', '1', true)")
    assert shown(client, "work_mem") == "9MB"
    client.query("commit")
    check_follows(client, other, "work_mem", "4MB", "4MB")
    check_follows(client, other, "app.a", "", None)
    client.query("begin; set work_mem = '9MB'; set local work_mem = '11MB'; commit")
    check_follows(client, other, "work_mem", "9MB", "4MB")


def test_a_do_block_can_set_too(weir_factory):
    weir, client, other = pair(weir_factory)
    client.query("do $$ begin perform set_config('work_mem', '9MB', false); end $$")
    check_follows(client, other, "work_mem", "9MB", "4MB")
    client.query("do $$ begin set lock_timeout = '3s'; end $$")
    check_follows(client, other, "lock_timeout", "3s", "0")
    client.query("do $$ begin perform set_config('app.a', '5', false); end $$")
    check_follows(client, other, "app.a", "5", None)


@pytest.mark.parametrize("size", [17_000, 1_100_000])
def test_a_setting_at_the_end_of_a_large_text(weir_factory, size):
    weir, client, other = pair(weir_factory)
    filler = "x" * size
    client.query(f"select length('{filler}'); set work_mem = '9MB'")
    check_follows(client, other, "work_mem", "9MB", "4MB")
    client.exchange(extended(f"select set_config('lock_timeout', '3s', false), length('{filler}')"))
    check_follows(client, other, "lock_timeout", "3s", "0")
    client.query(f"/* {filler} */ set lock_timeout = '5s'")
    check_follows(client, other, "lock_timeout", "5s", "0")
    assert weir.show("PINS") == []


def test_a_call_that_a_buffers_border_cuts_is_seen(weir_factory):
    """Wherever the border between two reads falls, set_config is noticed."""
    weir, client, other = pair(weir_factory)
    for cut in range(1, 12):
        text = "select '" + "x" * 40_000 + f"', set_config('lock_timeout', '{cut}s', false)"
        message = query(text)
        at = message.rindex(b"set_config") + cut
        client.send(message[:at])
        wait_until(lambda: weir.pool()["sv_active"] == 1, "the first part has arrived")
        client.send(message[at:])
        assert client.result().errors == []
        check_follows(client, other, "lock_timeout", f"{cut}s", "0")


def test_a_setting_in_the_middle_of_a_pipeline(weir_factory):
    weir, client, other = pair(weir_factory)
    client.send(
        extended("select 1") + extended("set work_mem = '9MB'") + extended("show work_mem") + query("show work_mem")
        + parse("select 2") + bind() + execute() + parse("set lock_timeout = '3s'") + bind() + execute()
        + parse("select 3") + bind() + execute() + sync() + extended("show lock_timeout")
    )
    results = [client.result() for _ in range(6)]
    assert [r.errors for r in results] == [[]] * 6
    assert [results[i].value for i in (0, 2, 3, 5)] == [1, "9MB", "9MB", "3s"]
    check_follows(client, other, "work_mem", "9MB", "4MB")
    check_follows(client, other, "lock_timeout", "3s", "0")


def test_what_is_sent_behind_a_setting_at_once_sees_it(weir_factory):
    """The question to the server goes in between, and nothing of it is seen."""
    weir, client, other = pair(weir_factory)
    for number in range(30):
        value = f"{number + 100}kB"
        client.send(query(f"set work_mem = '{value}'") + query("show work_mem"))
        other.send(query("show work_mem"))
        assert (client.result().types, client.result().value) == ("CZ", value)
        assert other.result().value == "4MB"


@pytest.mark.parametrize("leave", ["terminate", "close", "reset"])
def test_a_client_that_leaves_right_after_set_leaves_nothing(weir_factory, leave):
    weir = weir_factory(default_pool_size=1)
    other = weir.connect()
    process = other.value("select pg_backend_pid()")
    for number in range(10):
        client = weir.connect()
        client.send(query("set work_mem = '9MB'; set app.a = '1'"))
        if number % 2:
            client.result()
        getattr(client, leave)()
        assert shown(other, "work_mem") == "4MB"
        assert shown(other, "app.a") in (None, "")
        wait_until(lambda: weir.pool()["cl_active"] == 1, "the client is gone")
        assert shown(other, "work_mem") == "4MB"
    if leave == "terminate":
        assert other.value("select pg_backend_pid()") == process, "asking or cleaning is enough"


def test_a_client_takes_its_settings_to_another_server_when_its_own_dies(weir_factory, postgres):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    client.query("set work_mem = '9MB'; set app.a = '1'")
    process = client.value("select pg_backend_pid()")
    os.kill(process, signal.SIGTERM)
    wait_until(lambda: postgres.server_count() == 0, "the server is gone")
    for _ in range(2):
        result = client.exchange(query("select current_setting('work_mem') || current_setting('app.a')"))
        if not result.errors:
            break
    assert result.value == "9MB1"
    assert client.value("select pg_backend_pid()") != process


def test_a_client_ends_when_what_it_was_told_is_set_is_lost_with_the_server(weir_factory, postgres):
    """The server was not asked yet, because the pipeline went on: nobody knows the value."""
    weir, client, other = pair(weir_factory)
    client.send(query("set app.a = '1'") + query("select pg_sleep(60)"))
    assert client.result().tags == ["SET"]
    process = postgres.wait_for_query("pg_sleep(60)")["pid"]
    postgres.sql("select pg_terminate_backend(%s)", [process])
    with pytest.raises(wire.ServerError) as caught:
        client.result()
    assert caught.value.severity == "FATAL"
    assert other.value("select current_setting('app.a', true)") in (None, "")
    client = weir.connect()
    client.send(query("begin") + query("set app.a = '1'") + query("select pg_sleep(60)"))
    process = postgres.wait_for_query("pg_sleep(60)")["pid"]
    postgres.sql("select pg_terminate_backend(%s)", [process])
    assert [client.result().status for _ in range(3)] == ["T", "T", "E"], "what was not committed is not lost"
    assert client.query("rollback").status == "I"


def test_a_value_that_no_server_takes_any_more_ends_its_client_alone(weir_factory):
    weir, client, other = pair(weir_factory)
    other.query("create text search configuration own (copy = simple)")
    client.query("set default_text_search_config = 'public.own'")
    check_follows(client, other, "default_text_search_config", "public.own", shown(other, "default_text_search_config"))
    default = shown(other, "default_text_search_config")
    other.query("drop text search configuration own")
    with pytest.raises(wire.ServerError) as caught:
        assert client.exchange(query("select 1")).errors[0].sqlstate == "08006"
        client.query("select 1")
    assert caught.value.severity == "FATAL" and "public.own" in caught.value.detail
    assert shown(other, "default_text_search_config") == default
    assert weir.connect().value("select 1") == 1


def test_tracked_parameters_of_the_login_follow_though_no_server_reports_them(weir_factory):
    weir = weir_factory(default_pool_size=1, track_extra_parameters="IntervalStyle, search_path, statement_timeout")
    other = weir.connect()
    client = weir.connect(search_path='"A b", public', options="-c statement_timeout=5s")
    for _ in range(2):
        check_follows(client, other, "search_path", '"A b", public', '"$user", public')
        check_follows(client, other, "statement_timeout", "5s", "0")
    client.query("set search_path = public")
    check_follows(client, other, "search_path", "public", '"$user", public')


def test_a_prepared_listen_in_the_middle_of_a_batch(weir_factory):
    """It may have to wait for the connection that listens; what is in front of it is sent once."""
    weir, client, other = pair(weir_factory)
    client.exchange(parse("listen channel_of_batch", name="l") + sync())
    client.send(parse("select 1") + bind() + execute() + bind(name="l") + execute() + parse("select 2") + bind()
                + execute() + sync() + query("select 3"))
    result = client.result()
    assert (result.errors, result.types) == ([], "12DC2C12DCZ")
    assert client.result().value == 3
    other.query("notify channel_of_batch, 'x'")
    reply = client.read()
    assert reply.type == "A" and reply.body[4:] == b"channel_of_batch\0x\0"


def test_settings_arrive_on_every_server(weir_factory):
    """With more servers than one, and with more workers than one, whichever serves."""
    weir = weir_factory(default_pool_size=3)
    clients = [weir.connect() for _ in range(8)]
    for number, client in enumerate(clients):
        client.query(f"set app.a = '{number}'; set work_mem = '{number + 1}MB'")
    for _ in range(10):
        for client in clients:
            client.send(query("select current_setting('app.a'), current_setting('work_mem'), pg_sleep(0.002)"))
        for number, client in enumerate(clients):
            assert client.result().rows[0][:2] == [str(number), f"{number + 1}MB"]
    assert weir.show("PINS") == []


def test_a_statement_timeout_that_hardly_lets_anything_through(weir_factory):
    """The server is asked under the client's own timeout: if that is too short, it is asked again without."""
    weir, client, other = pair(weir_factory)
    for number in range(20):
        result = client.exchange(query("set statement_timeout = '1ms'"))
        if result.errors:
            continue
        result = client.exchange(query("set work_mem = '9MB'"))
        result = client.exchange(query("show statement_timeout"))
        assert result.errors or result.value == "1ms"
        assert shown(other, "statement_timeout") == "0"
        assert shown(other, "work_mem") == "4MB"
    assert weir.show("PINS") == []


def test_a_role_follows_and_row_level_security_with_it(weir_factory, postgres):
    with psycopg.connect(postgres.address("postgres", "app"), autocommit=True) as connection:
        connection.execute("drop table if exists secrets; drop role if exists tenant1, tenant2")
        connection.execute("create role tenant1; create role tenant2; grant tenant1, tenant2 to app")
        connection.execute(
            "create table secrets (owner text); insert into secrets values ('tenant1'), ('tenant2'), ('tenant2');"
            " alter table secrets enable row level security; grant select on secrets to public;"
            " create policy own on secrets using (owner = current_user)"
        )
    weir = weir_factory(default_pool_size=1)
    one, two, plain = weir.connect(), weir.connect(), weir.connect()
    one.query("set role tenant1")
    two.exchange(extended("set role 'tenant2'"))
    for _ in range(3):
        assert one.value("select count(*) from secrets") == 1
        assert two.exchange(extended("select count(*) from secrets")).value == 2
        assert plain.value("select count(*) from secrets") == 0
        assert plain.value("select current_user") == "app"
    one.query("reset role")
    two.query("set role none")
    for client in (one, two, plain):
        assert client.value("select current_user") == "app"
    one.query("begin; set role tenant1; rollback")
    two.query("begin; set local role tenant2; commit")
    for client in (one, two, plain):
        assert client.value("select current_user") == "app"
    assert weir.show("PINS") == []


def test_nothing_runs_without_a_role_that_is_no_longer_granted(weir_factory, postgres):
    """A statement behind a SET ROLE that fails would run with the rights of the login."""
    with psycopg.connect(postgres.address("postgres", "app"), autocommit=True) as connection:
        connection.execute("drop table if exists log_of_users; drop role if exists limited; create role limited")
        connection.execute("grant limited to app; create table log_of_users (name text); grant all on log_of_users to public")
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    client.query("set role limited")
    assert other.value("select 1") == 1
    postgres.sql("revoke limited from app")
    with pytest.raises((wire.ServerError, EOFError)) as caught:
        client.query("insert into log_of_users values (current_user)")
    assert "limited" in str(caught.value)
    assert other.query("select name from log_of_users").rows == []
    assert other.value("select current_user") == "app"


def test_session_authorization_of_a_superuser_follows(weir_factory, postgres):
    with psycopg.connect(postgres.address("postgres", "app"), autocommit=True) as connection:
        connection.execute("drop role if exists group_of_other; create role group_of_other; grant group_of_other to other")
    weir = weir_factory(default_pool_size=1, userlist={"postgres": ""})
    root, plain = weir.connect("postgres"), weir.connect("postgres")
    root.query("set session authorization other")
    root.query("set work_mem = '9MB'")
    for _ in range(2):
        assert root.value("select session_user || ' ' || current_user") == "other other"
        assert plain.value("select session_user") == "postgres"
    root.query("set role group_of_other")
    for _ in range(2):
        assert root.value("select session_user || ' ' || current_user") == "other group_of_other"
        assert plain.value("select session_user || ' ' || current_user") == "postgres postgres"
        assert root.value("show work_mem") == "9MB"
    root.query("reset session authorization")
    for client in (root, plain):
        assert client.value("select session_user || ' ' || current_user") == "postgres postgres"
    root.query("set log_min_duration_statement = '1h'")
    check_follows(root, plain, "log_min_duration_statement", "1h", "-1")


def test_settings_that_are_too_many_or_too_long_hold_the_server(weir_factory):
    weir, client, other = pair(weir_factory, query_wait_timeout=1)
    client.query(";".join(f"set app.s{number} = '{number}'" for number in range(70)))
    assert client.value("select current_setting('app.s3') || current_setting('app.s69')") == "369"
    wait_until(lambda: [row["reason"] for row in weir.show("PINS")] == ["settings"], "the server is held")
    client.close()
    assert shown(other, "app.s3") in (None, "")
    client = weir.connect()
    client.query(f"set app.long = '{'y' * 2048}'")
    assert client.value("select length(current_setting('app.long'))") == 2048
    wait_until(lambda: [row["reason"] for row in weir.show("PINS")] == ["settings"], "the server is held")
    assert other.exchange(query("select 1")).errors[0].sqlstate == "53300"
    client.query("reset all")
    wait_until(lambda: weir.show("PINS") == [], "the server is shared again")
    assert other.value("select 1") == 1


def test_values_in_another_encoding_are_never_changed(weir_factory):
    """A value that is read in LATIN1 may look like UTF-8 and mean something else."""
    weir = weir_factory(default_pool_size=2)
    other = weir.connect()
    for raw in (b"\xe9", b"\xc3\xa9"):
        client = weir.connect(client_encoding="LATIN1")
        client.send(wire.message("Q", b"set app.a = '" + raw + b"'\0"))
        assert client.result().errors == []
        for _ in range(3):
            client.send(query("select length(current_setting('app.a')), encode(convert_to(current_setting('app.a'), 'UTF8'), 'hex')"))
            row = client.result().rows[0]
            assert row == [len(raw), raw.decode("latin1").encode().hex()]
            other.value("select 1")
        client.close()
    client = weir.connect(client_encoding="LATIN1")
    client.query("set app.a = 'plain'")
    check_follows(client, other, "app.a", "plain", None)
    assert weir.show("PINS") == []


def logged_queries(postgres, since: int) -> list[str]:
    with open(f"{postgres.directory}/log", errors="replace") as file:
        file.seek(since)
        return [line for line in file.read().splitlines() if "LOG:" in line]


@pytest.fixture
def log_of_statements(postgres):
    """All statements in the server's log; gives a function that returns what came since the last call."""
    postgres.sql("alter role app set log_statement = 'all'")
    position = os.path.getsize(f"{postgres.directory}/log")

    def read() -> str:
        nonlocal position
        lines = logged_queries(postgres, position)
        position = os.path.getsize(f"{postgres.directory}/log")
        return "\n".join(lines)

    yield read
    postgres.sql("alter role app reset log_statement")


def test_an_ordinary_transaction_is_followed_by_no_question(weir_factory, log_of_statements, table):
    weir, client, other = pair(weir_factory)
    client.value("select 1")
    log_of_statements()
    texts = [
        "begin", "select 1", "commit", "insert into t values (1, 'set_config(x); into')", "select count(*) from t;",
        "update t set v = 'x'", "begin; set local work_mem = '9MB'; select set_config('app.a', '1', true); commit",
        "delete from t", "start transaction isolation level serializable", "savepoint a", "rollback to a", "rollback",
        "select pg_advisory_unlock_all(); close all; unlisten *; reset all;", "reset work_mem", "discard plans",
        "create temp table gone (id int) on commit drop", "drop table if exists no_such_table", "deallocate all",
        "select pg_advisory_xact_lock(1)", "notify channel", "discard all",
    ]
    for text in texts:
        client.query(text)
        client.exchange(extended(text) if ";" not in text.rstrip(";") else query(text))
    log = log_of_statements()
    assert log.count("select count(*) from t") == 2
    for trace in ("pg_settings", "pg_catalog", "current_setting(n"):
        assert trace not in log, log


def test_a_setting_costs_one_question_and_each_change_of_client_one_statement(weir_factory, log_of_statements):
    weir, client, other = pair(weir_factory)
    client.value("select 1")
    log_of_statements()
    client.query("set work_mem = '9MB'")
    client.value("select 1")
    log = log_of_statements()
    assert log.count("current_setting(n") == 1
    other.value("select 1")
    client.value("select 1")
    client.value("select 1")
    log = log_of_statements()
    assert "current_setting" not in log
    assert log.count('RESET "work_mem"') == 1
    assert log.count("SET \"work_mem\"='9MB'") == 1


def test_psycopg_sees_its_settings(weir_factory):
    weir = weir_factory(default_pool_size=1)
    connections = [weir.psycopg(autocommit=autocommit) for autocommit in (True, False)]
    for number, connection in enumerate(connections):
        connection.execute(f"set app.a = '{number}'")
        connection.execute("select set_config('app.b', %s, false)", [str(number + 10)])
        connection.commit()
    for _ in range(6):  # The statement is prepared on the way.
        for number, connection in enumerate(connections):
            row = connection.execute("select current_setting('app.a'), current_setting('app.b')").fetchone()
            assert row == (str(number), str(number + 10))
            connection.commit()
    with connections[0].pipeline():
        connections[0].execute("set app.a = 'pipelined'")
        cursor = connections[0].execute("select current_setting('app.a')")
    assert cursor.fetchone() == ("pipelined",)
    assert connections[1].execute("select current_setting('app.a')").fetchone() == ("1",)
    connections[1].rollback()
    assert connections[0].execute("select current_setting('app.a')").fetchone() == ("pipelined",)


def test_statement_mode_and_no_prepared_statements(weir_factory):
    weir, client, other = pair(weir_factory, pool_mode="statement")
    client.query("set work_mem = '9MB'")
    check_follows(client, other, "work_mem", "9MB", "4MB")
    weir, client, other = pair(weir_factory, max_prepared_statements=0)
    client.query("set work_mem = '9MB'")
    client.exchange(extended("set lock_timeout = '3s'"))
    check_follows(client, other, "work_mem", "9MB", "4MB")
    check_follows(client, other, "lock_timeout", "3s", "0")
