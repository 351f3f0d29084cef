"""A TCP proxy between Weir and PostgreSQL that fails on command.

    Weir  <---- towards Weir ----  link  ---- towards PostgreSQL ---->  PostgreSQL

Every accepted connection is a `Link` with one thread per direction. A link can be paused, cut
after a number of bytes, half closed or reset; the proxy can refuse new connections, swallow what
they send, or watch for bytes of a request and fail the link at that very moment.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

from postgres import free_port

CHUNK_BYTES = 1 << 16


class Link:
    def __init__(self, proxy: "FaultProxy", pooler: socket.socket, server: socket.socket):
        self.proxy = proxy
        self.pooler = pooler
        self.server = server
        self.bytes_to_weir_left: int | None = None
        self.is_open = True

    def start(self) -> None:
        for source, target, to_weir in ((self.pooler, self.server, False), (self.server, self.pooler, True)):
            threading.Thread(target=self._pump, args=(source, target, to_weir), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, to_weir: bool) -> None:
        try:
            while data := source.recv(CHUNK_BYTES):
                (self.proxy.to_weir_open if to_weir else self.proxy.to_server_open).wait()
                if not self.is_open:
                    # PostgreSQL's answer to the end of its stream: a host that is gone would not deliver it.
                    return
                if not to_weir and self.proxy.trigger and self.proxy.trigger[0] in data:
                    _, forward, action = self.proxy.trigger
                    self.proxy.trigger = None
                    if forward:
                        target.sendall(data)
                    action(self)
                    self.proxy.triggered.set()
                    if forward:
                        continue
                    return
                if to_weir and self.bytes_to_weir_left is not None:
                    data = data[: self.bytes_to_weir_left]
                    self.bytes_to_weir_left -= len(data)
                    target.sendall(data)
                    if self.bytes_to_weir_left == 0:
                        self.reset()
                        return
                    continue
                target.sendall(data)
            if self.is_open:
                target.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def close(self) -> None:
        """Ends both sides in order: Weir sees the end of the stream."""
        self.is_open = False
        for side in (self.pooler, self.server):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def reset(self) -> None:
        """Weir sees a connection reset; PostgreSQL sees the end of the stream."""
        self.is_open = False
        try:
            self.pooler.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.pooler.shutdown(socket.SHUT_RD)
            self.pooler.close()
            self.server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def half_close(self) -> None:
        """Weir sees the end of what the server sends; its own side stays open."""
        self.pooler.shutdown(socket.SHUT_WR)

    def inject(self, data: bytes) -> None:
        """Sends bytes to Weir as if PostgreSQL had."""
        self.pooler.sendall(data)


class FaultProxy:
    """Listens on `host` and `port` and leads to `target_port` on 127.0.0.1."""

    def __init__(self, target_port: int, host: str = "127.0.0.1", port: int | None = None):
        self.target_port = target_port
        self.host = host
        self.port = port or free_port()
        self.links: list[Link] = []
        self.accepted = 0
        self.to_weir_open = threading.Event()
        self.to_server_open = threading.Event()
        self.triggered = threading.Event()
        self.trigger: tuple[bytes, bool, Callable[[Link], None]] | None = None
        self.swallowed: list[socket.socket] = []
        self.swallowing = False
        self.rejecting = False
        self.resume()
        self.listener: socket.socket | None = None
        self.listen()

    def listen(self) -> None:
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((self.host, self.port))
        self.listener.listen(64)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                pooler, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            if self.rejecting:
                pooler.close()
                continue
            if self.swallowing:
                self.swallowed.append(pooler)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                pooler.close()
                continue
            for side in (pooler, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(self, pooler, server)
            # It counts before the first byte has passed through it.
            self.links.append(link)
            link.start()

    @property
    def open_links(self) -> list[Link]:
        return [link for link in self.links if link.is_open]

    # Faults

    def refuse(self) -> None:
        """New connections are refused; open ones stay."""
        if self.listener:
            try:
                self.listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.listener.close()
            self.listener = None

    def reject(self) -> None:
        """New connections are accepted and closed at once, so that attempts can be counted."""
        self.rejecting = True

    def accept_again(self) -> None:
        self.swallowing = False
        self.rejecting = False
        if self.listener is None:
            self.listen()

    def swallow(self) -> None:
        """New connections are accepted, and nothing ever answers."""
        self.swallowing = True

    def pause(self, to_weir: bool = True, to_server: bool = True) -> None:
        """Bytes stop flowing; the connections stay."""
        if to_weir:
            self.to_weir_open.clear()
        if to_server:
            self.to_server_open.clear()

    def resume(self) -> None:
        self.to_weir_open.set()
        self.to_server_open.set()

    def reset_all(self) -> None:
        for link in self.open_links:
            link.reset()

    def close_all(self) -> None:
        for link in self.open_links:
            link.close()

    def cut_after(self, count: int) -> None:
        """Each open link is reset when `count` more bytes have gone towards Weir."""
        for link in self.open_links:
            link.bytes_to_weir_left = count

    def when_sent(self, needle: bytes, action: Callable[[Link], None], forward: bool = False) -> None:
        """When Weir sends `needle`, does `action` to that link; the bytes go on only if `forward`."""
        self.triggered.clear()
        self.trigger = (needle, forward, action)

    def close(self) -> None:
        self.refuse()
        self.resume()
        self.close_all()
        for connection in self.swallowed:
            connection.close()
