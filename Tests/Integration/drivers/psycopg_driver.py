"""psycopg 3, a thread with its own connection for each client: PORT CLIENTS PART.

MODE in the environment is one of MODES; the defaults bind on the server and prepare a query at its fifth use. psycopg's
pool is a package of its own and is not run. Prints one JSON line for each step of each client.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from uuid import UUID

import psycopg
from playing import ADD, CLIENTS, INSERT, IS_SLEEPING, LOGIN, WAIT_SECONDS, barrier, cancel, everything_of, hold, key
from playing import listen, one_sleeps, parametrised, play, rows, run, say, server_side_cursors, set_, sqlstate
from playing import transactions
from psycopg.types.json import Jsonb
from psycopg.types.range import Range


class BinaryConnection(psycopg.Connection):
    """Its cursors want binary results."""

    def cursor(self, *words, **options):
        return super().cursor(*words, **{"binary": True} | options)


MODES = {
    "default": {},
    "client binding": {"cursor_factory": psycopg.ClientCursor},
    "prepared at once": {"prepare_threshold": 0},
    "never prepared": {"prepare_threshold": None},
    "binary": {"prepare_threshold": 2},
}
MODE = os.environ.get("MODE", "default")
OPTIONS = LOGIN | {"dbname": "app"} | MODES[MODE]


def connect(autocommit: bool = False):
    kind = BinaryConnection if MODE == "binary" else psycopg.Connection
    return kind.connect(**OPTIONS, autocommit=autocommit)


def everyday(me: int) -> None:
    with closing(connect()) as db:
        say(me, "simple", rows(db, "select 1, 'two'"))
        parametrised(db, me)
        types(db, me)
        batch(db, me)
        copies(db, me)
        server_side_cursors(db, me)
        streams(db, me)
        blocks(db, me)
        transactions(db, me)
        everything_of(db, me)


def types(db, me: int) -> None:
    values = (-5, 1 << 40, 1.5, "grüße 'n' \\", True, None, Decimal("12.50"), [1, -2], Jsonb({"a": [1]}), b"\0\1\xff")
    more = (date(2024, 2, 29), datetime(2024, 2, 29, 12, tzinfo=UTC), timedelta(days=1, seconds=2), UUID(int=me))
    others = (ip_address("127.0.0.1"), Range(1, me + 1), [["a", "ß"], [None, ""]])
    casts = ", ".join(["%s"] * 5 + ["%s::text", "%s", "%s::int[]"] + ["%s"] * 8 + ["%s::text[]"])
    for _ in range(3):
        found = rows(db, f"select {casts}", *values, *more, *others)
    as_binary = ", ".join(["%b", "%t::bigint", "%b::text"])
    say(me, "types", found, rows(db, f"select {as_binary}", me, me, f"client {me}"))


def batch(db, me: int) -> None:
    """psycopg sends it as a pipeline."""
    cursor = db.cursor()
    cursor.executemany(INSERT, [(key(me, number), "many") for number in range(100, 200)])
    db.commit()
    pairs = [(key(me, number), "returned") for number in range(200, 250)]
    cursor.executemany(f"{INSERT} returning id", pairs, returning=True)
    total = cursor.fetchone()[0]
    while cursor.nextset():
        total += cursor.fetchone()[0]
    db.commit()
    pairs = [(key(me, 300), "new"), (key(me, 100), "again"), (key(me, 301), "new")]
    again = sqlstate(lambda: cursor.executemany(INSERT, pairs))
    db.rollback()
    say(me, "batch", total, again)


def copies(db, me: int) -> None:
    copy_and_back(db, me, "text", 400)
    copy_and_back(db, me, "binary", 600)


def copy_and_back(db, me: int, form: str, start: int) -> None:
    def write(count: int) -> None:
        with db.cursor().copy(f"copy t from stdin (format {form})") as copy:
            copy.set_types(["int4", "text"])
            for number in range(start, start + count):
                copy.write_row((key(me, number), "copied"))

    write(100)
    db.commit()
    again = sqlstate(lambda: write(1))
    db.rollback()
    mine = f"select id, v from t where id between {key(me, start)} and {key(me, start + 99)} order by id"
    with db.cursor().copy(f"copy ({mine}) to stdout (format {form})") as copy:
        copy.set_types(["int4", "text"])
        found = list(copy.rows())
    give_up(db, f"copy (select generate_series(1, 1000000)) to stdout (format {form})")
    give_up(db, f"copy t from stdin (format {form})")
    say(me, f"copy {form}", again, len(found), found[-1], rows(db, "select 'alive'"))
    db.commit()


def give_up(db, sql: str) -> None:
    """When the block raises, the driver cancels a COPY out and ends a COPY in with CopyFail."""
    with contextlib.suppress(LookupError), db.cursor().copy(sql) as copy:
        if "from stdin" in sql:
            copy.write(b"junk")
        else:
            copy.read()
        raise LookupError
    db.rollback()


def streams(db, me: int) -> None:
    sums = []
    for size in (1, 20):
        streamed = db.cursor().stream("select generate_series(1, %s::int)", (90 + me,), size=size)
        sums.append(sum(row[0] for row in streamed))
    db.commit()
    # What is given up is cancelled.
    for row in (given_up := db.cursor().stream("select generate_series(1, 100000000)")):
        sums.append(row[0])
        break
    given_up.close()
    db.rollback()
    say(me, "stream", sums, rows(db, "select 'alive'"))
    db.commit()


def between(db, me: int, first: int, last: int) -> list[list]:
    return rows(db, "select * from t where id between %s and %s order by id", key(me, first), key(me, last))


def blocks(db, me: int) -> None:
    states = []
    with db.transaction():
        run(db, INSERT, key(me, 700), "stays")
        for number in (700, 701):
            try:
                with db.transaction():
                    run(db, INSERT, key(me, number), "inner")
                    with db.transaction(force_rollback=True):
                        run(db, INSERT, key(me, 702), "gone")
            except psycopg.errors.UniqueViolation as error:
                states.append(error.sqlstate)
    say(me, "nested transactions", states, between(db, me, 700, 702))
    db.commit()


def pipelines(me: int) -> None:
    with closing(connect(autocommit=True)) as db:
        results = []
        with db.pipeline() as pipeline:
            for number in range(100):
                db.execute(INSERT, (key(me, number), "piped"))
                results.append(db.execute(ADD, (number, me)))
                if number % 10 == 0:
                    pipeline.sync()
                if number % 25 == 0:
                    db.execute("select 1").fetchone()
            total = sum(cursor.fetchone()[0] for cursor in results)
        say(me, "pipeline", total, rows(db, "select count(*) from t where id / 1000 = %s", me))
        errors_in_pipelines(db, me)
        with db.pipeline():
            db.execute(f"set application_name to 'piped {me}'")
            db.execute("select set_config('search_path', %s, false)", (f"of_{me}, public",))
            found = db.execute("select current_setting('application_name'), current_setting('search_path')").fetchone()
        say(me, "set in a pipeline", found, rows(db, "show search_path"))
    with closing(connect()) as db:
        with db.pipeline():
            for number in range(800, 820):
                db.execute(INSERT, (key(me, number), "piped"))
            db.commit()
            db.execute(INSERT, (key(me, 820), "gone"))
            db.rollback()
            found = between(db, me, 800, 900)
        db.commit()
        say(me, "commits in a pipeline", found)


def errors_in_pipelines(db, me: int) -> None:
    """Row 1 is there."""
    states = [sqlstate(lambda: piped(db, (key(me, 200), key(me, 1), key(me, 201))))]
    # What comes before a Sync stays.
    states.append(sqlstate(lambda: piped(db, (key(me, 300), key(me, 1), key(me, 301)), sync=True)))
    say(me, "error in a pipeline", states, between(db, me, 200, 400))
    states = []
    with db.pipeline(), db.transaction():
        db.execute(INSERT, (key(me, 500), "stays"))
        try:
            with db.transaction():
                db.execute(INSERT, (key(me, 501), "gone"))
                db.execute(INSERT, (key(me, 500), "again"))
        except psycopg.errors.UniqueViolation as error:
            states.append(error.sqlstate)
        db.execute(INSERT, (key(me, 502), "stays too"))
    say(me, "transactions in a pipeline", states, between(db, me, 500, 600))


def piped(db, keys, sync: bool = False) -> None:
    with db.pipeline() as pipeline:
        for number in keys:
            db.execute(INSERT, (number, "piped"))
            if sync:
                pipeline.sync()


def cancelled(me: int) -> None:
    with closing(connect(autocommit=True)) as db:
        cancel(db, me, lambda: connect(autocommit=True), {"cancel": db.cancel, "cancel_safe": db.cancel_safe})


def settings(me: int) -> None:
    with closing(connect(autocommit=True)) as db:
        set_(db, me)
    with closing(connect()) as db:
        db.isolation_level = psycopg.IsolationLevel.SERIALIZABLE if me % 2 else psycopg.IsolationLevel.REPEATABLE_READ
        db.read_only = me > 2
        run(db, f"set client_encoding to {'LATIN1' if me % 2 else 'UTF8'}")
        db.commit()
        seen = set()
        for _ in range(20):
            found = rows(db, "select current_setting('transaction_isolation'), 'ß', current_setting('client_encoding')")
            writes = sqlstate(lambda: run(db, INSERT, key(me, 1), "ü"))
            db.rollback()
            seen.add(str((found, writes, db.info.encoding)))
        say(me, "session", sorted(seen))


def heard(me: int) -> None:
    with closing(connect(autocommit=True)) as db:

        def receive() -> list[str]:
            return [f"{one.channel}: {one.payload}" for one in db.notifies(timeout=WAIT_SECONDS, stop_after=1)]

        listen(db, me, receive)
    asyncio.run(notify_handler(me))


def walk(db) -> list:
    with db.cursor("held", scrollable=True, withhold=True) as cursor:
        cursor.execute("select generate_series(1, %s::int)", (9,))
        found = [cursor.fetchone()]
        run(db, "select 1")
        cursor.scroll(8, "absolute")
        found.append(cursor.fetchone())
    return found


def held(me: int) -> None:
    with closing(connect(autocommit=True)) as db:
        hold(db, me, walk)


async def asynchronous(me: int) -> None:
    db = await psycopg.AsyncConnection.connect(**OPTIONS, autocommit=True)
    total = 0
    for number in range(30):
        total += (await (await db.execute(ADD, (number, me))).fetchone())[0]
    async with db.pipeline():
        for number in range(30):
            await db.execute(INSERT, (key(me, number), "piped"))
    async with db.transaction(), db.cursor("walk") as cursor:
        await cursor.execute("select generate_series(1, 30)")
        total += sum([row[0] async for row in cursor])
    async with db.cursor().copy("copy (select generate_series(1, 30)) to stdout") as copy:
        total += len([row async for row in copy.rows()])
    say(me, "asynchronous", total)
    query = f"select pg_sleep(60) /* {me} {os.getpid()} */"
    with one_sleeps:
        sleep = asyncio.create_task(db.execute(query))
        async with await psycopg.AsyncConnection.connect(**OPTIONS, autocommit=True) as watcher:
            while not await (await watcher.execute(IS_SLEEPING, (query,))).fetchone():
                pass
        # psycopg cancels on the server what the task was waiting for.
        sleep.cancel()
        outcome = (await asyncio.gather(sleep, return_exceptions=True))[0]
    say(me, "task cancelled", type(outcome).__name__, await (await db.execute("select 'alive'")).fetchall())
    await db.close()


async def notify_handler(me: int) -> None:
    db = await psycopg.AsyncConnection.connect(**OPTIONS, autocommit=True)
    heard: set[str] = set()
    db.add_notify_handler(lambda one: heard.add(f"{one.channel}: {one.payload}"))
    await db.execute("listen everyone")
    await asyncio.to_thread(barrier.wait, WAIT_SECONDS)
    await db.execute("select pg_notify('everyone', %s)", (f"from {me}",))
    async with asyncio.timeout(WAIT_SECONDS):
        while len(heard) < CLIENTS:
            await db.execute("select 1")
    say(me, "notify handler", sorted(heard))
    await db.close()


play(
    {
        "everyday": everyday,
        "pipeline": pipelines,
        "cancel": cancelled,
        "set": settings,
        "listen": heard,
        "hold": held,
        "asynchronous": lambda me: asyncio.run(asynchronous(me)),
    }
)
