"""Session state that cannot be taken along holds the server for its client, until it is gone; SHOW PINS tells of it."""

from __future__ import annotations

import re

import pytest

import wire
from pinning import CYCLES, is_shared, pair, reasons, wait_for_pins
from waiting import stays_true
from wire import bind, describe, execute, extended, parse, query, sync

pytestmark = pytest.mark.every_backend


@pytest.mark.parametrize("begin, reason, proof, end", CYCLES, ids=[f"{c[0][:30]}…{c[3][:20]}" for c in CYCLES])
def test_state_holds_the_server_until_it_is_gone(weir_factory, begin, reason, proof, end):
    weir, client, other = pair(weir_factory)
    for send in (query, extended):
        assert client.exchange(query(begin) if begin.startswith("begin;") else send(begin)).errors == []
        wait_for_pins(weir, reason)
        for _ in range(2):
            assert client.exchange(send(proof)).errors == []
        assert other.exchange(query("select 1")).errors[0].sqlstate == "53300"
        assert client.exchange(send(end)).errors == []
        wait_for_pins(weir)
        assert other.value("select 1") == 1
        assert is_shared(weir, client, other)


def test_what_rolls_back_or_ends_with_its_transaction_holds_nothing(weir_factory):
    weir, client, other = pair(weir_factory)
    texts = [
        "begin; create temp table t1 (id int); rollback",
        "begin; create temp table t1 (id int) on commit drop; insert into t1 values (1); commit",
        "begin; savepoint a; create temp table t1 (id int); rollback to a; commit",
        "begin; create temp table t1 (id int); drop table t1; commit",
        "begin; declare c1 cursor for select 1; commit",
        "begin; declare c1 cursor with hold for select 1; rollback",
        "select pg_advisory_xact_lock(11)",
        "begin; select pg_try_advisory_xact_lock(11); commit",
        "select pg_advisory_lock(11); select pg_advisory_unlock(11)",
        "prepare p1 as select 1; deallocate p1",
    ]
    for text in texts:
        assert client.exchange(query(text)).errors == [], text
        assert is_shared(weir, client, other), text
        assert reasons(weir) == [], text
    for text in ("create temp table t1 (id no_such_type)", "create temp table t1 (id int); select 1/0",
                 "prepare p1 as select no_such_column"):
        assert client.exchange(query(text)).errors, text
        assert is_shared(weir, client, other), text
    client.exchange(parse("create temp table t1 (id int)") + sync())
    client.exchange(parse("create temp table t1 (id int)", name="s") + describe("S", "s") + sync())
    assert is_shared(weir, client, other)
    assert reasons(weir) == []


def test_a_lock_that_was_not_given_holds_nothing(weir_factory):
    weir = weir_factory(default_pool_size=2)
    client, other = weir.connect(), weir.connect()
    assert client.value("select pg_try_advisory_lock(11)") == "t"
    assert other.value("select pg_try_advisory_lock(11)") == "f"
    wait_for_pins(weir, "advisory locks")
    assert other.value("select pg_try_advisory_lock(11)") == "f"
    client.value("select pg_advisory_unlock(11)")
    wait_for_pins(weir)


def test_a_lock_taken_twice_is_held_until_it_is_given_back_twice(weir_factory):
    weir, client, other = pair(weir_factory)
    client.query("select pg_advisory_lock(11)")
    client.query("select pg_advisory_lock(11)")
    client.query("select pg_advisory_unlock(11)")
    assert client.value("select count(*) from pg_locks where locktype = 'advisory'") == 1
    wait_for_pins(weir, "advisory locks")
    client.query("select pg_advisory_unlock(11)")
    wait_for_pins(weir)


def test_prepared_statements_of_sql_and_what_they_do(weir_factory):
    weir, client, other = pair(weir_factory)
    client.query("prepare lock as select pg_advisory_lock(11)")
    wait_for_pins(weir, "PREPARE")
    client.query("execute lock")
    wait_for_pins(weir, "advisory locks, PREPARE")
    client.query("deallocate lock")
    wait_for_pins(weir, "advisory locks")
    client.query("select pg_advisory_unlock(11)")
    wait_for_pins(weir)
    client.query("prepare own(text) as select set_config('app.a', $1, false); execute own('1'); deallocate own")
    assert other.value("select current_setting('app.a', true)") in (None, "")
    assert client.value("select current_setting('app.a', true)") == "1"
    client.query("prepare own(text) as select set_config('app.a', $1, false)")
    client.query("execute own('2')")
    client.query("deallocate all")
    wait_for_pins(weir)
    assert other.value("select current_setting('app.a', true)") in (None, "")
    assert client.value("select current_setting('app.a', true)") == "2"


def test_several_reasons_go_one_by_one(weir_factory):
    weir, client, other = pair(weir_factory)
    client.query("create temp table t1 (id int); prepare p1 as select 1; select pg_advisory_lock(11)")
    wait_for_pins(weir, "temporary objects, advisory locks, PREPARE")
    client.query("deallocate p1")
    wait_for_pins(weir, "temporary objects, advisory locks")
    client.query("discard temp")
    wait_for_pins(weir, "advisory locks")
    client.query("select pg_advisory_unlock_all()")
    wait_for_pins(weir)
    assert is_shared(weir, client, other)


def test_a_seed_holds_the_server_until_the_client_leaves(weir_factory):
    weir, client, other = pair(weir_factory)
    for text in ("select setseed(0.5)", "set seed to 0.5"):
        client.query(text)
        wait_for_pins(weir, "setseed")
        first = client.value("select random()::text")
        client.query(text)
        assert client.value("select random()::text") == first
        client.query("discard all")
        wait_for_pins(weir, "setseed")
        client.terminate()
        assert other.value("select 1") == 1
        wait_for_pins(weir)
        client = weir.connect()


def test_a_library_is_never_left_to_others(weir_factory):
    weir = weir_factory(default_pool_size=1, userlist={"postgres": ""})
    client, other = weir.connect("postgres"), weir.connect("postgres")
    process = other.value("select pg_backend_pid()")
    client.query("load 'plpgsql'")
    wait_for_pins(weir, "LOAD")
    client.query("discard all")
    assert client.value("select pg_backend_pid()") == process
    wait_for_pins(weir, "LOAD")
    client.terminate()
    assert other.value("select pg_backend_pid()") != process
    wait_for_pins(weir)


def test_the_next_client_finds_a_clean_session(weir_factory):
    weir, _, other = pair(weir_factory)
    process = other.value("select pg_backend_pid()")
    for leave in ("terminate", "close", "reset"):
        client = weir.connect()
        client.query(
            "create temp table t1 (id int); prepare p1 as select 1; select pg_advisory_lock(11); set work_mem = '9MB';"
            " set app.a = '1'"
        )
        client.query("begin; declare c1 cursor with hold for select 1; commit")
        client.exchange(parse("select 5", name="s") + sync())
        wait_for_pins(weir, "temporary objects, advisory locks, cursors with hold, PREPARE")
        getattr(client, leave)()
        row = other.query(
            "select to_regclass('pg_temp.t1')::text, (select count(*) from pg_prepared_statements where from_sql),"
            " (select count(*) from pg_locks where locktype = 'advisory'), (select count(*) from pg_cursors),"
            " current_setting('work_mem'), coalesce(current_setting('app.a', true), '')"
        ).rows[0]
        assert row == [None, 0, 0, 0, "4MB", ""]
        wait_for_pins(weir)
        assert other.value("select pg_backend_pid()") == process
        assert other.exchange(parse("select 5", name="s") + bind(name="s") + execute() + sync()).errors == []
        other.exchange(wire.close("S", "s") + sync())


def test_a_client_that_leaves_within_its_transaction_takes_the_server_with_it(weir_factory):
    weir, client, other = pair(weir_factory)
    client.query("create temp table t1 (id int)")
    wait_for_pins(weir, "temporary objects")
    client.query("begin")
    client.terminate()
    assert other.value("select to_regclass('pg_temp.t1')::text") is None
    wait_for_pins(weir)


def test_a_held_server_counts_and_others_wait_for_their_turn(weir_factory):
    weir = weir_factory(default_pool_size=2)
    holder, one, two = weir.connect(), weir.connect(), weir.connect()
    holder.query("create temp table t1 (id int)")
    wait_for_pins(weir, "temporary objects")
    one.query("begin")
    two.send(query("select 2"))
    assert two.is_silent(0.1)
    assert weir.postgres.server_count() == 2
    holder.query("drop table t1")
    assert two.result().value == 2
    one.query("commit")


def test_show_pins_names_what_holds(weir_factory):
    weir, client, other = pair(weir_factory)
    client.query("create temp table t1 as select 'my secret' as password, E'\\'x' as b, $a$ more $a$ as c /* secret */")
    wait_for_pins(weir, "temporary objects")
    (pin,) = weir.show("PINS")
    (server,) = weir.show("SERVERS", database="app")
    clients = {row["ptr"]: row for row in weir.show("CLIENTS", database="app")}
    assert list(pin) == ["database", "user", "client", "server", "reason", "since", "seconds", "statement"]
    assert (pin["database"], pin["user"], pin["server"]) == ("app", "app", server["ptr"])
    assert clients[pin["client"]]["link"] == server["ptr"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", pin["since"])
    assert 0 <= pin["seconds"] < 60
    assert pin["statement"].startswith("create temp table t1 as select '…' as password")
    assert "secret" not in pin["statement"] and "more" not in pin["statement"]
    with weir.console("stats") as console:
        assert console.query("SHOW PINS").dictionaries[0]["reason"] == "temporary objects"


def test_show_pins_tells_of_all_workers(weir_factory):
    weir = weir_factory(default_pool_size=8)
    clients = [weir.connect() for _ in range(8)]
    for client in clients:
        client.query("create temp table t1 (id int)")
    wait_for_pins(weir, *["temporary objects"] * 8)
    assert len({row["client"] for row in weir.show("PINS")}) == 8
    assert len({row["server"] for row in weir.show("PINS")}) == 8


# A held server that ends, and commands of the console

def test_a_client_ends_with_its_held_server(weir_factory, postgres):
    weir, client, other = pair(weir_factory)
    client.query("create temp table t1 (id int)")
    wait_for_pins(weir, "temporary objects")
    postgres.sql("select pg_terminate_backend(%s)", [client.value("select pg_backend_pid()")])
    with pytest.raises(wire.ServerError) as caught:
        client.query("select 1")
    assert caught.value.severity == "FATAL"
    assert client.is_closed_by_peer()
    assert other.value("select 1") == 1
    wait_for_pins(weir)


def test_pause_waits_for_held_servers(weir_factory):
    weir, client, other = pair(weir_factory)
    client.query("create temp table t1 (id int)")
    wait_for_pins(weir, "temporary objects")
    console = weir.console()
    console.send(query("PAUSE app"))
    assert console.is_silent(0.2)
    assert client.value("select count(*) from t1") == 0
    client.query("drop table t1")
    assert console.result().tags == ["PAUSE"]
    weir.admin("RESUME app")
    assert other.value("select 1") == 1
    console.close()


def test_reconnect_lets_a_held_server_finish(weir_factory):
    weir, client, other = pair(weir_factory)
    process = client.value("select pg_backend_pid()")
    client.query("create temp table t1 (id int)")
    wait_for_pins(weir, "temporary objects")
    weir.admin("RECONNECT app")
    assert client.value("select count(*) from t1") == 0
    client.query("drop table t1")
    wait_for_pins(weir)
    assert client.value("select pg_backend_pid()") != process


def test_kill_ends_the_client_of_a_held_server(weir_factory):
    weir, client, other = pair(weir_factory)
    client.query("create temp table t1 (id int)")
    wait_for_pins(weir, "temporary objects")
    weir.admin("KILL app")
    with pytest.raises((wire.ServerError, EOFError)):
        client.query("select 1")
    weir.admin("RESUME app")
    assert weir.connect().value("select to_regclass('pg_temp.t1')::text") is None
    wait_for_pins(weir)


def test_timeouts_of_servers_do_not_strike_a_held_one(weir_factory):
    weir, client, other = pair(
        weir_factory, idle_transaction_timeout="0.3", server_idle_timeout="0.3", transaction_timeout="0.3",
        query_timeout="0.3", server_lifetime=1,
    )
    process = client.value("select pg_backend_pid()")
    client.query("create temp table t1 (id int)")
    wait_for_pins(weir, "temporary objects")
    stays_true(lambda: reasons(weir) == ["temporary objects"], "the server stays", 1.5)
    assert client.value("select count(*) from t1") == 0
    assert client.value("select pg_backend_pid()") == process


def test_client_idle_timeout_strikes_a_client_that_holds(weir_factory):
    weir, client, other = pair(weir_factory, client_idle_timeout="0.5")
    client.query("create temp table t1 (id int)")
    wait_for_pins(weir, "temporary objects")
    reply = client.read()
    assert (reply.type, wire.error_fields(reply.body)["C"]) == ("E", "57P05")
    assert client.is_closed_by_peer()
    wait_for_pins(weir)
    assert weir.connect().value("select to_regclass('pg_temp.t1')::text") is None


def test_statement_mode_holds_too(weir_factory):
    weir, client, other = pair(weir_factory, pool_mode="statement")
    client.query("create temp table t1 (id int)")
    wait_for_pins(weir, "temporary objects")
    assert client.value("select count(*) from t1") == 0
    client.query("drop table t1")
    wait_for_pins(weir)
    assert is_shared(weir, client, other)


def test_without_tracking_of_statements(weir_factory):
    weir, client, other = pair(weir_factory, max_prepared_statements=0)
    for send in (query, extended):
        client.exchange(send("create temp table t1 (id int)"))
        wait_for_pins(weir, "temporary objects")
        assert client.exchange(send("select count(*) from t1")).value == 0
        client.exchange(send("drop table t1"))
        wait_for_pins(weir)
        assert is_shared(weir, client, other)
    weir, client, other = pair(weir_factory, max_prepared_statements=0, pin="refuse")
    for send in (query, extended):
        result = client.exchange(send("create temp table t1 (id int)"))
        assert (result.errors[0].sqlstate, result.types) == ("0A000", "EZ")
        assert client.value("select 1") == 1
    client.send(extended("select 1") + extended("select pg_advisory_lock(1)") + query("select 2"))
    results = [client.result() for _ in range(3)]
    assert [[e.sqlstate for e in r.errors] for r in results] == [[], ["0A000"], []]


def test_psycopg_keeps_its_temporary_table(weir_factory):
    weir = weir_factory(default_pool_size=2)
    for autocommit in (True, False):
        connection, other = weir.psycopg(autocommit=autocommit), weir.psycopg()
        connection.execute("create temp table t1 (id int, v text)")
        with connection.cursor().copy("copy t1 from stdin") as copy:
            for number in range(100):
                copy.write_row((number, "x"))
        connection.commit()
        for _ in range(8):
            assert other.execute("select to_regclass('pg_temp.t1')").fetchone() == (None,)
            assert connection.execute("select count(*) from t1 where id >= %s", [50]).fetchone() == (50,)
            connection.commit()
        connection.execute("drop table t1")
        connection.commit()
        wait_for_pins(weir)
        with connection.cursor(name="held", withhold=True) as cursor:
            cursor.execute("select generate_series(1, 50)")
            connection.commit()
            assert len(cursor.fetchmany(20)) == 20
            connection.commit()
            assert len(cursor.fetchall()) == 30
        connection.commit()
        wait_for_pins(weir)
