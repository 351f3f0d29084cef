"""After DDL a prepared statement may have another result type: the client need not know, where it need not."""

from __future__ import annotations

import psycopg
import pytest

import wire
from fakeserver import FakeServer, Session, complete, error, ready
from listening import heard_before
from waiting import wait_until
from wire import bind, describe, execute, message, parse, query, sync

STALE = error("0A000", "cached plan must not change result type")
BATCH = bind(name="a") + describe("P") + execute() + sync()
TEXT = "select * from changing"


def prepared(weir, autocommit: bool = True) -> psycopg.Connection:
    """A client that prepares every statement the first time."""
    client = weir.psycopg(autocommit)
    client.prepare_threshold = 0
    return client


@pytest.fixture
def changing(postgres):
    """A table, and a way to give it one column more."""
    with psycopg.connect(postgres.address("postgres", "app"), autocommit=True) as direct:
        direct.execute("drop table if exists changing")
        direct.execute("create table changing (a int)")
        direct.execute("insert into changing values (1)")
        direct.execute("grant all on changing to public")
        columns = 1

        def add_column() -> int:
            nonlocal columns
            columns += 1
            direct.execute(f"alter table changing add column c{columns} int")
            return columns

        yield add_column
        direct.execute("drop table changing")


@pytest.mark.every_backend
def test_a_statement_whose_result_has_changed_is_prepared_anew(weir_factory, changing):
    weir = weir_factory(default_pool_size=2)
    clients = [prepared(weir) for _ in range(6)]
    for client in clients:
        assert len(client.execute(TEXT).fetchone()) == 1
    for _ in range(3):
        wanted = changing()
        for client in clients:
            assert len(client.execute(TEXT).fetchone()) == wanted
    for client in clients:
        assert client.execute("select 7").fetchone() == (7,)


def test_in_a_transaction_the_error_is_the_clients(weir_factory, changing):
    weir = weir_factory(default_pool_size=1)
    client = prepared(weir, autocommit=False)
    client.execute(TEXT)
    client.commit()
    client.execute("select 1")
    changing()
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        client.execute(TEXT)
    client.rollback()
    assert client.execute("select 1").fetchone() == (1,)
    client.commit()


def test_a_batch_of_which_a_reply_was_passed_on_is_not_sent_again(weir_factory, changing, postgres):
    weir = weir_factory(default_pool_size=1)
    with psycopg.connect(postgres.address("postgres", "app"), autocommit=True) as direct:
        direct.execute("create table if not exists counted (n int); truncate counted; grant all on counted to public")
    client = prepared(weir)
    client.execute(TEXT)
    changing()
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        with client.pipeline():
            client.execute("insert into counted values (1)")
            client.execute(TEXT)
    with psycopg.connect(postgres.address("postgres", "app"), autocommit=True) as direct:
        assert direct.execute("select count(*) from counted").fetchone()[0] == 0
        direct.execute("drop table counted")


def described(client, name: str) -> int:
    """Prepares the statement and returns how many columns it is said to have, as asyncpg and others do."""
    result = client.exchange(parse(TEXT, name=name) + describe("S", name) + sync())
    assert result.errors == []
    return len(result.columns)


@pytest.mark.every_backend
def test_a_client_that_does_not_ask_what_a_portal_returns_hears_that_it_has_changed(weir_factory, changing):
    """It would take a row for what it was told before; it prepares the statement anew when it gets the error."""
    weir = weir_factory(default_pool_size=2)
    clients = [weir.connect() for _ in range(2)]
    # Both servers have the statement.
    for client in clients:
        client.query("begin")
    for client in clients:
        assert described(client, "one") == 1
    for client in clients:
        client.query("commit")
    wanted = changing()
    for client in clients:
        client.query("begin")
    for client in clients:
        result = client.exchange(bind(name="one") + execute() + sync())
        assert [error.sqlstate for error in result.errors] == ["0A000"] and result.rows == []
    for client in clients:
        client.query("rollback")
    for name in ("two", "three"):
        for client in clients:
            client.query("begin")
        for client in clients:
            assert described(client, name) == wanted
            assert len(client.exchange(bind(name=name) + execute() + sync()).rows[0]) == wanted
        for client in clients:
            client.query("commit")


def test_outside_of_a_transaction_too_the_error_is_the_clients_that_does_not_ask(weir_factory, changing):
    client = weir_factory(default_pool_size=1).connect()
    for before, after in (("one", "two"), ("three", "four")):
        columns = described(client, before)
        wanted = changing()
        assert wanted > columns
        result = client.exchange(bind(name=before) + execute() + sync())
        assert [error.sqlstate for error in result.errors] == ["0A000"] and result.rows == []
        assert described(client, after) == wanted
        assert len(client.exchange(bind(name=after) + execute() + sync()).rows[0]) == wanted


@pytest.mark.every_backend
def test_a_sync_that_needed_no_server_is_answered_once(weir_factory, changing):
    client = weir_factory(default_pool_size=1).connect()
    client.exchange(parse(TEXT, "a") + sync())
    assert client.exchange(BATCH).types == "2TDCZ"
    changing()
    client.send(sync() + BATCH)
    assert [client.result().types for _ in range(2)] == ["Z", "2TDCZ"]
    assert client.value("select 7") == 7


@pytest.fixture
def fake_weir(weir_factory, fake):
    return weir_factory(databases={"app": f"host=127.0.0.1 port={fake.port}"}, default_pool_size=1)


def received(weir) -> int:
    return weir.show("STATS_TOTALS", database="app")[0]["bytes_received"]


def send_batch(client: wire.Connection, fake: FakeServer) -> Session:
    """A batch that uses a statement of an earlier one has come to the server, which has not answered."""
    client.send(parse("select 1", "a") + sync())
    session = fake.session()
    session.expect("PS")
    session.send(message("1") + ready())
    client.result()
    client.send(BATCH)
    session.expect("BDES")
    return session


@pytest.mark.every_backend
def test_what_is_sent_behind_a_batch_is_answered_behind_it_when_it_is_sent_again(fake_weir, fake):
    """PostgreSQL sends its error at once, and ReadyForQuery when it has read the Sync."""
    client = fake_weir.connect()
    session = send_batch(client, fake)
    session.send(STALE + wire.message("S", b"DateStyle\0ISO\0"))
    # It was read with the error before it.
    assert client.read().type == "S"
    client.send(query("select 'second'"))
    # It must not have come before this is answered.
    assert session.is_silent(0.2)
    session.send(ready())
    assert b"DEALLOCATE ALL" in session.expect("Q")[0].body
    session.expect("PBDES")
    session.send(complete("DEALLOCATE ALL") + ready() + message("1") + message("2") + message("n") + complete("FIRST") + ready())
    assert client.result().tags == ["FIRST"]
    session.expect("Q")
    session.send(complete("SECOND") + ready())
    assert client.result().tags == ["SECOND"]


@pytest.mark.every_backend
def test_a_batch_behind_which_half_a_message_has_come_is_not_sent_again(fake_weir, fake):
    client = fake_weir.connect()
    session = send_batch(client, fake)
    second = query("select 'second'")
    before = received(fake_weir)
    client.send(second[:3])
    wait_until(lambda: received(fake_weir) == before + 3, "Weir has read it")
    session.send(STALE + ready())
    assert [error.sqlstate for error in client.result().errors] == ["0A000"]
    client.send(second[3:])
    session.expect("Q")
    session.send(complete("SECOND") + ready())
    assert client.result().tags == ["SECOND"]


@pytest.mark.every_backend
def test_what_a_batch_does_that_is_sent_again_counts(weir_factory, changing):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    for channel in ("news", "fence"):
        client.query(f"listen {channel}")
    statements = {"q": TEXT, "u": "unlisten news", "s": "set work_mem = '5MB'"}
    for name, text in statements.items():
        assert not client.exchange(parse(text, name) + sync()).errors
    assert not client.exchange(bind(name="q") + execute() + sync()).errors
    wanted = changing()
    result = client.exchange(b"".join(bind(name=name) + describe("P") + execute() for name in statements) + sync())
    assert not result.errors and len(result.rows[0]) == wanted
    assert result.tags == ["SELECT 1", "UNLISTEN", "SET"]
    assert other.value("show work_mem") != "5MB"
    assert client.value("show work_mem") == "5MB"
    other.query("notify news")
    assert heard_before(client, other) == []
