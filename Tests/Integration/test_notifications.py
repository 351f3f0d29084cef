"""LISTEN, UNLISTEN and NOTIFY where servers are shared: one connection of each database listens for all clients.

What is not heard is proven with a fence: a notification that is sent after the one in question, on a
channel that the client listens to, and that must be the first to arrive.
"""

from __future__ import annotations

import pytest

import wire
from listening import heard, heard_before, listeners, prepared
from waiting import wait_until
from wire import bind, execute, extended, flush, parse, query, sync

pytestmark = pytest.mark.every_backend

ROUNDS = 60


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
