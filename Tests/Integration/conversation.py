"""Holds the same conversation with PostgreSQL itself and with Weir, so that the answers can be compared."""

from __future__ import annotations

import wire

# What a client sends in one piece, and the types of messages up to one of which it then reads.
Step = tuple[bytes, str]


def hold(client: wire.Connection, steps: list[Step]) -> list[wire.Message]:
    """All messages that came in answer."""
    heard: list[wire.Message] = []
    for data, until in steps:
        client.send(data)
        if until:
            heard += client.read_until(until)
    return heard


def direct(postgres, database: str = "app", user: str = "app") -> wire.Connection:
    return wire.Connection(("127.0.0.1", postgres.port)).login(user, database)


def types(heard: list[wire.Message]) -> str:
    return "".join(reply.type for reply in heard)


def states(heard: list[wire.Message]) -> list[str]:
    """The SQLSTATEs of the errors."""
    return [wire.error_fields(reply.body)["C"] for reply in heard if reply.type == "E"]
