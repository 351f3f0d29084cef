"""Random conversations get the same answers from Weir as from PostgreSQL itself, byte for byte.

One client talks to PostgreSQL directly and one through Weir, in transaction mode on two servers, while a third keeps
taking those servers and prepares statements of its own there. Both say the same: simple queries, named and unnamed
statements, portals, Flush, Sync, COPY, errors, several batches in one packet, packets cut anywhere.

WEIR_SEED repeats a conversation; WEIR_DIFFERENTIAL_SECONDS makes the test longer than its usual two seconds for each set-up.
"""

from __future__ import annotations

import os
import random
import re
import time

import pytest

import wire
from wire import bind, close, describe, execute, flush, message, parse, query, sync

SECONDS = float(os.environ.get("WEIR_DIFFERENTIAL_SECONDS", "2"))
STEPS_OF_A_CONVERSATION = 60

# Text of a statement and how many parameters it has.
STATEMENTS = [
    ("select 1", 0),
    ("select $1::int + 1", 1),
    ("select $1::text, $2::text", 2),
    ("select generate_series(1, $1::int)", 1),
    ("values (1, 'a'), (2, null)", 0),
    # Fails when it is run, not when it is planned: that depends on how often it was run before.
    ("select 10 / ($1::int + (random() * 0)::int)", 1),
    ("select v from differential where id = $1::int", 1),
    ("selec 1", 0),
    ("select * from nowhere", 0),
    ("insert into sink values ($1::int, 'x')", 1),
    ("insert into sink values ($1::int, 'y') returning v", 1),
    ("copy (select generate_series(1, 3)) to stdout", 0),
    ("do $$ begin raise notice 'heard'; end $$", 0),
    ("", 0),
    ("begin", 0),
    ("commit", 0),
    ("rollback", 0),
]
# As many of them return rows, if they can be prepared at all.
WITH_ROWS = 9
NAMES = ["a", "b", "c", "d", "a name with \"quotes\" and é", "n" * 60]
# In a failed transaction PostgreSQL describes what returns no rows; Weir may have to prepare it first, and cannot.
DESCRIBED = NAMES[:3]
# Where in PostgreSQL's source an error was raised: a statement that Weir prepares for a Bind fails one function earlier.
SOURCE_PLACE = re.compile(rb"(?<=\0)[FLR][^\0]*\0")


class Talk:
    """Makes a conversation; remembers what the names probably mean, so that most of it is right."""

    def __init__(self, chance: random.Random):
        self.chance = chance
        self.parameters: dict[str, int] = {}

    def parse(self) -> bytes:
        name = self.chance.choice(NAMES)
        text, count = self.chance.choice(STATEMENTS[:WITH_ROWS] if name in DESCRIBED else STATEMENTS)
        # One text has one name: an error names one of the names that a client gave to a statement.
        text += f" -- {NAMES.index(name)}"
        if self.chance.random() < 0.3:
            text += f".{self.chance.randrange(12)}"
        before = b""
        if name in self.parameters and name and self.chance.random() < 0.8:
            before = close("S", name)
        self.parameters[name] = count
        return before + parse(text, name)

    def known(self) -> str:
        return self.chance.choice([name for name in self.parameters if name] or ["unknown"])

    def values(self, name: str) -> list[str]:
        count = self.parameters.get(name, 0)
        if self.chance.random() < 0.03:
            count += 1
        return [str(self.chance.choice([0, 1, 2, 5, 400])) for _ in range(count)]

    def run(self) -> bytes:
        name, parts = self.known(), b""
        portal = self.chance.choice(["", "", "", "p"])
        if self.chance.random() < 0.2:
            # The unnamed statement lives until the next simple query, but does not follow its client.
            name = ""
            text, self.parameters[name] = self.chance.choice(STATEMENTS)
            parts = parse(text)
        parts += bind(*self.values(name), name=name, portal=portal)
        if self.chance.random() < 0.2 and name in DESCRIBED:
            parts += describe("S", name)
        if self.chance.random() < 0.4:
            parts += describe("P", portal)
        parts += execute(self.chance.choice([0, 0, 0, 1]), portal)
        return parts

    def part(self) -> bytes:
        drawn = self.chance.random()
        if drawn < 0.30:
            return self.parse()
        if drawn < 0.80:
            return self.run()
        if drawn < 0.86:
            return describe("S", self.chance.choice(DESCRIBED))
        if drawn < 0.92:
            return close("S", self.known())
        if drawn < 0.94:
            return close("P", "p")
        if drawn < 0.96:
            return bind(name="unknown")
        return flush()

    def batch(self) -> bytes:
        if self.chance.random() < 0.2:
            text, count = self.chance.choice(STATEMENTS)
            return query("select 7; select 8" if count or text.startswith("copy") else text)
        return b"".join(self.part() for _ in range(self.chance.randrange(1, 7))) + sync()

    def step(self) -> tuple[list[bytes], int]:
        """Packets to send at once, and how many ReadyForQuery they bring."""
        count = self.chance.choice([1, 1, 1, 2, 3, 5])
        data = b"".join(self.batch() for _ in range(count))
        pieces = []
        while data:
            size = self.chance.choice([len(data), len(data), self.chance.randrange(1, 40)])
            pieces.append(data[:size])
            data = data[size:]
        return pieces, count

    def copy_in(self) -> tuple[list[bytes], int]:
        rows = b"".join(message("d", b"%d\tz\n" % number) for number in range(self.chance.randrange(1, 5)))
        if self.chance.random() < 0.2:
            rows += message("d", b"not a number\tz\n")
        end = message("c") if self.chance.random() < 0.8 else message("f", b"stop\0")
        text = "copy sink from stdin"
        if self.chance.random() < 0.5:
            return [query(text) + rows + end], 1
        name = self.chance.choice(["", "copied"])
        before = close("S", name) if name else b""
        return [before + parse(text, name) + bind(name=name) + execute() + rows + end + sync()], 1


def answer(connection: wire.Connection, count: int) -> list[tuple[str, bytes]]:
    replies = []
    while count:
        try:
            reply = connection.read()
        except (TimeoutError, EOFError) as error:
            # Not an answer: it differs from one, or both say it.
            return [*replies, (type(error).__name__, b"")]
        body = SOURCE_PLACE.sub(b"", reply.body) if reply.type == "E" else reply.body
        replies.append((reply.type, body))
        count -= reply.type == "Z"
    return replies


def is_same(got: tuple[str, bytes], expected: tuple[str, bytes]) -> bool:
    """In a failed transaction a statement that its server lacks cannot be prepared: that error comes before others."""
    return got == expected or (got[0] == expected[0] == "E" and b"\0C25P02\0" in got[1])


def disturb(chance: random.Random, other: wire.Connection, state: list[str]) -> None:
    """Moves the servers about: another client runs statements on them, or keeps one for a while."""
    drawn = chance.random()
    if state[0] == "I" and drawn < 0.3:
        state[0] = other.query("begin").status
    elif state[0] != "I" and drawn < 0.3:
        state[0] = other.query("rollback").status
    elif drawn < 0.7:
        text, count = chance.choice(STATEMENTS[:WITH_ROWS - 2])
        other.send(close("S", "a") + parse(f"{text} -- {NAMES.index('b')}", "a") + bind(*["1"] * count, name="a") + execute() + sync())
        state[0] = other.result().status


@pytest.mark.every_backend
@pytest.mark.parametrize("limit", [200, 3], ids=["many statements", "three statements"])
def test_weir_answers_as_postgresql_does(weir_factory, postgres, limit):
    weir = weir_factory(default_pool_size=2, max_prepared_statements=limit)
    with wire.Connection(("127.0.0.1", postgres.port)) as setup:
        setup.login("app", "app")
        setup.query("drop table if exists differential, sink; create table sink (id int, v text)")
        setup.query("create table differential as select id, 'v' || id as v from generate_series(1, 9) id")
    seed = int(os.environ.get("WEIR_SEED") or random.randrange(1 << 32))
    deadline = time.monotonic() + SECONDS
    conversations = 0
    while conversations == 0 or time.monotonic() < deadline:
        print(f"WEIR_SEED={seed}")
        converse(weir, seed)
        conversations += 1
        seed += 1


def converse(weir, seed: int) -> None:
    chance = random.Random(seed)
    talk = Talk(chance)
    other, state = weir.connect(timeout=20), ["I"]
    with (
        wire.Connection(("127.0.0.1", weir.postgres.port)) as direct,
        wire.Connection(("127.0.0.1", weir.port)) as pooled,
    ):
        direct.login("app", "app")
        pooled.login("app", "app")
        for number in range(STEPS_OF_A_CONVERSATION):
            pieces, count = talk.copy_in() if chance.random() < 0.1 else talk.step()
            disturb(chance, other, state)
            replies = []
            for connection in (direct, pooled):
                for piece in pieces:
                    connection.send(piece)
                replies.append(answer(connection, count))
            expected, got = replies
            same = len(got) == len(expected) and all(map(is_same, got, expected)) and expected[-1][0] == "Z"
            assert same or got == expected, f"WEIR_SEED={seed}, step {number}: {b''.join(pieces)}"
    other.terminate()
