"""What the tests of notifications share: to listen, to hear, and to prove that nothing was heard."""

from __future__ import annotations

import wire
from wire import bind, execute, parse, sync


def notification(message: wire.Message) -> tuple[str, str]:
    assert message.type == "A", message
    channel, payload, _ = message.body[4:].split(b"\0", 2)
    return channel.decode(), payload.decode()


def heard(client: wire.Connection, count: int = 1) -> list[tuple[str, str]]:
    """The next `count` messages, which must be notifications."""
    return [notification(client.read()) for _ in range(count)]


def heard_before(client: wire.Connection, direct: wire.Connection, fence: str = "fence") -> list[tuple[str, str]]:
    """What arrives before a notification on a channel that is sent only now."""
    direct.query(f"notify {fence}, 'end'")
    found = []
    while not found or found[-1] != (fence, "end"):
        found += heard(client)
    return found[:-1]


def listeners(postgres) -> list[dict]:
    return [server for server in postgres.servers() if server["application_name"] == "weir listener"]


def warning(client: wire.Connection) -> wire.ServerError:
    message = client.read()
    assert message.type == "N", message
    return wire.ServerError(wire.error_fields(message.body))


def prepared(sql: str, name: str) -> bytes:
    return parse(sql, name) + bind(name=name) + execute() + sync()


def kill(postgres, pid: int) -> None:
    assert postgres.value("select pg_terminate_backend(%s)", (pid,))
