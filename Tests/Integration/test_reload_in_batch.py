"""A reload that changes how statements are treated lets what a client has begun end as it began."""

from __future__ import annotations

import pytest

from waiting import wait_until
from wire import bind, close, execute, flush, parse, query, sync

LOCK = 77


@pytest.fixture
def holder(postgres):
    """Holds the lock that the batches wait for."""
    import psycopg

    with psycopg.connect(postgres.address("app", "app"), autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", (LOCK,))
        yield connection


WAITS = parse(f"select pg_advisory_xact_lock({LOCK})") + bind() + execute()
OTHER = {"max_prepared_statements": 0}
SESSION = {"pool_mode": "session"}


@pytest.mark.every_backend
@pytest.mark.parametrize("change", [OTHER, SESSION], ids=["max_prepared_statements", "pool_mode"])
def test_replies_that_weir_owes_itself_come_though_the_mode_has_changed(weir_factory, holder, change):
    """The server has the statement, and the Close never reaches it: both answers are Weir's, behind the server's."""
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    client.exchange(parse("select 1::int", "a") + sync())
    client.send(WAITS + parse("select 1::int", "b") + bind(name="b") + execute() + close("S", "a") + sync())
    weir.postgres.wait_for_query("pg_advisory_xact_lock")
    weir.settings |= change
    weir.reload()
    holder.execute("select pg_advisory_unlock(%s)", (LOCK,))
    result = client.result()
    assert (result.types, result.errors) == ("12DC" + "12DC" + "3" + "Z", [])
    assert client.exchange(parse("select 2::int", "c") + bind(name="c") + execute() + sync()).rows == [["2"]]


@pytest.mark.every_backend
@pytest.mark.parametrize("before, after", [(OTHER, {"max_prepared_statements": 200}), (SESSION, {})])
def test_statements_that_were_not_renamed_keep_their_names_to_the_end_of_the_batch(
    weir_factory, holder, before, after
):
    weir = weir_factory(default_pool_size=1, **before)
    client = weir.connect()
    client.send(parse("select 1::int", "a") + WAITS + flush())
    weir.postgres.wait_for_query("pg_advisory_xact_lock")
    weir.settings |= {"pool_mode": "transaction"} | after
    weir.reload()
    holder.execute("select pg_advisory_unlock(%s)", (LOCK,))
    result = client.exchange(bind(name="a") + execute() + sync())
    assert (result.types, result.errors) == ("1" + "12DC" + "2DC" + "Z", [])
    assert client.exchange(parse("select 2::int", "c") + bind(name="c") + execute() + sync()).rows == [["2"]]


def test_servers_that_have_begun_in_the_old_way_are_replaced(weir_factory, postgres):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    client.exchange(parse("select 1::int", "a") + sync())
    old = client.value("select pg_backend_pid()")
    weir.settings |= OTHER
    weir.reload()
    wait_until(lambda: old not in [server["pid"] for server in postgres.servers()], "the old server is gone")
    assert client.exchange(parse("select 2::int", "a") + bind(name="a") + execute() + sync()).rows == [["2"]]


def test_a_transaction_ends_on_its_server(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    client.query("begin")
    client.exchange(parse("select 1::int", "a") + sync())
    old = client.value("select pg_backend_pid()")
    weir.settings |= SESSION
    weir.reload()
    assert client.exchange(bind(name="a") + execute() + sync()).rows == [["1"]]
    assert client.value("select pg_backend_pid()") == old
    assert client.exchange(query("commit")).status == "I"
