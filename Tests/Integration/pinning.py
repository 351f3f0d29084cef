"""What the tests of held servers share: who is held, and whether a server is shared again."""

from __future__ import annotations

from waiting import wait_until

# What begins, its reason, what proves it there, what ends it.
CYCLES = [
    ("create temp table t1 (id int)", "temporary objects", "select count(*) from t1", "drop table t1"),
    ("create temporary table t1 (id int) on commit delete rows", "temporary objects", "select count(*) from t1",
     "discard temp"),
    ("create table pg_temp.t1 (id int)", "temporary objects", "select count(*) from t1", "drop table if exists t1, t2"),
    ("select 1 as id into temp t1", "temporary objects", "select count(*) from t1", "discard all"),
    ("create temp view v1 as select 1", "temporary objects", "select count(*) from v1", "drop view v1"),
    ("create temp sequence s1", "temporary objects", "select nextval('s1')", "drop sequence s1"),
    ("create function pg_temp.f1() returns int language sql as 'select 1'", "temporary objects",
     "select pg_temp.f1()", "drop function pg_temp.f1()"),
    ("select pg_advisory_lock(11)", "advisory locks", "select 1", "select pg_advisory_unlock(11)"),
    ("select pg_try_advisory_lock(1, 2)", "advisory locks", "select 1", "select pg_advisory_unlock_all()"),
    ("select pg_catalog.pg_advisory_lock_shared(11)", "advisory locks", "select 1", "discard all"),
    ("do $$ begin perform pg_advisory_lock(11); end $$", "advisory locks", "select 1",
     "select pg_advisory_unlock_shared(11), pg_advisory_unlock(11)"),
    ("begin; declare c1 cursor with hold for select generate_series(1, 9); commit", "cursors with hold",
     "fetch 2 from c1", "close c1"),
    ("begin; declare c1 scroll cursor with hold for select 1; commit", "cursors with hold",
     "fetch 1 from c1", "close all"),
    ("prepare p1 as select 1", "PREPARE", "execute p1", "deallocate p1"),
    ("prepare p1 (int) as select $1", "PREPARE", "execute p1(3)", "deallocate prepare all"),
]


def reasons(weir) -> list[str]:
    return [row["reason"] for row in weir.show("PINS")]


def wait_for_pins(weir, *expected: str) -> None:
    """The client has its answer before the server was asked: SHOW PINS may be a moment behind."""
    wait_until(lambda: sorted(reasons(weir)) == sorted(expected), f"SHOW PINS has {expected}")


def is_shared(weir, client, other) -> bool:
    """Whether the one server that there is serves both clients."""
    return client.value("select pg_backend_pid()") == other.value("select pg_backend_pid()")


def pair(weir_factory, **settings):
    """A Weir with one server, in whose line nobody waits for long, and two clients."""
    weir = weir_factory(default_pool_size=1, query_wait_timeout=1, **settings)
    return weir, weir.connect(), weir.connect()
