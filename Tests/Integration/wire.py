"""A small PostgreSQL client that speaks in single messages.

Drivers hide the bytes; the tests of exact bytes, of order and of broken peers need them. This one
sends what it is told, reads one message at a time, and never waits longer than its time-out.
(PostgreSQL manual, "Frontend/Backend Protocol", sections 55.2 and 55.7.)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

PROTOCOL_3_0 = 196608
CANCEL_REQUEST = 80877102
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104


class Message(NamedTuple):
    type: str
    body: bytes


class ServerError(Exception):
    """An ErrorResponse; `fields` are its fields by their one-letter codes."""

    def __init__(self, fields: dict[str, str]):
        self.fields = fields
        self.severity = fields.get("V") or fields.get("S", "")
        self.sqlstate = fields.get("C", "")
        self.message = fields.get("M", "")
        self.detail = fields.get("D", "")
        self.hint = fields.get("H", "")
        super().__init__(f"{self.severity} {self.sqlstate}: {self.message} {self.detail}".strip())


@dataclass
class Result:
    """Everything that came back up to one ReadyForQuery."""

    columns: list[tuple[str, int]] = field(default_factory=list)
    rows: list[list] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    notices: list[ServerError] = field(default_factory=list)
    notifications: list[tuple[str, str]] = field(default_factory=list)
    errors: list[ServerError] = field(default_factory=list)
    types: str = ""
    copied: bytearray = field(default_factory=bytearray)
    status: str = ""

    @property
    def value(self):
        return self.rows[0][0]

    @property
    def dictionaries(self) -> list[dict]:
        names = [name for name, _ in self.columns]
        return [dict(zip(names, row)) for row in self.rows]


# Messages to send. Each function returns bytes, so that a test can join, split or spoil them.


def message(type_: str, body: bytes = b"") -> bytes:
    return type_.encode() + struct.pack("!i", len(body) + 4) + body


def string(text: str) -> bytes:
    return text.encode() + b"\0"


def startup(protocol: int = PROTOCOL_3_0, **parameters: str) -> bytes:
    body = struct.pack("!i", protocol)
    for name, value in parameters.items():
        body += string(name) + string(value)
    body += b"\0"
    return struct.pack("!i", len(body) + 4) + body


def request(code: int, payload: bytes = b"") -> bytes:
    return struct.pack("!ii", 8 + len(payload), code) + payload


def query(sql: str) -> bytes:
    return message("Q", string(sql))


def parse(sql: str, name: str = "", types: tuple[int, ...] = ()) -> bytes:
    return message("P", string(name) + string(sql) + struct.pack(f"!h{len(types)}i", len(types), *types))


def bind(*values: str | None, name: str = "", portal: str = "") -> bytes:
    body = string(portal) + string(name) + struct.pack("!hh", 0, len(values))
    for value in values:
        if value is None:
            body += struct.pack("!i", -1)
        else:
            data = value.encode()
            body += struct.pack("!i", len(data)) + data
    return message("B", body + struct.pack("!h", 0))


def describe(kind: str = "P", name: str = "") -> bytes:
    return message("D", kind.encode() + string(name))


def execute(rows_max: int = 0, portal: str = "") -> bytes:
    return message("E", string(portal) + struct.pack("!i", rows_max))


def close(kind: str = "S", name: str = "") -> bytes:
    return message("C", kind.encode() + string(name))


def sync() -> bytes:
    return message("S")


def flush() -> bytes:
    return message("H")


def extended(sql: str, *values: str) -> bytes:
    """One unnamed statement by the extended protocol, with its Sync."""
    return parse(sql) + bind(*values) + describe() + execute() + sync()


def error_fields(body: bytes) -> dict[str, str]:
    fields = {}
    for part in body.split(b"\0"):
        if part:
            fields[chr(part[0])] = part[1:].decode("utf-8", "replace")
    return fields


def _columns(body: bytes) -> list[tuple[str, int]]:
    (count,) = struct.unpack_from("!h", body)
    offset, columns = 2, []
    for _ in range(count):
        end = body.index(b"\0", offset)
        name = body[offset:end].decode()
        _, _, oid, _, _, _ = struct.unpack_from("!ihihih", body, end + 1)
        columns.append((name, oid))
        offset = end + 19
    return columns


def _row(body: bytes, columns: list[tuple[str, int]]) -> list:
    (count,) = struct.unpack_from("!h", body)
    offset, row = 2, []
    for index in range(count):
        (length,) = struct.unpack_from("!i", body, offset)
        offset += 4
        if length < 0:
            row.append(None)
            continue
        text = body[offset : offset + length].decode()
        offset += length
        oid = columns[index][1] if index < len(columns) else 0
        row.append(int(text) if oid in (20, 21, 23) or oid == 1700 and text.isdigit() else text)
    return row


class Connection:
    """One socket to a server; after `login` it has `parameters`, `process_id` and `secret_key`."""

    def __init__(self, address: tuple[str, int] | str, timeout: float = 15):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.address = address
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.parameters: dict[str, str] = {}
        self.process_id = 0
        self.secret_key = b""
        self.notices: list[ServerError] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Bytes

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def fill(self) -> None:
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError("the peer closed the connection")
        self.buffer += data

    def read_exactly(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self.fill()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def read(self) -> Message:
        """The next message, whole. EOFError when the peer closed, TimeoutError when it is silent."""
        header = self.read_exactly(5)
        (length,) = struct.unpack("!i", header[1:])
        return Message(chr(header[0]), self.read_exactly(length - 4))

    def read_until(self, types: str) -> list[Message]:
        messages = [self.read()]
        while messages[-1].type not in types:
            messages.append(self.read())
        return messages

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing at all arrives for so long."""
        if self.buffer:
            return False
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self.fill()
            return False
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(before)

    def is_closed_by_peer(self) -> bool:
        """Waits for the end of the stream, passing over what still comes."""
        try:
            while True:
                self.buffer.clear()
                self.fill()
        except (EOFError, ConnectionResetError, BrokenPipeError):
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Ends with RST instead of FIN, as a crashed host does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def terminate(self) -> None:
        self.send(message("X"))
        self.close()

    # Conversations

    def login(self, user: str, database: str, password: str | None = None, protocol: int = PROTOCOL_3_0, **parameters):
        self.send(startup(protocol, user=user, database=database, **parameters))
        self.authenticate(user, password)
        return self.welcome()

    def authenticate(self, user: str, password: str | None) -> None:
        while True:
            reply = self.read()
            if reply.type == "E":
                raise ServerError(error_fields(reply.body))
            if reply.type == "v":
                self.negotiated = reply.body
                continue
            if reply.type == "N":
                self.notices.append(ServerError(error_fields(reply.body)))
                continue
            assert reply.type == "R", reply
            (code,) = struct.unpack_from("!i", reply.body)
            if code == 0:
                return
            assert password is not None, f"authentication {code} is asked for, and there is no password"
            if code == 3:
                self.send(message("p", string(password)))
            elif code == 5:
                inner = hashlib.md5((password + user).encode()).hexdigest().encode()
                self.send(message("p", string("md5" + hashlib.md5(inner + reply.body[4:8]).hexdigest())))
            elif code == 10:
                self._scram(password)
            else:
                raise AssertionError(f"unexpected authentication request {code}")

    def _scram(self, password: str) -> None:
        nonce = base64.b64encode(os.urandom(18)).decode()
        first = f"n=,r={nonce}"
        initial = ("n,," + first).encode()
        self.send(message("p", string("SCRAM-SHA-256") + struct.pack("!i", len(initial)) + initial))
        challenge = self._sasl_reply(11)
        parts = dict(part.split("=", 1) for part in challenge.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        final = f"c=biws,r={parts['r']}"
        signed = f"{first},{challenge},{final}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()
        self.send(message("p", f"{final},p={proof}".encode()))
        server_signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        assert self._sasl_reply(12) == "v=" + base64.b64encode(server_signature).decode(), (
            "the server cannot prove itself"
        )

    def _sasl_reply(self, expected: int) -> str:
        reply = self.read()
        if reply.type == "E":
            raise ServerError(error_fields(reply.body))
        (code,) = struct.unpack_from("!i", reply.body)
        assert (reply.type, code) == ("R", expected), reply
        return reply.body[4:].decode()

    def welcome(self) -> "Connection":
        while True:
            reply = self.read()
            if reply.type == "S":
                self._parameter(reply.body)
            elif reply.type == "K":
                (self.process_id,) = struct.unpack_from("!i", reply.body)
                self.secret_key = reply.body[4:]
            elif reply.type == "N":
                self.notices.append(ServerError(error_fields(reply.body)))
            elif reply.type == "E":
                raise ServerError(error_fields(reply.body))
            elif reply.type == "Z":
                return self
            else:
                raise AssertionError(f"unexpected in the welcome: {reply}")

    def _parameter(self, body: bytes) -> None:
        name, value, _ = body.split(b"\0", 2)
        self.parameters[name.decode()] = value.decode()

    def result(self) -> Result:
        """Collects one answer up to ReadyForQuery. A FATAL error is raised at once."""
        result = Result()
        while True:
            reply = self.read()
            result.types += reply.type
            if reply.type == "Z":
                result.status = reply.body.decode()
                return result
            if reply.type == "T":
                result.columns = _columns(reply.body)
            elif reply.type == "D":
                result.rows.append(_row(reply.body, result.columns))
            elif reply.type == "C":
                result.tags.append(reply.body[:-1].decode())
            elif reply.type == "d":
                result.copied += reply.body
            elif reply.type == "S":
                self._parameter(reply.body)
            elif reply.type == "N":
                result.notices.append(ServerError(error_fields(reply.body)))
            elif reply.type == "A":
                channel, payload, _ = reply.body[4:].split(b"\0", 2)
                result.notifications.append((channel.decode(), payload.decode()))
            elif reply.type == "E":
                error = ServerError(error_fields(reply.body))
                if error.severity in ("FATAL", "PANIC"):
                    raise error
                result.errors.append(error)
            elif reply.type == "G":
                raise AssertionError("COPY FROM STDIN is open; use read_until('G')")

    def exchange(self, data: bytes) -> Result:
        """Sends, reads up to ReadyForQuery, and leaves errors in the result."""
        self.send(data)
        return self.result()

    def query(self, sql: str) -> Result:
        """A simple query; an error is raised."""
        result = self.exchange(query(sql))
        if result.errors:
            raise result.errors[0]
        return result

    def value(self, sql: str):
        return self.query(sql).value

    def cancel(self) -> None:
        """Sends a CancelRequest for this connection on a new one and waits until it is taken."""
        with Connection(self.address) as other:
            other.send(request(CANCEL_REQUEST, struct.pack("!i", self.process_id) + self.secret_key))
            other.is_closed_by_peer()
