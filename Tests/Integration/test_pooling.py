"""Who gets a server and when: transactions, modes, first in first out, and what happens to a server afterwards."""

from __future__ import annotations

import threading
import time

import pytest

import wire
from waiting import stays_true, wait_until
from wire import bind, execute, extended, parse, query, sync


def backend(client: wire.Connection) -> int:
    return client.value("select pg_backend_pid()")


def occupy(weir, client: wire.Connection | None = None, **login) -> wire.Connection:
    """A client that holds a server in an open transaction."""
    client = client or weir.connect(**login)
    client.query("begin")
    return client


@pytest.mark.every_backend
def test_a_transaction_stays_on_its_server(weir):
    client, other = weir.connect(), weir.connect()
    client.query("begin")
    first = backend(client)
    for _ in range(20):
        assert backend(other) != first
        assert backend(client) == first
    client.query("commit")


def test_clients_in_turn_share_one_server(weir, postgres):
    """One for each worker at most: a worker opens its own while the pool's bound leaves room."""
    clients = [weir.connect() for _ in range(10)]
    servers = {backend(client) for client in clients for _ in range(2)}
    assert len(servers) <= weir.settings.get("workers", 1)
    assert postgres.server_count("app") == len(servers)


@pytest.mark.every_backend
def test_a_hundred_clients_never_open_more_servers_than_the_pool_allows(weir, postgres):
    most, stop, problems = [0], threading.Event(), []

    def watch():
        import psycopg

        with psycopg.connect(postgres.address(), autocommit=True) as watcher:
            while not stop.is_set():
                count = watcher.execute(
                    "select count(*) from pg_stat_activity where datname = 'app' and backend_type = 'client backend'"
                )
                most[0] = max(most[0], count.fetchone()[0])

    def work(number: int):
        try:
            client = weir.connect(timeout=40)
            for round_ in range(10):
                client.query("begin")
                assert client.value(f"select {number + round_}") == number + round_
                client.query("commit")
        except Exception as error:
            problems.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    stop.set()
    watcher.join()
    assert not problems
    assert 2 <= most[0] <= 5


@pytest.mark.every_backend
def test_waiters_are_served_first_in_first_out(weir_factory, table):
    """Also across workers, between which a waiter of the server's own worker may go 2 ms before its turn."""
    weir = weir_factory(default_pool_size=1)
    holder = occupy(weir)
    waiters = []
    for number in range(12):
        client = weir.connect()
        asked = time.monotonic()
        client.send(query(f"insert into t values ({number}, clock_timestamp()::text)"))
        waiters.append(client)
        weir.wait_for_pool(cl_waiting=number + 1)
        if weir.settings.get("workers", 1) > 1:
            wait_until(lambda: time.monotonic() > asked + 0.005, "the next one is younger by more than that")
    holder.query("commit")
    for client in waiters:
        assert client.result().tags == ["INSERT 0 1"]
    order = [row[0] for row in weir.connect().query("select id from t order by v::timestamptz").rows]
    assert order == list(range(12))


@pytest.mark.every_backend
def test_a_server_is_handed_over_when_its_client_vanishes_in_a_transaction(weir_factory, table):
    weir = weir_factory(default_pool_size=1)
    holder = occupy(weir)
    holder.query("insert into t values (1, 'never committed')")
    waiter = weir.connect()
    waiter.send(query("select count(*) from t"))
    weir.wait_for_pool(cl_waiting=1)
    holder.reset()
    assert waiter.result().value == 0


def test_a_server_is_not_released_while_a_sync_is_owed(weir_factory):
    """Parse, Bind, Execute without Sync: the server must stay with the client."""
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    client.send(parse("select 1") + bind() + execute() + wire.flush())
    client.read_until("C")
    other.send(query("select 2"))
    weir.wait_for_pool(cl_waiting=1)
    assert other.is_silent(0.2)
    assert client.exchange(sync()).types == "Z"
    assert other.result().value == 2


def test_a_server_is_not_released_while_a_later_request_is_unanswered(weir_factory):
    """Two queries in one packet: the first ReadyForQuery says idle, and the second answer is still to come."""
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    for _ in range(20):
        client.send(query("select 1") + query("select pg_sleep(0.02), 2"))
        other.send(query("select 3"))
        assert client.result().value == 1
        assert client.result().rows[0][1] == 2
        assert other.result().value == 3


def test_session_mode_keeps_the_server_until_the_client_leaves(weir_factory):
    weir = weir_factory(pool_mode="session", default_pool_size=1)
    first, second = weir.connect(), weir.connect()
    first.query("create temp table mine (i int)")
    second.send(query("select count(*) from pg_class where relname = 'mine'"))
    weir.wait_for_pool(cl_waiting=1)
    assert first.value("select count(*) from mine") == 0
    first.terminate()
    assert second.result().value == 0, "DISCARD ALL did not run between the two"


def test_server_reset_query_runs_between_sessions(weir_factory, table):
    weir = weir_factory(
        pool_mode="session", default_pool_size=1, server_reset_query="insert into t values (1, 'reset')"
    )
    first = weir.connect()
    pid = backend(first)
    first.terminate()
    second = weir.connect()
    assert second.query("select v, pg_backend_pid() from t").rows == [["reset", pid]]


def test_server_reset_query_does_not_run_in_transaction_mode(weir_factory, table):
    weir = weir_factory(default_pool_size=1, server_reset_query="insert into t values (1, 'reset')")
    weir.connect().value("select 1")
    assert weir.connect().value("select count(*) from t") == 0


def test_server_reset_query_always_runs_in_transaction_mode_too(weir_factory, table):
    weir = weir_factory(
        default_pool_size=1, server_reset_query="insert into t values (1, 'reset')", server_reset_query_always=1
    )
    weir.connect().value("select 1")
    assert weir.connect().value("select count(*) from t") == 1


def test_a_failing_server_reset_query_closes_that_server(weir_factory):
    weir = weir_factory(pool_mode="session", default_pool_size=1, server_reset_query="select * from nowhere")
    first = weir.connect()
    pid = backend(first)
    first.terminate()
    assert backend(weir.connect()) != pid
    weir.wait_for_log("reset query failed")


def test_statement_mode_shares_a_server_between_statements(weir_factory):
    weir = weir_factory(pool_mode="statement", default_pool_size=1)
    clients = [weir.connect() for _ in range(5)]
    assert len({backend(client) for client in clients for _ in range(3)}) == 1


def test_statement_mode_refuses_a_transaction_block(weir_factory):
    weir = weir_factory(pool_mode="statement", default_pool_size=1)
    client = weir.connect()
    client.send(query("begin"))
    with pytest.raises((wire.ServerError, EOFError)) as raised:
        result = client.result()
        if result.errors:
            raise result.errors[0]
    if isinstance(raised.value, wire.ServerError):
        assert "transaction blocks not allowed in statement pooling mode" in raised.value.message
    weir.wait_for_log("transaction blocks not allowed in statement pooling mode")
    assert weir.connect().value("select 1") == 1


def test_the_pool_mode_of_a_database_and_of_a_user_goes_before_the_general_one(weir_factory, postgres):
    weir = weir_factory(
        users={"other": "pool_mode=session"},
        databases={"second": f"host=127.0.0.1 port={postgres.port} pool_mode=statement"},
    )
    modes = {}
    for database, user in (("app", "app"), ("second", "app"), ("app", "other")):
        weir.connect(user, database).value("select 1")
        modes[database, user] = weir.pool(database, user)["pool_mode"]
    assert modes == {("app", "app"): "transaction", ("second", "app"): "statement", ("app", "other"): "session"}


def test_idle_servers_are_reused_last_in_first_out(weir):
    holders = [occupy(weir) for _ in range(3)]
    for client in holders:
        client.query("commit")
    assert len({backend(holders[0]) for _ in range(10)}) == 1


@pytest.mark.one_backend
def test_server_round_robin_uses_all_idle_servers(weir_factory):
    weir = weir_factory(server_round_robin=1)
    holders = [occupy(weir) for _ in range(3)]
    for client in holders:
        client.query("commit")
    assert len({backend(holders[0]) for _ in range(9)}) == 3


def test_connect_query_runs_once_on_each_new_server(weir_factory, postgres, table):
    insert = "'insert into t values (pg_backend_pid(), ''new'')'"
    weir = weir_factory(databases={"app": f"host=127.0.0.1 port={postgres.port} connect_query={insert}"})
    client = weir.connect()
    pid = backend(client)
    assert client.query("select id, v from t").rows == [[pid, "new"]]
    assert client.value("select count(*) from t") == 1


def test_a_failing_connect_query_is_told_to_the_client(weir_factory, postgres):
    weir = weir_factory(
        databases={"app": f"host=127.0.0.1 port={postgres.port} connect_query='select * from nowhere'"},
        query_wait_timeout=3,
    )
    with pytest.raises(wire.ServerError):
        weir.connect().value("select 1")
    weir.wait_for_log("exec_on_connect query failed|nowhere")


CHECK = "insert into t select count(*), 'checked' from t"


def test_server_check_query_runs_before_every_use_when_its_delay_is_zero(weir_factory, table):
    weir = weir_factory(default_pool_size=1, server_check_query=CHECK, server_check_delay=0)
    client = weir.connect()
    counts = [client.value("select count(*) from t") for _ in range(5)]
    assert [count - counts[0] for count in counts] == [0, 1, 2, 3, 4]


def test_server_check_query_runs_only_before_a_server_that_was_idle_too_long(weir_factory, table):
    weir = weir_factory(default_pool_size=1, server_check_query=CHECK, server_check_delay=1)
    client = weir.connect()
    assert [client.value("select count(*) from t") for _ in range(5)] == [0] * 5
    weir.wait_for_pool(sv_used=1)
    assert [client.value("select count(*) from t") for _ in range(5)] == [1] * 5


def test_a_server_that_fails_its_check_is_replaced_unseen(weir_factory, proxy):
    weir = weir_factory(
        databases={"app": f"host=127.0.0.1 port={proxy.port}"}, server_check_query="select 1", server_check_delay=0
    )
    client = weir.connect()
    client.value("select 1")
    proxy.reset_all()
    assert client.value("select 2") == 2


def test_an_idle_server_that_sends_an_error_is_closed(weir_factory, proxy):
    weir = weir_factory(databases={"app": f"host=127.0.0.1 port={proxy.port}"})
    client = weir.connect()
    first = backend(client)
    weir.wait_for_pool(sv_idle=1)
    proxy.open_links[0].inject(wire.message("E", b"SERROR\0C57014\0Mstray\0\0"))
    weir.wait_for_log("server got dirty")
    assert backend(client) != first


def test_a_wildcard_database_leads_to_the_database_of_that_name(weir_factory, postgres):
    weir = weir_factory(databases={"*": f"host=127.0.0.1 port={postgres.port}"})
    assert weir.connect(database="postgres").value("select current_database()") == "postgres"


def test_one_name_may_lead_to_another_database(weir_factory, postgres):
    weir = weir_factory(databases={"alias": f"host=127.0.0.1 port={postgres.port} dbname=second"})
    assert weir.connect(database="alias").value("select current_database()") == "second"


def test_a_server_is_reached_through_a_unix_socket(weir_factory, postgres):
    weir = weir_factory(databases={"app": f"host={postgres.directory} port={postgres.port}"})
    assert weir.connect().value("select inet_server_addr() is null and 1 = 1") == "t"


def test_extended_and_simple_clients_share_the_servers(weir_factory):
    weir = weir_factory(default_pool_size=1)
    simple, other = weir.connect(), weir.connect()
    for number in range(30):
        assert simple.value(f"select {number}") == number
        assert other.exchange(extended(f"select {number}::int")).value == number


def test_no_server_is_opened_for_a_client_that_asks_nothing(weir, postgres):
    weir.connect().value("select 1")
    clients = [weir.connect() for _ in range(20)]
    stays_true(lambda: postgres.server_count("app") == 1, "one server is enough", 0.3)
    assert len(clients) == 20
