"""Clients that break rules, or stop in the middle of a message: nobody but they themselves may feel it."""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from waiting import send_until_blocked, wait_until
from wire import bind, close, error_fields, execute, extended, message, parse, query, sync

pytestmark = pytest.mark.every_backend

FLOOD_BYTES_MAX = 100 << 20
UNREADABLE_LISTEN = message("Q", b'listen "\xff"\0')


def test_a_refused_query_that_the_server_skips_harms_nobody(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    client.send(parse("this is no sql") + message("H"))
    assert client.read().type == "E"
    # PostgreSQL reads nothing of what follows before the Sync.
    client.send(UNREADABLE_LISTEN + query("deallocate all") + query("select 1"))
    assert client.exchange(sync()).types == "Z"
    assert other.value("select 1") == 1
    assert client.value("select 2") == 2


def test_a_query_is_refused_where_the_server_would_read_it(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    result = client.exchange(UNREADABLE_LISTEN)
    assert [error.sqlstate for error in result.errors] == ["0A000"] and result.status == "I"


@pytest.mark.parametrize("kind", ["d", "c"])
def test_a_server_is_not_given_away_in_the_middle_of_a_message(weir_factory, kind):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    # Outside COPY the server reads the message to its end and ignores it, whatever it is.
    half = message(kind, b"x" * 200)
    assert client.exchange(query("select 1") + half[:30]).errors == []
    other.send(query("select 2"))
    client.send(half[30:])
    assert other.result().rows == [[2]]
    assert client.value("select 3") == 3


def test_copy_data_cut_by_an_error_reaches_nobody_elses_server(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    other.query("create table if not exists cut_copy (n int)")
    client.send(query("copy cut_copy from stdin"))
    client.read_until("G")
    # The first row is wrong: the answer comes before the second message is complete.
    half = message("d", b"1\n" * 10_000)
    client.send(message("d", b"wrong\n") + message("d", b"wrong\n" * 12_000) + half[:100])
    assert client.result().errors[0].sqlstate == "22P02"
    other.send(query("select 2"))
    client.send(half[100:] + message("c"))
    assert other.result().rows == [[2]]
    assert client.value("select 3") == 3


def test_copy_data_that_nobody_asked_for_delays_the_next_client_at_most(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    for _ in range(5):
        client.query("begin")
        other.send(query("select 2"))
        wait_until(lambda: any(row["cl_waiting"] for row in weir.show("POOLS")), "the other client waits")
        client.send(query("select 1; commit") + message("d", b"x" * 1_000) * 2_000)
        assert client.result().tags == ["SELECT 1", "COMMIT"]
        assert other.result().rows == [[2]]
    assert client.value("select 3") == 3


def test_a_client_that_leaves_in_the_middle_of_a_message_takes_no_server_with_it(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    assert client.exchange(query("select 1") + message("d", b"x" * 200)[:30]).errors == []
    other.send(query("select 2"))
    client.close()
    assert other.result().rows == [[2]]


@pytest.mark.parametrize("body", [b"x", b"x" * 200])
def test_a_flush_with_a_body_is_refused_before_a_server_sees_it(weir_factory, body):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    # PostgreSQL would answer with an error and then skip everything up to a Sync, the next client's queries too.
    client.send(query("select 1") + message("H", body)[:30])
    assert error_fields(client.read_until("E")[-1].body)["C"] == "08P01"
    assert client.is_closed_by_peer()
    for turn in range(3):
        assert other.value(f"select {turn}") == turn


@pytest.mark.parametrize("where", ["without a server", "in a transaction", "on the console"])
def test_a_client_that_takes_no_replies_is_not_read_for_ever(weir_factory, where):
    """PostgreSQL does not read it either; its replies would fill the memory of all."""
    weir = weir_factory()
    client = weir.console() if where == "on the console" else weir.connect()
    one, reply = sync(), message("Z", b"I")
    if where == "in a transaction":
        client.query("begin")
        one, reply = close(name="unknown"), message("3")
    sent = send_until_blocked(client.socket, one * 10_000, FLOOD_BYTES_MAX)
    assert sent < FLOOD_BYTES_MAX
    assert weir.connect().value("select 1") == 1
    # Every message gets its reply, in the end.
    replies = (sent + len(one) - 1) // len(one)
    with ThreadPoolExecutor() as threads:
        rest = threads.submit(client.send, one[sent % len(one) :] if sent % len(one) else b"")
        assert client.read_exactly(replies * len(reply)) == reply * replies
        rest.result()
    assert client.exchange(sync()).types == "Z"


def test_half_a_message_that_keeps_a_server_counts_as_a_query(weir_factory):
    weir = weir_factory(default_pool_size=1, query_timeout=1, query_wait_timeout=10)
    client, other = weir.connect(), weir.connect()
    half = message("d", b"x" * 200)
    assert client.exchange(query("select 1") + half[:30]).errors == []
    assert other.value("select 2") == 2
    client.send(half[30:])
    assert client.exchange(query("select 3")).errors[0].sqlstate == "57014"
    assert client.value("select 4") == 4


@pytest.mark.parametrize("send", [extended, lambda sql: parse(sql, name="p") + bind(name="p") + execute() + sync()])
def test_a_prepare_of_a_prepare_of_a_prepare_is_only_an_error(weir_factory, send):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    assert client.exchange(send("prepare a as " * 70_000 + "select 1")).errors[0].sqlstate == "42601"
    assert other.value("select 2") == 2


def test_a_transaction_of_many_savepoints_and_listens_stays_cheap_and_can_be_rolled_back(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    client.query("begin")
    client.query("listen a")
    for _ in range(30):
        client.send(query("savepoint s; savepoint t; release t; release s") * 1_000)
        for _ in range(1_000):
            assert client.result().errors == []
    refused = []
    for turn in range(30):
        client.send(b"".join(query(f"unlisten a{turn * 1_000 + number}") for number in range(1_000)))
        refused += [error.sqlstate for _ in range(1_000) for error in client.result().errors]
    assert refused[0] == "54000" and set(refused[1:]) <= {"25P02", "54000"}
    assert client.query("rollback").tags == ["ROLLBACK"]
    assert client.query("listen b").tags == ["LISTEN"]


@pytest.mark.parametrize(
    "half",
    [query("update nothing set a = 1")[:20], parse("select 1")[:9], parse("select 1"), parse("select " + "1" * 20_000)],
    ids=["query", "parse", "parse whole", "parse large"],
)
def test_half_a_message_keeps_no_server_for_ever(weir_factory, half):
    weir = weir_factory(default_pool_size=1, query_timeout=1, query_wait_timeout=10)
    client, other = weir.connect(), weir.connect()
    client.send(half)
    wait_until(lambda: weir.show("CLIENTS"), "the console answers")
    assert other.value("select 2") == 2


def test_a_function_call_is_asked_about(weir_factory):
    weir = weir_factory(default_pool_size=1, query_wait_timeout=1)
    client, other = weir.connect(), weir.connect()
    oid = other.value("select 'pg_advisory_lock(bigint)'::regprocedure::oid::int")

    def call(oid: int, argument: bytes) -> bytes:
        return message("F", struct.pack("!ihhhih", oid, 1, 1, 1, len(argument), 0)[:14] + argument + struct.pack("!h", 1))

    assert client.exchange(call(oid, struct.pack("!q", 4711))).errors == []
    wait_until(lambda: [row["reason"] for row in weir.show("PINS")] == ["advisory locks"], "the lock holds the server")
    oid = client.value("select 'pg_advisory_unlock(bigint)'::regprocedure::oid::int")
    assert client.exchange(call(oid, struct.pack("!q", 4711))).errors == []
    wait_until(lambda: weir.show("PINS") == [], "the server is free")
    assert other.value("select count(*) from pg_locks where locktype = 'advisory'") == 0


def test_a_refusal_in_a_batch_takes_no_reply_from_what_came_before(weir_factory):
    for prepared in (0, 100):
        weir = weir_factory(default_pool_size=1, pin="refuse", max_prepared_statements=prepared)
        client = weir.connect()
        one = parse("select 1") + bind() + execute()
        result = client.exchange(one + parse("create temp table t1 (id int)") + bind() + execute() + sync())
        assert result.types == "12DCEZ"
        assert result.errors[0].sqlstate == "0A000"
        # An error that comes before is the server's own.
        wrong = parse("select 1/0") + bind() + execute()
        result = client.exchange(wrong + parse("create temp table t1 (id int)") + bind() + execute() + sync())
        assert [error.sqlstate for error in result.errors] == ["22012"]
        assert client.value("select 3") == 3


def test_a_refused_statement_undoes_the_unlisten_of_its_transaction(weir_factory):
    weir = weir_factory(default_pool_size=2)
    client, other = weir.connect(), weir.connect()
    client.query("listen a")
    client.query("begin")
    client.query("unlisten a")
    assert client.exchange(UNREADABLE_LISTEN).errors[0].sqlstate == "0A000"
    assert client.query("commit").tags == ["ROLLBACK"]
    other.query("notify a, 'heard'")
    reply = client.read()
    assert reply.type == "A" and b"heard" in reply.body


def test_a_cancelled_question_changes_nothing(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    for turn in range(20):
        client.send(query(f"set statement_timeout = {100_000 + turn}"))
        client.cancel()
        result = client.result()
        if not result.errors:
            assert client.value("select setting from pg_settings where name = 'statement_timeout'") == f"{100_000 + turn}"
        assert other.value("show statement_timeout") == "0"


@pytest.mark.parametrize(
    "texts",
    [["select 1/0", "unlisten a"], ["unlisten a", "select 1/0"], ["begin", "unlisten a", "commit", "select 1/0"],
     ["begin", "select 1/0", "rollback", "unlisten a"]],
)
def test_an_error_of_another_request_in_flight_undoes_no_unlisten(weir_factory, texts):
    weir = weir_factory(default_pool_size=2)
    client, other = weir.connect(), weir.connect()
    client.query("listen a")
    client.query("listen b")
    client.send(b"".join(map(query, texts)))
    assert [tag for _ in texts for tag in client.result().tags].count("UNLISTEN") == 1
    other.query("notify a")
    other.query("notify b")
    assert client.read().body[4:] == b"b\0\0"


@pytest.mark.parametrize(
    "texts",
    [["begin", "unlisten a", "select 1/0", "commit"], ["begin", "select 1/0", "unlisten a", "commit"]],
)
def test_an_error_of_its_own_transaction_in_flight_undoes_an_unlisten(weir_factory, texts):
    weir = weir_factory(default_pool_size=2)
    client, other = weir.connect(), weir.connect()
    client.query("listen a")
    client.send(b"".join(map(query, texts)))
    assert [client.result().tags for _ in texts][-1] == ["ROLLBACK"]
    other.query("notify a")
    assert client.read().body[4:] == b"a\0\0"
