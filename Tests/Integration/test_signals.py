"""What signals do: shutting down in four ways, pausing, and reading the configuration again."""

from __future__ import annotations

import signal
import threading

import pytest

import wire
from postgres import PASSWORD
from waiting import wait_until
from wire import query


def test_sigquit_ends_at_once(weir):
    client = weir.connect()
    client.query("begin")
    weir.signal(signal.SIGQUIT)
    assert weir.wait_for_exit() == 0
    assert client.is_closed_by_peer()
    assert "got SIGQUIT, fast exit" in weir.log()


@pytest.mark.every_backend
def test_sigterm_waits_for_the_clients(weir):
    client = weir.connect()
    client.value("select 1")
    weir.signal(signal.SIGTERM)
    weir.wait_for_log("got SIGTERM, shutting down, waiting for all clients disconnect")

    def refuses() -> bool:
        try:
            weir.raw().login("app", "app")
            return False
        except (OSError, EOFError, wire.ServerError):
            return True

    wait_until(refuses, "new clients are refused")
    assert client.value("select 2") == 2
    assert weir.process.poll() is None
    client.terminate()
    assert weir.wait_for_exit() == 0
    assert "client connections dropped, exiting" in weir.log()


@pytest.mark.every_backend
def test_the_console_can_be_reached_by_the_unix_socket_during_a_shutdown(weir):
    client = weir.connect()
    client.value("select 1")
    weir.signal(signal.SIGTERM)
    weir.wait_for_log("got SIGTERM, shutting down, waiting for all clients disconnect")
    with weir.raw_unix() as console:
        console.login("admin", "pgbouncer", PASSWORD)
        assert [row["database"] for row in console.query("SHOW POOLS").dictionaries if row["user"] == "app"] == ["app"]
    with weir.raw_unix() as late, pytest.raises(wire.ServerError) as raised:
        late.login("app", "app")
    assert raised.value.sqlstate == "57P01"
    assert client.value("select 2") == 2


def test_a_second_sigterm_ends_at_once(weir):
    client = weir.connect()
    client.query("begin")
    weir.signal(signal.SIGTERM)
    weir.wait_for_log("got SIGTERM, shutting down")
    weir.signal(signal.SIGTERM)
    assert weir.wait_for_exit() == 0
    assert "got SIGTERM while shutting down, fast exit" in weir.log()


@pytest.mark.every_backend
def test_sigint_waits_for_the_transactions(weir, table):
    client, idle_client = weir.connect(), weir.connect()
    idle_client.value("select 1")
    client.query("begin")
    client.query("insert into t values (1, 'kept')")
    weir.signal(signal.SIGINT)
    weir.wait_for_log("got SIGINT, shutting down, waiting for all servers connections to be released")
    client.query("commit")
    with pytest.raises((wire.ServerError, EOFError)) as raised:
        idle_client.result()
    if isinstance(raised.value, wire.ServerError):
        assert raised.value.sqlstate == "57P01" and raised.value.severity == "FATAL"
    assert weir.wait_for_exit() == 0
    assert "server connections dropped, exiting" in weir.log()


def test_clients_are_told_of_a_shutdown(weir):
    client = weir.connect()
    client.value("select 1")
    weir.signal(signal.SIGQUIT)
    with pytest.raises(wire.ServerError) as raised:
        client.result()
    assert (raised.value.severity, raised.value.sqlstate) == ("FATAL", "57P01")
    assert weir.wait_for_exit() == 0


def test_sigusr1_pauses_and_sigusr2_resumes(weir):
    client = weir.connect()
    client.value("select 1")
    weir.signal(signal.SIGUSR1)
    weir.wait_for_log("got SIGUSR1, pausing all activity")
    weir.wait_for_log("closing because: pause mode")
    client.send(query("select 5"))
    assert client.is_silent(0.3)
    weir.signal(signal.SIGUSR1)
    weir.wait_for_log("got SIGUSR1, but already paused/suspended")
    weir.signal(signal.SIGUSR2)
    assert client.result().value == 5
    weir.wait_for_log("got SIGUSR2, continuing from PAUSE")
    weir.signal(signal.SIGUSR2)
    weir.wait_for_log("got SIGUSR2, but not paused/suspended")


def test_sighup_reads_the_configuration_again(weir):
    weir.settings["query_wait_timeout"] = 33
    weir.write()
    weir.signal(signal.SIGHUP)
    weir.wait_for_log("got SIGHUP, re-reading config")
    wait_until(lambda: weir.show("CONFIG", key="query_wait_timeout")[0]["value"] == "33", "the new value holds")


@pytest.mark.sanitizer_short
@pytest.mark.every_backend
def test_sighup_under_load_loses_nothing(weir_factory, postgres):
    weir = weir_factory()
    stop, problems, done = threading.Event(), [], [0]

    def work(number: int):
        try:
            client = weir.connect(timeout=30)
            while not stop.is_set():
                client.query("begin")
                assert client.value(f"select {number}") == number
                client.query("commit")
                done[0] += 1
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    try:
        for round_ in range(20):
            weir.settings["default_pool_size"] = 3 + round_ % 4
            weir.databases[f"extra{round_}"] = f"host=127.0.0.1 port={postgres.port} dbname=app"
            weir.write()
            before = done[0]
            weir.signal(signal.SIGHUP)
            weir.wait_for_log("got SIGHUP", count=round_ + 1)
            wait_until(lambda: done[0] > before + 16 or problems, "work goes on")
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not problems
    assert weir.connect(database="extra19").value("select 1") == 1


@pytest.mark.one_backend
def test_a_broken_configuration_on_sighup_is_told_and_nothing_changes(weir):
    weir.settings["pool_mode"] = "never"
    weir.write()
    weir.signal(signal.SIGHUP)
    weir.wait_for_log(r"pool_mode.*never|never.*pool_mode")
    assert weir.connect().value("select 1") == 1
