"""What the programs of Python's drivers have in common: PORT CLIENTS PART, and a JSON line for each step of a client.

`play` runs a thread for each client. The parts here are for DB-API connections with %s for parameters: psycopg2,
psycopg and pg8000.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing

PORT, CLIENTS, PART = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
LOGIN = {"host": "127.0.0.1", "port": PORT, "user": "app", "password": os.environ["PGPASSWORD"]}
WAIT_SECONDS = 30

ADD = "select %s::int + %s::int"
INSERT = "insert into t values (%s, %s)"
SETTINGS = (
    "select current_setting('statement_timeout'), current_setting('search_path'), current_setting('work_mem'),"
    " current_setting('lock_timeout')"
)
# A query is active as well while it is only prepared.
IS_SLEEPING = "select 1 from pg_stat_activity where wait_event = 'PgSleep' and query = %s"

printing = threading.Lock()
barrier = threading.Barrier(CLIENTS)
# One sleeper at a time, which leaves a server to those who look for it.
one_sleeps = threading.Lock()


def say(me: int, step: str, *values) -> None:
    line = json.dumps({"client": me, "step": step, "values": values}, default=str)
    with printing:
        print(line, flush=True)


def key(me: int, number: int) -> int:
    return me * 1000 + number


def rows(db, sql: str, *values) -> list[list]:
    cursor = db.cursor()
    cursor.execute(sql, values) if values else cursor.execute(sql)
    return [list(row) for row in cursor.fetchall()]


def run(db, sql: str, *values) -> None:
    cursor = db.cursor()
    cursor.execute(sql, values) if values else cursor.execute(sql)


def sqlstate(act: Callable) -> str:
    try:
        act()
    except Exception as error:
        return state_of(error)
    return "no error"


def state_of(error: BaseException) -> str:
    """The SQLSTATE as psycopg and asyncpg, as psycopg2, or as pg8000 keeps it."""
    known = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if known:
        return known
    if error.args and isinstance(error.args[0], dict):
        return error.args[0]["C"]
    raise error


def parametrised(db, me: int) -> None:
    total = 0
    for number in range(50):
        total += rows(db, ADD, number, me)[0][0] - me
        run(db, INSERT, key(me, number), f"row {number}")
        if number % 10 == 0:
            db.commit()
    db.commit()
    say(me, "parametrised", total)


def transactions(db, me: int) -> None:
    """The driver begins each transaction, which is its default. Row 1 is there."""

    def again() -> None:
        run(db, INSERT, key(me, 1), "again")

    run(db, INSERT, key(me, 900), "gone")
    states = [sqlstate(again), sqlstate(lambda: run(db, "select 1"))]
    db.rollback()
    say(me, "error in a transaction", states, rows(db, "select count(*) from t where id = %s", key(me, 900)))
    run(db, "savepoint s")
    state = sqlstate(again)
    run(db, "rollback to s")
    run(db, INSERT, key(me, 901), "stays")
    db.commit()
    say(me, "savepoint", state, rows(db, "select v from t where id = %s", key(me, 901)))
    run(db, "set local statement_timeout to 20")
    state = sqlstate(lambda: run(db, "select pg_sleep(60)"))
    db.rollback()
    say(me, "timeout", state, rows(db, "select 'alive'"))
    db.commit()


def everything_of(db, me: int) -> None:
    run(db, f"set timezone to 'Etc/GMT+{me}'")
    db.commit()
    zones = set()
    for _ in range(20):
        zones.add(rows(db, "show timezone")[0][0])
        db.commit()
    say(me, "time zone", sorted(zones))
    say(me, "rows", rows(db, "select count(*), sum(id) from t where id / 1000 = %s", me))
    db.commit()


def cancel(db, me: int, connect: Callable, ways: dict[str, Callable]) -> None:
    """Each of the ways is called from another thread when the server is at the query."""
    for way, stop in ways.items():
        query = f"select pg_sleep(60) /* {me} {way} {os.getpid()} */"

        def stop_when_asleep(query=query, stop=stop) -> None:
            with closing(connect()) as watcher:
                while not rows(watcher, IS_SLEEPING, query):
                    pass
            stop()

        for in_transaction in (False, True):
            with one_sleeps:
                if in_transaction:
                    run(db, "begin")
                thread = threading.Thread(target=stop_when_asleep)
                thread.start()
                states = [sqlstate(lambda query=query: rows(db, query))]
                thread.join()
                states.append(sqlstate(lambda: rows(db, "select 1")))
                if in_transaction:
                    run(db, "rollback")
            say(me, way, states, rows(db, "select 'alive'"))


def set_(db, me: int) -> None:
    """Each client has its own values, which would mix if they leaked."""
    run(db, f"set statement_timeout to {10000 + me}")
    rows(db, "select set_config('search_path', %s, false)", f"of_{me}, public")
    for sql in ("set local work_mem to '1234kB'", "commit"), ("set lock_timeout to 77", "rollback"):
        for one in ("begin", *sql):
            run(db, one)
    barrier.wait(WAIT_SECONDS)
    seen = Counter(str(rows(db, SETTINGS)[0]) for _ in range(30))
    say(me, "set", seen)
    run(db, "reset statement_timeout")
    run(db, "reset all")
    say(me, "reset", rows(db, SETTINGS))


def listen(db, me: int, receive: Callable[[], list[str]]) -> None:
    """`receive` waits for some notifications and returns them as "channel: payload"."""
    run(db, "listen everyone")
    run(db, f"listen mine_{me}")
    barrier.wait(WAIT_SECONDS)
    rows(db, "select pg_notify('everyone', %s)", f"from {me}")
    run(db, f"notify mine_{me}, 'to me'")
    heard: list[str] = []
    while len(heard) <= CLIENTS:
        found = receive()
        if not found:
            break
        heard += found
    say(me, "heard", sorted(heard))
    run(db, "unlisten *")
    say(me, "still", rows(db, "select 'alive'"))


def walk_with_sql(db) -> list:
    """A cursor WITH HOLD for drivers that have none of their own."""
    run(db, "declare held scroll cursor with hold for select generate_series(1, 9)")
    found = [rows(db, f"fetch {how} from held") for how in ("next", "last", "prior", "first")]
    run(db, "close held")
    return found


def hold(db, me: int, walk: Callable = walk_with_sql) -> None:
    """One client holds a server, again and again; the others share what is left."""
    if me > 1:
        say(me, "beside a holder", sum(rows(db, ADD, number, 1)[0][0] for number in range(100)))
        return
    run(db, "create temporary table scratch (i int)")
    for number in range(30):
        run(db, "insert into scratch values (%s)", number)
    say(me, "temporary table", rows(db, "select count(*), sum(i) from scratch"))
    run(db, "drop table scratch")
    run(db, "select pg_advisory_lock(4714)")
    locks = "select 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
    held = sum(len(rows(db, locks)) for _ in range(20))
    say(me, "advisory lock", held, rows(db, "select pg_advisory_unlock(4714)"))
    say(me, "cursor with hold", walk(db))
    run(db, "prepare sum (int) as select $1 + 1")
    say(me, "sql prepare", [rows(db, f"execute sum({number})") for number in range(5)])
    run(db, "deallocate sum")


def server_side_cursors(db, me: int) -> None:
    """psycopg2's and psycopg's named cursors."""
    with db.cursor("walk") as cursor:
        cursor.itersize = 7
        cursor.execute("select generate_series(1, 50) + %s::int", (me,))
        numbers = [row[0] for row in cursor]
    with db.cursor("jump", scrollable=True) as cursor:
        cursor.execute("select generate_series(1, 50) + %s::int", (me,))
        cursor.scroll(10)
        found = [cursor.fetchone(), cursor.fetchmany(2)]
        cursor.scroll(-3)
        found.append(cursor.fetchone())
    db.commit()
    say(me, "server-side cursor", sum(numbers), found)


def play(parts: dict[str, Callable[[int], None]]) -> None:
    """Plays PART with all clients at once; the process fails if one of them does."""
    failures: list[BaseException] = []

    def one(me: int) -> None:
        try:
            parts[PART](me)
        except BaseException as error:
            failures.append(error)
            barrier.abort()
            raise

    threads = [threading.Thread(target=one, args=(me,)) for me in range(1, CLIENTS + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.exit(1 if failures else 0)
