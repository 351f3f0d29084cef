"""LISTEN when connections are lost, waited for or refused, and how much one client may ask for."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile

import psycopg
import pytest

import wire
from listening import heard, heard_before, kill, listeners, prepared, warning
from postgres import PASSWORD, REPLICATION_ROLE, as_unprivileged, binary, free_port, give_to_unprivileged
from waiting import wait_until
from wire import extended, query, sync

pytestmark = pytest.mark.every_backend


# Losses


def test_a_lost_listening_connection_is_replaced_and_its_clients_are_told(weir, postgres, direct):
    clients = [weir.connect() for _ in range(3)]
    for client in clients:
        client.query("listen a")
    clients[2].query("begin")
    kill(postgres, listeners(postgres)[0]["pid"])
    for client in clients[:2]:
        told = warning(client)
        assert (told.severity, told.sqlstate) == ("WARNING", "08006")
        assert told.message == 'notifications on channel "a" may have been missed'
    direct.query("notify a, 'again'")
    for client in clients[:2]:
        assert heard(client) == [("a", "again")]
    # Who is in a transaction hears of it afterwards.
    assert clients[2].query("commit").types == "CZ"
    assert warning(clients[2]).severity == "WARNING"
    assert heard(clients[2]) == [("a", "again")]


def test_postgres_can_be_restarted(weir, postgres):
    client = weir.connect()
    client.query("listen a")
    postgres.stop()
    postgres.start()
    assert warning(client).message == 'notifications on channel "a" may have been missed'
    with psycopg.connect(postgres.address("app", "app"), autocommit=True) as direct:
        direct.execute("notify a, 'again'")
    assert heard(client) == [("a", "again")]


def test_a_server_lost_behind_a_listen_that_was_answered_is_not_the_clients_concern(weir_factory, proxy):
    """It is lost while it is asked what it listens to: what it was told to do has happened."""
    weir = weir_factory(databases={"app": f"host=127.0.0.1 port={proxy.port}"}, default_pool_size=1)
    client, first = weir.connect(), weir.connect()
    first.query("listen a")
    # The question about this one is over.
    assert client.value("select 1") == 1
    proxy.when_sent(b"pg_listening_channels", lambda link: link.reset())
    assert client.query("listen a").errors == []
    weir.wait_for_log("server conn crashed")
    assert client.query("notify a, 'again'").errors == []
    assert heard(client) == [("a", "again")]


def test_a_server_lost_before_the_commit_takes_its_listens_along(weir, postgres, direct):
    client = weir.connect()
    client.query("listen fence; listen kept")
    client.query("begin")
    pid = client.value("select pg_backend_pid()")
    client.query("listen a; unlisten kept")
    kill(postgres, pid)
    wait_until(lambda: pid not in [server["pid"] for server in postgres.servers()], "the server is gone")
    result = client.exchange(query("commit"))
    assert result.errors or result.tags == ["ROLLBACK"]
    if result.status != "I":
        client.query("rollback")
    direct.query("notify a; notify kept")
    assert heard_before(client, direct) == [("kept", "")]
    client.query("listen a")
    direct.query("notify a")
    assert heard(client) == [("a", "")]


def test_a_server_lost_after_the_reply_leaves_its_listens(weir_factory, proxy, direct):
    weir = weir_factory(start=False)
    weir.databases["app"] = weir.server(proxy.port)
    weir.start()
    client = weir.connect()
    client.query("listen kept; listen fence")
    client.query("select 1")
    # The client has its answer, and PostgreSQL is still to say what it listens to.
    proxy.when_sent(b"pg_listening_channels", lambda link: link.reset())
    for sql in ("begin", "savepoint s", "listen undone", "rollback to s", "listen a; unlisten kept", "commit"):
        assert client.query(sql).errors == []
    assert proxy.triggered.wait(15)
    weir.wait_for_log("server conn crashed")
    direct.query("notify undone; notify kept; notify a")
    assert heard_before(client, direct) == [("a", "")]


def test_a_client_with_many_channels_survives_the_loss_of_the_connection(weir_factory, postgres, direct):
    weir = weir_factory(default_pool_size=2)
    client, other = weir.connect(), weir.connect()
    names = [f"c{number:04}" for number in range(9_000)]
    for start in range(0, len(names), 500):
        client.query("; ".join(f"listen {name}" for name in names[start : start + 500]))
    other.query(f"listen {names[-1]}")
    client.query("begin")
    kill(postgres, listeners(postgres)[0]["pid"])
    # Channels are listened to in their order.
    assert warning(other).message == f'notifications on channel "{names[-1]}" may have been missed'
    direct.query(f"notify {names[0]}; notify {names[-1]}")
    assert heard(other) == [(names[-1], "")]
    assert client.query("commit").tags == ["COMMIT"]
    told = [warning(client).message for _ in range(101)]
    assert told[:100] == [f'notifications on channel "{name}" may have been missed' for name in names[:100]]
    assert told[100] == "notifications on other channels may have been missed"
    assert heard(client, 2) == [(names[0], ""), (names[-1], "")]


def test_without_a_connection_to_listen_on_the_client_gets_an_error(weir_factory, postgres, direct):
    weir = weir_factory(max_db_connections=1)
    client = weir.connect()
    for request in (query("listen a"), extended("listen a"), prepared("listen a", "l")):
        result = client.exchange(request)
        assert [error.sqlstate for error in result.errors] == ["08006"]
        assert "max_db_connections" in result.errors[0].detail
        client.exchange(wire.close("S", "l") + sync())
    client.query("begin")
    assert client.exchange(query("listen a")).status == "E"
    client.query("rollback")
    assert client.value("select 1") == 1
    weir.settings["max_db_connections"] = 2
    weir.reload()

    def can_listen() -> bool:
        return not client.exchange(query("listen a")).errors

    wait_until(can_listen, "LISTEN works")
    direct.query("notify a")
    assert heard(client) == [("a", "")]


@pytest.fixture
def standby(postgres):
    """A hot standby of the tests' PostgreSQL."""
    directory = tempfile.mkdtemp(prefix="weir-standby-", dir="/tmp")
    give_to_unprivileged(directory)
    port = free_port()
    backup = [binary("pg_basebackup"), "-D", f"{directory}/data", "-X", "fetch", "-c", "fast", "-R", "--no-sync"]
    source = f"host=127.0.0.1 port={postgres.port} user={REPLICATION_ROLE} password={PASSWORD}"
    postgres.sql("checkpoint")
    subprocess.run(as_unprivileged([*backup, "-d", source]), check=True, cwd="/", timeout=40)
    options = ["-c", f"port={port}", "-c", f"unix_socket_directories={directory}"]
    with open(f"{directory}/log", "wb") as log:
        process = subprocess.Popen(
            as_unprivileged([binary("postgres"), "-D", f"{directory}/data", *options]), stdout=log, stderr=log, cwd="/"
        )

    def connection():
        try:
            return psycopg.connect(f"host=127.0.0.1 port={port} user=postgres dbname=app", autocommit=True)
        except psycopg.OperationalError:
            return None

    with wait_until(connection, "the standby accepts connections", 30) as administrator:
        yield port, administrator
    process.send_signal(signal.SIGQUIT)
    process.wait(20)
    shutil.rmtree(directory, ignore_errors=True)


def test_a_standby_is_listened_to_once_it_is_promoted(weir_factory, proxy, direct, standby):
    port, administrator = standby
    weir = weir_factory(start=False)
    weir.databases["app"] = weir.server(proxy.port)
    weir.start()
    before, after = weir.connect(), weir.connect()
    before.query("listen a")
    proxy.target_port = port
    proxy.reset_all()
    weir.wait_for_log("server conn crashed")

    def answer() -> list[str]:
        return [error.sqlstate for error in after.exchange(query("listen a")).errors]

    # The standby's own error, once the lost connections are got over.
    wait_until(lambda: answer() == ["25006"], "LISTEN is refused")
    administrator.execute("select pg_promote()")
    told = warning(before)
    assert told.message == 'notifications on channel "a" may have been missed'
    assert answer() == []
    administrator.execute("notify a, 'promoted'")
    assert heard(before) == heard(after) == [("a", "promoted")]


# While a LISTEN waits for the connection


@pytest.fixture
def stuck(weir_factory, proxy):
    """A Weir with one server whose next connection gets no answer: LISTEN waits for it."""
    weir = weir_factory(start=False, default_pool_size=1, server_connect_timeout=2)
    weir.databases["app"] = weir.server(proxy.port)
    weir.start()
    weir.connect().query("select 1")
    proxy.swallow()
    return weir


def test_a_client_that_waits_to_listen_holds_no_server(stuck, proxy):
    client, other = stuck.connect(), stuck.connect()
    client.send(query("listen a"))
    wait_until(lambda: proxy.swallowed, "the listening connection is being opened")
    assert other.value("select 1") == 1
    result = client.result()
    assert [error.sqlstate for error in result.errors] == ["08006"]
    assert client.value("select 2") == 2


def test_a_client_may_leave_while_it_waits_to_listen(stuck, proxy, direct):
    client, other = stuck.connect(), stuck.connect()
    client.send(query("listen a"))
    wait_until(lambda: proxy.swallowed, "the listening connection is being opened")
    client.close()
    stuck.wait_for_pool(cl_active=2)
    proxy.accept_again()

    def can_listen() -> bool:
        return not other.exchange(query("listen a")).errors

    wait_until(can_listen, "LISTEN works")
    direct.query("notify a")
    assert heard(other) == [("a", "")]


def test_a_waiting_listen_can_be_canceled(stuck, proxy):
    client = stuck.connect()
    client.send(query("select 1") + query("listen a") + query("select 2"))
    assert client.result().value == 1
    wait_until(lambda: proxy.swallowed, "the listening connection is being opened")
    client.cancel()
    assert [error.sqlstate for error in client.result().errors] == ["57014"]
    assert client.result().value == 2


# The console


def test_a_listen_during_pause_waits_for_resume(weir, direct):
    client, before = weir.connect(), weir.connect()
    before.query("listen a")
    weir.admin("PAUSE app")
    client.send(query("listen a"))
    weir.wait_for_pool(cl_waiting=1)
    weir.admin("RESUME app")
    assert client.result().tags == ["LISTEN"]
    assert warning(before).severity == "WARNING"
    direct.query("notify a")
    assert heard(client) == heard(before) == [("a", "")]


def test_reconnect_replaces_the_listening_connection(weir, postgres, direct):
    client = weir.connect()
    client.query("listen a")
    (before,) = listeners(postgres)
    weir.admin("RECONNECT app")
    assert warning(client).severity == "WARNING"
    (after,) = wait_until(lambda: [s for s in listeners(postgres) if s["pid"] != before["pid"]], "a new connection")
    direct.query("notify a")
    assert heard(client) == [("a", "")]


def test_a_database_can_be_killed_and_removed_with_its_listeners(weir, postgres, direct):
    client = weir.connect()
    client.query("listen a")
    weir.admin("KILL app")
    assert client.is_closed_by_peer()
    wait_until(lambda: not listeners(postgres), "the listening connection is closed")
    weir.admin("RESUME app")
    client = weir.connect()
    client.query("listen a")
    direct.query("notify a")
    assert heard(client) == [("a", "")]
    del weir.databases["app"]
    weir.reload()
    assert client.is_closed_by_peer()
    wait_until(lambda: not listeners(postgres), "the listening connection is closed")
    assert weir.connect(database="second").query("listen a").tags == ["LISTEN"]


# Bounds


def test_too_many_notifications_end_the_client_and_nobody_else(weir, direct):
    slow, other = weir.connect(), weir.connect()
    for client in (slow, other):
        client.query("listen a")
    slow.query("begin")
    for number in range(150):
        direct.query(f"notify a, '{number:07000d}'")
    assert heard(other, 150) == [("a", f"{number:07000d}") for number in range(150)]
    (message,) = slow.read_until("E")
    error = wire.ServerError(wire.error_fields(message.body))
    assert (error.severity, error.sqlstate) == ("FATAL", "54000")
    assert slow.is_closed_by_peer()
    assert other.value("select 1") == 1


def test_a_client_that_does_not_read_is_ended(weir, direct):
    slow, other = weir.connect(), weir.connect()
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    for client in (slow, other):
        client.query("listen a")
    before = weir.resident_bytes()
    payload = "x" * 7900
    sent = 0
    while "too many notifications" not in weir.log():
        assert sent < 5000, "its kernel cannot hold so much"
        direct.query("; ".join(f"notify a, '{number:06d}{payload}'" for number in range(sent, sent + 50)))
        assert [text[:6] for _, text in heard(other, 50)] == [f"{number:06d}" for number in range(sent, sent + 50)]
        sent += 50
    assert weir.resident_bytes() - before < 64 << 20
    assert other.value("select 1") == 1


def test_one_client_cannot_listen_to_any_number_of_channels(weir_factory, direct):
    weir = weir_factory()
    client = weir.connect()
    result = None
    for start in range(0, 10_200, 200):
        result = client.exchange(query("; ".join(f"listen c{number}" for number in range(start, start + 200))))
        if result.errors:
            break
    assert [error.sqlstate for error in result.errors] == ["54000"]
    direct.query("notify c0; notify c9999; notify c10001")
    assert heard(client, 2) == [("c0", ""), ("c9999", "")]
    client.query("unlisten *")
    assert client.query("listen c10001").tags == ["LISTEN"]
