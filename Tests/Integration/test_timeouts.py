"""Every time-out acts, in time, with its own words."""

from __future__ import annotations

import pytest

import wire
from waiting import Stopwatch, stays_true, wait_until
from wire import extended, query

# How late a time-out may be on a busy machine.
LATE_SECONDS = 3.0


def fatal(client: wire.Connection) -> wire.ServerError:
    """The error with which the connection ends."""
    with pytest.raises(wire.ServerError) as raised:
        client.result()
    assert raised.value.severity == "FATAL"
    assert client.is_closed_by_peer()
    return raised.value


def test_query_timeout_ends_a_query_that_runs_too_long(weir_factory, postgres):
    weir = weir_factory(query_timeout=1)
    client = weir.connect()
    with Stopwatch() as watch:
        client.send(query("select pg_sleep(60)"))
        try:
            error = client.result().errors[0]
        except wire.ServerError as raised:
            error = raised
    assert 0.9 <= watch.seconds < 1 + LATE_SECONDS
    assert error.sqlstate == "57014" and "query timeout" in error.message
    weir.wait_for_log("query timeout")
    wait_until(
        lambda: not any("pg_sleep" in s["query"] and s["state"] == "active" for s in postgres.servers()),
        "it is ended",
        5,
    )
    assert weir.connect().value("select 1") == 1


def test_query_timeout_does_not_count_idle_time_in_a_transaction(weir_factory):
    weir = weir_factory(query_timeout=1)
    client = weir.connect()
    client.query("begin")
    assert client.is_silent(1.8)
    assert client.value("select 1") == 1


@pytest.mark.one_backend
def test_query_timeout_of_a_user(weir_factory):
    weir = weir_factory(users={"other": "query_timeout=1"})
    limited, free = weir.connect("other"), weir.connect()
    for client in (limited, free):
        client.send(query("select pg_sleep(2)"))
    try:
        assert limited.result().errors
    except wire.ServerError as raised:
        assert "query timeout" in raised.message
    assert free.result().rows


def test_query_wait_timeout(weir_factory):
    weir = weir_factory(default_pool_size=1, query_wait_timeout=1)
    holder, client = weir.connect(), weir.connect()
    holder.query("begin")
    with Stopwatch() as watch:
        result = client.exchange(query("select 1"))
    assert 0.9 <= watch.seconds < 1 + LATE_SECONDS
    assert result.errors[0].sqlstate == "53300" and "query_wait_timeout" in result.errors[0].message
    weir.wait_for_log("query_wait_timeout")


def test_query_wait_notify_tells_a_client_that_waits(weir_factory):
    weir = weir_factory(default_pool_size=1, query_wait_notify=1)
    holder, client = weir.connect(), weir.connect()
    holder.query("begin")
    client.send(query("select 1"))
    reply = client.read()
    assert reply.type == "N"
    assert (
        "No server connection available in postgres backend, client being queued" in wire.error_fields(reply.body)["M"]
    )
    holder.query("commit")
    assert client.result().value == 1


@pytest.mark.every_backend
def test_idle_transaction_timeout(weir_factory, table):
    weir = weir_factory(default_pool_size=1, idle_transaction_timeout=1)
    client = weir.connect()
    client.query("begin")
    client.query("insert into t values (1, 'x')")
    with Stopwatch() as watch:
        error = fatal(client)
    assert 0.9 <= watch.seconds < 1 + LATE_SECONDS
    assert error.sqlstate == "25P03" and "idle transaction timeout" in error.message
    assert weir.connect().value("select count(*) from t") == 0


def test_idle_transaction_timeout_does_not_end_a_running_query(weir_factory):
    weir = weir_factory(idle_transaction_timeout=1)
    client = weir.connect()
    client.query("begin")
    assert client.query("select pg_sleep(1.8)").rows
    client.query("commit")


def test_transaction_timeout(weir_factory):
    weir = weir_factory(default_pool_size=1, transaction_timeout=1)
    client = weir.connect()
    client.query("begin")
    with Stopwatch() as watch:
        try:
            while True:
                client.query("select pg_sleep(0.1)")
        except wire.ServerError as raised:
            error = raised
    assert 0.8 <= watch.seconds < 1 + LATE_SECONDS
    assert error.sqlstate == "25P04" and "transaction timeout" in error.message
    assert weir.connect().value("select 1") == 1


def test_transaction_timeout_lets_short_transactions_go_on(weir_factory):
    weir = weir_factory(transaction_timeout=1)
    client = weir.connect()
    for _ in range(15):
        client.query("begin")
        client.query("select pg_sleep(0.1)")
        client.query("commit")


def test_client_idle_timeout(weir_factory):
    weir = weir_factory(client_idle_timeout=1)
    client = weir.connect()
    client.value("select 1")
    with Stopwatch() as watch:
        error = fatal(client)
    assert 0.9 <= watch.seconds < 1 + LATE_SECONDS
    assert error.sqlstate == "57P05" and "client_idle_timeout" in error.message


def test_client_idle_timeout_spares_a_client_in_a_query(weir_factory):
    weir = weir_factory(client_idle_timeout=1)
    assert weir.connect().query("select pg_sleep(1.8)").rows


@pytest.mark.every_backend
@pytest.mark.parametrize("sent", ["nothing", "half a packet", "no password"])
def test_client_login_timeout(weir_factory, sent):
    weir = weir_factory(client_login_timeout=1, auth_type="plain")
    client = weir.raw()
    packet = wire.startup(user="app", database="app")
    client.send({"nothing": b"", "half a packet": packet[:7], "no password": packet}[sent])
    with Stopwatch() as watch:
        assert client.is_closed_by_peer()
    assert 0.9 <= watch.seconds < 1 + LATE_SECONDS
    weir.wait_for_log("client_login_timeout")


def test_server_connect_timeout(weir_factory, proxy):
    proxy.swallow()
    weir = weir_factory(
        databases={"app": f"host=127.0.0.1 port={proxy.port}"}, server_connect_timeout=1, query_wait_timeout=6
    )
    with pytest.raises((wire.ServerError, EOFError)) as raised:
        weir.connect()
    if isinstance(raised.value, wire.ServerError):
        assert raised.value.sqlstate == "08001"
    weir.wait_for_log("connect timeout")


@pytest.mark.every_backend
def test_server_connect_timeout_counts_while_settings_are_put_in_place(weir_factory, proxy):
    """The client's own query has not been sent, so that no other timeout counts."""
    databases = {"app": f"host=127.0.0.1 port={proxy.port}"}
    weir = weir_factory(databases=databases, default_pool_size=1, server_connect_timeout=1)
    weir.connect().value("select 1")
    client = weir.connect(datestyle="German")
    proxy.pause()
    result = client.exchange(query("select '2024-02-01'::date"))
    assert [error.sqlstate for error in result.errors] == ["08001"]
    weir.wait_for_log("settings were not put in place in time")
    proxy.resume()
    wait_until(lambda: not client.exchange(query("select 1")).errors, "the server can be reached again")
    assert client.value("select '2024-02-01'::date") == "01.02.2024"


def test_failed_connects_back_off_and_the_first_success_serves(weir_factory, proxy):
    """From 100 ms up to server_login_retry: not one attempt for each waiter, and no 15 s of blindness."""
    weir = weir_factory(
        databases={"app": f"host=127.0.0.1 port={proxy.port}"}, server_login_retry=1, query_wait_timeout=1
    )
    client = weir.connect()
    client.value("select 1")
    proxy.reject()
    proxy.reset_all()
    weir.wait_for_pool(sv_idle=0)
    already = proxy.accepted
    with Stopwatch() as watch:
        while watch_seconds(watch) < 3:
            client.exchange(query("select 1"))
    assert proxy.accepted - already <= 14
    proxy.accept_again()
    with Stopwatch() as watch:
        wait_until(lambda: not client.exchange(query("select 1")).errors, "it works again")
    assert watch.seconds < 1.5 + LATE_SECONDS


def watch_seconds(watch: Stopwatch) -> float:
    import time

    return time.monotonic() - watch.start


def test_server_idle_timeout(weir_factory, postgres):
    weir = weir_factory(server_idle_timeout=1)
    client = weir.connect()
    client.value("select 1")
    wait_until(lambda: postgres.server_count("app") == 0, "the idle server is closed", 1 + LATE_SECONDS)
    weir.wait_for_log("server idle timeout")
    assert client.value("select 2") == 2


def test_server_lifetime(weir_factory):
    weir = weir_factory(server_lifetime=1, default_pool_size=1)
    client = weir.connect()
    first = client.value("select pg_backend_pid()")
    wait_until(
        lambda: client.value("select pg_backend_pid()") != first,
        "another server takes over",
        1 + LATE_SECONDS,
        every=0.05,
    )
    weir.wait_for_log("server lifetime over")


def test_server_lifetime_waits_for_the_end_of_the_transaction(weir_factory):
    weir = weir_factory(server_lifetime=1, default_pool_size=1)
    client = weir.connect()
    client.query("begin")
    first = client.value("select pg_backend_pid()")
    stays_true(lambda: client.value("select pg_backend_pid()") == first, "the same server", 1.8)
    client.query("commit")


@pytest.mark.one_backend
def test_server_lifetime_zero_uses_a_server_once(weir_factory):
    weir = weir_factory(server_lifetime=0)
    client = weir.connect()
    assert len({client.value("select pg_backend_pid()") for _ in range(5)}) == 5


@pytest.mark.one_backend
def test_server_lifetime_of_a_database(weir_factory, postgres):
    weir = weir_factory(databases={"second": f"host=127.0.0.1 port={postgres.port} server_lifetime=1"})
    client = weir.connect(database="second")
    first = client.value("select pg_backend_pid()")
    wait_until(
        lambda: client.value("select pg_backend_pid()") != first,
        "another server takes over",
        1 + LATE_SECONDS,
        every=0.05,
    )


def test_pool_idle_timeout_forgets_a_pool_that_nobody_uses(weir_factory):
    weir = weir_factory(pool_idle_timeout=1, server_idle_timeout=1)
    with weir.connect() as client:
        client.value("select 1")
        weir.wait_for_pool(sv_idle=0)
        assert weir.pool(), "a pool with a client stays"
        client.terminate()
    wait_until(lambda: not weir.pool(), "the pool is forgotten", 3 + LATE_SECONDS)
    weir.wait_for_log("pool idle timeout")
    assert weir.connect().value("select 1") == 1


def test_autodb_idle_timeout_forgets_a_database_of_the_wildcard(weir_factory, postgres):
    weir = weir_factory(
        databases={"*": f"host=127.0.0.1 port={postgres.port}"}, autodb_idle_timeout=1, server_idle_timeout=1
    )
    for database in ("postgres", "app"):
        with weir.connect(database=database) as client:
            client.value("select 1")
            client.terminate()
    wait_until(lambda: not weir.pool("postgres"), "the wildcard's pool is forgotten", 3 + LATE_SECONDS)
    assert weir.pool("app"), "a database of the file stays"
    assert weir.connect(database="postgres").value("select current_database()") == "postgres"


@pytest.mark.one_backend
def test_times_take_units(weir_factory):
    weir = weir_factory(default_pool_size=1, query_wait_timeout="700ms")
    holder, client = weir.connect(), weir.connect()
    holder.query("begin")
    with Stopwatch() as watch:
        assert client.exchange(extended("select 1")).errors[0].sqlstate == "53300"
    assert 0.6 <= watch.seconds < 0.7 + LATE_SECONDS


@pytest.mark.one_backend
def test_tcp_keepalive_settings_reach_the_sockets(weir_factory, postgres):
    """`ss -o` shows the keepalive timer of both of Weir's connections."""
    import shutil
    import subprocess

    if not shutil.which("ss"):
        pytest.skip("ss (Debian: iproute2) is not installed")
    weir = weir_factory(tcp_keepalive=1, tcp_keepidle=77, tcp_keepintvl=5, tcp_keepcnt=3)
    client = weir.connect()
    client.value("select 1")
    command = ["ss", "-tnoH", f"( sport = :{weir.port} or dport = :{postgres.port} )"]

    def timers() -> bool:
        return (
            subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.count("timer:(keepalive,1min")
            >= 2
        )

    wait_until(timers, "both sockets have a keepalive timer of 77 s")
