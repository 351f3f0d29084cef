"""COPY in the extended protocol: every way in which it can begin, go on and fail, answered as by PostgreSQL itself."""

from __future__ import annotations

import pytest

import wire
from conversation import direct, hold, states, types
from test_copy import DONE, data
from waiting import Stopwatch, wait_until
from wire import bind, close, execute, extended, flush, message, parse, query, sync

OPEN = parse("copy t from stdin") + bind() + execute()
OPEN_BINARY = parse("copy t from stdin (format binary)") + bind() + execute()
FAIL = message("f", wire.string("changed my mind"))
ROWS = data((1, "one"), (2, "two"))
BAD = data(("not a number", "x"))
SELECT = parse("select 7::int") + bind() + execute()

# Name: the steps, the types of all messages that come, the SQLSTATEs of the errors, how many rows are there then.
CASES: dict[str, tuple[list, str, list[str], int]] = {
    # It goes well.
    "in one packet": ([(OPEN + ROWS + DONE + sync(), "Z")], "12GCZ", [], 2),
    "flush, then data": ([(OPEN + flush(), "G"), (ROWS + DONE + sync(), "Z")], "12GCZ", [], 2),
    "early sync": ([(OPEN + sync(), "G"), (ROWS + DONE + sync(), "Z")], "12GCZ", [], 2),
    "early sync in one packet": ([(OPEN + sync() + ROWS + DONE + sync(), "Z")], "12GCZ", [], 2),
    "syncs and flushes between the data": (
        [(OPEN + flush(), "G"), (ROWS + sync() + flush() + data((3, "x")) + sync() + sync() + DONE + sync(), "Z")],
        "12GCZ",
        [],
        3,
    ),
    "no data": ([(OPEN + flush(), "G"), (DONE + sync(), "Z")], "12GCZ", [], 0),
    "a statement before it": ([(SELECT + OPEN + flush(), "G"), (ROWS + DONE + sync(), "Z")], "12DC12GCZ", [], 2),
    "a statement behind it in the batch": (
        [(OPEN + flush(), "G"), (ROWS + DONE + SELECT + sync(), "Z")],
        "12GC12DCZ",
        [],
        2,
    ),
    "two in one batch": (
        [(OPEN + flush(), "G"), (ROWS + DONE + OPEN + flush(), "G"), (data((3, "x")) + DONE + sync(), "Z")],
        "12GC12GCZ",
        [],
        3,
    ),
    "a named statement, twice": (
        [
            (parse("copy t from stdin", "c") + bind(name="c") + execute() + flush(), "G"),
            (ROWS + DONE + sync(), "Z"),
            (bind(name="c") + execute() + flush(), "G"),
            (data((3, "x")) + DONE + sync() + close("S", "c") + sync(), "Z"),
            (b"", "Z"),
        ],
        "12GCZ2GCZ3Z",
        [],
        3,
    ),
    "batches behind it in the same packet": (
        [(OPEN + flush(), "G"), (ROWS + DONE + sync() + extended("select 1") + query("select 2"), "Z")]
        + [(b"", "Z"), (b"", "Z")],
        "12GCZ12TDCZTDCZ",
        [],
        2,
    ),
    # It is refused before it opens.
    "refused at Parse": (
        [(parse("copy nowhere from stdin") + bind() + execute() + sync(), "Z")],
        "1" + "2" + "EZ",
        ["42P01"],
        0,
    ),
    "refused by the grammar": ([(parse("copy copy") + bind() + execute() + sync(), "Z")], "EZ", ["42601"], 0),
    "refused with its data behind it": (
        [(parse("copy nowhere from stdin") + bind() + execute() + ROWS + DONE + sync(), "Z")],
        "12EZ",
        ["42P01"],
        0,
    ),
    "refused with an early sync and its data behind it": (
        [(parse("copy nowhere from stdin") + bind() + execute() + sync() + ROWS + DONE + sync(), "Z"), (b"", "Z")],
        "12EZZ",
        ["42P01"],
        0,
    ),
    "refused in a transaction that only reads": (
        [(query("begin read only"), "Z"), (OPEN + flush(), "E"), (ROWS + DONE + sync(), "Z"), (query("commit"), "Z")],
        "CZ12EZCZ",
        ["25006"],
        0,
    ),
    # It fails in the middle.
    "bad data": ([(OPEN + flush(), "G"), (ROWS + BAD, "E"), (sync(), "Z")], "12GEZ", ["22P02"], 0),
    "bad data, and the rest behind it": (
        [(OPEN + flush(), "G"), (BAD + ROWS * 50 + DONE + sync(), "Z")],
        "12GEZ",
        ["22P02"],
        0,
    ),
    "bad data after an early sync": (
        [(OPEN + sync(), "G"), (BAD, "E"), (ROWS + DONE + sync(), "Z")],
        "12GEZ",
        ["22P02"],
        0,
    ),
    "bad data, and statements behind it in the batch": (
        [(OPEN + flush(), "G"), (BAD + DONE + SELECT + sync() + extended("select 1"), "Z"), (b"", "Z")],
        "12GEZ12TDCZ",
        ["22P02"],
        0,
    ),
    "CopyFail": ([(OPEN + flush(), "G"), (ROWS + FAIL + sync(), "Z")], "12GEZ", ["57014"], 0),
    "CopyFail after an early sync": ([(OPEN + sync(), "G"), (FAIL + sync(), "Z")], "12GEZ", ["57014"], 0),
    "CopyFail in one packet": ([(OPEN + sync() + ROWS + FAIL + sync(), "Z")], "12GEZ", ["57014"], 0),
    "CopyFail, then statements": (
        [(OPEN + flush(), "G"), (FAIL + SELECT + sync() + extended("select 1"), "Z"), (b"", "Z")],
        "12GEZ12TDCZ",
        ["57014"],
        0,
    ),
    # It fails at its end.
    "an error at CopyDone": (
        [(OPEN_BINARY + flush(), "G"), (message("d", b"PGCOPY"), ""), (DONE + sync(), "Z")],
        "12GEZ",
        ["22P04"],
        0,
    ),
    "an error at CopyDone after an early sync": (
        [(OPEN_BINARY + sync(), "G"), (message("d", b"PGCOPY"), ""), (DONE + sync(), "Z")],
        "12GEZ",
        ["22P04"],
        0,
    ),
    "an error at Sync": (
        [
            (query("alter table t add unique (v) deferrable initially deferred"), "Z"),
            (OPEN + flush(), "G"),
            (data((1, "same"), (2, "same")) + DONE + flush(), "C"),
            (sync(), "Z"),
        ],
        "CZ12GCEZ",
        ["23505"],
        0,
    ),
    "in a transaction that it fails": (
        [
            (query("begin"), "Z"),
            (OPEN + flush(), "G"),
            (BAD + DONE + sync(), "Z"),
            (extended("select 1"), "Z"),
            (query("rollback"), "Z"),
        ],
        "CZ12GEZEZCZ",
        ["22P02", "25P02"],
        0,
    ),
    "in a transaction that goes on": (
        [(query("begin"), "Z"), (OPEN + sync(), "G"), (ROWS + DONE + sync(), "Z"), (query("commit"), "Z")],
        "CZ12GCZCZ",
        [],
        2,
    ),
    # Out.
    "out": (
        [(parse("copy (values (1), (2)) to stdout") + bind() + execute() + sync(), "Z")],
        "12HddcCZ",
        [],
        0,
    ),
    "out, with statements around it": (
        [(SELECT + parse("copy (values (1)) to stdout") + bind() + execute() + SELECT + sync(), "Z")],
        "12DC12HdcC12DCZ",
        [],
        0,
    ),
    "out, failing in the middle": (
        [
            (
                parse("copy (select 1 / (3 - i) from generate_series(1, 5) i) to stdout")
                + bind()
                + execute()
                + SELECT
                + sync()
                + extended("select 1"),
                "Z",
            ),
            (b"", "Z"),
        ],
        "12HddEZ12TDCZ",
        ["22012"],
        0,
    ),
    # Copy messages where no COPY is.
    "stray copy messages between batches": (
        [(ROWS + DONE + FAIL + extended("select 1") + ROWS + query("select 2"), "Z"), (b"", "Z")],
        "12TDCZTDCZ",
        [],
        0,
    ),
    "stray copy messages within a batch": (
        [(parse("select 1") + ROWS + DONE + bind() + FAIL + execute() + sync(), "Z")],
        "12DCZ",
        [],
        0,
    ),
}


@pytest.fixture(params=["transaction", "session"])
def weir(weir_factory, request):
    return weir_factory(pool_mode=request.param, default_pool_size=1)


@pytest.mark.every_backend
@pytest.mark.parametrize("name", CASES)
def test_a_copy_is_answered_as_by_postgres_itself(weir, table, postgres, name):
    steps, expected, errors, rows = CASES[name]
    with direct(postgres) as reference:
        said = hold(reference, steps)
        assert reference.value("select count(*) from t") == rows
    postgres.sql("select 1")
    client = weir.connect()
    client.query("drop table t; create table t (id int primary key, v text)")
    heard = hold(client, steps)
    assert heard == said
    assert (types(heard), states(heard)) == (expected, errors)
    assert client.value("select count(*) from t") == rows
    client.terminate()
    # The server owes nothing: the next client gets its own answers.
    assert weir.connect().value("select 42") == 42


LEAVING = {
    "opened, nothing sent": OPEN + flush(),
    "opened, early sync": OPEN + sync(),
    "data sent": OPEN + flush() + ROWS,
    "in the middle of data": OPEN + flush() + message("d", b"x" * 1000)[:500],
    "in the middle of data after an early sync": OPEN + sync() + message("d", b"x" * 1000)[:500],
    "done, without a sync": OPEN + flush() + ROWS + DONE + flush(),
}


@pytest.mark.every_backend
@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("name", LEAVING)
def test_a_client_that_leaves_in_a_copy_leaves_nothing_behind(weir, table, name, way):
    client = weir.connect()
    client.send(LEAVING[name])
    client.read_until("C" if "done" in name else "G")
    client.close() if way == "close" else client.reset()
    other = weir.connect()
    assert other.value("select count(*) from t") == 0
    assert other.exchange(extended("select 7::int")).value == 7


@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_client_that_leaves_while_it_is_sent_a_copy_leaves_nothing_behind(weir, way):
    client = weir.connect()
    client.send(parse("copy (select repeat('x', 1000) from generate_series(1, 100000)) to stdout") + bind() + execute())
    client.send(sync())
    client.read_until("d")
    client.close() if way == "close" else client.reset()
    assert weir.connect().value("select 7") == 7


@pytest.mark.parametrize("wrong", [query("select 1"), SELECT, message("F", b"\0" * 10)], ids=["Q", "P", "F"])
def test_a_request_in_the_middle_of_copy_data_is_an_error(weir_factory, table, wrong):
    """PostgreSQL gives up its connection then; the client keeps its own."""
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    client.send(OPEN + flush())
    client.read_until("G")
    client.send(ROWS + wrong + DONE + sync())
    heard = client.read_until("Z")
    assert states(heard)[0] == "08P01"
    other = weir.connect()
    assert other.value("select count(*) from t") == 0
    assert other.exchange(extended("select 7::int")).value == 7


@pytest.mark.every_backend
@pytest.mark.parametrize("way", ["close", "reset"])
def test_the_server_of_a_client_that_leaves_while_it_does_not_read_is_free_at_once(weir, postgres, way):
    """The server is not read while its client does not read; that ends with the client."""
    client = weir.connect()
    client.send(parse("copy (select repeat('x', 1000) from generate_series(1, 200000)) to stdout") + bind() + execute())
    client.send(sync())
    wait_until(
        lambda: postgres.value("select count(*) from pg_stat_activity where wait_event = 'ClientWrite'"),
        "the server waits until it may write",
    )
    client.close() if way == "close" else client.reset()
    with Stopwatch() as watch:
        assert weir.connect().value("select 7") == 7
    assert watch.seconds < 5
