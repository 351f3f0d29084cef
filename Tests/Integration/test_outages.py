"""PostgreSQL cannot be reached, refuses, goes away and comes back: clients hear why and keep their connections."""

from __future__ import annotations

import pytest

import wire
from waiting import wait_until
from wire import extended, query


def still_works(client: wire.Connection) -> None:
    assert client.value("select 41 + 1") == 42
    assert client.exchange(extended("select 7::int")).value == 7


def test_waiting_too_long_for_a_server(weir_factory):
    weir = weir_factory(default_pool_size=1, query_wait_timeout=1)
    holder, client = weir.connect(), weir.connect()
    holder.query("begin")
    for request in (query("select 1"), extended("select 1")):
        result = client.exchange(request)
        assert [(error.severity, error.sqlstate) for error in result.errors] == [("ERROR", "53300")]
        assert "query_wait_timeout" in result.errors[0].message
        assert result.status == "I"
    holder.query("commit")
    still_works(client)


@pytest.mark.every_backend
def test_postgresql_goes_away_and_comes_back(weir_factory, postgres):
    """Clients stay connected over a restart; while it is down they get 08001 with the cause."""
    weir = weir_factory(query_wait_timeout=2)
    clients = [weir.connect() for _ in range(3)]
    for client in clients:
        client.value("select 1")
    postgres.stop()
    for client in clients:
        result = client.exchange(query("select 1"))
        assert [(error.severity, error.sqlstate) for error in result.errors] == [("ERROR", "08001")]
        assert result.errors[0].detail
        assert result.status == "I"
    postgres.start()

    def is_back() -> bool:
        return not clients[0].exchange(query("select 1")).errors

    wait_until(is_back, "queries work again")
    for client in clients:
        still_works(client)


def test_postgresql_crashes_in_the_middle_of_work(weir_factory, postgres):
    weir = weir_factory(query_wait_timeout=2)
    busy, in_transaction = weir.connect(), weir.connect()
    in_transaction.query("begin")
    busy.send(query("select pg_sleep(60)"))
    postgres.wait_for_query("pg_sleep")
    postgres.stop(immediate=True)
    assert busy.result().errors[0].sqlstate in ("08006", "57P02")
    assert in_transaction.exchange(query("select 1")).status == "E"
    postgres.start()
    in_transaction.query("rollback")
    wait_until(lambda: not busy.exchange(query("select 1")).errors, "queries work again")
    still_works(busy)
    still_works(in_transaction)


def test_a_login_while_the_server_cannot_be_reached_is_refused(weir_factory, proxy):
    proxy.refuse()
    weir = weir_factory(
        databases={"app": f"host=127.0.0.1 port={proxy.port}"}, query_wait_timeout=2, client_login_timeout=4
    )
    with pytest.raises(wire.ServerError) as raised:
        weir.connect()
    assert (raised.value.severity, raised.value.sqlstate) == ("FATAL", "08001")
    proxy.accept_again()

    def can_log_in() -> bool:
        try:
            return weir.connect().value("select 1") == 1
        except wire.ServerError:
            return False

    wait_until(can_log_in, "a login succeeds again")


def test_the_servers_own_refusal_reaches_the_client_at_login(weir_factory, postgres):
    weir = weir_factory(databases={"ghost": f"host=127.0.0.1 port={postgres.port} dbname=nowhere"})
    with pytest.raises(wire.ServerError) as raised:
        weir.connect(database="ghost")
    assert (raised.value.severity, raised.value.sqlstate) == ("FATAL", "3D000")
    assert 'database "nowhere" does not exist' in raised.value.message


def test_the_servers_own_refusal_reaches_a_client_that_is_logged_in(weir_factory, postgres):
    postgres.sql("drop database if exists closing")
    postgres.sql("create database closing")
    weir = weir_factory(databases={"closing": f"host=127.0.0.1 port={postgres.port}"})
    client = weir.connect(database="closing")
    postgres.sql("alter database closing with allow_connections false")
    postgres.terminate_servers()
    weir.wait_for_pool("closing", sv_idle=0)
    result = client.exchange(query("select 1"))
    assert [(error.severity, error.sqlstate) for error in result.errors] == [("ERROR", "55000")]
    assert "not currently accepting connections" in result.errors[0].message
    postgres.sql("alter database closing with allow_connections true")
    wait_until(lambda: not client.exchange(query("select 1")).errors, "queries work again")
    still_works(client)
