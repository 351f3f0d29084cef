"""What random clients say in test_differential_sessions.py: texts that change or read a session, in every protocol."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Iterator

from wire import bind, close, describe, execute, parse, query, sync

# What may differ though nothing is wrong: which process this is, and a custom setting that was once set and has no value
# any more, which is empty on the server that knew it and unknown to others.
CUSTOM = ["app.x", "app.user", "my.\"select\""]
EVERYTHING = (
    "select (select string_agg(name || '=' || setting, ' ' order by name) from pg_settings where name not like 'plpgsql.%'),"
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
    # The tables are in all of them: that a table is missing may be said at Bind instead of at Parse.
    "search_path": ["one", "two, public", "public", "\"two\", \"one\""],
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
    {"work_mem": "7MB", "app.x": "it's \\ \n mine", "options": "-c search_path=two,public --lock_timeout=9s"},
    {"role": "third", "bytea_output": "escape", "TimeZone": "America/Lima"},
    {"options": "-c extra_float_digits=0 -cgeqo_seed=0.5", "app.user": "", "default_transaction_isolation": "serializable"},
]
CHANNELS = ["a", "b", "\"C c\""]
# No text has constants that settings give another meaning: one that is prepared before such a change and once more behind
# it, on another server, is read anew.
READING = [
    "select 1",
    "select 1 / 0",
    "select * from nowhere",
    "select v || '' from place",
    "select current_setting('TimeZone'), current_setting('work_mem')",
    "select '2024-03-02 01:00+00'::timestamptz::text, to_timestamp(0)",
    "select now() > '2001-02-03', date '2004-05-06', interval '1 day 2 hours'",
    "select current_user, 'A'::bytea",
    "insert into sink values (1)",
    "select count(*) > -1 from sink",
]
# No isolation level is chosen behind a Parse: PostgreSQL refuses that, since analysing a query takes a snapshot, and Weir
# need not send the Parse of a statement that the server has.
CONTROL = [
    "begin", "begin", "begin", "commit", "commit", "rollback", "end", "savepoint s", "savepoint s", "release s",
    "rollback to s", "rollback to savepoint s", "commit and chain", "rollback and chain",
    "start transaction read only", "set transaction read only",
]  # fmt: skip


NAMING = re.compile("execute|deallocate|discard", re.IGNORECASE)
ENDING = re.compile("rollback|commit|end|abort", re.IGNORECASE)


class Talk:
    """Makes what one client says."""

    def __init__(
        self,
        chance: random.Random,
        fragments: list[Callable[[], str]],
        may_hold: bool,
        in_pipelines: bool,
        in_one_transaction: bool = True,
    ):
        self.chance = chance
        self.may_hold = may_hold
        # A LISTEN right behind the COMMIT of a NOTIFY may hear that, too.
        self.batches = [1, 1, 1, 2, 4] if in_pipelines else [1]
        # Behind a RESET its transaction sees another value than that of the start-up packet.
        self.counts = self.batches if in_one_transaction else [1]
        self.fragments = fragments
        self.names: list[str] = []

    def text(self, count: int) -> str:
        """A simple query of so many statements."""
        texts = [self.fragment(in_query=True) for _ in range(count)]
        # What begins in a failed transaction is passed on as it is.
        for number, text in enumerate(texts):
            if NAMING.search(text) and any(ENDING.search(before) for before in texts[:number]):
                texts[number] = "select 4"
        return ";".join(texts)

    def fragment(self, alone: bool = True, in_query: bool = False) -> str:
        text = self.chance.choice(self.fragments)()
        # In a batch the end of one of the protocol's statements is seen where it stands alone, and EXECUTE is not.
        is_end = "deallocate" in text and not text.endswith(" all")
        if not in_query and (text.startswith('execute "') or is_end and not alone):
            text = "select 4"
        drawn = self.chance.random()
        if drawn < 0.1:
            text = text.upper() if "'" not in text and '"' not in text else text
        elif drawn < 0.2:
            text = "/* begin; */ " + text
        elif drawn < 0.25:
            text = "\n-- '\n" + text + " "
        return text

    def extended(self, alone: bool) -> bytes:
        """Without its Sync; `alone` when nothing else is in the batch."""
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
            name = self.chance.choice("pqrsuv")
            # EXECUTE of what controls a transaction ends PostgreSQL's session.
            text = self.chance.choice(READING) if name in "uv" else self.fragment(False)
            before = close("S", name) if name in self.names and self.chance.random() < 0.9 else b""
            self.names.append(name)
            run = self.run(name) if self.chance.random() < 0.5 else b""
            # One text has one name: an error names one of the names that a client gave to a statement.
            return before + parse(f"{text} -- {name}", name) + run
        if drawn < 0.65 and self.names:
            return close("S", self.chance.choice(self.names))
        return parse(self.fragment(alone)) + self.run("")

    def run(self, name: str) -> bytes:
        describing = describe() if self.chance.random() < 0.2 else b""
        return bind(name=name) + describing + execute()

    def batch(self) -> bytes:
        drawn = self.chance.random()
        if drawn < 0.4:
            return query(self.text(1))
        if drawn < 0.55:
            return query(self.text(self.chance.choice(self.counts)))
        if drawn < 0.62:
            # Bound in the next exchange, and perhaps in this one too.
            run = self.run("") if self.chance.random() < 0.5 else b""
            return parse(self.fragment()) + run + sync() + self.run("") + sync()
        count = self.chance.choice(self.counts)
        return b"".join(self.extended(count == 1) for _ in range(count)) + sync()

    def step(self) -> tuple[bytes, int]:
        """What to send at once, and how many ReadyForQuery it brings."""
        batches = b"".join(self.batch() for _ in range(self.chance.choice(self.batches)))
        return batches, sum(tag in (b"Q", b"S") for tag in tags(batches))


def tags(messages: bytes) -> Iterator[bytes]:
    while messages:
        yield messages[:1]
        (length,) = struct.unpack("!i", messages[1:5])
        messages = messages[1 + length :]


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


def resetting(chance: random.Random) -> list[Callable[[], str]]:
    """Each statement is a transaction of its own, but for some that hold a RESET.

    These are of settings that cannot be reset without a trace: what is rolled back is not told from what changed nothing
    where a setting is empty, or has the server's default.
    """

    def reset() -> str:
        name, certain = chance.choice(NAMES), chance.choice(["work_mem", "lock_timeout", "search_path"])
        return chance.choice(
            [f"reset {name}", f"set {name} to default", "reset all", "discard all", "reset role", "set time zone local",
             "reset session authorization", "do $$ begin reset work_mem; end $$", f"begin; reset {certain}; rollback",
             f"begin; reset {certain}; commit"]
        )  # fmt: skip

    return settings(chance, True)[:10] + [reset] * 6 + [lambda: chance.choice(READING)] * 3


def reading(chance: random.Random) -> list[Callable[[], str]]:
    return [lambda: chance.choice(READING), lambda: chance.choice(CONTROL)]


def statements(chance: random.Random) -> list[Callable[[], str]]:
    def drop() -> str:
        return chance.choice(["deallocate all", "discard all", "deallocate p", "deallocate prepare q", "deallocate \"r\"",
                              "discard plans"])  # fmt: skip

    def run() -> str:
        return f'execute "{chance.choice("uv")}"'

    return [drop, run] + reading(chance) * 3


def listening(chance: random.Random) -> list[Callable[[], str]]:
    def listen() -> str:
        return f"{chance.choice(['listen', 'listen', 'unlisten'])} {chance.choice(CHANNELS)}"

    def notify() -> str:
        # Several with the same payload are one where they are in one transaction.
        channel, payload = chance.choice(CHANNELS), chance.choice([chance.randrange(1000), 7])
        if chance.random() < 0.3:
            return f"select pg_notify('{channel.strip(chr(34))}', '{payload}')"
        return f"notify {channel}, '{payload}'"

    def read() -> str:
        return chance.choice(READING + CONTROL)

    return [listen, listen, notify, notify, lambda: chance.choice(["unlisten *", "discard all", "select 3"])] + [read] * 4


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
