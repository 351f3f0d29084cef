"""A client's unnamed statement is its own, also when it is used in a later batch than the one that prepared it.

Go's lib/pq, pg8000, asyncpg without its cache and others prepare the unnamed statement, wait for what it expects, and
then bind it: in between the server may have served somebody else, and the next one knows nothing of the statement.
"""

from __future__ import annotations

import pytest

from wire import bind, close, describe, execute, extended, flush, parse, query, sync

RUN = execute() + sync()


@pytest.fixture
def pair(weir_factory):
    """Two clients that share one server."""
    weir = weir_factory(default_pool_size=1)
    return weir.connect(), weir.connect()


def prepare(client, sql: str):
    """What a driver asks before it binds: the parameters and the columns."""
    return client.exchange(parse(sql) + describe("S") + sync())


def run(client, *values: str):
    return client.exchange(bind(*values) + RUN)


def test_an_unnamed_statement_is_not_the_one_of_another_client(pair):
    one, two = pair
    for round in range(3):
        assert prepare(one, f"select 'one', {round}").types == "1tTZ"
        assert prepare(two, f"select 'two', {round}").types == "1tTZ"
        assert run(one).rows == [["one", str(round)]]
        assert run(two).rows == [["two", str(round)]]
        assert run(one).rows == [["one", str(round)]]


@pytest.mark.parametrize("between", ["simple query", "named statement", "settings", "nothing"])
def test_an_unnamed_statement_outlives_what_others_do(weir_factory, between):
    weir = weir_factory(default_pool_size=1)
    one, two = weir.connect(), weir.connect(application_name="two" if between == "settings" else "")
    prepare(one, "select $1::int + 1")
    if between == "simple query":
        two.query("select 1")
    elif between != "nothing":
        two.exchange(parse("select 2", "q") + bind(name="q") + RUN)
    assert one.exchange(describe("S") + sync()).columns == [("?column?", 23)]
    for number in range(3):
        assert run(one, str(number)).rows == [[str(number + 1)]]


def test_an_unnamed_statement_is_found_on_another_server(weir_factory):
    weir = weir_factory(default_pool_size=2)
    one = weir.connect()
    prepare(one, "select pg_backend_pid()")
    first = run(one).rows
    holders = [weir.connect(), weir.connect()]
    for holder in holders:
        holder.query("begin")
        if str(holder.value("select pg_backend_pid()")) != first[0][0]:
            another = holder
    another.query("commit")
    assert run(one).rows != first


class Holder:
    """Keeps a server busy and leaves its unnamed statement alone: a simple query would take that away."""

    STATEMENTS = {"begin": "begin", "process": "select pg_backend_pid()::text", "commit": "commit"}

    def __init__(self, weir):
        self.client = weir.connect()
        for name, sql in self.STATEMENTS.items():
            self.client.exchange(parse(sql, name) + sync())

    def do(self, name: str):
        return self.client.exchange(bind(name=name) + RUN).rows

    def hold(self) -> str:
        self.do("begin")
        return self.do("process")[0][0]


def test_an_older_unnamed_statement_of_the_same_client_on_another_server_is_not_used(weir_factory):
    weir = weir_factory(default_pool_size=2)
    one = weir.connect()
    first, second = Holder(weir), Holder(weir)
    by_process = {first.hold(): first, second.hold(): second}
    assert len(by_process) == 2

    def on(process: str, ask):
        """Asks while all servers but this one are busy."""
        by_process[process].do("commit")
        result = ask()
        assert by_process[process].hold() == process
        return result

    here, there = by_process
    on(here, lambda: prepare(one, "select 'older'"))
    on(there, lambda: prepare(one, "select 'newer'"))
    assert on(here, lambda: run(one)).rows == [["newer"]]


@pytest.mark.parametrize("ending", ["simple query", "close", "another statement", "a statement with an error"])
def test_an_unnamed_statement_ends_as_it_does_in_postgresql(pair, ending):
    one, two = pair
    prepare(one, "select 1")
    one.exchange(
        {
            "simple query": query("select 2"),
            "close": close("S") + sync(),
            "another statement": parse("select 3") + sync(),
            "a statement with an error": parse("selct") + sync(),
        }[ending]
    )
    prepare(two, "select 'of another client'")
    result = run(one)
    if ending == "another statement":
        assert result.rows == [["3"]]
    else:
        assert [(error.sqlstate, error.message) for error in result.errors] == [
            ("26000", "unnamed prepared statement does not exist")
        ]
        assert result.types == "EZ"
    assert run(two).rows == [["of another client"]]


def test_what_another_client_closes_is_not_this_clients_unnamed_statement(pair):
    one, two = pair
    prepare(one, "select 'mine'")
    two.exchange(close("S") + sync())
    assert run(one).rows == [["mine"]]


@pytest.mark.parametrize("message", [bind() + execute(), describe("S")])
def test_an_unnamed_statement_that_was_never_prepared_is_an_error(pair, message):
    one, two = pair
    prepare(two, "select 'of another client'")
    result = one.exchange(parse("select 1", "q") + message + parse("select 2", "after") + sync())
    assert [(error.sqlstate, error.message) for error in result.errors] == [
        ("26000", "unnamed prepared statement does not exist")
    ]
    assert one.exchange(bind(name="q") + RUN).rows == [["1"]]
    assert one.exchange(bind(name="after") + RUN).errors[0].sqlstate == "26000"


def test_a_large_bind_of_an_unnamed_statement_that_does_not_exist_is_an_error(pair):
    one, two = pair
    prepare(two, "select length($1::text)")
    data = bind("x" * 100_000) + RUN
    one.send(data[:2000])
    one.send(data[2000:])
    assert one.result().errors[0].sqlstate == "26000"
    assert one.value("select 1") == 1
    assert one.exchange(parse("select length($1::text)") + data).rows == [["100000"]]


@pytest.mark.parametrize("size", [100, 16_340, 16_370, 16_384, 16_400, 40_000, 1_000_000])
@pytest.mark.parametrize("cut", [None, 3, 60])
def test_unnamed_statements_of_any_size_follow_their_client(pair, size, cut):
    one, two = pair
    sql = f"select length('{'x' * size}') + $1::int"
    data = parse(sql) + describe("S") + sync()
    if cut:
        one.send(data[:cut])
        data = data[cut:]
    assert one.exchange(data).types == "1tTZ"
    prepare(two, "select 'of another client'")
    assert run(one, "1").rows == [[str(size + 1)]]
    whole = parse(sql) + bind("2") + RUN
    one.send(whole[: len(parse(sql))])
    assert one.exchange(whole[len(parse(sql)) :]).rows == [[str(size + 2)]]


def test_a_parse_that_is_followed_by_nothing_is_answered_at_its_flush(pair):
    one, _ = pair
    one.send(parse("select 1"))
    one.send(flush())
    assert one.read().type == "1"
    one.send(bind() + execute() + flush())
    assert [reply.type for reply in one.read_until("C")] == ["2", "D", "C"]
    assert one.exchange(sync()).types == "Z"


def test_an_unnamed_statement_lives_in_its_transaction(pair):
    one, _ = pair
    one.query("begin")
    one.exchange(parse("select $1::text") + bind("first") + RUN)
    assert one.exchange(bind("second") + RUN).rows == [["second"]]
    one.query("commit")


def test_a_statement_that_was_skipped_is_not_taken_for_prepared(pair):
    one, two = pair
    failed = one.exchange(parse("selct", "wrong") + parse("select 'skipped'") + describe("S") + sync())
    assert failed.types == "EZ"
    two.query("select 1")
    assert run(one).errors[0].sqlstate == "26000"


@pytest.mark.parametrize("name", ["", "l"])
def test_what_stands_before_a_listen_is_sent_once(weir_factory, table, name):
    client = weir_factory(default_pool_size=1).connect()
    client.exchange(parse("listen somebody", name) + sync())
    insert = parse(f"insert into {table} values (1)", "insert") + bind(name="insert") + execute()
    result = client.exchange(insert + bind(name=name) + execute() + sync())
    assert not result.errors, result.errors
    assert result.types == "12C2CZ"


@pytest.mark.parametrize("settings", [{}, {"cache_unnamed_statements": 1}])
@pytest.mark.parametrize("command", ["deallocate all", "discard all"])
def test_an_unnamed_statement_behind_a_command_that_closes_the_others_stays(weir_factory, command, settings):
    client = weir_factory(default_pool_size=1, **settings).connect()
    client.send(extended(command) + parse("select 7") + flush())
    assert not client.result().errors
    assert client.read().type == "1"
    assert client.exchange(bind() + RUN).rows == [["7"]]


@pytest.mark.parametrize("between", ["another client", "another server", "nothing"])
def test_an_unnamed_statement_that_was_bound_at_once_is_bound_again_later(weir_factory, between):
    weir = weir_factory(default_pool_size=2)
    one = weir.connect()
    result = one.exchange(parse("select $1::text, pg_backend_pid()") + bind("first") + RUN)
    assert not result.errors
    process = result.rows[0][1]
    holders = [weir.connect() for _ in range(2)]
    if between != "nothing":
        for holder in holders:
            holder.query("begin")
        for holder in holders:
            if (holder.value("select pg_backend_pid()::text") == process) == (between == "another client"):
                holder.query("commit")
    # The statement is there until another takes its place.
    for value in ("second", "third"):
        result = one.exchange(bind(value) + RUN)
        assert not result.errors, result.errors
        assert result.rows[0][0] == value
        assert (result.rows[0][1] == process) == (between != "another server")
    assert one.exchange(describe("S") + sync()).types == "tTZ"


@pytest.mark.parametrize("size", [10, 5_000, 16_300, 16_384, 40_000, 1_000_000])
def test_an_unnamed_statement_that_was_bound_at_once_may_be_large(pair, size):
    """Texts of all sizes in turn: each takes the place of the one before it."""
    one, two = pair
    for length in (size, 3, size + 7):
        assert one.exchange(parse(f"select length('{'x' * length}')") + bind() + RUN).rows == [[str(length)]]
        two.query("select 1")
        assert run(one).rows == [[str(length)]]


@pytest.mark.parametrize("settings", [{}, {"cache_unnamed_statements": 1}])
def test_what_an_unnamed_statement_sets_it_sets_again(weir_factory, settings):
    weir = weir_factory(default_pool_size=1, **settings)
    one, two = weir.connect(), weir.connect()
    assert not one.exchange(parse("set work_mem = '5MB'") + bind() + RUN).errors
    # By a statement with a name, which leaves the unnamed one alone.
    assert not one.exchange(parse("set work_mem = '6MB'", "six") + bind(name="six") + RUN).errors
    assert two.value("show work_mem") != "5MB"
    assert not run(one).errors
    two.query("select 1")
    assert one.value("show work_mem") == "5MB"


def test_a_query_that_the_server_skips_leaves_the_unnamed_statement(pair):
    one, two = pair
    prepare(one, "select 'kept'")
    one.send(close("S", "nothing") + bind(name="nobody") + flush())
    assert [reply.type for reply in one.read_until("E")] == ["3", "E"]
    assert one.exchange(query("select 1") + sync()).types == "Z"
    two.query("select 1")
    assert run(one).rows == [["kept"]]
