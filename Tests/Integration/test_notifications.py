"""LISTEN, UNLISTEN and NOTIFY where servers are shared: one connection of each database listens for all clients.

What is not heard is proven with a fence: a notification that is sent after the one in question, on a
channel that the client listens to, and that must be the first to arrive.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
import tempfile

import asyncpg
import psycopg
import psycopg2
import pytest

import wire
from postgres import PASSWORD, REPLICATION_ROLE, as_unprivileged, binary, free_port, give_to_unprivileged
from waiting import wait_until
from wire import bind, execute, extended, flush, parse, query, sync

pytestmark = pytest.mark.every_backend

ROUNDS = 60


@pytest.fixture
def direct(postgres):
    """A connection to PostgreSQL itself."""
    with wire.Connection(("127.0.0.1", postgres.port)) as connection:
        yield connection.login("app", "app", application_name="direct")


def notification(message: wire.Message) -> tuple[str, str]:
    assert message.type == "A", message
    channel, payload, _ = message.body[4:].split(b"\0", 2)
    return channel.decode(), payload.decode()


def heard(client: wire.Connection, count: int = 1) -> list[tuple[str, str]]:
    """The next `count` messages, which must be notifications."""
    return [notification(client.read()) for _ in range(count)]


def heard_before(client: wire.Connection, direct: wire.Connection, fence: str = "fence") -> list[tuple[str, str]]:
    """What arrives before a notification on a channel that is sent only now."""
    direct.query(f"notify {fence}, 'end'")
    found = []
    while not found or found[-1] != (fence, "end"):
        found += heard(client)
    return found[:-1]


def listeners(postgres) -> list[dict]:
    return [server for server in postgres.servers() if server["application_name"] == "weir listener"]


def warning(client: wire.Connection) -> wire.ServerError:
    message = client.read()
    assert message.type == "N", message
    return wire.ServerError(wire.error_fields(message.body))


def prepared(sql: str, name: str) -> bytes:
    return parse(sql, name) + bind(name=name) + execute() + sync()


def kill(postgres, pid: int) -> None:
    assert postgres.value("select pg_terminate_backend(%s)", (pid,))


# What is listened to


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("statements", [200, 0])
def test_listen_is_heard_in_every_protocol(weir_factory, direct, mode, statements):
    weir = weir_factory(pool_mode=mode, max_prepared_statements=statements, default_pool_size=1)
    requests = {"simple": query("listen news"), "extended": extended("listen news")}
    if statements:
        requests["prepared"] = prepared("listen news", "l")
    for form, request in requests.items():
        client = weir.connect()
        result = client.exchange(request)
        assert (result.tags, result.errors, result.notices) == (["LISTEN"], [], []), form
        direct.query("notify news, 'one'; notify news, 'two'; notify other")
        assert heard(client, 2) == [("news", "one"), ("news", "two")], form
        assert client.query("unlisten news").tags == ["UNLISTEN"]
        client.query("listen fence")
        direct.query("notify news")
        assert heard_before(client, direct) == [], form
        client.close()


NAMES = [
    '"Üñí"',
    '"with space"',
    '"quo""ted"',
    '"semi;colon -- /* "',
    "Folded",
    "ÜÑÍ",
    'U&"d\\0061t\\+000061"',
    "x" * 70,
    '"' + "é" * 40 + '"',
    '"Select"',
    "a$1",
]


def test_channels_have_the_names_that_postgres_gives_them(weir, direct, postgres):
    with wire.Connection(("127.0.0.1", postgres.port)) as other:
        other.login("app", "app")
        client = weir.connect()
        for name in NAMES:
            expected, result = other.query(f"listen {name}"), client.query(f"listen {name}")
            assert result.types == expected.types, name
            direct.query(f"notify {name}, 'x'")
            assert heard(client) == heard(other), name
            client.query(f"unlisten {name}")
        client.query("listen fence")
        for name in NAMES:
            direct.query(f"notify {name}, 'x'")
        assert heard_before(client, direct) == []


def test_a_name_that_is_not_utf8_is_refused(weir):
    client = weir.connect(client_encoding="LATIN1")
    client.send(wire.message("Q", b'listen "\xdc"\0'))
    result = client.result()
    assert [error.sqlstate for error in result.errors] == ["0A000"]
    assert client.value("select 1") == 1
    assert client.query("listen plain").tags == ["LISTEN"]


FAILS = "select 1/0"

# Each is run on PostgreSQL itself too, and must leave the client listening to the same.
SCRIPTS = [
    ["listen a; listen b", "listen c"],
    ["listen a; listen b; unlisten a"],
    ["listen a", "listen a", "unlisten a"],
    ["listen a", "listen b", "unlisten *"],
    ["listen a", "discard all", "listen b"],
    ["begin", "listen a", "commit"],
    ["begin", "listen a", "rollback"],
    ["begin", "listen a", FAILS, "commit"],
    ["begin", FAILS, "listen a", "rollback"],
    ["listen a; select 1/0", "listen b"],
    ["begin; listen a; rollback; listen b"],
    ["begin; listen a; commit; select 1/0"],
    ["begin", "savepoint s", "listen a", "rollback to s", "listen b", "commit"],
    ["begin", "savepoint s", "listen a", "release s", "commit"],
    ["begin", "listen a", "savepoint s", FAILS, "rollback to s", "commit"],
    ["begin", "listen a", "unlisten a", "commit"],
    ["begin", "listen a", "unlisten *", "listen b", "commit"],
    ["listen a", "begin", "unlisten a", "commit"],
    ["listen a", "begin", "unlisten a", "rollback"],
    ["listen a", "begin", "unlisten *", "rollback"],
    ["listen a", "begin", "unlisten *", FAILS, "commit"],
    ["listen a", "begin", "unlisten a", "listen a", "commit"],
    ["listen a", "begin", "unlisten a", "listen b", "rollback"],
    ["listen a", "begin", "savepoint s", "unlisten a", "rollback to s", "commit"],
    ["listen a", "begin", "unlisten a", "savepoint s", "rollback to s", "commit"],
    ["listen a", "begin", "unlisten a", "savepoint s", FAILS, "rollback to s", "commit"],
    ["listen a", "begin", "savepoint s", "unlisten a", "release s", "commit"],
    ["listen a", "begin", "savepoint r", "savepoint s", "unlisten a", "release s", "rollback to r", "commit"],
    ["listen a", "begin", "unlisten a", "rollback and chain", "listen b", "commit"],
    ["listen a", "begin", "savepoint s", FAILS, "rollback to s", "unlisten a", "commit"],
    ["listen a; begin; unlisten a; rollback"],
    ["listen a", "begin; savepoint s; unlisten a; rollback to s; commit"],
    ["listen a", "select 1; discard all", "unlisten b"],
    ["listen a", FAILS, "unlisten a"],
]


def run(client: wire.Connection, script: list[str], form: str) -> list:
    """Runs a script; what it was answered."""
    answers = []
    for number, sql in enumerate(script):
        if form == "simple" or ";" in sql:
            request = query(sql)
        elif form == "extended":
            request = extended(sql)
        else:
            request = prepared(sql, f"s{number}") + wire.close("S", f"s{number}") + sync()
        client.send(request)
        for _ in range(2 if form == "prepared" and ";" not in sql else 1):
            result = client.result()
            answers.append((result.tags, [error.sqlstate for error in result.errors], result.status))
    return answers


@pytest.mark.parametrize("form", ["simple", "extended", "prepared"])
def test_transactions_decide_what_is_listened_to(weir_factory, postgres, direct, form):
    weir = weir_factory(default_pool_size=2)
    # So that statements are known whose effects depend on what comes before them.
    run(weir.connect(), ["begin", "savepoint s", "rollback to s", "release s", "rollback"], form)
    for script in SCRIPTS:
        with weir.connect() as client, wire.Connection(("127.0.0.1", postgres.port)) as other:
            other.login("app", "app")
            assert run(client, script, form) == run(other, script, form), script
            for each in (client, other):
                each.query("listen fence")
            direct.query("notify a, '1'; notify b, '2'; notify c, '3'")
            direct.query("notify fence, 'end'")
            found = [[], []]
            for each, list_ in zip((client, other), found):
                while ("fence", "end") not in list_:
                    list_ += heard(each)
            assert found[0] == found[1], script


def test_pipelined_listens_are_all_answered_and_heard(weir, direct):
    client = weir.connect()
    for data in (
        query("select 1") + query("listen a") + query("listen b") + query("select 2"),
        extended("select 1") + extended("listen c") + extended("listen a") + extended("select 2"),
        prepared("listen d", "d") + prepared("select 3", "s") + prepared("listen e", "e") + query("select 2"),
    ):
        client.send(data)
        results = [client.result() for _ in range(4)]
        assert [result.errors for result in results] == [[]] * 4
        assert sorted(tag for result in results for tag in result.tags if tag == "LISTEN") == ["LISTEN"] * 2
    direct.query("notify a; notify b; notify c; notify d; notify e")
    assert heard(client, 5) == [(channel, "") for channel in "abcde"]


def test_a_listen_in_a_batch_sends_nothing_twice(weir, direct, table):
    client = weir.connect()
    client.exchange(parse("listen a", "l") + parse(f"insert into {table} values ($1)", "i") + sync())
    result = client.exchange(
        bind("1", name="i") + execute() + bind("2", name="i") + execute() + bind(name="l") + execute() + sync()
    )
    assert (result.tags, result.errors) == (["INSERT 0 1", "INSERT 0 1", "LISTEN"], [])
    direct.query("notify a")
    assert heard(client) == [("a", "")]


# Nothing is missed, nothing comes twice


def test_what_is_sent_after_the_reply_is_never_missed(weir_factory, direct):
    weir = weir_factory(default_pool_size=2)
    clients = [weir.connect() for _ in range(4)]
    for number in range(ROUNDS):
        # The channel is given up and wanted again all the time, by clients of both workers.
        for position, client in enumerate(clients):
            client.query("listen a")
            direct.query(f"notify a, '{number}'")
            assert heard(client) == [("a", str(number))], position
            client.query("unlisten a")


def test_notifications_come_in_order(weir, direct):
    clients = [weir.connect() for _ in range(3)]
    for client in clients:
        client.query("listen a; listen b")
    count = 1000
    expected = [("ab"[number % 2], str(number)) for number in range(count)]
    for start in range(0, count, 100):
        direct.query("; ".join(f"notify {c}, '{n}'" for c, n in expected[start : start + 100]))
    for client in clients:
        assert heard(client, count) == expected


def test_nothing_comes_within_a_transaction_or_a_reply(weir, direct, postgres):
    client, witness = weir.connect(), weir.connect()
    for each in (client, witness):
        each.query("listen a")

    def notify(payload: str) -> None:
        direct.query(f"notify a, '{payload}'")
        assert heard(witness) == [("a", payload)]

    client.query("begin")
    notify("1")
    result = client.query("select 1")
    assert (result.types, result.notifications) == ("TDCZ", [])
    notify("2")
    assert client.query("commit").types == "CZ"
    assert heard(client, 2) == [("a", "1"), ("a", "2")]

    client.send(query("select pg_sleep(0.5), 'in a reply'"))
    postgres.wait_for_query("in a reply")
    notify("3")
    assert client.result().types == "TDCZ"
    assert heard(client) == [("a", "3")]

    client.send(parse("select 1") + bind() + execute() + flush())
    assert [message.type for message in client.read_until("C")] == ["1", "2", "D", "C"]
    notify("4")
    assert client.exchange(sync()).types == "Z"
    assert heard(client) == [("a", "4")]


def test_own_notifications_come_once(weir, direct):
    client = weir.connect()
    client.query("listen fence")
    for text in (
        ["listen a; notify a, 'x'"],
        ["notify a, 'x'"],
        ["unlisten a"],
        ["begin", "listen a", "notify a, 'x'", "commit"],
        ["select pg_notify('a', 'x')"],
    ):
        found = []
        for sql in text:
            found += client.query(sql).notifications
        assert found + heard_before(client, direct) == ([] if text == ["unlisten a"] else [("a", "x")]), text


def test_a_client_that_keeps_its_server_hears_once(weir, direct):
    client = weir.connect()
    client.query("create temp table kept (id int)")
    client.query("listen a; listen fence")
    assert client.query("select * from kept").rows == []
    for number in range(20):
        direct.query(f"notify a, '{number}'")
    assert heard_before(client, direct) == [("a", str(number)) for number in range(20)]
    client.query("discard all")
    client.query("listen fence")
    direct.query("notify a")
    assert heard_before(client, direct) == []


@pytest.mark.parametrize("pin", ["refuse", "ignore"])
def test_listening_needs_no_server_of_its_own(weir_factory, direct, pin):
    client = weir_factory(pin=pin).connect()
    client.query("listen a")
    direct.query("notify a")
    assert heard(client) == [("a", "")]


# One connection for all


def test_one_connection_listens_for_everybody(weir_factory, postgres, direct):
    weir = weir_factory(default_pool_size=1)
    clients = [weir.connect(user) for user in ("app", "other") for _ in range(8)]
    for number, client in enumerate(clients):
        client.query(f"listen shared; listen own{number % 3}")
    assert len(listeners(postgres)) == 1
    # No client holds a server: the one in use is the one that listens. And no other one listens.
    weir.wait_for_pool(sv_active=1, sv_idle=1)
    assert clients[0].query("select pg_listening_channels()").rows == []
    direct.query("notify shared; notify own1")
    for number, client in enumerate(clients):
        expected = [("shared", ""), ("own1", "")] if number % 3 == 1 else [("shared", "")]
        assert heard(client, len(expected)) == expected


def test_databases_have_a_listening_connection_each(weir, postgres, direct):
    client, other = weir.connect(), weir.connect(database="second")
    for each in (client, other):
        each.query("listen a; listen fence")
    direct.query("notify a, 'app'")
    assert heard(client) == [("a", "app")]
    assert sorted(server["database"] for server in listeners(postgres)) == ["app", "second"]
    other.query("notify fence")
    assert heard(other) == [("fence", "")]


def test_a_channel_ends_with_the_last_client_that_listens(weir, postgres, direct):
    first, second = weir.connect(), weir.connect()
    for each in (first, second):
        each.query("listen a; listen fence")
    first.terminate()
    weir.wait_for_pool(cl_active=1)
    direct.query("notify a")
    assert heard(second) == [("a", "")]
    second.query("unlisten a")
    wait_until(lambda: listeners(postgres)[0]["query"] == 'UNLISTEN "a"', "the connection listens no more")
    direct.query("notify a")
    assert heard_before(second, direct) == []


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


# Session mode and drivers


def test_in_session_mode_servers_listen_themselves(weir_factory, postgres, direct):
    weir = weir_factory(pool_mode="session")
    client = weir.connect()
    client.query("listen a")
    assert client.query("select pg_listening_channels()").value == "a"
    direct.query("notify a, 'x'")
    assert heard(client) == [("a", "x")]
    assert listeners(postgres) == []


def test_psycopg_hears(weir, direct):
    with weir.psycopg() as connection:
        connection.execute("listen a")
        direct.query("notify a, 'one'; notify a, 'two'")
        found = [(n.channel, n.payload) for n in connection.notifies(timeout=15, stop_after=2)]
        assert found == [("a", "one"), ("a", "two")]
        with connection.transaction():
            connection.execute("listen b")
        connection.execute("unlisten a")
        direct.query("notify a, 'no'; notify b, 'yes'")
        assert [n.payload for n in connection.notifies(timeout=15, stop_after=1)] == ["yes"]


def test_psycopg2_hears(weir, direct):
    connection = psycopg2.connect(weir.dsn())
    connection.autocommit = True
    connection.cursor().execute("listen a")
    direct.query("notify a, 'one'")

    def payloads() -> list[str]:
        connection.poll()
        return [n.payload for n in connection.notifies]

    assert wait_until(payloads, "a notification") == ["one"]
    connection.close()


def test_asyncpg_hears(weir, direct):
    async def work():
        connection = await asyncpg.connect(weir.url(), timeout=15)
        found: asyncio.Queue = asyncio.Queue()

        def listener(_, pid, channel, payload):
            found.put_nowait((channel, payload))

        await connection.add_listener("a", listener)
        await connection.add_listener("Ü b", listener)
        direct.query("notify a, 'one'; notify \"Ü b\", 'two'")
        assert await asyncio.wait_for(found.get(), 15) == ("a", "one")
        assert await asyncio.wait_for(found.get(), 15) == ("Ü b", "two")
        await connection.remove_listener("a", listener)
        direct.query("notify a, 'no'; notify \"Ü b\", 'yes'")
        assert await asyncio.wait_for(found.get(), 15) == ("Ü b", "yes")
        # A prepared statement too.
        await (await connection.prepare("listen c")).fetch()
        await connection.add_listener("c", listener)
        direct.query("notify c, 'three'")
        assert await asyncio.wait_for(found.get(), 15) == ("c", "three")
        await connection.close()

    asyncio.run(work())
