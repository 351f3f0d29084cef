"""Random sessions are the same through Weir as on connections of their own: settings, statements, LISTEN, held state.

Each of four clients in transaction mode has a twin that talks to PostgreSQL directly, in another database, so that
neither side's locks and notifications reach the other. The clients' turns are drawn at random, and what one of them
sends is sent by its twin too. Every reply has to be the same, and so has every setting, at each step.

WEIR_SEED repeats a conversation; WEIR_DIFFERENTIAL_SECONDS makes each test longer than its usual second for each set-up.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import psycopg
import pytest

import wire
from test_differential import SOURCE_PLACE, is_same
from wire import bind, close, describe, execute, parse, query, sync

SECONDS = float(os.environ.get("WEIR_DIFFERENTIAL_SECONDS", "1"))
CLIENTS = 4
STEPS_OF_A_CONVERSATION = 60

# What may differ though nothing is wrong: which process this is, and a custom setting that was once set and has no value
# any more, which is empty on the server that knew it and unknown to others.
CUSTOM = ["app.x", "app.user", "my.\"select\""]
EVERYTHING = (
    "select (select string_agg(name || '=' || setting, ' ' order by name) from pg_settings),"
    " current_setting('role'), session_user, current_user, current_schemas(true), "
    + ", ".join(f"coalesce(current_setting('{name.replace(chr(34), '')}', true), '')" for name in CUSTOM)
)
HELD = (
    "select (select string_agg(name || statement, ' ' order by name) from pg_prepared_statements where from_sql),"
    " (select string_agg(name, ' ' order by name) from pg_cursors where is_holdable),"
    " (select string_agg(relname, ' ' order by relname) from pg_class where relnamespace = pg_my_temp_schema()),"
    " (select string_agg(objid::text, ' ' order by objid) from pg_locks where locktype = 'advisory'"
    " and pid = pg_backend_pid())"
)

VALUES = {
    "statement_timeout": ["40s", "'50s'", "70000"],
    "lock_timeout": ["9s", "'10s'"],
    "work_mem": ["'7MB'", "8192"],
    "search_path": ["one", "two, public", "'one', \"two\"", "''", "\"$user\", public"],
    "app.x": ["'1'", "'it''s'", "E'a\\\\b'", "''", "word"],
    "app.user": ["42", "'anna'"],
    "my.\"select\"": ["'1'", "'2'"],
    "TimeZone": ["'Asia/Tokyo'", "'America/Lima'", "'UTC'"],
    "DateStyle": ["'SQL, DMY'", "iso, mdy", "german"],
    "intervalstyle": ["iso_8601", "'postgres'"],
    "application_name": ["'me'", "''", "other"],
    "client_encoding": ["latin1", "'UTF8'", "sql_ascii"],
    "standard_conforming_strings": ["off", "on"],
    "bytea_output": ["escape", "hex"],
    "extra_float_digits": ["0", "1"],
    "enable_seqscan": ["off", "on"],
    "default_transaction_isolation": ["'repeatable read'", "serializable", "'read committed'"],
    "default_transaction_read_only": ["on", "off"],
    "transform_null_equals": ["on", "off"],
    "role": ["third", "none", "'other'", "nobody"],
    "nonsense": ["1"],
    "shared_buffers": ["1"],
    "geqo_seed": ["7", "0.5"],
}
NAMES = list(VALUES)
LOGINS = [
    {"application_name": "tests", "TimeZone": "Asia/Tokyo"},
    {"TimeZone": "America/Lima", "DateStyle": "ISO, DMY", "client_encoding": "LATIN1"},
    {"application_name": "it's \\ me", "IntervalStyle": "iso_8601"},
]
CHANNELS = ["a", "b", "\"C c\""]
# What a statement says may depend on settings: of the one who runs it.
READING = [
    "select 1",
    "select 1 / 0",
    "select * from nowhere",
    "select v || '' from place",
    "select current_setting('TimeZone'), current_setting('work_mem')",
    "select '2024-03-02 01:00+00'::timestamptz::text, to_timestamp(0)",
    "select now() > '2001-02-03', date '2004-05-06', interval '1 day 2 hours', null = null",
    "select current_user, '\\x41'::bytea",
    "insert into sink values (1)",
    "select count(*) > -1 from sink",
]
CONTROL = [
    "begin", "begin", "begin", "commit", "commit", "rollback", "end", "savepoint s", "savepoint s", "release s",
    "rollback to s", "rollback to savepoint s", "commit and chain", "rollback and chain",
    "start transaction isolation level repeatable read", "set transaction read only",
]  # fmt: skip


class Talk:
    """Makes what one client says."""

    def __init__(self, chance: random.Random, fragments: list[Callable[[], str]], may_hold: bool):
        self.chance = chance
        self.may_hold = may_hold
        self.fragments = fragments
        self.names: list[str] = []

    def fragment(self) -> str:
        text = self.chance.choice(self.fragments)()
        drawn = self.chance.random()
        if drawn < 0.1:
            text = text.upper() if "'" not in text and '"' not in text else text
        elif drawn < 0.2:
            text = "/* begin; */ " + text
        elif drawn < 0.25:
            text = "\n-- '\n" + text + " "
        return text

    def extended(self) -> bytes:
        """Without its Sync."""
        drawn = self.chance.random()
        if drawn < 0.15:
            # Set by parameters.
            name = self.chance.choice(NAMES)
            value = self.chance.choice(VALUES[name]).strip("'")
            is_local = self.chance.choice(["true", "false", "false"])
            plain = name.replace('"', "")
            # A name that is not in the text holds the server.
            if self.may_hold and self.chance.random() < 0.5:
                return parse(f"select set_config($1, $2, {is_local})") + bind(plain, value) + execute()
            return parse(f"select set_config('{plain}', $1, {is_local})") + bind(value) + execute()
        if drawn < 0.4 and self.names:
            return self.run(self.chance.choice(self.names))
        if drawn < 0.6:
            name = self.chance.choice("pqrs")
            before = close("S", name) if name in self.names and self.chance.random() < 0.9 else b""
            self.names.append(name)
            run = self.run(name) if self.chance.random() < 0.5 else b""
            # One text has one name: an error names one of the names that a client gave to a statement.
            return before + parse(f"{self.fragment()} -- {name}", name) + run
        if drawn < 0.65 and self.names:
            return close("S", self.chance.choice(self.names))
        if drawn < 0.72:
            # Of an earlier exchange, if there is one.
            return self.run("")
        if drawn < 0.8:
            return parse(self.fragment())
        return parse(self.fragment()) + self.run("")

    def run(self, name: str) -> bytes:
        describing = describe() if self.chance.random() < 0.2 else b""
        return bind(name=name) + describing + execute()

    def batch(self) -> bytes:
        drawn = self.chance.random()
        if drawn < 0.4:
            return query(self.fragment())
        if drawn < 0.55:
            fragments = [self.fragment() for _ in range(self.chance.randrange(2, 5))]
            # DEALLOCATE knows the protocol's statements where it stands alone.
            return query(";".join("select 4" if "deallocate" in text.lower() else text for text in fragments))
        return b"".join(self.extended() for _ in range(self.chance.choice([1, 1, 1, 2, 4]))) + sync()

    def step(self) -> tuple[bytes, int]:
        """What to send at once, and how many ReadyForQuery it brings."""
        count = self.chance.choice([1, 1, 1, 2, 4])
        return b"".join(self.batch() for _ in range(count)), count


def settings(chance: random.Random, resets: bool) -> list[Callable[[], str]]:
    """What changes settings, and what reads them."""

    def change() -> str:
        name = chance.choice(NAMES)
        value = chance.choice(VALUES[name])
        kind = chance.choice(["set", "set", "set session", "set local", "set local", "config", "config", "default"])
        if kind == "config":
            is_local = chance.choice(["true", "false"])
            quoted = value if value.startswith(("'", "E'")) else "'" + value.replace("'", "''") + "'"
            return f"select set_config('{name.replace(chr(34), '')}', {quoted}, {is_local})"
        if kind == "default" and resets:
            return chance.choice([f"reset {name}", f"set {name} to default", f"set local {name} to default"])
        return f"{kind if kind != 'default' else 'set'} {name} {chance.choice(['=', 'to'])} {value}"

    def special() -> str:
        return chance.choice([
            "set time zone 'Europe/Rome'", "set time zone -3", "set names 'latin1'", "set schema 'two'",
            "set session characteristics as transaction isolation level repeatable read, read only",
            "set session characteristics as transaction read write, isolation level read committed",
            "reset role" if resets else "set role none", "set role third", "set role none",
            "do $$ begin set app.x = 'in do'; perform set_config('work_mem', '9MB', false); end $$",
            "set app.x to 'after', 'comma'",
        ])  # fmt: skip

    def everything() -> str:
        return "reset all" if resets else "select 2"

    return [change] * 8 + [special, special, everything] + reading(chance) * 3


def reading(chance: random.Random) -> list[Callable[[], str]]:
    return [lambda: chance.choice(READING), lambda: chance.choice(CONTROL)]


def statements(chance: random.Random) -> list[Callable[[], str]]:
    def drop() -> str:
        return chance.choice(["deallocate all", "discard all", "deallocate p", "deallocate prepare q", "deallocate \"r\"",
                              "discard plans"])  # fmt: skip

    return [drop] + reading(chance) * 3


def listening(chance: random.Random) -> list[Callable[[], str]]:
    def listen() -> str:
        return f"{chance.choice(['listen', 'listen', 'unlisten'])} {chance.choice(CHANNELS)}"

    def notify() -> str:
        channel = chance.choice(CHANNELS)
        if chance.random() < 0.3:
            return f"select pg_notify('{channel.strip(chr(34))}', '{chance.randrange(1000)}')"
        return f"notify {channel}, '{chance.randrange(1000)}'"

    return [listen, listen, notify, notify, lambda: chance.choice(["unlisten *", "discard all", "select 3"])] + reading(
        chance
    ) * 2


def holding(chance: random.Random) -> list[Callable[[], str]]:
    def hold() -> str:
        key = chance.randrange(3)
        return chance.choice([
            "create temp table held (v int)", "create temporary table if not exists held (v int)", "drop table held",
            "create temp table brief on commit drop as select 1", "insert into held values (1)",
            "select count(*) from held", "discard temp", "discard all", "select 5 as v into temp into_held",
            "drop table if exists into_held, held", f"select pg_advisory_lock_shared({key})",
            f"select pg_advisory_unlock_shared({key})", f"select pg_advisory_xact_lock_shared({key})",
            "select pg_advisory_unlock_all()", "declare c cursor with hold for select generate_series(1, 5)",
            "fetch 2 from c", "close c", "close all", "declare d cursor for select 1", "fetch d",
            "prepare one as select 1", "prepare two (int) as select $1 + 1", "prepare three as set app.x = 'prepared'",
            "execute one", "execute two (3)", "execute three", "deallocate one", "deallocate two", "deallocate three",
            "deallocate all", "set app.x = 'set'", "set work_mem = '7MB'", "rollback", "reset all",
        ])  # fmt: skip

    return [hold] * 5 + reading(chance)


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

    def close(self) -> None:
        self.direct.terminate()
        self.pooled.terminate()

    def send(self, data: bytes) -> None:
        self.direct.send(data)
        self.pooled.send(data)

    def check(self, count: int, what: str, data: bytes) -> None:
        """Reads the answers of both and compares them."""
        expected, got = self.answer(self.direct, count), self.answer(self.pooled, count)
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


class Conversation:
    """Some twins on a Weir, and what they say; `make` gives the texts that they speak in."""

    def __init__(self, weir, seed: int, make, probe: str, size: int, logins: list[dict] | None = None):
        self.chance = random.Random(seed)
        self.probe = probe
        self.seed = seed
        self.size = size
        self.twins = [Twins(weir, **self.chance.choice(logins or [{}])) for _ in range(CLIENTS)]
        self.talks = [Talk(self.chance, make(self.chance), size > CLIENTS) for _ in self.twins]

    def hold(self, mode: str, then: Callable | None) -> None:
        """Talks, to the end."""
        for number in range(STEPS_OF_A_CONVERSATION):
            self.step(f"WEIR_SEED={self.seed}, {mode}, step {number}")
            if number % 15 == 14:
                self.rest(f"WEIR_SEED={self.seed}, {mode}, at rest after {number}")
                if then:
                    then(self, f"WEIR_SEED={self.seed}, {mode}, heard after {number}")
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


def converse(weir, mode: str, make, probe: str, size: int, logins: list[dict] | None = None, then=None) -> None:
    """Conversations until the time is over."""
    seed = int(os.environ.get("WEIR_SEED") or random.randrange(1 << 32))
    deadline = time.monotonic() + SECONDS
    while True:
        print(f"WEIR_SEED={seed}")
        conversation = Conversation(weir, seed, make, probe, size, logins)
        conversation.hold(mode, then)
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
                    f" grant all on schema {schema} to app; grant all on {schema}.place, {schema}.sink to app"
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


@pytest.mark.parametrize("options", [{}, {"cache_unnamed_statements": 1}, {"max_prepared_statements": 2}], ids=str)
def test_statements_are_those_of_a_session_of_ones_own(weir_factory, options):
    converse(weir_factory(default_pool_size=2, **options), "statements", statements, "select 1", 2)


def test_held_state_is_that_of_a_session_of_ones_own(weir_factory):
    converse(weir_factory(default_pool_size=CLIENTS + 1), "holding", holding, HELD, CLIENTS + 1)


def test_notifications_are_those_of_a_session_of_ones_own(weir_factory):
    weir = weir_factory(default_pool_size=2)
    with (
        wire.Connection(("127.0.0.1", weir.postgres.port)) as direct,
        wire.Connection(("127.0.0.1", weir.postgres.port)) as pooled,
    ):
        direct.login("app", "second")
        pooled.login("app", "app")

        def quiet(conversation: Conversation, what: str) -> None:
            """Everything that was sent before the last notifications has been heard."""
            for notifier in (direct, pooled):
                for channel in CHANNELS:
                    notifier.query(f"notify {channel}, 'last'")
            for number, twins in enumerate(conversation.twins):
                for _ in range(2):
                    twins.send(query("select 1"))
                    twins.check(1, what, b"select 1")
                expected = twins.heard[twins.direct]
                while len(twins.heard[twins.pooled]) < len(expected):
                    reply = twins.pooled.read()
                    assert reply.type == "A", what
                    twins.heard[twins.pooled].append(reply.body[4:])
                assert twins.heard[twins.pooled] == expected, f"{what}, client {number}"

        converse(weir, "listening", listening, "select 1", 2, then=quiet)
