"""The answers to messages that name statements are PostgreSQL's own, in errors, pipelines and odd packets too."""

from __future__ import annotations

import pytest

from wire import bind, close, describe, execute, flush, parse, query, sync

BROKEN = parse("select 1/0") + bind() + execute()


def run(name: str, *values: str) -> bytes:
    return bind(*values, name=name) + execute() + sync()


@pytest.fixture(params=[200, 1], ids=["many", "one"])
def client(weir_factory, request):
    """On a server that keeps many statements, or just one."""
    client = weir_factory(default_pool_size=1, max_prepared_statements=request.param).connect()
    client.exchange(parse("select 1", "q") + sync())
    return client


def states(result) -> list[str]:
    return [error.sqlstate for error in result.errors]


def test_a_name_that_is_taken(client):
    result = client.exchange(parse("select 2", "q") + bind(name="q") + execute() + sync())
    assert result.types == "EZ" and states(result) == ["42P05"]
    assert result.errors[0].message == 'prepared statement "q" already exists'
    assert client.exchange(run("q")).rows == [["1"]]


def test_a_name_that_is_taken_fails_the_transaction(client):
    client.query("begin")
    assert client.exchange(parse("select 2", "q") + sync()).status == "E"
    assert states(client.exchange(query("select 1"))) == ["25P02"]
    assert client.query("rollback").status == "I"
    assert client.exchange(run("q")).rows == [["1"]]


def test_a_syntax_error_comes_before_a_name_that_is_taken(client):
    assert states(client.exchange(parse("selec", "q") + sync())) == ["42601"]


@pytest.mark.parametrize("use", [bind(name="none"), describe("S", "none")], ids=["Bind", "Describe"])
def test_an_unknown_name(client, use):
    result = client.exchange(use + sync())
    assert result.types == "EZ" and states(result) == ["26000"]
    assert result.errors[0].message == 'prepared statement "none" does not exist'
    assert client.exchange(run("q")).rows == [["1"]]


def test_an_error_speaks_of_the_clients_name(client):
    result = client.exchange(run("q", "one too many"))
    assert states(result) == ["08P01"]
    assert result.errors[0].message == 'bind message supplies 1 parameters, but prepared statement "q" requires 0'


def test_an_error_before_a_parse_leaves_no_name(client):
    assert states(client.exchange(BROKEN + parse("select 2", "r") + sync())) == ["22012"]
    assert states(client.exchange(run("r"))) == ["26000"]
    assert client.exchange(parse("select 2", "r") + run("r")).rows == [["2"]]


def test_an_error_before_a_parse_of_a_known_text_leaves_no_name(client):
    assert states(client.exchange(BROKEN + parse("select 1", "r") + sync())) == ["22012"]
    assert states(client.exchange(run("r"))) == ["26000"]
    assert client.exchange(parse("select 1", "r") + run("r")).rows == [["1"]]


def test_an_error_before_a_close_leaves_the_name(client):
    assert states(client.exchange(BROKEN + close("S", "q") + sync())) == ["22012"]
    assert client.exchange(run("q")).rows == [["1"]]


def test_an_error_before_a_close_and_a_parse_leaves_the_old_statement(client):
    assert states(client.exchange(BROKEN + close("S", "q") + parse("select 2", "q") + sync())) == ["22012"]
    assert client.exchange(run("q")).rows == [["1"]]


def test_a_parse_that_failed_is_given_again(client):
    assert states(client.exchange(parse("selec", "r") + sync())) == ["42601"]
    assert client.exchange(parse("select 2", "r") + run("r")).rows == [["2"]]
    assert states(client.exchange(parse("select * from later", "s") + sync())) == ["42P01"]
    client.query("create table later (i int)")
    assert client.exchange(parse("select * from later", "s") + sync()).types == "1Z"
    client.query("drop table later")


def test_close_and_parse_in_one_batch(client):
    batch = close("S", "q") + parse("select 2", "q") + bind(name="q") + execute()
    result = client.exchange(batch + close("S", "q") + parse("select 3", "q") + bind(name="q") + execute() + sync())
    assert result.types == "312DC312DCZ" and [row[0] for row in result.rows] == ["2", "3"]


def test_close_of_an_unknown_name_is_no_error(client):
    assert client.exchange(close("S", "none") + sync()).types == "3Z"
    assert client.exchange(close("S", "q") + sync()).types == "3Z"
    assert states(client.exchange(run("q"))) == ["26000"]


def test_answers_before_sync_come_at_once(client):
    for data, types in [
        (parse("select 1", "r") + flush(), "1"),
        (close("S", "r") + flush(), "3"),
        (parse("select 2", "s") + flush(), "1"),
        (bind(name="s") + flush(), "2"),
    ]:
        client.send(data)
        assert client.read().type == types
    client.send(parse("selec") + flush())
    assert client.read().type == "E"
    client.send(parse("select 3", "t") + close("S", "s") + sync())
    assert client.result().types == "Z", "what follows an error is skipped"
    assert client.exchange(run("s")).rows == [["2"]]
    assert states(client.exchange(run("t"))) == ["26000"]


@pytest.mark.every_backend
def test_many_batches_in_one_packet(client):
    data = b""
    for number in range(100):
        data += parse(f"select {number}", f"p{number}") + run(f"p{number}") + run("q") + close("S", f"p{number}") + sync()
    client.send(data)
    for number in range(100):
        assert client.result().rows == [[str(number)]]
        assert client.result().rows == [["1"]]
        assert client.result().types == "3Z"


def test_a_batch_that_fails_is_seen_by_those_behind_it(client):
    """All in one packet: whether the names exist is known only when the batches before were answered."""
    client.send(
        BROKEN + parse("select 2", "r") + close("S", "q") + sync() + run("q") + run("r")
        + parse("select 3", "r") + run("r") + parse("select 4", "r") + sync() + run("r")
    )  # fmt: skip
    assert states(client.result()) == ["22012"]
    assert client.result().rows == [["1"]], "its Close was skipped"
    assert states(client.result()) == ["26000"], "its Parse was skipped"
    assert client.result().rows == [["3"]]
    assert states(client.result()) == ["42P05"]
    assert client.result().rows == [["3"]]


def test_nothing_is_prepared_in_a_failed_transaction(client):
    client.send(query("begin") + BROKEN + sync() + parse("select 1", "r") + sync() + parse("rollback", "end") + run("end"))
    results = [client.result() for _ in range(4)]
    assert [states(result) for result in results] == [[], ["22012"], ["25P02"], []]
    assert [result.status for result in results] == ["T", "E", "E", "I"]
    assert states(client.exchange(run("r"))) == ["26000"]
    client.exchange(query("begin") + BROKEN + sync())
    client.result()
    assert states(client.exchange(parse("select 1", "s") + sync())) == ["25P02"]
    assert client.exchange(run("end")).status == "I"
    assert client.exchange(run("q")).rows == [["1"]]


@pytest.mark.every_backend
def test_packets_cut_at_every_byte(weir_factory):
    client = weir_factory(default_pool_size=1).connect()
    data = (
        parse("select $1::int, 'x'", "cut") + bind("5", name="cut", portal="p") + describe("S", "cut")
        + execute(0, "p") + close("P", "p") + close("S", "cut") + parse("") + sync()
    )  # fmt: skip
    expected = client.exchange(data).types
    assert expected == "12tTDC331Z"
    for cut in range(1, len(data)):
        client.send(data[:cut])
        client.send(data[cut:])
        assert client.result().types == expected
    for byte in data:
        client.send(bytes([byte]))
    assert client.result().types == expected


def test_a_query_that_the_server_skips_is_not_waited_for(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    client.exchange(parse("select 1", "q") + sync())
    client.send(parse("selec") + flush())
    assert client.read().type == "E"
    client.send(query("select 5") + sync())
    assert client.result().types == "Z"
    assert weir.connect().value("select 6") == 6, "its server is free"
    assert client.exchange(run("q")).rows == [["1"]]


def test_an_unnamed_statement_and_named_ones_in_one_batch(client):
    batch = parse("select 7") + bind() + execute() + bind(name="q") + execute() + bind() + execute() + sync()
    assert [row[0] for row in client.exchange(batch).rows] == ["7", "1", "7"]


def test_long_names_are_told_apart_as_postgresql_does(client):
    long = "n" * 63
    assert client.exchange(parse("select 8", long + "a") + sync()).types == "1Z"
    assert states(client.exchange(parse("select 9", long + "b") + sync())) == ["42P05"]
    assert client.exchange(run(long)).rows == [["8"]]
