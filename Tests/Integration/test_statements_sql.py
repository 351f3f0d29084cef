"""SQL that names a statement of the protocol, and unnamed statements that share a server's prepared statement."""

from __future__ import annotations

import pytest

from wire import bind, close, describe, execute, extended, parse, query, sync


def prepare(client, name: str, sql: str) -> None:
    assert client.exchange(parse(sql, name) + sync()).types == "1Z"


def named(name: str, *values: str) -> bytes:
    return bind(*values, name=name) + execute() + sync()


DEALLOCATES = {
    "simple": lambda sql: query(sql),
    "extended": lambda sql: extended(sql),
}


@pytest.mark.every_backend
@pytest.mark.parametrize("how", DEALLOCATES)
@pytest.mark.parametrize("sql", ["deallocate q", "DEALLOCATE PREPARE q;", 'deallocate "q"'])
def test_deallocate_closes_a_statement_of_the_protocol(weir_factory, how, sql):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    for one in (client, other):
        prepare(one, "q", "select 7")
    result = client.exchange(DEALLOCATES[how](sql))
    assert not result.errors and result.tags == ["DEALLOCATE"]
    assert client.exchange(named("q")).errors[0].sqlstate == "26000"
    assert str(other.exchange(named("q")).value) == "7"
    prepare(client, "q", "select 8")
    assert str(client.exchange(named("q")).value) == "8"


@pytest.mark.parametrize("how", DEALLOCATES)
def test_deallocate_of_an_unknown_name_is_an_error(weir_factory, how):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    prepare(client, "q", "select 7")
    assert client.exchange(DEALLOCATES[how]("deallocate r")).errors[0].sqlstate == "26000"
    assert str(client.exchange(named("q")).value) == "7"


@pytest.mark.parametrize("how", DEALLOCATES)
def test_deallocate_in_a_transaction(weir_factory, how):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    prepare(client, "q", "select 7")
    client.query("begin")
    assert client.exchange(DEALLOCATES[how]("deallocate q")).tags == ["DEALLOCATE"]
    assert str(client.value("select 1")) == "1"
    assert client.query("commit").tags == ["COMMIT"]


def test_deallocate_in_a_failed_transaction_fails_and_keeps_the_statement(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    prepare(client, "q", "select 7")
    client.query("begin")
    client.exchange(query("select 1/0"))
    assert client.exchange(query("deallocate q")).errors[0].sqlstate == "25P02"
    client.query("rollback")
    assert str(client.exchange(named("q")).value) == "7"


def test_nothing_is_left_behind_by_deallocate(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    for how in DEALLOCATES.values():
        prepare(client, "q", "select 7")
        client.exchange(how("deallocate q"))
    assert str(client.value("select count(*) from pg_prepared_statements where from_sql or name like '%DEALLOC%'")) == "0"


@pytest.mark.every_backend
def test_unnamed_statements_share_one_of_the_server(weir_factory):
    weir = weir_factory(default_pool_size=1, cache_unnamed_statements=1)
    clients = [weir.connect() for _ in range(3)]
    for round_ in range(4):
        for number, client in enumerate(clients):
            assert str(client.exchange(extended("select $1::int + 1", str(number))).value) == str(number + 1)
            assert str(client.exchange(extended("select $1::int + 2", str(number))).value) == str(number + 2)
    names = clients[0].query("select statement from pg_prepared_statements order by 1").rows
    assert [row[0] for row in names] == ["select $1::int + 1", "select $1::int + 2"]


def test_without_the_setting_unnamed_statements_stay_unnamed(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    client.exchange(extended("select $1::int + 1", "1"))
    assert str(client.value("select count(*) from pg_prepared_statements")) == "0"


def test_the_unnamed_statement_gets_a_new_meaning_with_each_parse(weir_factory):
    weir = weir_factory(default_pool_size=1, cache_unnamed_statements=1)
    client = weir.connect()
    assert str(client.exchange(extended("select 1")).value) == "1"
    assert str(client.exchange(parse("select 2") + describe("S") + bind() + execute() + sync()).value) == "2"
    # What is not plain goes to the server under no name, and takes the name's place too.
    assert client.exchange(extended("begin")).tags == ["BEGIN"]
    assert str(client.exchange(parse("select 3") + bind() + execute() + bind() + execute() + sync()).value) == "3"
    closed = client.exchange(parse("select 5") + close("S") + bind() + execute() + sync())
    assert closed.errors[0].sqlstate == "26000" and closed.types == "13EZ"
    assert client.query("rollback").tags == ["ROLLBACK"]
    assert str(client.exchange(extended("select 4")).value) == "4"


def test_a_failed_parse_leaves_no_unnamed_statement(weir_factory):
    weir = weir_factory(default_pool_size=1, cache_unnamed_statements=1)
    client = weir.connect()
    assert str(client.exchange(extended("select 1")).value) == "1"
    assert client.exchange(parse("select nothing") + sync()).errors[0].sqlstate == "42703"
    assert client.exchange(bind() + execute() + sync()).errors[0].sqlstate == "26000"


@pytest.mark.every_backend
def test_a_pipeline_of_unnamed_statements_comes_back_in_order(weir_factory):
    weir = weir_factory(default_pool_size=2, cache_unnamed_statements=1)
    client = weir.connect()
    client.send(b"".join(extended(f"select {number % 5}") for number in range(50)))
    assert [client.result().value for _ in range(50)] == [number % 5 for number in range(50)]


@pytest.mark.parametrize("settings", [{}, {"cache_unnamed_statements": 1}], ids=str)
def test_an_unnamed_deallocate_is_bound_again(weir_factory, settings):
    weir = weir_factory(default_pool_size=1, **settings)
    client, other = weir.connect(), weir.connect()
    prepare(client, "q", "select 7")
    assert client.exchange(parse("deallocate q") + bind() + execute() + sync()).tags == ["DEALLOCATE"]
    missing = client.exchange(bind() + execute() + sync())
    assert [error.message for error in missing.errors] == ['prepared statement "q" does not exist']
    other.query("select 1")
    prepare(client, "q", "select 8")
    assert client.exchange(bind() + execute() + sync()).tags == ["DEALLOCATE"]
    assert client.exchange(named("q")).errors[0].sqlstate == "26000"
