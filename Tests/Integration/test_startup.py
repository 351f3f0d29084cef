"""How a connection begins: requests before the start-up packet, versions, hostile bytes, cancel keys."""

from __future__ import annotations

import random
import struct

import pytest

import wire
from postgres import PASSWORD
from wire import CANCEL_REQUEST, GSSENC_REQUEST, SSL_REQUEST, request, startup


def fatal(client: wire.Connection) -> wire.ServerError:
    """The FATAL error that comes before the peer closes."""
    reply = client.read()
    assert reply.type == "E", reply
    error = wire.ServerError(wire.error_fields(reply.body))
    assert error.severity == "FATAL"
    assert client.is_closed_by_peer()
    return error


@pytest.mark.parametrize("code", [SSL_REQUEST, GSSENC_REQUEST])
def test_an_encryption_request_is_answered_with_no_and_the_login_goes_on(weir, code):
    client = weir.raw()
    client.send(request(code))
    assert client.read_exactly(1) == b"N"
    client.login("app", "app")
    assert client.value("select 1") == 1


def test_gss_then_ssl_then_login_as_libpq_does(weir):
    client = weir.raw()
    for code in (GSSENC_REQUEST, SSL_REQUEST):
        client.send(request(code))
        assert client.read_exactly(1) == b"N"
    client.login("app", "app")
    assert client.value("select 1") == 1


@pytest.mark.parametrize("code", [SSL_REQUEST, GSSENC_REQUEST])
def test_bytes_already_sent_behind_an_encryption_request_are_refused(weir, code):
    """They were sent in the hope of encryption, or by somebody in between (CVE-2021-3935)."""
    client = weir.raw()
    client.send(request(code) + startup(user="app", database="app"))
    first = client.read_exactly(1)
    if first == b"N":
        assert fatal(client).sqlstate == "08P01"
    else:
        client.buffer[:0] = first
        assert "received unencrypted data after" in fatal(client).message
    weir.wait_for_log("received unencrypted data after")


def test_the_same_encryption_request_twice_closes_the_connection(weir):
    client = weir.raw()
    client.send(request(SSL_REQUEST))
    assert client.read_exactly(1) == b"N"
    client.send(request(SSL_REQUEST))
    assert client.is_closed_by_peer()


@pytest.mark.parametrize("version", [0x00020000, 0x00040000, 0x7FFFFFFF, 0])
def test_an_unknown_protocol_version_is_refused(weir, version):
    client = weir.raw()
    client.send(startup(version, user="app", database="app"))
    reply = client.read()
    assert reply.type == "E"
    assert client.is_closed_by_peer()


@pytest.mark.parametrize(
    "packet",
    [
        struct.pack("!i", 0) + b"\0\0\0\0",
        struct.pack("!i", 4),
        struct.pack("!i", 7) + b"\0\0\0",
        struct.pack("!i", -1) + b"\0\3\0\0",
        struct.pack("!i", 0x7FFFFFFF) + b"\0\3\0\0user\0app\0\0",
        struct.pack("!I", 0x80000008) + b"\0\3\0\0",
        struct.pack("!ii", 100_000, 196608) + b"x" * 1000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff" * 64,
    ],
    ids=["zero", "only-length", "too-short", "negative", "huge", "sign-bit", "over-the-limit", "http", "tls", "ff"],
)
def test_a_first_packet_that_lies_is_closed_at_once(weir, packet):
    client = weir.raw()
    client.send(packet)
    assert client.is_closed_by_peer()
    assert weir.connect().value("select 1") == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"user",
        b"user\0app",
        b"user\0app\0",
        b"user\0app\0database\0",
        b"\0user\0app\0\0",
        b"user\0app\0\0trailing",
    ],
)
def test_a_malformed_parameter_list_is_refused(weir, body):
    client = weir.raw()
    packet = struct.pack("!i", 196608) + body
    client.send(struct.pack("!i", len(packet) + 4) + packet)
    assert client.is_closed_by_peer()
    assert weir.connect().value("select 1") == 1


def test_a_startup_packet_without_a_user_is_refused(weir):
    client = weir.raw()
    client.send(startup(database="app"))
    error = fatal(client)
    assert error.sqlstate == "28000" and "user" in error.message


def test_the_database_defaults_to_the_users_name(weir):
    client = weir.raw()
    client.send(startup(user="app"))
    client.authenticate("app", None)
    client.welcome()
    assert client.value("select current_database()") == "app"


@pytest.mark.parametrize(
    "packet",
    [
        b"Q" + struct.pack("!i", 0),
        b"Q" + struct.pack("!i", 3),
        b"Q" + struct.pack("!i", -1),
        b"Q" + struct.pack("!I", 0x80000000),
        b"\0\0\0\0\0",
        b"S" + struct.pack("!i", 5) + b"x" + b"Q\xff\xff\xff\xff",
        b"p" + struct.pack("!i", 8) + b"abcd",
    ],
    ids=["zero", "three", "minus-one", "sign-bit", "nul", "second-message", "password-too-late"],
)
def test_a_message_whose_length_lies_closes_only_that_connection(weir, packet):
    """In a simple query the server would wait for ever for bytes that cannot come."""
    other = weir.connect()
    client = weir.connect()
    client.send(packet)
    assert client.is_closed_by_peer()
    assert other.value("select 1") == 1


def test_a_message_longer_than_max_packet_size_is_refused(weir_factory):
    weir = weir_factory(max_packet_size=100_000)
    client = weir.connect()
    assert client.value(f"select length('{'x' * 50_000}')") == 50_000
    client.send(wire.query(f"select length('{'x' * 200_000}')"))
    assert client.is_closed_by_peer()
    assert weir.connect().value("select 1") == 1


@pytest.mark.sanitizer_short
@pytest.mark.every_backend
def test_random_bytes_never_stop_it(weir):
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(150):
        client = weir.raw(5)
        try:
            if chance.random() < 0.5:
                client.login("app", "app")
                client.send(
                    bytes([chance.choice(b"QPBEDCSHFdcfXp!\0\xff")])
                    + struct.pack("!i", chance.choice([4, 5, 8, 20, 60]))
                )
            client.send(chance.randbytes(chance.randrange(1, 300)))
        except OSError:
            pass
        client.close()
    assert weir.connect().value("select 1") == 1


def test_a_query_before_the_login_is_refused(weir_factory):
    weir = weir_factory(auth_type="plain")
    client = weir.raw()
    client.send(startup(user="app", database="app"))
    assert client.read().type == "R"
    client.send(wire.query("select 1"))
    error = fatal(client)
    assert error.sqlstate in ("08P01", "28000")


def test_a_query_in_one_packet_with_the_startup_message_is_refused(weir):
    """A client may send commands only after ReadyForQuery: what comes earlier is an error, whatever it is."""
    client = weir.raw()
    client.send(startup(user="app", database="app") + wire.query("select 77"))
    assert fatal(client).sqlstate == "08P01"


@pytest.mark.parametrize(
    "payload", [b"", b"\0" * 4, b"\0" * 8, b"\xff" * 8, b"\1" * 300], ids=["none", "short", "zero", "ff", "long"]
)
def test_a_cancel_request_with_a_wrong_key_is_closed_without_a_word(weir, payload):
    client = weir.raw()
    client.send(request(CANCEL_REQUEST, payload))
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read()


def test_keys_differ_and_do_not_repeat(weir):
    keys = {(client.process_id, client.secret_key) for client in (weir.connect() for _ in range(50))}
    assert len(keys) == 50 and len({key for _, key in keys}) == 50


def test_the_welcome_carries_the_servers_parameters(weir, postgres):
    """What PostgreSQL reports at login, the client is told too, with the same values."""
    direct = wire.Connection(("127.0.0.1", postgres.port)).login("app", "app")
    through = weir.connect()
    assert set(direct.parameters) <= set(through.parameters)
    for name in (
        "server_version",
        "server_encoding",
        "client_encoding",
        "TimeZone",
        "integer_datetimes",
        "is_superuser",
    ):
        assert through.parameters[name] == direct.parameters[name]
    direct.close()


def test_terminate_is_taken_in_silence(weir):
    client = weir.connect()
    client.send(wire.message("X"))
    assert client.is_closed_by_peer()
    weir.wait_for_log("closing because: client close request")


def test_the_console_refuses_a_stranger(weir):
    client = weir.raw()
    with pytest.raises(wire.ServerError) as raised:
        client.login("app", "pgbouncer", PASSWORD)
    assert raised.value.severity == "FATAL"
