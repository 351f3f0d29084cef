"""Protocol 3.0 and 3.2 on both sides: what is negotiated, and cancel keys of every length."""

from __future__ import annotations

import struct

import pytest

import wire
from fakeserver import FakeServer, answer, error, negotiation, ready
from waiting import wait_until
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


# The version towards servers.


def log_in(weir_factory, fake: FakeServer, **settings):
    return weir_factory(databases={"app": f"host=127.0.0.1 port={fake.port}"}, **settings)


def second_server(weir, fake: FakeServer) -> None:
    """The first server ends, and the next one is opened."""
    client = weir.connect()
    fake.session().close()
    weir.wait_for_pool(sv_idle=0)
    client.send(query("select 1"))
    session = fake.session()
    session.expect("Q")
    session.send(answer("1"))
    assert client.result().value == "1"


def test_servers_are_asked_for_3_2(weir_factory, fake):
    fake.secret = bytes(32)
    second_server(log_in(weir_factory, fake), fake)
    assert fake.asked == [PROTOCOL_3_2, PROTOCOL_3_2]


@pytest.mark.parametrize("version", [PROTOCOL_3_0, 0], ids=["whole", "minor"])
def test_a_server_that_negotiates_an_older_version_is_believed(weir_factory, fake, version):
    """PostgreSQL sends the whole number; the manual could be read as if it were the minor one."""
    fake.newer_is_told = negotiation(version)
    second_server(log_in(weir_factory, fake), fake)
    assert fake.asked == [PROTOCOL_3_2, PROTOCOL_3_2]


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "told",
    [
        error("0A000", "unsupported frontend protocol 3.2: server supports 1.0 to 3.0", "FATAL"),
        error("08P01", "unsupported startup packet", "FATAL"),
        b"",
        b"E\0",
    ],
    ids=["0A000", "08P01", "nothing", "half a message"],
)
def test_a_server_that_cannot_negotiate_is_asked_for_3_0(weir_factory, fake, told):
    """At once, so that no client hears of it, and the next server is asked for 3.0 first."""
    fake.newer_is_told = told
    fake.newer_is_closed = True
    second_server(log_in(weir_factory, fake, server_login_retry=60), fake)
    assert fake.asked == [PROTOCOL_3_2, PROTOCOL_3_0, PROTOCOL_3_0]


def test_other_refusals_are_not_taken_for_the_versions(weir_factory, fake):
    fake.newer_is_told = error("53300", "too many connections already", "FATAL")
    fake.newer_is_closed = True
    with pytest.raises(wire.ServerError) as raised:
        log_in(weir_factory, fake).connect()
    assert raised.value.sqlstate == "53300"
    assert fake.asked == [PROTOCOL_3_2]


def test_a_server_that_refuses_both_versions_is_heard(weir_factory, fake):
    """Nothing is learnt from it: when it has recovered it is asked for the newest version again."""
    fake.before_login = error("08P01", "not today", "FATAL")
    weir = log_in(weir_factory, fake)
    with pytest.raises(wire.ServerError) as raised:
        weir.connect()
    assert (raised.value.sqlstate, raised.value.message) == ("08P01", "not today")
    assert fake.asked == [PROTOCOL_3_2, PROTOCOL_3_0]
    fake.before_login = b""

    def can_log_in() -> bool:
        try:
            return bool(weir.connect())
        except wire.ServerError:
            return False

    wait_until(can_log_in, "a login succeeds")
    assert fake.asked[2:] == [PROTOCOL_3_2]


@pytest.mark.parametrize(
    "told",
    [
        negotiation(PROTOCOL_3_2),
        negotiation(PROTOCOL_3_2 + 1),
        negotiation(0x00040000),
        negotiation(PROTOCOL_3_0, "_pq_.never_asked_for"),
        wire.message("v"),
        wire.message("v", b"\0\3\0\0\x7f\xff\xff\xff"),
        negotiation(PROTOCOL_3_0) * 2,
    ],
    ids=["the same", "newer", "4.0", "an option", "empty", "a false count", "twice"],
)
def test_a_negotiation_that_makes_no_sense_ends_the_login(weir_factory, fake, told):
    fake.newer_is_told = told
    with pytest.raises(wire.ServerError) as raised:
        log_in(weir_factory, fake).connect()
    assert raised.value.sqlstate == "08001" and "bad protocol negotiation" in raised.value.detail
