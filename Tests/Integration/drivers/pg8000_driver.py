"""pg8000, by its DB-API and by its native interface, a thread with its own connection for each client.

PORT CLIENTS PART; prints one JSON line for each step of each client.

Each parametrised query prepares the unnamed statement in one exchange and binds it in the next. pg8000 cannot cancel
(only a timeout ends a query), has no pipelines, no cursors of its own and no binary formats but that of COPY. It sees
notifications when a query runs.
"""

from __future__ import annotations

import io
import json
import time
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pg8000.dbapi
import pg8000.native
from playing import INSERT, LOGIN, SETTINGS, WAIT_SECONDS, everything_of, hold, key, listen, parametrised, play, rows
from playing import run, say, set_, sqlstate, transactions


def connect(autocommit: bool = False) -> pg8000.dbapi.Connection:
    db = pg8000.dbapi.connect(**LOGIN, database="app")
    db.autocommit = autocommit
    return db


def connect_natively() -> pg8000.native.Connection:
    return pg8000.native.Connection(**LOGIN, database="app")


def everyday(me: int) -> None:
    with closing(connect()) as db:
        say(me, "simple", rows(db, "select 1, 'two'"))
        parametrised(db, me)
        values = (-5, 1 << 40, 1.5, "grüße 'n' \\", True, None, Decimal("12.50"), [1, -2], json.dumps({"a": [1]}))
        more = (date(2024, 2, 29), datetime(2024, 2, 29, 12, tzinfo=UTC), timedelta(days=1, seconds=2), UUID(int=me))
        types = ["int", "bigint", "float8", "text", "bool", "text", "numeric", "int[]", "jsonb"]
        types += ["date", "timestamptz", "interval", "uuid", "bytea"]
        casts = ", ".join(f"%s::{type}" for type in types)
        say(me, "types", rows(db, f"select {casts}", *values, *more, b"\0\1\xff"))
        batch(db, me)
        copies(db, me)
        run(db, "declare walk scroll cursor for select generate_series(1, 20)")
        say(me, "cursor", [rows(db, f"fetch {how} from walk") for how in ("3", "absolute 9", "prior", "last")])
        db.commit()
        transactions(db, me)
        everything_of(db, me)


def batch(db, me: int) -> None:
    """One after the other."""
    cursor = db.cursor()
    cursor.executemany(INSERT, [(key(me, number), "many") for number in range(100, 150)])
    db.commit()
    count = cursor.rowcount
    again = sqlstate(lambda: cursor.executemany(INSERT, [(key(me, 300), "new"), (key(me, 100), "again")]))
    db.rollback()
    say(me, "batch", count, again)


def copies(db, me: int) -> None:
    cursor = db.cursor()
    lines = "".join(f"{key(me, number)}\tcopied\n" for number in range(400, 500))
    cursor.execute("copy t from stdin", stream=io.StringIO(lines))
    db.commit()
    again = sqlstate(lambda: cursor.execute("copy t from stdin", stream=[lines]))
    db.rollback()
    text, binary = io.StringIO(), io.BytesIO()
    mine = f"copy (select * from t where id between {key(me, 400)} and {key(me, 499)} order by id) to stdout"
    cursor.execute(mine, stream=text)
    cursor.execute(f"{mine} (format binary)", stream=binary)
    run(db, "delete from t where id between %s and %s", key(me, 400), key(me, 499))
    cursor.execute("copy t from stdin (format binary)", stream=io.BytesIO(binary.getvalue()))
    db.commit()
    say(me, "copy", again, text.getvalue() == lines, len(binary.getvalue()), cursor.rowcount)


def natively(me: int) -> None:
    with closing(connect_natively()) as db:
        say(me, "simple", db.run("select 1, 'two'"), db.run("select 1; select 2"))
        add = db.prepare("select :number::int + :me::int")
        insert = db.prepare("insert into t values (:id, :v)")
        total = 0
        for number in range(50):
            total += add.run(number=number, me=me)[0][0]
            insert.run(id=key(me, number), v=f"row {number}")
            total += db.run("select count(*) from t where id = :id", id=key(me, number))[0][0]
        say(me, "prepared", total, add.columns[0]["name"])
        add.close()
        again = sqlstate(lambda: insert.run(id=key(me, 1), v="again"))
        say(me, "error", again, insert.run(id=key(me, 60), v="after"), sqlstate(lambda: add.run(number=1, me=me)))
        db.run("start transaction")
        insert.run(id=key(me, 70), v="stays")
        db.run("savepoint s")
        states = [sqlstate(lambda: insert.run(id=key(me, 1), v="again")), sqlstate(lambda: db.run("select 1"))]
        db.run("rollback to savepoint s")
        insert.run(id=key(me, 71), v="stays too")
        db.run("commit")
        found = db.run("select id from t where id between :id and :id + 10 order by id", id=key(me, 70))
        say(me, "savepoint", states, found)
        lines = [f"{key(me, number)}\tcopied\n" for number in range(200, 300)]
        db.run("copy t from stdin", stream=lines)
        out = io.BytesIO()
        db.run(f"copy (select * from t where id / 1000 = {me} and v = 'copied' order by id) to stdout", stream=out)
        say(me, "copy", out.getvalue().decode() == "".join(lines))


def settings(me: int) -> None:
    with closing(connect(autocommit=True)) as db:
        set_(db, me)
    with closing(connect_natively()) as db:
        # A prepared statement reads what plain ones have set.
        show = db.prepare(SETTINGS)
        db.run(f"set statement_timeout to {10000 + me}")
        db.run("select set_config('search_path', :path, false)", path=f"of_{me}, public")
        say(me, "set natively", sorted({str(show.run()) for _ in range(30)}))


def heard(me: int) -> None:
    with closing(connect(autocommit=True)) as db:

        def receive() -> list[str]:
            end = time.monotonic() + WAIT_SECONDS
            while not db.notifications and time.monotonic() < end:
                run(db, "select 1")
            found = [f"{channel}: {payload}" for _, channel, payload in db.notifications]
            db.notifications.clear()
            return found

        listen(db, me, receive)


def held(me: int) -> None:
    with closing(connect(autocommit=True)) as db:
        hold(db, me)


play({"everyday": everyday, "native": natively, "set": settings, "listen": heard, "hold": held})
