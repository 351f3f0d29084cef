"""asyncpg at its defaults, a task with its own connection for each client: PORT CLIENTS PART.

All results and parameters are binary. asyncpg has no pipelines (its `executemany` is a batch) and no cursor WITH HOLD
of its own. Prints one JSON line for each step of each client.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from uuid import UUID

import asyncpg
from playing import CLIENTS, LOGIN, PART, WAIT_SECONDS, key, say, state_of

INSERT = "insert into t values ($1, $2)"
# A query is active as well while it is only prepared.
IS_SLEEPING = "select 1 from pg_stat_activity where wait_event = 'PgSleep' and query = $1"
SETTINGS = (
    "select current_setting('statement_timeout'), current_setting('search_path'), current_setting('lock_timeout'),"
    " current_setting('application_name')"
)
barrier: asyncio.Barrier
one_sleeps: asyncio.Lock


async def connect(**options) -> asyncpg.Connection:
    return await asyncpg.connect(**LOGIN, database="app", ssl=False, **options)


async def sqlstate(work) -> str:
    try:
        await work
    except asyncpg.PostgresError as error:
        return state_of(error)
    return "no error"


def values(records) -> list[list]:
    return [list(record) for record in records]


async def everyday(db: asyncpg.Connection, me: int) -> None:
    say(me, "simple", await db.execute("select 1; select 2"), values(await db.fetch("select 1, 'two'")))
    total = 0
    for number in range(50):
        total += await db.fetchval("select $1::int + $2::int", number, me) - me
        await db.execute(INSERT, key(me, number), f"row {number}")
    say(me, "parametrised", total)
    # More of them than the driver's cache keeps, which closes the oldest.
    say(me, "statements", sum([await db.fetchval(f"select $1::int + {number}", me) for number in range(130)]))
    uncached = await connect(statement_cache_size=0)
    say(me, "no cache", sum([await uncached.fetchval("select $1::int + $2::int", me, number) for number in range(30)]))
    await uncached.close()
    await types(db, me)
    await prepared(db, me)
    await batch(db, me)
    await copies(db, me)
    await cursors(db, me)
    await transactions(db, me)
    await pool(me)
    say(me, "rows", values(await db.fetch("select count(*), sum(id) from t where id / 1000 = $1", me)))


async def types(db: asyncpg.Connection, me: int) -> None:
    given = (-5, 1 << 40, 1.5, "grüße", True, None, Decimal("12.50"), [1, -2], '{"a": [1]}', b"\0\1\xff")
    more = (date(2024, 2, 29), datetime(2024, 2, 29, 12, tzinfo=UTC), timedelta(days=1, seconds=2), UUID(int=me))
    others = (ip_address("127.0.0.1"), asyncpg.Range(1, me + 1), [["a", "ß"], [None, ""]])
    names = ["int2", "int8", "float8", "text", "bool", "date", "numeric", "int[]", "jsonb", "bytea"]
    names += ["date", "timestamptz", "interval", "uuid", "inet", "int4range", "text[]"]
    casts = ", ".join(f"${place}::{name}" for place, name in enumerate(names, 1))
    say(me, "types", list(await db.fetchrow(f"select {casts}", *given, *more, *others)))
    # What the driver does not know it looks up in the catalogue.
    await db.execute(f"drop type if exists pair_{me}, mood_{me}")
    await db.execute(f"create type mood_{me} as enum ('low', 'high'); create type pair_{me} as (m mood_{me}, i int)")
    await db.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    looked_up = f"select $1::mood_{me}, $2::pair_{me}, array[$2]::pair_{me}[], $3::jsonb"
    found = [await db.fetchrow(looked_up, "high", ("low", me), {"me": me}) for _ in range(3)]
    await db.execute(f"drop type pair_{me}, mood_{me}")
    say(me, "types of its own", [str(record) for record in found])


async def prepared(db: asyncpg.Connection, me: int) -> None:
    mine = await db.prepare(f"select v || ' by {me}' as text from t where id = $1")
    found = [await mine.fetchval(key(me, number)) for number in range(20)]
    kinds = [one.name for one in mine.get_parameters()] + [one.name for one in mine.get_attributes()]
    many = await mine.fetchmany([(key(me, number),) for number in range(10)])
    async with db.transaction():
        walked = [record[0] async for record in mine.cursor(key(me, 1))]
    insert = await db.prepare(INSERT)
    await insert.executemany([(key(me, number), "prepared") for number in range(50, 80)])
    failed = await sqlstate(insert.fetch(key(me, 1), "again"))
    say(me, "prepared", found, kinds, values(many), walked, failed, insert.get_statusmsg())


async def batch(db: asyncpg.Connection, me: int) -> None:
    await db.executemany(INSERT, [(key(me, number), "many") for number in range(100, 200)])
    pairs = [(key(me, 300), "new"), (key(me, 100), "again"), (key(me, 301), "new")]
    failed = await sqlstate(db.executemany(INSERT, pairs))
    both = [(key(me, number), "returned") for number in (310, 311)]
    returned = values(await db.fetchmany(f"{INSERT} returning id", both))
    left = await db.fetchval("select count(*) from t where id between $1 and $2", key(me, 300), key(me, 309))
    say(me, "batch", failed, returned, left)


async def copies(db: asyncpg.Connection, me: int) -> None:
    records = [(key(me, number), "copied") for number in range(400, 500)]
    status = [await db.copy_records_to_table("t", records=records)]
    failed = await sqlstate(db.copy_records_to_table("t", records=records[:1]))
    lines = "".join(f"{key(me, number)}\tcopied\n" for number in range(500, 600))
    status.append(await db.copy_to_table("t", source=io.BytesIO(lines.encode()), columns=["id", "v"]))
    query = "select * from t where id between $1 and $2 order by id"
    out = io.BytesIO()
    status.append(await db.copy_from_query(query, key(me, 500), key(me, 599), output=out))
    binary = io.BytesIO()
    status.append(await db.copy_from_query(query, key(me, 400), key(me, 599), output=binary, format="binary"))
    say(me, "copy", status, failed, out.getvalue().decode() == lines, len(binary.getvalue()))

    async def stop(_: bytes) -> None:
        raise LookupError

    async def broken():
        yield (key(me, 990), "lost")
        raise LookupError

    outcomes = []
    for work in (
        db.copy_from_query("select generate_series(1, 1000000)", output=stop),
        db.copy_records_to_table("t", records=broken()),
    ):
        outcomes.append(type((await asyncio.gather(work, return_exceptions=True))[0]).__name__)
    say(me, "copy given up", outcomes, await db.fetchval("select 'alive'"))


async def cursors(db: asyncpg.Connection, me: int) -> None:
    async with db.transaction():
        walked = [record[0] async for record in db.cursor("select generate_series(1, $1::int)", 120, prefetch=7)]
        cursor = await db.cursor("select generate_series(1, $1::int)", 50)
        found = [values(await cursor.fetch(3)), await cursor.forward(10), list(await cursor.fetchrow())]
        other = await db.cursor("select generate_series($1::int, 100)", me)
        found += [values(await other.fetch(2)), values(await cursor.fetch(2))]
    say(me, "cursor", sum(walked), found)


async def transactions(db: asyncpg.Connection, me: int) -> None:
    again = (INSERT, key(me, 1), "again")
    transaction = db.transaction()
    await transaction.start()
    await db.execute(INSERT, key(me, 900), "gone")
    states = [await sqlstate(db.execute(*again)), await sqlstate(db.fetch("select 1"))]
    await transaction.rollback()
    say(me, "error in a transaction", states, await db.fetchval("select count(*) from t where id = $1", key(me, 900)))
    async with db.transaction():
        try:
            async with db.transaction():
                await db.execute(INSERT, key(me, 901), "gone")
                await db.execute(*again)
        except asyncpg.UniqueViolationError as error:
            states = [error.sqlstate]
        await db.execute(INSERT, key(me, 902), "stays")
    found = await db.fetch("select id from t where id between $1 and $2", key(me, 900), key(me, 910))
    say(me, "savepoint", states, values(found))
    async with db.transaction(isolation="serializable", readonly=True, deferrable=True):
        modes = await db.fetchval("show transaction_isolation"), await sqlstate(db.execute(INSERT, 1, ""))
    say(me, "isolation", modes, await db.fetchval("show transaction_isolation"))


async def pool(me: int) -> None:
    """Fewer connections than tasks; each is reset when it goes back."""
    async with asyncpg.create_pool(**LOGIN, database="app", ssl=False, min_size=3, max_size=3) as mine:

        async def one(number: int) -> int:
            async with mine.acquire() as db:
                await db.execute(f"set application_name to 'task {number}'")
                async with db.transaction():
                    await db.execute(INSERT, key(me, 700 + number), "pooled")
                    await db.execute(f"set local work_mem to '{100 + number}kB'")
                    assert await db.fetchval("show work_mem") == f"{100 + number}kB"
                assert await db.fetchval("show application_name") == f"task {number}"
                return await db.fetchval("select id from t where id = $1", key(me, 700 + number))

        say(me, "pool", await asyncio.gather(*(one(number) for number in range(30))))
        names = await asyncio.gather(*(mine.fetchval("show application_name") for _ in range(9)))
        say(me, "pool resets", sorted(set(names)))


async def cancel(db: asyncpg.Connection, me: int) -> None:
    """asyncpg cancels on the server what a task or a timeout gives up."""
    for in_transaction in (False, True):
        async with one_sleeps:
            transaction = db.transaction()
            if in_transaction:
                await transaction.start()
            query = f"select pg_sleep(60) /* {me} {in_transaction} {os.getpid()} */"
            sleep = asyncio.create_task(db.execute(query))
            watcher = await connect()
            while not await watcher.fetchval(IS_SLEEPING, query):
                pass
            await watcher.close()
            sleep.cancel()
            outcome = (await asyncio.gather(sleep, return_exceptions=True))[0]
            states = [type(outcome).__name__, await sqlstate(db.fetch("select 1"))]
            if in_transaction:
                await transaction.rollback()
        say(me, "task cancelled", states, await db.fetchval("select 'alive'"))
    for work in (db.execute("select pg_sleep(60)", timeout=0.05), db.fetch("select pg_sleep($1)", 60, timeout=0.05)):
        outcome = (await asyncio.gather(work, return_exceptions=True))[0]
        say(me, "timeout", type(outcome).__name__, await db.fetchval("select 'alive'"))


async def set_(db: asyncpg.Connection, me: int) -> None:
    await db.execute(f"set statement_timeout to {10000 + me}")
    await db.execute("select set_config('search_path', $1, false)", f"of_{me}, public")
    await db.execute("begin; set lock_timeout to 77; rollback")
    await barrier.wait()
    say(me, "set", sorted({str(list(await db.fetchrow(SETTINGS))) for _ in range(30)}))
    await db.execute("reset statement_timeout")
    await db.execute("reset all")
    say(me, "reset", list(await db.fetchrow(SETTINGS)))
    named = await connect(server_settings={"application_name": f"client {me}"})
    await named.execute("set search_path to public; set application_name to 'else'")
    await named.reset()
    say(me, "reset by the driver", list(await named.fetchrow(SETTINGS)))
    await named.close()


async def listen(db: asyncpg.Connection, me: int) -> None:
    heard: list[str] = []
    everything = asyncio.Event()

    def hear(_connection, _pid, channel, payload) -> None:
        heard.append(f"{channel}: {payload}")
        if len(heard) > CLIENTS:
            everything.set()

    await db.add_listener("everyone", hear)
    await db.add_listener(f"Ü mine {me}", hear)
    await db.add_listener(f"not any more {me}", hear)
    await db.remove_listener(f"not any more {me}", hear)
    await barrier.wait()
    await db.execute(f"notify \"not any more {me}\", 'no'")
    await db.execute("select pg_notify('everyone', $1)", f"from {me}")
    await db.execute(f"notify \"Ü mine {me}\", 'to me'")
    async with asyncio.timeout(WAIT_SECONDS):
        await everything.wait()
    say(me, "heard", sorted(heard))
    await db.remove_listener("everyone", hear)
    await db.remove_listener(f"Ü mine {me}", hear)
    say(me, "still", await db.fetchval("select 'alive'"))


async def hold(db: asyncpg.Connection, me: int) -> None:
    if me > 1:
        say(me, "beside a holder", sum([await db.fetchval("select $1::int", number) for number in range(100)]))
        return
    await db.execute("create temporary table scratch (i int)")
    await db.copy_records_to_table("scratch", records=[(number,) for number in range(20)])
    for number in range(20, 30):
        await db.execute("insert into scratch values ($1)", number)
    say(me, "temporary table", values(await db.fetch("select count(*), sum(i) from scratch")))
    await db.execute("drop table scratch")
    await db.fetchval("select pg_advisory_lock($1)", 4714)
    locks = "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
    held = sum([await db.fetchval(locks) for _ in range(20)])
    say(me, "advisory lock", held, await db.fetchval("select pg_advisory_unlock($1)", 4714))
    await db.execute("declare held scroll cursor with hold for select generate_series(1, 9)")
    say(me, "cursor with hold", [values(await db.fetch(f"fetch {how} from held")) for how in ("next", "last", "prior")])
    await db.execute("close held")
    await db.execute("prepare sum (int) as select $1 + 1")
    say(me, "sql prepare", [values(await db.fetch(f"execute sum({number})")) for number in range(5)])
    await db.execute("deallocate sum")


async def main() -> None:
    global barrier, one_sleeps
    barrier, one_sleeps = asyncio.Barrier(CLIENTS), asyncio.Lock()
    play = {"everyday": everyday, "cancel": cancel, "set": set_, "listen": listen, "hold": hold}[PART]

    async def one(me: int) -> None:
        db = await connect()
        await play(db, me)
        await db.close()

    await asyncio.gather(*(one(me) for me in range(1, CLIENTS + 1)))


asyncio.run(main())
