"""COPY in both directions, in both protocols, with every way to end it; the server is kept while it is open."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import wire
from fakeserver import answer, error, ready
from waiting import send_until_blocked
from wire import bind, execute, message, parse, query, sync

DONE = message("c")


def data(*rows: tuple) -> bytes:
    return b"".join(message("d", "\t".join(str(value) for value in row).encode() + b"\n") for row in rows)


def open_copy(client: wire.Connection, sql: str = "copy t from stdin") -> None:
    client.send(query(sql))
    assert client.read().type == "G"


@pytest.fixture
def client(weir, table):
    return weir.connect()


@pytest.mark.every_backend
def test_copy_in(client):
    open_copy(client)
    client.send(data((1, "one"), (2, "two")) + DONE)
    assert client.result().tags == ["COPY 2"]
    assert client.value("select count(*) from t") == 2


def test_copy_in_with_everything_in_one_packet(client):
    client.send(query("copy t from stdin") + data((1, "one")) + DONE)
    client.read_until("G")
    assert client.result().tags == ["COPY 1"]
    assert client.value("select v from t") == "one"


def test_the_server_is_kept_between_copy_data(weir_factory, table):
    """One server only: while a COPY is open, another client has to wait for it."""
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    open_copy(client)
    other.send(query("select count(*) from t"))
    for number in range(20):
        client.send(data((number, "x")))
    weir.wait_for_pool(cl_waiting=1, cl_active=1)
    assert other.is_silent(0.2)
    client.send(DONE)
    assert client.result().tags == ["COPY 20"]
    assert other.result().value == 20


@pytest.mark.every_backend
def test_large_copy_in_and_out(client):
    rows = 200_000
    open_copy(client, "copy t from stdin")
    block = b"".join(b"%d\t%s\n" % (number, b"v" * 50) for number in range(rows))
    for start in range(0, len(block), 60_000):
        client.send(message("d", block[start : start + 60_000]))
    client.send(DONE)
    assert client.result().tags == [f"COPY {rows}"]
    result = client.query("copy (select * from t order by id) to stdout")
    assert result.copied == block


def test_copy_out_is_followed_by_other_work(client):
    client.query("insert into t select i, 'v' || i from generate_series(1, 1000) i")
    client.send(query("copy t to stdout") + query("select 5"))
    assert client.result().copied.count(b"\n") == 1000
    assert client.result().value == 5


def test_copy_fail_is_answered_with_an_error(client):
    open_copy(client)
    client.send(data((1, "one")) + message("f", wire.string("changed my mind")))
    result = client.result()
    assert result.errors[0].sqlstate == "57014" and "changed my mind" in result.errors[0].message
    assert client.value("select count(*) from t") == 0


@pytest.mark.every_backend
def test_copy_data_after_the_copy_failed_is_thrown_away(weir_factory, table):
    """The client keeps sending after the server's error: nothing of it may reach the next owner of the server."""
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    open_copy(client)
    client.send(data(("not a number", "x")))
    for number in range(2000):
        client.send(data((number, "late")))
    client.send(DONE)
    assert client.result().errors[0].sqlstate == "22P02"
    assert other.value("select count(*) from t") == 0
    client.send(data((1, "even later")) + DONE)
    assert client.value("select 3") == 3
    assert other.value("select count(*) from t") == 0


@pytest.mark.every_backend
def test_a_client_whose_server_did_not_read_is_read_again_after_the_error_of_its_copy(weir_factory, fake):
    """The server's error comes while it does not read, between two messages of the client."""
    client = weir_factory(databases={"app": f"host=127.0.0.1 port={fake.port}"}).connect()
    client.send(query("copy t from stdin"))
    session = fake.session()
    session.expect("Q")
    session.send(message("G", b"\0\0\0"))
    assert client.read().type == "G"
    # Whatever Weir reads at once ends with a message.
    piece = message("d", b"x" * 4091)
    sent = send_until_blocked(client.socket, piece * 16, 1 << 30)
    session.send(error("22P02", "wrong") + ready())
    assert client.result().errors[0].sqlstate == "22P02"
    with ThreadPoolExecutor() as threads:
        rest = threads.submit(client.send, piece[sent % 4096 :] * bool(sent % 4096) + DONE + query("select 1"))
        while (request := session.read()) != wire.Message("Q", b"select 1\0"):
            # Weir asks whether the server is fit for the next client, since it had not read everything.
            if request.type == "Q":
                session.send(message("I") + ready())
        session.send(answer("1"))
        assert client.result().value == "1"
        rest.result()


def test_the_error_of_a_copy_frees_the_server_though_the_client_is_silent(weir_factory, table):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    open_copy(client)
    client.send(data(("not a number", "x")))
    assert client.result().errors
    assert other.value("select 1") == 1
    client.send(DONE)
    assert client.value("select 2") == 2


def test_copy_in_by_the_extended_protocol(client):
    client.send(parse("copy t from stdin") + bind() + execute() + wire.flush())
    assert "".join(reply.type for reply in client.read_until("G")) == "12G"
    client.send(data((1, "one")) + DONE + sync())
    assert client.result().tags == ["COPY 1"]
    assert client.value("select count(*) from t") == 1


@pytest.mark.sanitizer_short
@pytest.mark.every_backend
def test_copy_in_by_the_extended_protocol_with_the_early_sync(client):
    """libpq sends Sync with Execute; the server ignores it during the COPY, and wants another after CopyDone."""
    for number in range(1, 4):
        client.send(parse("copy t from stdin") + bind() + execute() + sync())
        assert "".join(reply.type for reply in client.read_until("G")) == "12G"
        client.send(data((number, "x")) + DONE + sync())
        assert client.result().tags == ["COPY 1"]
        assert client.value("select count(*) from t") == number


def test_a_failing_copy_by_the_extended_protocol_with_the_early_sync(weir_factory, table):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    client.send(parse("copy t from stdin") + bind() + execute() + sync())
    client.read_until("G")
    client.send(data(("bad", "x")) + DONE + sync())
    result = client.result()
    assert result.errors[0].sqlstate == "22P02" and result.status == "I"
    assert other.value("select 1") == 1
    assert client.value("select 2") == 2


def test_a_copy_refused_before_it_opens_with_the_data_already_sent(client):
    client.send(query("copy nowhere from stdin") + data((1, "x")) + DONE)
    assert client.result().errors[0].sqlstate == "42P01"
    assert client.value("select 2") == 2


def test_two_copies_in_one_simple_query(client):
    client.send(query("copy t from stdin; copy t from stdin"))
    assert client.read().type == "G"
    client.send(data((1, "a")) + DONE)
    assert [reply.type for reply in client.read_until("G")] == ["C", "G"]
    client.send(data((2, "b")) + DONE)
    assert client.result().status == "I"
    assert client.value("select count(*) from t") == 2


def test_copy_within_a_transaction_rolls_back_with_it(client):
    client.query("begin")
    open_copy(client)
    client.send(data((1, "a")) + DONE)
    assert client.result().status == "T"
    client.query("rollback")
    assert client.value("select count(*) from t") == 0


def test_a_client_that_vanishes_in_a_copy_leaves_nothing_behind(weir_factory, table):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    open_copy(client)
    client.send(data((1, "a")))
    client.reset()
    assert other.value("select count(*) from t") == 0


def test_binary_copy_passes_unchanged(client):
    client.query("insert into t select i, repeat('z', i) from generate_series(1, 300) i")
    with_header = client.query("copy (select * from t order by id) to stdout (format binary)").copied
    client.query("truncate t")
    open_copy(client, "copy t from stdin (format binary)")
    for start in range(0, len(with_header), 777):
        client.send(message("d", with_header[start : start + 777]))
    client.send(DONE)
    assert client.result().tags == ["COPY 300"]
    assert client.query("copy (select * from t order by id) to stdout (format binary)").copied == with_header
