"""Protocol 3.0 and 3.2 on both sides: what is negotiated, and cancel keys of every length."""

from __future__ import annotations

import struct

import pytest

import wire
from fakeserver import answer, error, ready
from wire import CANCEL_REQUEST, PROTOCOL_3_0, query

PROTOCOL_3_1 = PROTOCOL_3_0 + 1
PROTOCOL_3_2 = PROTOCOL_3_0 + 2


def login(weir, protocol: int, **parameters) -> wire.Connection:
    client = weir.raw()
    client.negotiated = None
    return client.login("app", "app", protocol=protocol, **parameters)


def negotiated(client: wire.Connection) -> tuple[int, list[bytes]]:
    version, count = struct.unpack("!ii", client.negotiated[:8])
    names = client.negotiated[8:].split(b"\0")[:-1]
    assert len(names) == count
    return version, names


def show_key(client: wire.Connection, process_id: int, secret: bytes) -> None:
    """Sends a CancelRequest and waits until it has been dealt with."""
    with wire.Connection(client.address) as other:
        other.send(wire.request(CANCEL_REQUEST, struct.pack("!i", process_id) + secret))
        assert other.is_closed_by_peer()


@pytest.mark.parametrize(
    "asked, spoken, secret_bytes",
    [
        (PROTOCOL_3_0, None, 4),
        (PROTOCOL_3_1, PROTOCOL_3_0, 4),
        (PROTOCOL_3_2, None, 32),
        (PROTOCOL_3_0 + 3, PROTOCOL_3_2, 32),
        (PROTOCOL_3_0 + 9999, PROTOCOL_3_2, 32),
    ],
    ids=["3.0", "3.1", "3.2", "3.3", "3.9999"],
)
def test_the_newest_version_that_both_know_is_spoken(weir, asked, spoken, secret_bytes):
    """3.1 is reserved and nobody speaks it; what is spoken is only told when it is not what was asked for."""
    client = login(weir, asked)
    assert (client.negotiated is None) if spoken is None else (negotiated(client) == (spoken, []))
    assert len(client.secret_key) == secret_bytes
    assert client.value("select 1") == 1


@pytest.mark.parametrize("asked", [PROTOCOL_3_0, PROTOCOL_3_2])
def test_unknown_protocol_options_are_named_and_not_passed_on(weir_factory, fake, asked):
    """The version told with them is never newer than what was asked for: libpq takes that for an error."""
    weir = weir_factory(databases={"app": f"host=127.0.0.1 port={fake.port}"})
    client = login(weir, asked, **{"_pq_.wings": "on", "_pq_.tail": "long"})
    assert negotiated(client) == (asked, [b"_pq_.wings", b"_pq_.tail"])
    assert not [name for name in fake.session().startup if name.startswith("_pq_")]


def test_the_console_speaks_3_2(weir):
    console = weir.raw().login("admin", "pgbouncer", protocol=PROTOCOL_3_2)
    assert len(console.secret_key) == 32
    assert console.query("show version").rows


@pytest.mark.every_backend
@pytest.mark.parametrize("protocol", [PROTOCOL_3_0, PROTOCOL_3_2], ids=["3.0", "3.2"])
def test_a_query_is_cancelled_by_the_key_of_its_protocol(weir, protocol):
    """Several clients, so that with two workers requester and client meet in both."""
    for client in [login(weir, protocol) for _ in range(3)]:
        client.send(query("select pg_sleep(60)"))
        weir.postgres.wait_for_query("pg_sleep")
        client.cancel()
        assert [problem.sqlstate for problem in client.result().errors] == ["57014"]
        assert client.value("select 1") == 1


@pytest.mark.every_backend
@pytest.mark.parametrize("protocol", [PROTOCOL_3_0, PROTOCOL_3_2], ids=["3.0", "3.2"])
def test_a_forged_key_hits_nobody(weir, protocol):
    client = login(weir, protocol)
    client.send(query("select pg_sleep(60)"))
    weir.postgres.wait_for_query("pg_sleep")
    place, secret = client.process_id, client.secret_key
    flipped = [secret[:n] + bytes([secret[n] ^ 1]) + secret[n + 1 :] for n in range(len(secret))]
    other_lengths = [secret[:4] if len(secret) > 4 else secret + bytes(28), secret + b"\0", secret[:-1] + b"\0" * 5]
    for forged in [*flipped, *other_lengths, bytes(4), bytes(32), bytes(256), b""]:
        show_key(client, place, forged)
    for elsewhere in (place + 1, place ^ 1 << 20, place ^ 1 << 26, 0, -1, 0x7FFFFFFF):
        show_key(client, elsewhere, secret)
    assert client.is_silent(0.2)
    show_key(client, place, secret)
    assert [problem.sqlstate for problem in client.result().errors] == ["57014"]


def test_a_key_of_a_client_that_has_left_hits_nobody(weir):
    gone = login(weir, PROTOCOL_3_2)
    gone.terminate()
    weir.wait_for_log("client close request")
    client = login(weir, PROTOCOL_3_2)
    client.send(query("select pg_sleep(60)"))
    weir.postgres.wait_for_query("pg_sleep")
    show_key(client, gone.process_id, gone.secret_key)
    assert client.is_silent(0.2)
    client.cancel()
    assert client.result().errors[0].sqlstate == "57014"


def test_a_driver_that_asks_for_3_2_cancels(weir):
    import threading

    import psycopg

    if psycopg.pq.version() < 180000:
        pytest.skip("this libpq does not speak protocol 3.2")
    connection = weir.psycopg(min_protocol_version="3.2", max_protocol_version="3.2")
    assert len(weir.connect(protocol=PROTOCOL_3_2).secret_key) == 32
    timer = threading.Thread(
        target=lambda: (weir.postgres.wait_for_query("pg_sleep"), connection.cancel_safe(timeout=10))
    )
    timer.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute("select pg_sleep(60)")
    timer.join()
    assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("length", [4, 5, 32, 256])
def test_a_servers_key_is_shown_as_it_was_given(weir_factory, fake, length):
    fake.secret = bytes(range(255, 255 - length, -1)) if length < 256 else bytes(range(256))
    weir = weir_factory(databases={"app": f"host=127.0.0.1 port={fake.port}"})
    client = weir.connect()
    session = fake.session()
    client.send(query("select 1"))
    session.expect("Q")
    client.cancel()
    assert fake.cancel() == struct.pack("!i", fake.process_id) + fake.secret
    session.send(error("57014", "canceling statement due to user request") + ready())
    assert client.result().errors[0].sqlstate == "57014"


@pytest.mark.every_backend
def test_a_servers_long_key_moves_with_it_to_another_worker(weir_factory, fake):
    """The only server serves clients of both workers in turn, and each can cancel on it."""
    fake.secret = bytes(range(32))
    weir = weir_factory(databases={"app": f"host=127.0.0.1 port={fake.port}"}, default_pool_size=1)
    clients = [weir.connect() for _ in range(4)]
    session = fake.session()
    for client in clients:
        client.send(query("select 1"))
        session.expect("Q")
        client.cancel()
        assert fake.cancel() == struct.pack("!i", fake.process_id) + fake.secret
        session.send(answer("1"))
        assert client.result().value == "1"
    assert fake.sessions.empty()
