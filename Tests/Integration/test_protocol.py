"""The protocol between a logged-in client and its server passes through Weir whole and in order."""

from __future__ import annotations

import socket
import struct
import threading

import psycopg
import pytest

import wire
from waiting import wait_until
from wire import bind, close, describe, execute, extended, flush, message, parse, query, sync

# A loop keeps this much in buffers at most: 256 that the kernel fills and 512 in use, of 16 KiB each, and some room.
BUFFERS_BYTES_MAX = 16 << 20


@pytest.fixture
def client(weir):
    return weir.connect()


def test_several_statements_in_one_simple_query(client):
    result = client.query("select 1; select 2; select 3")
    assert [row[0] for row in result.rows] == [1, 2, 3]
    assert result.tags == ["SELECT 1"] * 3


def test_an_empty_query_is_answered_as_such(client):
    assert client.exchange(query("")).types == "IZ"
    assert client.exchange(extended("")).types == "12nIZ"


def test_an_error_keeps_the_servers_own_fields_and_the_connection(client):
    result = client.exchange(query("select 1/0"))
    assert result.errors[0].sqlstate == "22012"
    assert result.errors[0].fields["R"] == "int4div"
    assert client.value("select 1") == 1


def test_a_notice_reaches_the_client_that_caused_it(client):
    result = client.query("do $$ begin raise notice 'hello %', 7; end $$")
    assert [notice.message for notice in result.notices] == ["hello 7"]


@pytest.mark.every_backend
@pytest.mark.parametrize("length", [1, 100, 4095, 4096, 4097, 16383, 16384, 16385, 65536, 1 << 20])
def test_values_of_every_size_come_back_unchanged(client, length):
    assert client.value(f"select repeat('x', {length})") == "x" * length
    assert client.value(f"select length('{'y' * length}')") == length


@pytest.mark.every_backend
def test_a_query_sent_one_byte_at_a_time(client):
    for byte in query("select 'slow'") + extended("select 'slower'"):
        client.send(bytes([byte]))
    assert client.result().value == "slow"
    assert client.result().value == "slower"


def test_the_startup_packet_sent_one_byte_at_a_time(weir):
    client = weir.raw()
    for byte in wire.startup(user="app", database="app"):
        client.send(bytes([byte]))
    client.authenticate("app", None)
    client.welcome()
    assert client.value("select current_user") == "app"


@pytest.mark.sanitizer_short
@pytest.mark.every_backend
def test_many_syncs_in_one_packet_are_answered_in_order(client):
    count = 500
    client.send(b"".join(extended(f"select {number}") for number in range(count)))
    assert [client.result().value for _ in range(count)] == list(range(count))


def test_bare_syncs_are_each_answered(client):
    client.send(sync() * 20)
    assert [client.result().types for _ in range(20)] == ["Z"] * 20


def test_an_error_skips_the_rest_of_the_pipeline_up_to_its_sync(client):
    first = parse("select 1/0") + bind() + execute() + parse("select 1") + bind() + execute() + sync()
    client.send(first + extended("select 2"))
    failed = client.result()
    assert [error.sqlstate for error in failed.errors] == ["22012"] and not failed.rows
    assert client.result().value == 2


def test_several_statements_before_one_sync(client):
    body = b"".join(parse(f"select {n}::int") + bind() + describe() + execute() for n in range(50))
    result = client.exchange(body + sync())
    assert [row[0] for row in result.rows] == list(range(50))


@pytest.mark.every_backend
def test_flush_brings_the_answers_before_sync(client):
    client.send(parse("select 42") + bind() + describe() + execute() + flush())
    types = "".join(reply.type for reply in client.read_until("C"))
    assert types == "12TDC"
    assert client.exchange(sync()).types == "Z"


def test_flush_after_each_message_keeps_the_server(weir, client):
    client.send(parse("select pg_backend_pid()", types=()) + flush())
    assert client.read().type == "1"
    others = [weir.connect() for _ in range(3)]
    for other in others:
        other.value("select 1")
    client.send(bind() + flush())
    assert client.read().type == "2"
    client.send(execute() + flush())
    assert [reply.type for reply in client.read_until("C")] == ["D", "C"]
    assert client.exchange(sync()).status == "I"


def test_a_portal_read_in_pieces(client):
    client.send(query("begin"))
    client.result()
    client.send(
        parse("select generate_series(1, 10)")
        + bind(portal="p")
        + execute(4, "p")
        + execute(4, "p")
        + execute(4, "p")
        + sync()
    )
    result = client.result()
    assert len(result.rows) == 10 and result.types.count("s") == 2
    client.query("commit")


def test_describe_of_an_unnamed_statement(client):
    result = client.exchange(parse("select $1::int as number", types=(23,)) + describe("S") + sync())
    assert result.types == "1tTZ" and result.columns == [("number", 23)]


def test_close_of_an_unknown_portal_is_no_error(client):
    assert client.exchange(close("P", "nowhere") + sync()).types == "3Z"


def test_a_named_statement_within_one_transaction(client):
    client.query("begin")
    client.exchange(parse("select $1::int + 1", name="s1") + sync())
    for number in range(3):
        assert client.exchange(bind(str(number), name="s1") + describe() + execute() + sync()).rows == [[number + 1]]
    assert client.exchange(close("S", "s1") + sync()).types == "3Z"
    client.query("commit")


def test_simple_and_extended_queries_mixed_in_one_packet(client):
    client.send(query("select 1") + extended("select 2") + query("select 3") + sync() + query("select 4"))
    assert [client.result().rows for _ in range(5)] == [[[1]], [[2]], [[3]], [], [[4]]]


def test_a_function_call(client):
    oid = int(client.value("select 'pg_catalog.abs(int4)'::regprocedure::oid::int8"))
    argument = b"-5"
    body = struct.pack("!ihhhi", oid, 1, 0, 1, len(argument)) + argument + struct.pack("!h", 0)
    client.send(message("F", body))
    replies = client.read_until("Z")
    assert [reply.type for reply in replies] == ["V", "Z"]
    assert replies[0].body == struct.pack("!i", 1) + b"5"


def test_notifications_arrive_in_session_mode(weir_factory):
    weir = weir_factory(pool_mode="session")
    listener, sender = weir.connect(), weir.connect()
    listener.query("listen news")
    sender.query("notify news, 'first'")
    reply = listener.read()
    assert reply.type == "A" and b"news\0first\0" in reply.body
    sender.query("notify news, 'second'")
    assert listener.query("select 1").notifications == [("news", "second")] or listener.read().type == "A"


def test_in_session_mode_a_notification_of_the_own_transaction_comes_before_ready(weir_factory):
    client = weir_factory(pool_mode="session").connect()
    client.query("begin")
    client.query("listen own")
    client.query("notify own, 'x'")
    assert client.query("commit").notifications == [("own", "x")]
    client.query("unlisten *")


@pytest.mark.every_backend
def test_both_directions_blocked_at_once_do_not_lock_up(client):
    """The client sends 64 MB without reading while 64 MB wait for it; when it reads, all arrives."""
    # More than the kernel can take: its receive buffers may grow to 32 MB each, but not this client's.
    count, size = 64, 1 << 20
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
    statement = query(f"select repeat('x', {size}) /* {'y' * size} */")
    sender = threading.Thread(target=lambda: [client.send(statement) for _ in range(count)])
    client.socket.settimeout(40)
    sender.start()
    progress = [0.0]

    def is_stuck() -> bool:
        """The sender stands still once every buffer on the way is full."""
        before, progress[0] = progress[0], unsent(client)
        return before == progress[0] and before > 0

    wait_until(is_stuck, "the sender is blocked", every=0.2)
    for _ in range(count):
        assert len(client.result().value) == size
    sender.join(20)
    assert not sender.is_alive()
    assert client.value("select 1") == 1


def unsent(client: wire.Connection) -> int:
    """Bytes in the kernel's send queue that the peer has not taken (SIOCOUTQ)."""
    import fcntl

    return struct.unpack("i", fcntl.ioctl(client.socket.fileno(), 0x5411, b"\0" * 4))[0]


@pytest.mark.no_sanitizer
@pytest.mark.parametrize("direction", ["to the client", "to the server"])
def test_64_megabytes_pass_in_bounded_memory(weir, client, direction):
    size = 64 << 20
    client.socket.settimeout(40)
    client.value("select 1")
    before = weir.resident_bytes()
    peak = [before]
    done = threading.Event()

    def watch():
        while not done.wait(0.01):
            peak[0] = max(peak[0], weir.resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    if direction == "to the client":
        assert len(client.value(f"select repeat('x', {size})")) == size
    else:
        assert client.value(f"select length('{'y' * size}')") == size
    done.set()
    watcher.join()
    assert peak[0] - before < BUFFERS_BYTES_MAX, f"resident memory grew by {(peak[0] - before) >> 20} MB"


@pytest.mark.no_sanitizer
def test_a_slow_reader_does_not_make_weir_buffer(weir, client):
    """64 MB are asked for and not read: they must wait in PostgreSQL, not in Weir."""
    client.value("select 1")
    before = weir.resident_bytes()
    client.send(query(f"select repeat('x', {64 << 20})"))
    weir.postgres.wait_for_query("repeat")
    other = weir.connect()
    for _ in range(100):
        other.value("select 1")
    assert weir.resident_bytes() - before < BUFFERS_BYTES_MAX
    client.socket.settimeout(40)
    assert len(client.result().value) == 64 << 20


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_a_pipelined_transaction_is_refused_in_statement_mode(weir_factory, protocol):
    """At its first ReadyForQuery, whatever was sent behind it already."""
    client = weir_factory(pool_mode="statement").connect()
    ask = query if protocol == "simple" else extended
    client.send(ask("begin") + ask("select 1") + ask("commit"))
    with pytest.raises(wire.ServerError) as raised:
        client.result()
    assert (raised.value.severity, raised.value.sqlstate) == ("FATAL", "0A000")
    assert client.is_closed_by_peer()


@pytest.mark.sanitizer_short
@pytest.mark.every_backend
def test_replies_never_reach_another_client(weir):
    """Forty clients on five servers each see only their own numbers."""
    problems = []

    def work(me: int) -> None:
        client = weir.connect()
        for round_ in range(30):
            mine = me * 1000 + round_
            if round_ % 3 == 0:
                got = client.value(f"select {mine}")
            elif round_ % 3 == 1:
                got = int(client.exchange(extended("select $1::int", str(mine))).value)
            else:
                client.send(query("begin") + query(f"select {mine}") + query("commit"))
                client.result()
                got = client.result().value
                client.result()
            if got != mine:
                problems.append((mine, got))

    threads = [threading.Thread(target=work, args=(me,)) for me in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert not problems and not any(thread.is_alive() for thread in threads)


def test_an_unknown_message_type_closes_only_that_connection(weir, client):
    bad = weir.connect()
    bad.send(message("!", b"what"))
    with pytest.raises((wire.ServerError, EOFError)) as raised:
        bad.result()
    if isinstance(raised.value, wire.ServerError):
        assert raised.value.sqlstate == "08P01"
    assert bad.is_closed_by_peer()
    assert client.value("select 1") == 1


def test_server_side_cursors_of_a_driver_within_a_transaction(weir):
    with weir.psycopg(autocommit=False) as connection, psycopg.ServerCursor(connection, "c") as cursor:
        cursor.itersize = 7
        cursor.execute("select generate_series(1, 50)")
        assert sum(row[0] for row in cursor) == 1275
