"""Random sessions are the same through Weir as on connections of their own: settings, statements, LISTEN, held state.

Each of four clients in transaction mode has a twin that talks to PostgreSQL directly, in another database, so that
neither side's locks and notifications reach the other. The clients' turns are drawn at random, and what one of them
sends is sent by its twin too. Every reply has to be the same, and so has every setting, at each step.

WEIR_SEED repeats a conversation; WEIR_DIFFERENTIAL_SECONDS makes each test longer than its usual second for each set-up.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable

import psycopg
import pytest

import wire
from sessiontalk import (
    CHANNELS,
    EVERYTHING,
    HELD,
    LOGINS,
    NAMING,
    Talk,
    holding,
    listening,
    resetting,
    settings,
    statements,
)
from test_differential import SOURCE_PLACE, is_same
from wire import bind, close, execute, parse, query, sync

# The place of an error in its text.
PLACE = re.compile(rb"(?<=\0)P\d+\0")
SECONDS = float(os.environ.get("WEIR_DIFFERENTIAL_SECONDS", "1"))
CLIENTS = 4
STEPS_OF_A_CONVERSATION = 60


class Twins:
    """A client of Weir, and its twin on a connection of its own."""

    def __init__(self, weir, **parameters):
        self.direct = wire.Connection(("127.0.0.1", weir.postgres.port))
        self.pooled = wire.Connection(("127.0.0.1", weir.port))
        self.heard: dict[wire.Connection, list[bytes]] = {}
        for connection, database in ((self.direct, "second"), (self.pooled, "app")):
            connection.login("app", database, **parameters)
            self.heard[connection] = []
        self.status = "I"
        self.was_busy = False
        self.channels: set[bytes] = set()

    def close(self) -> None:
        self.direct.terminate()
        self.pooled.terminate()

    def send(self, data: bytes) -> None:
        self.direct.send(data)
        self.pooled.send(data)

    def check(self, count: int, what: str, data: bytes) -> None:
        """Reads the answers of both and compares them."""
        expected, got = self.answer(self.direct, count), self.answer(self.pooled, count)
        if NAMING.search(data.decode("latin-1")):
            # Behind a name of a statement the place of an error is that in the text with the other name.
            expected, got = ([(type_, PLACE.sub(b"", body)) for type_, body in replies] for replies in (expected, got))
        same = len(got) == len(expected) and all(map(is_same, got, expected)) and expected[-1][0] == "Z"
        assert same or got == expected, f"{what}: {data}"
        self.status = expected[-1][1].decode()

    def answer(self, connection: wire.Connection, count: int) -> list[tuple[str, bytes]]:
        """All replies but those that come at a time of their own."""
        replies = []
        while count:
            try:
                reply = connection.read()
            except (TimeoutError, EOFError) as error:
                return [*replies, (type(error).__name__, b"")]
            if reply.type == "S":
                connection._parameter(reply.body)
            elif reply.type == "A":
                # Which process has sent it differs.
                self.heard[connection].append(reply.body[4:])
            else:
                body = SOURCE_PLACE.sub(b"", reply.body) if reply.type in "EN" else reply.body
                replies.append((reply.type, body))
                count -= reply.type == "Z"
        return replies

    def compare(self, text: str, what: str, named: bool) -> None:
        """What the text asks for is the same for both, and both were told the same parameters."""
        data = close("S", "probe") + parse(text, "probe") + bind(name="probe") + execute() + sync()
        data = data if named else query(text)
        self.send(data)
        self.check(1, what, data)
        assert self.pooled.parameters == self.direct.parameters, what

    def compare_heard(self, what: str) -> None:
        """Both have heard the same; what was sent before has come to Weir's workers."""
        if self.status != "I":
            self.was_busy = True
            return
        # What waits is delivered behind the ReadyForQuery at the latest.
        for _ in range(2):
            self.send(sync())
            self.check(1, what, b"")
        listened = self.listened()
        # What is sent while the LISTEN of a transaction is under way may be heard or not, in PostgreSQL too.
        new = listened - self.channels if self.was_busy else set()
        expected, got = ([one for one in self.heard[side] if channel_of(one) not in new] for side in (self.direct, self.pooled))
        assert got == expected, f"{what}: {got} instead of {expected}"
        self.heard = {connection: [] for connection in self.heard}
        self.channels = listened
        self.was_busy = False

    def listened(self) -> set[bytes]:
        """The channels that the session of one's own listens to. Its unnamed statement stays what it is."""
        text = close("S", "probe") + parse("select pg_listening_channels()", "probe") + bind(name="probe")
        return {row[0].encode() for row in self.direct.exchange(text + execute() + close("S", "probe") + sync()).rows}


def channel_of(notification: bytes) -> bytes:
    return notification.split(b"\0")[0]


class Conversation:
    """Some twins on a Weir, and what they say; `make` gives the texts that they speak in."""

    def __init__(self, weir, seed: int, make, probe: str, size: int, logins: list[dict] | None = None):
        self.chance = random.Random(seed)
        self.probe = probe
        self.seed = seed
        self.size = size
        self.twins = [Twins(weir, **self.chance.choice(logins or [{}])) for _ in range(CLIENTS)]
        self.talks = [
            Talk(self.chance, make(self.chance), size > CLIENTS, make is not listening, make is not resetting)
            for _ in self.twins
        ]

    def hold(self, mode: str, then: Callable | None, at_rest: Callable | None) -> None:
        """Talks, to the end."""
        for number in range(STEPS_OF_A_CONVERSATION):
            self.step(f"WEIR_SEED={self.seed}, {mode}, step {number}")
            if then:
                then(self, f"WEIR_SEED={self.seed}, {mode}, heard after {number}")
            if number % 15 == 14:
                self.rest(f"WEIR_SEED={self.seed}, {mode}, at rest after {number}")
                if at_rest:
                    at_rest(self, f"WEIR_SEED={self.seed}, {mode}, heard at rest after {number}")
        for twins in self.twins:
            twins.close()

    def step(self, what: str) -> None:
        busy = [twins for twins in self.twins if twins.status != "I"]
        # Who has no server yet would wait for one.
        number = self.chance.choice(
            [number for number, twins in enumerate(self.twins) if twins in busy or len(busy) < self.size]
        )
        twins = self.twins[number]
        data, count = self.talks[number].step()
        at = self.chance.choice([len(data), self.chance.randrange(len(data))])
        twins.send(data[:at])
        twins.send(data[at:])
        twins.check(count, f"{what}, client {number}", data)
        if twins.status != "E" and self.chance.random() < 0.7:
            twins.compare(self.probe, f"{what}, client {number}, after {data}", self.chance.random() < 0.5)

    def rest(self, what: str) -> None:
        """Nobody is in a transaction, and everybody has what the twin has."""
        for number, twins in sorted(enumerate(self.twins), key=lambda pair: pair[1].status == "I"):
            twins.send(query("rollback"))
            twins.check(1, what, b"rollback")
        for number, twins in enumerate(self.twins):
            twins.compare(self.probe, f"{what}, client {number}", False)


def converse(weir, mode: str, make, probe: str, size: int, logins: list[dict] | None = None, then=None, at_rest=None) -> None:
    """Conversations until the time is over."""
    seed = int(os.environ.get("WEIR_SEED") or random.randrange(1 << 32))
    deadline = time.monotonic() + SECONDS
    while True:
        print(f"WEIR_SEED={seed}")
        conversation = Conversation(weir, seed, make, probe, size, logins)
        conversation.hold(mode, then, at_rest)
        if time.monotonic() > deadline:
            return
        seed += 1


@pytest.fixture(scope="module")
def schemas(postgres_of_the_session):
    """The same tables in both databases, and roles that app may take."""
    postgres_of_the_session.sql("grant third to app")
    for database in ("app", "second"):
        with psycopg.connect(postgres_of_the_session.address("postgres", database), autocommit=True) as connection:
            for schema in ("public", "one", "two"):
                connection.execute(
                    f"create schema if not exists {schema}; drop table if exists {schema}.place, {schema}.sink;"
                    f" create table {schema}.place as select '{schema}' as v; create table {schema}.sink (v int);"
                    f" grant all on schema {schema} to public; grant all on {schema}.place, {schema}.sink to public"
                )
    yield
    for database in ("app", "second"):
        with psycopg.connect(postgres_of_the_session.address("postgres", database), autocommit=True) as connection:
            connection.execute("drop schema one, two cascade; drop table place, sink")
    postgres_of_the_session.sql("revoke third from app")


pytestmark = [pytest.mark.every_backend, pytest.mark.usefixtures("schemas")]


@pytest.mark.parametrize("size", [1, 2])
def test_settings_are_those_of_a_session_of_ones_own(weir_factory, size):
    weir = weir_factory(default_pool_size=size)
    converse(weir, "settings", lambda chance: settings(chance, True), EVERYTHING, size)


def test_settings_of_the_login_are_too(weir_factory):
    converse(weir_factory(default_pool_size=1), "logins", lambda chance: settings(chance, False), EVERYTHING, 1, LOGINS)


@pytest.mark.parametrize("size", [1, 2])
def test_resets_go_back_to_the_login_as_in_a_session_of_ones_own(weir_factory, size):
    converse(weir_factory(default_pool_size=size), "resets", resetting, EVERYTHING, size, LOGINS)


@pytest.mark.parametrize("options", [{}, {"cache_unnamed_statements": 1}, {"max_prepared_statements": 2}], ids=str)
def test_statements_are_those_of_a_session_of_ones_own(weir_factory, options):
    converse(weir_factory(default_pool_size=2, **options), "statements", statements, "select 1", 2)


def test_held_state_is_that_of_a_session_of_ones_own(weir_factory):
    converse(weir_factory(default_pool_size=CLIENTS + 1), "holding", holding, HELD, CLIENTS + 1)


def test_notifications_are_those_of_a_session_of_ones_own(weir_factory):
    weir = weir_factory(default_pool_size=2)
    # Clients are dealt to the worker that has the fewest: each has one of these.
    fences = [weir.connect() for _ in range(weir.settings["workers"])]
    for fence in fences:
        fence.query("listen fence")
    with (
        wire.Connection(("127.0.0.1", weir.postgres.port)) as direct,
        wire.Connection(("127.0.0.1", weir.postgres.port)) as pooled,
    ):
        direct.login("app", "second")
        pooled.login("app", "app")

        def heard(conversation: Conversation, what: str) -> None:
            """What was sent has come to each worker, and who is in no transaction has heard it."""
            pooled.query("notify fence")
            for fence in fences:
                fence.read_until("A")
            for number, twins in enumerate(conversation.twins):
                twins.compare_heard(f"{what}, client {number}")

        def quiet(conversation: Conversation, what: str) -> None:
            """Every channel that a client listens to is heard."""
            for notifier in (direct, pooled):
                for channel in CHANNELS:
                    notifier.query(f"notify {channel}, 'last'")
            heard(conversation, what)

        converse(weir, "listening", listening, "select 1", 2, then=heard, at_rest=quiet)
