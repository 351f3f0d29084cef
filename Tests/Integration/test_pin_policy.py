"""What a database allows where a server would be held: hold, refuse, ignore, a limit, and a notice to the client."""

from __future__ import annotations

import pytest

import wire
from pinning import CYCLES, pair, reasons, wait_for_pins
from waiting import wait_until
from wire import bind, execute, extended, parse, query, sync

pytestmark = pytest.mark.every_backend

REFUSED = [cycle for cycle in CYCLES if not cycle[0].startswith("begin")] + [
    ("select setseed(0.5)", "setseed", "", ""), ("load 'plpgsql'", "LOAD", "", ""),
    ("select set_config('work' || '_mem', '9MB', false)", "settings", "", ""),
]


def test_refused_in_every_protocol(weir_factory):
    weir, client, other = pair(weir_factory, pin="refuse")
    for text, reason, _, _ in REFUSED:
        named = parse(text, name="s") + sync() + bind(name="s") + execute() + sync() + wire.close("S", "s") + sync()
        error = client.exchange(query(text)).errors[0]
        assert (error.sqlstate, error.severity) == ("0A000", "ERROR"), text
        assert reason in error.message and "pin" in error.detail
        result = client.exchange(extended(text))
        assert ([e.sqlstate for e in result.errors], result.types) == (["0A000"], "EZ"), text
        client.send(named)
        states = [[e.sqlstate for e in client.result().errors] for _ in range(3)]
        assert states == [[], ["0A000"], []], text
        assert client.value("select 1") == 1
        assert other.value("select count(*) from pg_locks where locktype = 'advisory'") == 0
    assert reasons(weir) == []


def test_a_refusal_fails_the_transaction(weir_factory):
    weir, client, other = pair(weir_factory, pin="refuse")
    for send in (query, extended):
        client.query("begin")
        result = client.exchange(send("create temp table t1 (id int)"))
        assert (result.errors[0].sqlstate, result.status) == ("0A000", "E")
        assert client.exchange(send("select 1")).errors[0].sqlstate == "25P02"
        assert client.query("rollback").status == "I"
    client.query("begin; savepoint a")
    assert client.exchange(query("select pg_advisory_lock(1)")).status == "E"
    assert client.query("rollback to a; select 1").status == "T"
    assert client.query("commit").tags == ["COMMIT"]


def test_a_refusal_in_a_pipeline_keeps_its_place(weir_factory):
    weir, client, other = pair(weir_factory, pin="refuse")
    client.send(
        extended("select 1") + parse("select 2") + bind() + execute() + parse("create temp table t1 (id int)") + bind()
        + execute() + parse("select 3") + bind() + execute() + sync() + extended("select 4")
        + query("select pg_advisory_lock(1)") + query("select 5")
    )
    results = [client.result() for _ in range(5)]
    assert [[e.sqlstate for e in r.errors] for r in results] == [[], ["0A000"], [], ["0A000"], []]
    assert [r.types for r in results] == ["12TDCZ", "12DCEZ", "12TDCZ", "EZ", "TDCZ"]
    assert [results[i].value for i in (0, 2, 4)] == [1, 4, 5]


def test_refuse_lets_pass_what_ends_with_the_transaction(weir_factory):
    weir, client, other = pair(weir_factory, pin="refuse")
    for text in ("create temp table t1 (id int) on commit drop", "select pg_advisory_xact_lock(1)",
                 "set work_mem = '9MB'", "select pg_advisory_unlock_all()", "close all", "deallocate all", "discard all",
                 "begin; declare c1 cursor for select 1; commit"):
        assert client.exchange(query(text)).errors == [], text


def test_a_databases_own_pin_comes_first(weir_factory):
    weir = weir_factory(start=False, pin="refuse")
    weir.databases["app"] += " pin=hold"
    weir.start()
    weir.connect().query("create temp table t1 (id int)")
    wait_for_pins(weir, "temporary objects")
    assert weir.show("PINS")[0]["database"] == "app"
    assert weir.connect(database="second").exchange(query("create temp table t1 (id int)")).errors[0].sqlstate == "0A000"


def test_ignore_leaves_things_where_they_are(weir_factory):
    weir, client, other = pair(weir_factory, pin="ignore")
    client.query("create temp table t1 (id int)")
    client.query("select pg_advisory_lock(11)")
    client.query("set work_mem = '9MB'")
    assert reasons(weir) == []
    assert other.value("select count(*) from t1") == 0
    assert other.value("select pg_advisory_unlock(11)") == "t"
    assert other.value("show work_mem") == "4MB", "settings follow nevertheless"
    assert client.value("show work_mem") == "9MB"
    other.query("drop table t1")


# Limits, notices, and what others see

@pytest.mark.parametrize("send", [query, extended], ids=["simple", "extended"])
def test_max_pinned_is_a_clear_error(weir_factory, send):
    weir = weir_factory(default_pool_size=4, max_pinned=2)
    clients = [weir.connect() for _ in range(6)]
    for number in range(2):
        clients[number].exchange(send("create temp table t1 (id int)"))
        wait_for_pins(weir, *["temporary objects"] * (number + 1))
    for client in clients[2:]:
        error = client.exchange(send("create temp table t1 (id int)")).errors[0]
        assert (error.sqlstate, "max_pinned" in error.detail) == ("53400", True)
        assert client.value("select 1") == 1
    clients[0].exchange(send("select pg_advisory_lock(1)"))
    assert clients[0].query("discard all").errors == []
    wait_for_pins(weir, "temporary objects")
    assert clients[2].exchange(send("create temp table t1 (id int)")).errors == []


TEMPORARY = query("create temp table t1 (id int)")


def is_refused(client) -> bool:
    """Whether there is no place for another held server. If there is, it is given back."""
    errors = [error.sqlstate for error in client.exchange(query("create temp table t2 (id int); drop table t2")).errors]
    assert errors in ([], ["53400"])
    return bool(errors)


def test_max_pinned_is_not_passed_by_clients_of_the_same_moment(weir_factory):
    weir = weir_factory(default_pool_size=12, max_pinned=3)
    clients = [weir.connect() for _ in range(12)]
    for client in clients:
        client.query("begin")
    for client in clients:
        client.send(TEMPORARY)
    results = [client.result() for client in clients]
    assert sorted(bool(result.errors) for result in results) == [False] * 3 + [True] * 9
    for client in clients:
        client.query("commit")
    wait_for_pins(weir, *["temporary objects"] * 3)
    for client, result in zip(clients, results):
        if not result.errors:
            client.query("drop table t1")
    wait_for_pins(weir)
    wait_until(lambda: not is_refused(clients[0]), "the places are free again")


def ends_by_rollback(client, postgres) -> None:
    client.query("rollback")


def ends_by_an_error(client, postgres) -> None:
    client.exchange(query("select 1 / 0"))
    client.query("rollback")


def ends_by_leaving(client, postgres) -> None:
    client.close()


def ends_by_the_loss_of_its_server(client, postgres) -> None:
    postgres.sql("select pg_terminate_backend(%s)", (client.value("select pg_backend_pid()"),))


def ends_by_a_drop(client, postgres) -> None:
    client.query("drop table t1; commit")


@pytest.mark.parametrize(
    "end", [ends_by_rollback, ends_by_an_error, ends_by_leaving, ends_by_the_loss_of_its_server, ends_by_a_drop]
)
def test_a_place_that_is_not_needed_in_the_end_is_given_back(weir_factory, postgres, end):
    weir = weir_factory(default_pool_size=3, max_pinned=1)
    client, other = weir.connect(), weir.connect()
    client.query("begin")
    client.exchange(TEMPORARY)
    assert is_refused(other)
    end(client, postgres)
    wait_until(lambda: not is_refused(other), "the place is free again")
    assert reasons(weir) == []


def test_a_held_server_that_is_lost_gives_its_place_back(weir_factory, postgres):
    weir = weir_factory(default_pool_size=3, max_pinned=1)
    client, other = weir.connect(), weir.connect()
    client.exchange(TEMPORARY)
    wait_for_pins(weir, "temporary objects")
    assert is_refused(other)
    ends_by_the_loss_of_its_server(client, postgres)
    wait_until(lambda: not is_refused(other), "the place is free again")


def test_a_statement_that_does_nothing_takes_no_place(weir_factory):
    weir = weir_factory(default_pool_size=3, max_pinned=1)
    client, other = weir.connect(), weir.connect()
    for text in ("select 1 / 0; create temp table t1 (id int)", "begin; create temp table t1 (id int); rollback",
                 "create temp table t1 (id int); listen a; select 1 / 0"):
        client.exchange(query(text))
        wait_until(lambda: not is_refused(other), f"the place is free again after {text}")
    # Refused and failed statements of a batch, too.
    client.exchange(parse("create temp table t1 (id int)", "s") + bind("too", "many", name="s") + execute() + sync())
    wait_until(lambda: not is_refused(other), "the place is free again")


def test_a_notice_comes_once_for_each_client_and_reason(weir_factory):
    weir, client, other = pair(weir_factory, pin_notice=1)

    def notice(one) -> str:
        reply = one.read()
        assert reply.type == "N", reply
        return wire.error_fields(reply.body)["M"]

    client.query("create temp table t1 (id int)")
    assert "temporary objects" in notice(client)
    assert "advisory locks" not in str(client.query("select 1").notices)
    client.query("select pg_advisory_lock(1)")
    assert "advisory locks" in notice(client) and reasons(weir) == ["temporary objects, advisory locks"]
    assert client.query("discard all").notices == []
    wait_for_pins(weir)
    assert client.query("create temp table t1 (id int)").notices == []
    wait_for_pins(weir, "temporary objects")
    assert client.query("drop table t1").notices == []
    wait_for_pins(weir)
    other.query("create temp table t1 (id int)")
    assert "temporary objects" in notice(other)


def test_there_is_no_notice_unless_it_is_wanted(weir_factory):
    weir, client, other = pair(weir_factory)
    assert client.query("create temp table t1 (id int)").notices == []
    wait_for_pins(weir, "temporary objects")
    assert client.is_silent(0.05)
