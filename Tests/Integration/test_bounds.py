"""Every bound holds, says its name when it is reached, and starves nobody."""

from __future__ import annotations

import re
import threading

import pytest

import wire
from postgres import PASSWORD
from waiting import Stopwatch, stays_true, wait_until
from wire import query


def hold(weir, count: int, **login) -> list[wire.Connection]:
    """Clients that each have a server in an open transaction."""
    clients = [weir.connect(**login) for _ in range(count)]
    for client in clients:
        client.query("begin")
    return clients


def ask(weir, count: int, **login) -> list[wire.Connection]:
    """Clients that each have sent a query and not read the answer."""
    clients = [weir.connect(**login) for _ in range(count)]
    for client in clients:
        client.send(query("begin; select pg_backend_pid()"))
    return clients


def refusal(weir, user: str = "app", database: str = "app") -> wire.ServerError:
    with pytest.raises(wire.ServerError) as raised:
        weir.raw().login(user, database, PASSWORD)
    return raised.value


def most_servers_at_once(log: str) -> int:
    """The most servers that were logged in together, by the log.

    PostgreSQL's own list is not exact where servers are closed and opened in turn: a backend stands in it for a
    moment after its connection was closed.
    """
    servers, most = set(), 0
    for name, event in re.findall(r"(S-0x[0-9a-f]+): .* (new connection to server|closing because)", log):
        if event == "closing because":
            servers.discard(name)
        else:
            servers.add(name)
        most = max(most, len(servers))
    return most


@pytest.mark.every_backend
def test_default_pool_size(weir_factory, postgres):
    weir = weir_factory(default_pool_size=3)
    ask(weir, 10)
    wait_until(lambda: postgres.server_count("app") == 3, "three servers")
    stays_true(lambda: postgres.server_count("app") == 3, "never more than three", 0.3)
    weir.wait_for_pool(cl_active=3, cl_waiting=7, sv_active=3)


@pytest.mark.one_backend
def test_pool_size_zero_means_without_bound(weir_factory, postgres):
    weir = weir_factory(default_pool_size=0)
    hold(weir, 30)
    assert postgres.server_count("app") == 30


@pytest.mark.one_backend
def test_pool_size_of_a_database_and_of_a_user(weir_factory, postgres):
    weir = weir_factory(
        default_pool_size=4,
        users={"other": "pool_size=1"},
        databases={"second": f"host=127.0.0.1 port={postgres.port} pool_size=2"},
    )
    for login, expected in (
        ({}, 4),
        ({"database": "second"}, 2),
        ({"user": "other"}, 1),
        ({"user": "other", "database": "second"}, 1),
    ):
        ask(weir, 6, **login)
        name = (login.get("database", "app"), login.get("user", "app"))
        weir.wait_for_pool(*name, sv_active=expected, cl_waiting=6 - expected)


def test_each_user_and_database_has_its_own_pool(weir_factory, postgres):
    weir = weir_factory(default_pool_size=2)
    for user in ("app", "other"):
        for database in ("app", "second"):
            ask(weir, 3, user=user, database=database)
    for user in ("app", "other"):
        for database in ("app", "second"):
            weir.wait_for_pool(database, user, sv_active=2, cl_waiting=1)


def test_min_pool_size_keeps_servers_ready(weir_factory, postgres):
    weir = weir_factory(min_pool_size=3, server_idle_timeout=1)
    weir.connect().value("select 1")
    wait_until(lambda: postgres.server_count("app") == 3, "three servers are opened ahead")
    stays_true(lambda: postgres.server_count("app") >= 3, "and stay", 1.6)


def test_min_pool_size_with_a_forced_user_needs_no_client(weir_factory, postgres):
    weir = weir_factory(
        databases={"app": f"host=127.0.0.1 port={postgres.port} user=app password={PASSWORD} min_pool_size=2"}
    )
    wait_until(lambda: postgres.server_count("app") == 2, "two servers are opened ahead")
    assert weir.connect().value("select 1") == 1


def test_the_reserve_is_used_after_reserve_pool_timeout(weir_factory, postgres):
    weir = weir_factory(default_pool_size=1, reserve_pool_size=2, reserve_pool_timeout=1)
    hold(weir, 1)
    waiter = weir.connect()
    with Stopwatch() as watch:
        assert waiter.value("select 1") == 1
    assert 0.9 <= watch.seconds < 5
    weir.wait_for_log("taking connection from reserve_pool")
    ask(weir, 5)
    wait_until(lambda: postgres.server_count("app") == 3, "the reserve is in use")
    stays_true(lambda: postgres.server_count("app") == 3, "and has a bound too", 0.5)


def test_max_overflow_opens_servers_at_once_and_closes_them_when_unused(weir_factory, postgres):
    weir = weir_factory(default_pool_size=2, max_overflow=3, overflow_idle_timeout=1)
    with Stopwatch() as watch:
        clients = hold(weir, 5)
    assert watch.seconds < 2
    assert postgres.server_count("app") == 5
    waiting = weir.connect()
    waiting.send(query("select 1"))
    weir.wait_for_pool(cl_waiting=1)
    assert waiting.is_silent(0.2)
    for client in clients:
        client.query("commit")
    assert waiting.result().value == 1
    wait_until(lambda: postgres.server_count("app") == 2, "the overflow is closed again", 10)
    stays_true(lambda: postgres.server_count("app") == 2, "the pool itself stays", 0.5)


@pytest.mark.one_backend
def test_pool_size_is_another_word_for_default_pool_size(weir_factory, postgres):
    weir = weir_factory(start=False)
    del weir.settings["default_pool_size"]
    weir.settings["pool_size"] = 2
    weir.start()
    ask(weir, 4)
    weir.wait_for_pool(sv_active=2, cl_waiting=2)


@pytest.mark.sanitizer_short
@pytest.mark.every_backend
def test_max_db_connections_is_shared_by_the_users_and_starves_none(weir_factory, postgres):
    """Three users work as fast as they can on two servers; each must get on."""
    weir = weir_factory(default_pool_size=5, max_db_connections=2)
    done = {user: 0 for user in ("app", "other", "third")}
    stop, problems, most = threading.Event(), [], [0]

    def work(user: str) -> None:
        try:
            client = weir.connect(user, timeout=30)
            while not stop.is_set():
                assert client.value("select current_user || pg_sleep(0.002)") == user
                done[user] += 1
        except Exception as error:
            problems.append((user, error))

    threads = [threading.Thread(target=work, args=(user,)) for user in done for _ in range(6)]
    for thread in threads:
        thread.start()

    def all_got_on() -> bool:
        most[0] = max(most[0], postgres.server_count("app"))
        return bool(problems) or min(done.values()) >= 40

    try:
        wait_until(all_got_on, "every user has had 40 turns", 30)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not problems
    assert most_servers_at_once(weir.log()) == 2
    assert most[0] <= 4, "of which two are about to go"


def test_max_db_connections_takes_an_idle_server_from_another_pool(weir_factory, postgres):
    weir = weir_factory(max_db_connections=2)
    for client in hold(weir, 2):
        client.query("commit")
    assert weir.connect("other").value("select current_user") == "other"
    weir.wait_for_log("evicted")
    # The process of the one that was closed may end later.
    wait_until(lambda: postgres.server_count("app") <= 2, "two are left")


def test_max_db_connections_of_one_database(weir_factory, postgres):
    weir = weir_factory(databases={"app": f"host=127.0.0.1 port={postgres.port} max_db_connections=1"})
    ask(weir, 3)
    weir.wait_for_pool(sv_active=1, cl_waiting=2)
    hold(weir, 3, database="second")


def test_max_user_connections_counts_over_all_databases(weir_factory, postgres):
    weir = weir_factory(max_user_connections=3)
    hold(weir, 2)
    ask(weir, 3, database="second")
    weir.wait_for_pool("second", sv_active=1, cl_waiting=2)
    stays_true(lambda: postgres.server_count(user="app") == 3, "three for this user", 0.3)
    hold(weir, 2, user="other")


@pytest.mark.one_backend
def test_max_user_connections_of_one_user(weir_factory, postgres):
    weir = weir_factory(users={"other": "max_user_connections=1"})
    ask(weir, 3, user="other")
    weir.wait_for_pool("app", "other", sv_active=1, cl_waiting=2)


@pytest.mark.every_backend
def test_max_client_conn(weir_factory):
    weir = weir_factory(max_client_conn=4)
    clients = [weir.connect() for _ in range(4)]
    error = refusal(weir)
    assert (error.severity, error.sqlstate) == ("FATAL", "53300")
    assert "no more connections allowed (max_client_conn)" in error.message
    assert weir.admin("SHOW STATE"), "the console has no such bound"
    clients[0].terminate()

    def is_let_in() -> bool:
        try:
            return weir.raw().login("app", "app").value("select 1") == 1
        except wire.ServerError:
            return False

    wait_until(is_let_in, "the place of the client that left is free")


def test_max_db_client_connections(weir_factory, postgres):
    weir = weir_factory(databases={"app": f"host=127.0.0.1 port={postgres.port} max_db_client_connections=2"})
    clients = [weir.connect(), weir.connect("other")]
    error = refusal(weir)
    assert error.sqlstate == "53300" and "client connections exceeded (max_db_client_connections)" in error.message
    assert weir.connect(database="second").value("select 1") == 1
    assert len(clients) == 2


def test_max_user_client_connections(weir_factory):
    weir = weir_factory(users={"other": "max_user_client_connections=2"}, max_user_client_connections=3)
    clients = [weir.connect("other") for _ in range(2)] + [weir.connect() for _ in range(3)]
    for user in ("app", "other"):
        error = refusal(weir, user)
        assert (
            error.sqlstate == "53300" and "client connections exceeded (max_user_client_connections)" in error.message
        )
    assert len(clients) == 5


@pytest.mark.one_backend
def test_the_bound_of_clients_is_given_back_by_clients_that_fail_to_log_in(weir_factory):
    weir = weir_factory(max_client_conn=3, auth_type="plain")
    for _ in range(10):
        with pytest.raises(wire.ServerError):
            weir.raw().login("app", "app", "wrong")
    assert weir.connect(password=PASSWORD).value("select 1") == 1


def test_many_waiters_bring_several_connects_at_once(weir_factory, proxy):
    """Up to server_connect_parallel logins are under way together, and never more than the waiters need."""
    weir = weir_factory(
        databases={"app": f"host=127.0.0.1 port={proxy.port}"}, default_pool_size=10, server_connect_parallel=4
    )
    weir.connect().value("select 1")
    proxy.pause()
    already = proxy.accepted
    clients = ask(weir, 8)
    wait_until(lambda: proxy.accepted - already >= 3, "several connects are under way")
    stays_true(lambda: proxy.accepted - already <= 4, "never more than four at once", 0.3)
    proxy.resume()
    pids = {client.result().value for client in clients}
    assert len(pids) == 8
