"""SQLAlchemy's engines at their defaults, one with its own pool for each client: PORT CLIENTS PART.

DRIVER in the environment is psycopg2, psycopg, pg8000 or asyncpg. The parts are the same for each: an asynchronous
connection runs them with `run_sync`. SQLAlchemy has no COPY, LISTEN and cancel of its own: those are the drivers'.
Prints one JSON line for each step of each client.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sql
from playing import LOGIN, PORT, WAIT_SECONDS, barrier, key, play, say, state_of
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

DRIVER = os.environ["DRIVER"]
ADDRESS = f"postgresql+{DRIVER}://app:{LOGIN['password']}@127.0.0.1:{PORT}/app"
SETTINGS = sql.text("select current_setting('statement_timeout'), current_setting('search_path')")
metadata = sql.MetaData()
rows_table = sql.Table("t", metadata, sql.Column("id", sql.Integer, primary_key=True), sql.Column("v", sql.Text))
pairs_table = sql.Table(
    "pair",
    metadata,
    sql.Column("id", sql.Integer, sql.Identity(), primary_key=True),
    sql.Column("owner", sql.Integer, index=True),
    sql.Column("name", sql.String(50), unique=True),
)
types_table = sql.Table(
    "kind",
    metadata,
    sql.Column("owner", sql.Integer, primary_key=True),
    sql.Column("json", sql.JSON),
    sql.Column("jsonb", postgresql.JSONB),
    sql.Column("list", postgresql.ARRAY(sql.Text)),
    sql.Column("price", sql.Numeric(10, 2)),
    sql.Column("bytes", sql.LargeBinary),
    sql.Column("day", sql.Date),
    sql.Column("moment", sql.DateTime(timezone=True)),
    sql.Column("span", sql.Interval),
    sql.Column("uuid", sql.Uuid),
    sql.Column("flag", sql.Boolean),
    sql.Column("real", sql.Float),
)


class Client:
    """An engine and its pool; `use` runs a function with a connection of it."""

    def __init__(self):
        self.loop = asyncio.new_event_loop() if DRIVER == "asyncpg" else None
        self.engine = (create_async_engine if self.loop else sql.create_engine)(ADDRESS)

    def use(self, work: Callable, **options):
        if self.loop:
            return self.loop.run_until_complete(self._use_asynchronously(work, options))
        with self.engine.connect().execution_options(**options) as db:
            return work(db)

    async def _use_asynchronously(self, work: Callable, options: dict):
        async with self.engine.connect() as db:
            return await (await db.execution_options(**options)).run_sync(work)

    def close(self) -> None:
        if self.loop:
            self.loop.run_until_complete(self.engine.dispose())
            self.loop.close()
        else:
            self.engine.dispose()


def values(result) -> list[list]:
    return [list(row) for row in result]


def sqlstate(act: Callable) -> str:
    try:
        act()
    except DBAPIError as error:
        return state_of(error.orig)
    return "no error"


def mine(me: int):
    """The client's rows, in their order."""
    return rows_table.select().where(rows_table.c.id.between(key(me, 0), key(me, 999))).order_by(rows_table.c.id)


def everyday(client: Client, me: int) -> None:
    # One of them makes the tables for all.
    if me == 1:
        client.use(make_tables)
    barrier.wait(WAIT_SECONDS)
    say(me, "reflection", sorted(client.use(reflect)))
    client.use(lambda db: statements(db, me))
    client.use(lambda db: inserts(db, me))
    client.use(lambda db: types(db, me))
    client.use(lambda db: streams(db, me))
    client.use(lambda db: transactions(db, me))
    for level in ("SERIALIZABLE", "REPEATABLE READ", "AUTOCOMMIT"):
        found = client.use(lambda db: values(db.execute(sql.text("show transaction_isolation"))), isolation_level=level)
        after = client.use(lambda db: db.scalar(sql.text("show transaction_isolation")))
        say(me, "isolation", level, found, after)
    numbers = [client.use(lambda db, number=number: db.scalar(sql.select(sql.literal(number)))) for number in range(30)]
    say(me, "pool", sum(numbers))
    say(me, "rows", client.use(lambda db: [len(values(db.execute(mine(me)))), owned(db, me)]))


def make_tables(db: sql.Connection) -> None:
    metadata.create_all(db)
    db.commit()


def reflect(db: sql.Connection) -> list[str]:
    found = sql.MetaData()
    found.reflect(db)
    return [f"{table.name}: {[column.name for column in table.columns]}" for table in found.tables.values()]


def owned(db: sql.Connection, me: int) -> int:
    return db.scalar(sql.select(sql.func.count()).select_from(pairs_table).where(pairs_table.c.owner == me))


def statements(db: sql.Connection, me: int) -> None:
    say(me, "simple", values(db.execute(sql.text("select 1, 'two'"))), values(db.exec_driver_sql("select 1")))
    total = 0
    for number in range(50):
        total += db.scalar(sql.select(sql.cast(number, sql.Integer) + me)) - me
        db.execute(rows_table.insert(), {"id": key(me, number), "v": f"row {number}"})
        if number % 10 == 0:
            db.commit()
    db.commit()
    found = db.execute(mine(me).where(rows_table.c.id.in_([key(me, 1), key(me, 2)])))
    say(me, "parametrised", total, values(found))
    db.execute(rows_table.update().where(rows_table.c.id == key(me, 1)).values(v="updated"))
    deleted = db.execute(rows_table.delete().where(rows_table.c.id == key(me, 2)))
    say(me, "update and delete", deleted.rowcount, values(db.execute(mine(me).limit(3))))
    db.commit()


def inserts(db: sql.Connection, me: int) -> None:
    new = [{"owner": me, "name": f"pair {me} {number}"} for number in range(300)]
    returned = db.execute(pairs_table.insert().returning(pairs_table.c.name, sort_by_parameter_order=True), new)
    say(me, "insert many with returning", [row.name for row in returned] == [pair["name"] for pair in new])
    db.execute(rows_table.insert(), [{"id": key(me, number), "v": "many"} for number in range(100, 200)])
    db.commit()
    again = [{"id": key(me, 300), "v": "new"}, {"id": key(me, 100), "v": "again"}]
    state = sqlstate(lambda: db.execute(rows_table.insert(), again))
    db.rollback()
    insert = postgresql.insert(rows_table)
    upsert = insert.on_conflict_do_update(index_elements=["id"], set_={"v": insert.excluded.v})
    say(me, "insert many", state, [row.v for row in db.execute(upsert.returning(rows_table.c.v), again)])
    db.commit()


def types(db: sql.Connection, me: int) -> None:
    kind = {
        "owner": me,
        "json": {"a": [1, None]},
        "jsonb": {"b": "ß"},
        "list": ["x", "it's"],
        "price": Decimal("12.50"),
        "bytes": b"\0\1\xff",
        "day": date(2024, 2, 29),
        "moment": datetime(2024, 2, 29, 12, tzinfo=UTC),
        "span": timedelta(days=1, seconds=2),
        "uuid": UUID(int=me),
        "flag": True,
        "real": 1.5,
    }
    db.execute(types_table.insert(), kind)
    found = dict(db.execute(types_table.select().where(types_table.c.owner == me)).mappings().one())
    db.commit()
    say(me, "types", found == kind, found)


def streams(db: sql.Connection, me: int) -> None:
    """In a cursor of the server."""
    series = sql.select(sql.func.generate_series(1, 500 + me))
    total = sum(row[0] for row in db.execute(series, execution_options={"yield_per": 70}))
    parts = [len(part) for part in db.execute(series, execution_options={"yield_per": 70}).partitions()]
    given_up = db.execute(series, execution_options={"stream_results": True, "max_row_buffer": 10}).first()
    db.commit()
    say(me, "stream", total, parts, given_up[0])


def transactions(db: sql.Connection, me: int) -> None:
    def insert(number: int) -> None:
        db.execute(rows_table.insert(), {"id": key(me, number), "v": "transaction"})

    insert(900)
    states = [sqlstate(lambda: insert(1)), sqlstate(lambda: db.execute(sql.text("select 1")))]
    db.rollback()
    say(me, "error in a transaction", states, values(db.execute(mine(me).where(rows_table.c.id == key(me, 900)))))
    db.rollback()
    with db.begin():
        insert(901)
        try:
            with db.begin_nested():
                insert(902)
                insert(1)
        except IntegrityError as error:
            states = [state_of(error.orig)]
        with db.begin_nested() as savepoint:
            insert(903)
            savepoint.rollback()
        insert(904)
    say(me, "savepoint", states, values(db.execute(mine(me).where(rows_table.c.id >= key(me, 900)))))
    db.rollback()
    db.execute(sql.text("set local statement_timeout to 20"))
    state = sqlstate(lambda: db.execute(sql.select(sql.func.pg_sleep(60))))
    db.rollback()
    say(me, "timeout", state, db.scalar(sql.text("select 'alive'")))


def set_(client: Client, me: int) -> None:
    def work(db: sql.Connection) -> None:
        db.execute(sql.text(f"set statement_timeout to {10000 + me}"))
        # With func.set_config the setting's name would be a parameter too, and what is set not known from the text.
        db.execute(sql.text("select set_config('search_path', :path, false)"), {"path": f"of_{me}, public"})
        db.commit()
        db.execute(sql.text("set statement_timeout to 77"))
        db.rollback()
        barrier.wait(WAIT_SECONDS)
        seen = set()
        for _ in range(30):
            seen.add(str(values(db.execute(SETTINGS))))
            db.commit()
        say(me, "set", sorted(seen))

    client.use(work)
    # The pool rolls back when a connection comes home, and resets no settings.
    say(me, "again from the pool", client.use(lambda db: values(db.execute(SETTINGS))))
    client.use(lambda db: db.execute(sql.text("reset all")), isolation_level="AUTOCOMMIT")
    say(me, "reset", client.use(lambda db: values(db.execute(SETTINGS))))


def hold(client: Client, me: int) -> None:
    def others(db: sql.Connection) -> None:
        total = 0
        for number in range(50):
            total += db.scalar(sql.select(sql.cast(number, sql.Integer)))
            db.commit()
        say(me, "beside a holder", total)

    def holder(db: sql.Connection) -> None:
        scratch = sql.Table("scratch", sql.MetaData(), sql.Column("i", sql.Integer), prefixes=["temporary"])
        scratch.create(db)
        db.commit()
        for start in range(0, 30, 10):
            db.execute(scratch.insert(), [{"i": number} for number in range(start, start + 10)])
            db.commit()
        say(me, "temporary table", values(db.execute(sql.select(sql.func.count(), sql.func.sum(scratch.c.i)))))
        scratch.drop(db)
        db.commit()
        db.execute(sql.select(sql.func.pg_advisory_lock(4714)))
        db.commit()
        locks = sql.text("select 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()")
        held = 0
        for _ in range(20):
            held += len(values(db.execute(locks)))
            db.commit()
        say(me, "advisory lock", held, db.scalar(sql.select(sql.func.pg_advisory_unlock(4714))))
        db.commit()
        db.execute(sql.text("declare held scroll cursor with hold for select generate_series(1, 9)"))
        db.commit()
        found = []
        for how in ("next", "last", "prior"):
            found += values(db.execute(sql.text(f"fetch {how} from held")))
            db.commit()
        db.execute(sql.text("close held"))
        db.commit()
        say(me, "cursor with hold", found)
        db.exec_driver_sql("prepare sum (int) as select $1 + 1")
        db.commit()
        say(me, "sql prepare", [values(db.exec_driver_sql(f"execute sum({number})")) for number in range(5)])
        db.exec_driver_sql("deallocate sum")
        db.commit()

    client.use(holder if me == 1 else others)


def with_client(part: Callable[[Client, int], None]) -> Callable[[int], None]:
    def work(me: int) -> None:
        with closing(Client()) as client:
            part(client, me)

    return work


play({"everyday": with_client(everyday), "set": with_client(set_), "hold": with_client(hold)})
