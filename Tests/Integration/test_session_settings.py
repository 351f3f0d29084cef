"""Settings that servers do not report: what a client sets follows it from server to server and reaches no other.

Nearly every test has one server and two clients: whatever the one leaves behind, the other would find.
"""

from __future__ import annotations

import os

import pytest

from settingchecks import check_follows, pair, shown
from waiting import wait_until
from wire import bind, describe, execute, extended, parse, query, sync

pytestmark = pytest.mark.every_backend


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


def test_reset_brings_back_what_the_login_asked_for_though_the_server_is_asked_about_more(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(application_name="mine"), weir.connect(application_name="other")
    for reset in ("reset all", "reset application_name; reset work_mem", "select 1; reset all"):
        client.query("set work_mem = '9MB'; set application_name to 'else'")
        check_follows(client, other, "application_name", "else", "other")
        client.query(reset)
        # The server still answers what has become of work_mem when this comes.
        assert shown(client, "application_name") == "mine"
        check_follows(client, other, "application_name", "mine", "other")
        check_follows(client, other, "work_mem", "4MB", "4MB")


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
