"""A PostgreSQL that a test plays itself, message by message.

It logs every connection in by itself, with what the test put into `welcome` and around it, and hands
it over: `session()` returns the next connection that has logged in, on which the test reads requests
and writes replies. Cancel requests are taken and kept, as the bytes behind their code.
"""

from __future__ import annotations

import queue
import socket
import struct
import threading

import wire
from wire import message, string

SECONDS_MAX = 15


def report(type_: str, severity: str, code: str, text: str) -> bytes:
    fields = (("S", severity), ("V", severity), ("C", code), ("M", text))
    return message(type_, b"".join(key.encode() + string(value) for key, value in fields) + b"\0")


def error(code: str, text: str, severity: str = "ERROR") -> bytes:
    return report("E", severity, code, text)


def notice(text: str) -> bytes:
    return report("N", "NOTICE", "00000", text)


def parameter(name: str, value: str) -> bytes:
    return message("S", string(name) + string(value))


def negotiation(version: int, *options: str) -> bytes:
    return message("v", struct.pack("!ii", version, len(options)) + b"".join(map(string, options)))


def ready(status: str = "I") -> bytes:
    return message("Z", status.encode())


def complete(tag: str) -> bytes:
    return message("C", string(tag))


def row(*values: str) -> bytes:
    """A RowDescription of text columns and one DataRow."""
    count = struct.pack("!h", len(values))
    columns = b"".join(string("column") + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0) for _ in values)
    fields = b"".join(struct.pack("!i", len(value.encode())) + value.encode() for value in values)
    return message("T", count + columns) + message("D", count + fields)


def answer(value: str, status: str = "I") -> bytes:
    """The whole reply to a simple query that returns one value."""
    return row(value) + complete("SELECT 1") + ready(status)


class Session(wire.Connection):
    """The server's end of one connection."""

    def __init__(self, accepted: socket.socket):
        self.socket = accepted
        self.socket.settimeout(SECONDS_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.startup: dict[str, str] = {}
        self.protocol = 0

    def expect(self, types: str) -> list[wire.Message]:
        """Reads the messages of these types, in this order."""
        found = [self.read() for _ in types]
        assert "".join(request.type for request in found) == types, found
        return found


class FakeServer:
    """Listens on `port` of 127.0.0.1."""

    def __init__(self):
        self.process_id = 4711
        self.secret = b"\1\2\3\4"
        self.parameters = {"server_version": "15.0", "client_encoding": "UTF8"}
        # Bytes before AuthenticationOk, behind it, and behind the last ParameterStatus.
        self.before_login = self.in_login = self.after_login = b""
        # The protocol versions that it was asked for, and what it says, if anything, to one newer than 3.0.
        self.asked: list[int] = []
        self.newer_is_closed = False
        self.newer_is_told = b""
        self.sessions: queue.Queue[Session] = queue.Queue()
        self.cancels: queue.Queue[bytes] = queue.Queue()
        self.opened: list[socket.socket] = []
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self.listener.accept()
            except OSError:
                return
            self.opened.append(accepted)
            threading.Thread(target=self._serve, args=(Session(accepted),), daemon=True).start()

    def _serve(self, session: Session) -> None:
        try:
            (length,) = struct.unpack("!i", session.read_exactly(4))
            packet = session.read_exactly(length - 4)
            (session.protocol,) = struct.unpack_from("!i", packet)
            if session.protocol == wire.CANCEL_REQUEST:
                self.cancels.put(packet[4:])
                session.close()
                return
            self.asked.append(session.protocol)
            if session.protocol > wire.PROTOCOL_3_0:
                session.send(self.newer_is_told)
                if self.newer_is_closed:
                    session.close()
                    return
            words = packet[4:].decode().split("\0")
            session.startup = dict(zip(words[0::2], words[1::2]))
            session.send(self.before_login + message("R", struct.pack("!i", 0)) + self.in_login)
            session.send(b"".join(parameter(name, value) for name, value in self.parameters.items()))
            key = message("K", struct.pack("!i", self.process_id) + self.secret)
            session.send(self.after_login + key + ready())
            self.sessions.put(session)
        except (EOFError, OSError):
            session.close()

    def session(self) -> Session:
        """The next connection that has logged in."""
        return self.sessions.get(timeout=SECONDS_MAX)

    def cancel(self) -> bytes:
        """Process ID and secret of the next cancel request."""
        return self.cancels.get(timeout=SECONDS_MAX)

    def close(self) -> None:
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        for connection in [self.listener, *self.opened]:
            connection.close()
