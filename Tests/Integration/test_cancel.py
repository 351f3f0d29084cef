"""Cancel requests reach the right query, in time, and never another one; a vanished client's query is cancelled."""

from __future__ import annotations

import threading

import pytest

import wire
from waiting import Stopwatch, wait_until
from wire import extended, query


def is_running(postgres, text: str) -> bool:
    return any(text in server["query"] and server["state"] == "active" for server in postgres.servers())


@pytest.mark.every_backend
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_a_running_query_is_cancelled(weir, protocol):
    client = weir.connect()
    client.send(query("select pg_sleep(60)") if protocol == "simple" else extended("select pg_sleep(60)"))
    weir.postgres.wait_for_query("pg_sleep")
    client.cancel()
    result = client.result()
    assert [error.sqlstate for error in result.errors] == ["57014"] and result.status == "I"
    assert client.value("select 1") == 1


def test_a_query_in_a_transaction_is_cancelled_and_the_transaction_fails(weir):
    client = weir.connect()
    client.query("begin")
    client.send(query("select pg_sleep(60)"))
    weir.postgres.wait_for_query("pg_sleep")
    client.cancel()
    result = client.result()
    assert [error.sqlstate for error in result.errors] == ["57014"] and result.status == "E"
    client.query("rollback")
    assert client.value("select 1") == 1


@pytest.mark.every_backend
def test_a_cancel_works_though_the_pool_is_full_and_others_wait(weir_factory):
    weir = weir_factory(default_pool_size=1, max_db_connections=1)
    client, *waiters = [weir.connect() for _ in range(5)]
    client.send(query("select pg_sleep(60)"))
    weir.postgres.wait_for_query("pg_sleep")
    for waiter in waiters:
        waiter.send(query("select 1"))
    weir.wait_for_pool(cl_waiting=4)
    with Stopwatch() as watch:
        client.cancel()
        assert client.result().errors[0].sqlstate == "57014"
    assert watch.seconds < 5
    for waiter in waiters:
        assert waiter.result().value == 1


@pytest.mark.every_backend
def test_a_client_that_waits_for_a_server_is_cancelled(weir_factory):
    weir = weir_factory(default_pool_size=1)
    holder, waiter = weir.connect(), weir.connect()
    holder.query("begin")
    waiter.send(query("select 1"))
    weir.wait_for_pool(cl_waiting=1)
    waiter.cancel()
    result = waiter.result()
    assert [(error.severity, error.sqlstate) for error in result.errors] == [("ERROR", "57014")]
    assert result.status == "I"
    assert holder.value("select 5") == 5
    holder.query("commit")
    assert waiter.value("select 2") == 2


@pytest.mark.every_backend
def test_a_client_that_waits_for_its_settings_is_cancelled(weir_factory, proxy):
    weir = weir_factory(databases={"app": f"host=127.0.0.1 port={proxy.port}"}, default_pool_size=1)
    weir.connect().value("select 1")
    client = weir.connect(datestyle="German")
    proxy.when_sent(b"DateStyle", lambda link: None, forward=True)
    proxy.pause(to_server=False)
    client.send(query("select 1"))
    assert proxy.triggered.wait(5)
    client.cancel()
    result = client.result()
    assert [(error.severity, error.sqlstate) for error in result.errors] == [("ERROR", "57014")]
    assert result.status == "I"
    proxy.resume()
    assert client.value("select '2024-02-01'::date") == "01.02.2024"
    assert weir.connect().value("select '2024-02-01'::date") == "2024-02-01"


def test_a_cancel_of_an_idle_client_touches_nothing(weir_factory):
    weir = weir_factory(default_pool_size=1)
    idle, busy = weir.connect(), weir.connect()
    idle.value("select 1")
    busy.send(query("select pg_sleep(1), 7"))
    weir.postgres.wait_for_query("pg_sleep")
    idle.cancel()
    assert busy.result().rows[0][1] == 7
    assert idle.value("select 2") == 2


@pytest.mark.sanitizer_short
@pytest.mark.every_backend
def test_a_cancel_never_hits_another_clients_query(weir_factory):
    """One client keeps cancelling its own short queries; the other, on the same server, must never be hit."""
    weir = weir_factory(default_pool_size=1)
    victim, canceller = weir.connect(), weir.connect()
    stop, problems, counts = threading.Event(), [], {"cancels": 0, "hits": 0}

    def run_victim():
        while not stop.is_set():
            result = victim.exchange(query("select 1"))
            if result.errors:
                problems.append(result.errors[0])

    def send_cancels():
        while not stop.is_set():
            canceller.cancel()
            counts["cancels"] += 1

    threads = [threading.Thread(target=run_victim), threading.Thread(target=send_cancels)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            if canceller.exchange(query("select pg_sleep(0.001)")).errors:
                counts["hits"] += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert not problems
    assert counts["cancels"] > 10


@pytest.mark.every_backend
@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_the_query_of_a_vanished_client_is_cancelled(weir, postgres, way, protocol):
    client = weir.connect()
    client.send(query("select pg_sleep(60)") if protocol == "simple" else extended("select pg_sleep(60)"))
    postgres.wait_for_query("pg_sleep")
    client.close() if way == "close" else client.reset()
    wait_until(lambda: not is_running(postgres, "pg_sleep"), "the query is cancelled", 5)


@pytest.mark.one_backend
def test_cancel_on_disconnect_can_be_switched_off(weir_factory, postgres):
    weir = weir_factory(cancel_on_disconnect=0)
    client = weir.connect()
    client.send(query("select pg_sleep(1.5)"))
    pid = postgres.wait_for_query("pg_sleep")["pid"]
    client.reset()
    weir.wait_for_log("client unexpected eof|query in progress|client disconnect")
    assert is_running(postgres, "pg_sleep(1.5)")
    wait_until(
        lambda: pid not in [server["pid"] for server in postgres.servers() if server["state"] == "active"], "it ends"
    )


def test_the_place_of_a_vanished_client_in_the_line_is_given_up(weir_factory):
    weir = weir_factory(default_pool_size=1)
    holder, gone, waiter = (weir.connect() for _ in range(3))
    holder.query("begin")
    gone.send(query("select pg_sleep(60)"))
    weir.wait_for_pool(cl_waiting=1)
    waiter.send(query("select 1"))
    weir.wait_for_pool(cl_waiting=2)
    gone.reset()
    weir.wait_for_pool(cl_waiting=1)
    holder.query("commit")
    assert waiter.result().value == 1


@pytest.mark.parametrize("fault", ["refuse", "swallow"])
def test_a_cancel_that_cannot_reach_the_server_ends_after_cancel_wait_timeout(weir_factory, proxy, fault):
    """The requester is let go, the query goes on, and the server serves again when it has ended."""
    weir = weir_factory(
        databases={"app": f"host=127.0.0.1 port={proxy.port}"}, cancel_wait_timeout=1, default_pool_size=1
    )
    client, other = weir.connect(), weir.connect()
    client.send(query("select pg_sleep(2)"))
    weir.postgres.wait_for_query("pg_sleep")
    proxy.refuse() if fault == "refuse" else proxy.swallow()
    with Stopwatch() as watch, wire.Connection(client.address) as requester:
        requester.send(wire.request(wire.CANCEL_REQUEST, client.process_id.to_bytes(4, "big") + client.secret_key))
        assert requester.is_closed_by_peer()
    assert watch.seconds < 1.8
    assert not client.result().errors
    proxy.accept_again()
    assert other.value("select 1") == 1


def test_a_driver_cancels(weir):
    import psycopg

    connection = weir.psycopg()
    timer = threading.Thread(
        target=lambda: (weir.postgres.wait_for_query("pg_sleep"), connection.cancel_safe(timeout=10))
    )
    timer.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute("select pg_sleep(60)")
    timer.join()
    assert connection.execute("select 1").fetchone() == (1,)
