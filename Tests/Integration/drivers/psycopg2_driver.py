"""psycopg2 at its defaults, a thread with its own connection for each client: PORT CLIENTS PART.

psycopg2 has no statements of the protocol, no pipelines and no binary results: it puts parameters into the text of its
queries. Binary are bytea values and COPY. Prints one JSON line for each step of each client.
"""

from __future__ import annotations

import io
import select
import struct
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import psycopg2
from playing import INSERT, LOGIN, WAIT_SECONDS, cancel, everything_of, hold, key, listen, parametrised, play, rows, run
from playing import say, server_side_cursors, set_, sqlstate, transactions
from psycopg2.extras import Json, execute_batch, execute_values


def connect(autocommit: bool = False, **options):
    db = psycopg2.connect(**LOGIN, dbname="app", **options)
    if autocommit:
        db.autocommit = True
    return db


def everyday(me: int) -> None:
    with closing(connect()) as db:
        say(me, "simple", rows(db, "select 1, 'two'"), rows(db, "select 1; select 2"))
        parametrised(db, me)
        batches(db, me)
        values = (-5, 1 << 40, 1.5, "grüße 'n' \\", True, None, Decimal("12.50"), [1, -2], Json({"a": [1]}))
        moments = (date(2024, 2, 29), datetime(2024, 2, 29, 12, tzinfo=UTC), timedelta(days=1, seconds=2))
        names = ", ".join(["%s"] * len(values + moments))
        say(me, "types", rows(db, f"select {names}", *values, *moments))
        found = rows(db, "select %s::bytea, length(%s)", b"\0\1\xff", psycopg2.Binary(b"\0\1\xff"))
        say(me, "binary", bytes(found[0][0]).hex(), found[0][1])
        copies(db, me)
        server_side_cursors(db, me)
        transactions(db, me)
        large_object(db, me)
        asynchronous(me)
        everything_of(db, me)


def batches(db, me: int) -> None:
    cursor = db.cursor()
    cursor.executemany(INSERT, [(key(me, number), "many") for number in range(100, 120)])
    execute_batch(cursor, INSERT, [(key(me, number), "batch") for number in range(120, 180)], page_size=25)
    pairs = [(key(me, number), "values") for number in range(180, 240)]
    returned = execute_values(cursor, "insert into t values %s returning id", pairs, page_size=25, fetch=True)
    db.commit()
    again = sqlstate(lambda: execute_batch(cursor, INSERT, [(key(me, 300), "new"), (key(me, 100), "again")]))
    db.rollback()
    say(me, "batch", len(returned), sum(row[0] for row in returned), again)


def copies(db, me: int) -> None:
    cursor = db.cursor()
    lines = "".join(f"{key(me, number)}\tcopied\n" for number in range(400, 500))
    cursor.copy_from(io.StringIO(lines), "t", columns=("id", "v"))
    db.commit()
    again = sqlstate(lambda: cursor.copy_from(io.StringIO(lines), "t"))
    db.rollback()
    out = io.StringIO()
    mine = f"(select * from t where id / 1000 = {me} and v = 'copied' order by id)"
    cursor.copy_expert(f"copy {mine} to stdout", out)
    say(me, "copy", again, out.getvalue() == lines)
    # One row of (int4, text): header, row, trailer.
    value = f"binary {me}".encode()
    row = struct.pack("!hii", 2, 4, key(me, 500)) + struct.pack("!i", len(value)) + value
    data = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0) + row + struct.pack("!h", -1)
    cursor.copy_expert("copy t from stdin (format binary)", io.BytesIO(data))
    back = io.BytesIO()
    cursor.copy_expert(f"copy (select * from t where id = {key(me, 500)}) to stdout (format binary)", back)
    db.commit()
    say(me, "copy binary", back.getvalue() == data)


def large_object(db, me: int) -> None:
    """Goes by the protocol's function calls."""
    large = db.lobject(0, "wb")
    large.write(f"client {me} ".encode() * 2000)
    db.commit()
    large = db.lobject(large.oid, "rb")
    large.seek(9)
    found = large.read(18).decode()
    large.unlink()
    db.commit()
    say(me, "large object", found)


def asynchronous(me: int) -> None:
    with closing(connect(async_=True)) as db:
        wait(db)
        cursor, total = db.cursor(), 0
        for number in range(20):
            cursor.execute("select %s::int + %s::int", (number, me))
            wait(db)
            total += cursor.fetchone()[0]
        say(me, "asynchronous", total)


def wait(db) -> None:
    while (state := db.poll()) != psycopg2.extensions.POLL_OK:
        wants_write = state == psycopg2.extensions.POLL_WRITE
        select.select([] if wants_write else [db], [db] if wants_write else [], [], WAIT_SECONDS)


def cancelled(me: int) -> None:
    with closing(connect(autocommit=True)) as db:
        cancel(db, me, lambda: connect(autocommit=True), {"cancel": db.cancel})


def settings(me: int) -> None:
    with closing(connect(autocommit=True)) as db:
        set_(db, me)
    with closing(connect()) as db:
        db.set_session(isolation_level="SERIALIZABLE" if me % 2 else "REPEATABLE READ", readonly=me > 2)
        db.set_client_encoding("LATIN1" if me % 2 else "UTF8")
        seen = set()
        for _ in range(20):
            found = rows(db, "select current_setting('transaction_isolation'), 'ß', current_setting('client_encoding')")
            writes = sqlstate(lambda: run(db, INSERT, key(me, 1), "ü"))
            db.rollback()
            seen.add(str((found, writes)))
        say(me, "session", sorted(seen))
        db.reset()
        say(me, "session reset", rows(db, "show default_transaction_isolation"), rows(db, "show client_encoding"))
        db.commit()


def heard(me: int) -> None:
    with closing(connect(autocommit=True)) as db:

        def receive() -> list[str]:
            if not db.notifies:
                select.select([db], [], [], WAIT_SECONDS)
                db.poll()
            found = [f"{one.channel}: {one.payload}" for one in db.notifies]
            db.notifies.clear()
            return found

        listen(db, me, receive)


def walk(db) -> list:
    with db.cursor("held", scrollable=True, withhold=True) as cursor:
        cursor.execute("select generate_series(1, 9)")
        found = [cursor.fetchone()]
        run(db, "select 1")
        cursor.scroll(8, "absolute")
        found.append(cursor.fetchone())
    return found


def held(me: int) -> None:
    with closing(connect(autocommit=True)) as db:
        hold(db, me, walk)


play({"everyday": everyday, "cancel": cancelled, "set": settings, "listen": heard, "hold": held})
