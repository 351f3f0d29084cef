"""Waiting for something to become true, with a bound.

The only place of the integration tests that sleeps: everything else asks `wait_until` for the
condition it needs, and a condition that never comes fails with words that say what was awaited.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], what: str, timeout: float = 15, every: float = 0.01) -> Value:
    """Calls `condition` until it returns something true, and returns that."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain: {what} (last seen: {value!r})")
        time.sleep(every)


def send_until_blocked(socket: socket.socket, data: bytes, bytes_max: int, seconds: float = 0.5) -> int:
    """Sends `data` again and again until the peer takes nothing for so long; how many bytes it has taken."""
    before, sent = socket.gettimeout(), 0
    socket.settimeout(seconds)
    try:
        while sent < bytes_max:
            sent += socket.send(data[sent % len(data) :])
    except TimeoutError:
        pass
    finally:
        socket.settimeout(before)
    return sent


def stays_true(condition: Callable[[], bool], what: str, seconds: float, every: float = 0.02) -> None:
    """Watches that `condition` holds for so long: for claims that something does not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), what
        time.sleep(every)


class Stopwatch:
    """Measures a `with` block: `seconds` holds how long it took."""

    seconds = 0.0

    def __enter__(self):
        self.start = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.start
