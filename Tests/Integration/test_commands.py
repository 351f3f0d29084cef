"""The console's commands do what they say, and answer when it is done."""

from __future__ import annotations

import threading

import pytest

import wire
from waiting import stays_true, wait_until
from wire import query


def background(weir, command: str) -> wire.Connection:
    """A console on which `command` has been sent and not answered yet."""
    console = weir.console()
    console.send(query(command))
    return console


@pytest.mark.every_backend
@pytest.mark.parametrize("what", ["", " app"])
def test_pause_waits_for_transactions_and_resume_lets_go(weir, postgres, what):
    busy, waiter = weir.connect(), weir.connect()
    busy.query("begin")
    console = background(weir, f"PAUSE{what}")
    assert console.is_silent(0.3)
    waiter.send(query("select 1"))
    assert waiter.is_silent(0.3)
    assert busy.value("select 2") == 2
    busy.query("commit")
    assert console.result().tags == ["PAUSE"]
    wait_until(lambda: postgres.server_count("app") == 0, "PostgreSQL has seen its backends' ends")
    assert waiter.is_silent(0.3)
    weir.admin(f"RESUME{what}")
    assert waiter.result().value == 1


def test_pause_of_one_database_leaves_the_others(weir):
    weir.admin("PAUSE app")
    assert weir.connect(database="second").value("select 1") == 1
    assert weir.show("DATABASES", name="app")[0]["paused"] == 1
    weir.admin("RESUME app")
    assert weir.show("DATABASES", name="app")[0]["paused"] == 0


def test_pause_twice_and_resume_twice_are_errors(weir):
    weir.admin("PAUSE")
    assert {row["key"]: row["value"] for row in weir.show("STATE")}["paused"] == "yes"
    with weir.console() as console:
        assert "already suspended/paused" in console.exchange(query("PAUSE")).errors[0].message
        console.query("RESUME")
        assert "not paused/suspended" in console.exchange(query("RESUME")).errors[0].message


@pytest.mark.every_backend
def test_the_end_of_a_cancelled_pause_is_not_taken_for_that_of_the_next(weir):
    busy, other = weir.connect(), weir.connect(database="second")
    for client in busy, other:
        client.query("begin")
    console = background(weir, "PAUSE app")
    wait_until(lambda: weir.show("DATABASES", name="app")[0]["paused"] == 1, "the pause has begun")
    console.cancel()
    assert [error.sqlstate for error in console.result().errors] == ["57014"]
    console.send(query("PAUSE second"))
    assert console.is_silent(0.5)
    other.query("commit")
    assert console.result().tags == ["PAUSE"]
    assert busy.query("commit").status == "I"


def test_a_login_works_while_paused(weir):
    weir.connect().value("select 1")
    weir.admin("PAUSE")
    client = weir.connect()
    client.send(query("select 1"))
    assert client.is_silent(0.3)
    weir.admin("RESUME")
    assert client.result().value == 1


def test_disable_refuses_new_clients_and_keeps_the_old(weir):
    old = weir.connect()
    weir.admin("DISABLE app")
    with pytest.raises(wire.ServerError) as raised:
        weir.connect()
    assert raised.value.severity == "FATAL" and 'database "app" is disabled' in raised.value.message
    assert old.value("select 1") == 1
    assert weir.connect(database="second").value("select 1") == 1
    weir.admin("ENABLE app")
    assert weir.connect().value("select 1") == 1


@pytest.mark.sanitizer_short
@pytest.mark.every_backend
def test_kill_ends_the_clients_and_servers_of_a_database(weir, postgres):
    clients = [weir.connect() for _ in range(3)]
    clients[0].query("begin")
    other = weir.connect(database="second")
    other.value("select 1")
    weir.admin("KILL app")
    for client in clients:
        assert client.is_closed_by_peer()
    wait_until(lambda: postgres.server_count("app") == 0, "no server is left")
    assert other.value("select 1") == 1
    weir.admin("RESUME app")
    assert weir.connect().value("select 1") == 1


def test_kill_without_a_database_ends_all(weir):
    clients = [weir.connect(), weir.connect(database="second")]
    weir.admin("KILL")
    for client in clients:
        assert client.is_closed_by_peer()
    for database in ("app", "second"):
        weir.admin(f"RESUME {database}")
    assert weir.connect().value("select 1") == 1


def test_a_database_of_the_wildcard_that_was_killed_with_all_can_be_resumed(weir_factory):
    weir = weir_factory(start=False)
    weir.databases = {"*": weir.server()}
    weir.start()
    client = weir.connect()
    weir.admin("KILL")
    assert client.is_closed_by_peer()
    client = weir.connect()
    client.send(query("select 1"))
    assert client.is_silent(0.2)
    weir.admin("RESUME app")
    assert client.result().value == 1


@pytest.mark.every_backend
def test_kill_client_ends_that_client_alone(weir):
    victim, other = weir.connect(application_name="victim"), weir.connect(application_name="other")
    victim.value("select 1")
    number = weir.show("CLIENTS", application_name="victim")[0]["id"]
    weir.admin(f"KILL_CLIENT {number}")
    with pytest.raises(wire.ServerError) as raised:
        victim.result()
    assert raised.value.severity == "FATAL" and "admin forced disconnect" in raised.value.message
    assert raised.value.sqlstate == "57P01"
    assert other.value("select 1") == 1
    with weir.console() as console:
        assert console.exchange(query(f"KILL_CLIENT {number}")).errors


@pytest.mark.parametrize("what", ["", " app"])
def test_reconnect_replaces_every_server_when_it_is_free(weir, what):
    busy, idle = weir.connect(), weir.connect()
    busy.query("begin")
    first = busy.value("select pg_backend_pid()")
    second = idle.value("select pg_backend_pid()")
    weir.admin(f"RECONNECT{what}")
    assert idle.value("select pg_backend_pid()") != second
    assert busy.value("select pg_backend_pid()") == first
    busy.query("commit")
    pids = {idle.value("select pg_backend_pid()"), busy.value("select pg_backend_pid()")}
    assert not pids & {first, second}


def test_wait_close_answers_when_the_old_servers_are_gone(weir):
    busy = weir.connect()
    busy.query("begin")
    weir.admin("RECONNECT")
    console = background(weir, "WAIT_CLOSE")
    assert console.is_silent(0.3)
    busy.query("commit")
    assert console.result().tags == ["WAIT_CLOSE"]


def test_set_changes_a_setting_at_once(weir_factory):
    weir = weir_factory(default_pool_size=1)
    holder, waiter = weir.connect(), weir.connect()
    holder.query("begin")
    with weir.console() as console:
        result = console.query("SET query_wait_timeout = 1")
        assert result.tags == ["SET query_wait_timeout=1"]
    assert weir.show("CONFIG", key="query_wait_timeout")[0]["value"] == "1"
    assert "query_wait_timeout" in waiter.exchange(query("select 1")).errors[0].message
    weir.admin("SET default_pool_size = '2'")
    assert waiter.value("select 1") == 1


@pytest.mark.parametrize(
    "command",
    ["SET default_pool_size = many", "SET query_timeout = 10x", "SET nothing = 1", "SET pool_mode = sometimes"],
)
def test_set_of_nonsense_is_an_error_and_changes_nothing(weir, command):
    before = weir.show("CONFIG")
    with weir.console() as console:
        assert console.exchange(query(command)).errors
    assert weir.show("CONFIG") == before


def test_reload_takes_new_databases_settings_and_sizes(weir_factory, postgres):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    weir.databases["third"] = f"host=127.0.0.1 port={postgres.port} dbname=second"
    weir.settings["default_pool_size"] = 3
    weir.reload()
    assert weir.connect(database="third").value("select current_database()") == "second"
    for _ in range(3):
        weir.connect().query("begin")
    assert postgres.server_count("app") == 3
    assert client is not None


def test_reload_of_a_broken_file_changes_nothing_and_tells_every_error(weir):
    weir.settings["default_pool_size"] = "10x"
    weir.settings["no_such_key"] = "1"
    weir.settings["query_timeout"] = 7
    weir.write()
    with weir.console() as console:
        error = console.exchange(query("RELOAD")).errors[0]
        assert error.sqlstate == "F0000" and "RELOAD failed" in error.message
    for key in ("default_pool_size", "no_such_key"):
        weir.wait_for_log(key)
    assert weir.show("CONFIG", key="query_timeout")[0]["value"] == "0"
    assert weir.connect().value("select 1") == 1


def test_reload_recycles_servers_whose_database_moved(weir, postgres):
    client = weir.connect()
    assert client.value("select current_database()") == "app"
    weir.databases["app"] = f"host=127.0.0.1 port={postgres.port} dbname=second"
    weir.reload()
    assert client.value("select current_database()") == "second"


def test_reload_to_a_smaller_pool_closes_what_is_too_much(weir_factory, postgres):
    weir = weir_factory(default_pool_size=4)
    clients = [weir.connect() for _ in range(4)]
    for client in clients:
        client.query("begin")
    weir.settings["default_pool_size"] = 2
    weir.reload()
    assert [client.value("select 1") for client in clients] == [1] * 4
    for client in clients:
        client.query("commit")
    wait_until(lambda: postgres.server_count("app") == 2, "two servers are left")
    stays_true(lambda: postgres.server_count("app") == 2, "and they stay", 0.3)


def test_pause_in_session_mode_waits_for_the_clients_to_leave(weir_factory):
    weir = weir_factory(pool_mode="session")
    client = weir.connect()
    client.value("select 1")
    console = background(weir, "PAUSE")
    assert console.is_silent(0.3)
    assert client.value("select 2") == 2
    client.terminate()
    assert console.result().tags == ["PAUSE"]


@pytest.mark.parametrize("command", ["PAUSE", "RECONNECT"])
def test_server_fast_close_does_not_wait_for_the_end_of_a_session(weir_factory, postgres, command):
    weir = weir_factory(pool_mode="session", server_fast_close=1)
    busy, idle = weir.connect(), weir.connect()
    busy.query("begin")
    pid = idle.value("select pg_backend_pid()")
    console = background(weir, command)
    wait_until(lambda: pid not in [server["pid"] for server in postgres.servers()], "the idle session's server is gone")
    assert busy.value("select 1") == 1, "a transaction is not cut short"
    busy.query("commit")
    assert console.result().tags == [command]
    wait_until(lambda: postgres.server_count("app") == 0, "no server of a session is left")


def test_reload_without_a_database_ends_its_clients(weir):
    client = weir.connect(database="second")
    client.value("select 1")
    del weir.databases["second"]
    weir.reload()
    with pytest.raises(wire.ServerError) as raised:
        client.result()
    assert "database removed" in raised.value.message
    assert weir.connect().value("select 1") == 1


@pytest.mark.sanitizer_short
@pytest.mark.every_backend
def test_pause_and_resume_under_load_lose_nothing(weir):
    stop, problems, done = threading.Event(), [], [0]

    def work(number: int):
        try:
            client = weir.connect(timeout=30)
            while not stop.is_set():
                assert client.value(f"select {number}") == number
                done[0] += 1
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            weir.admin("PAUSE")
            before = done[0]
            stays_true(lambda: done[0] <= before + 12, "nothing runs while paused", 0.05)
            weir.admin("RESUME")
            wait_until(lambda: done[0] > before + 24 or problems, "work goes on")
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not problems


@pytest.mark.parametrize(
    "command, exits_when",
    [
        ("SHUTDOWN", "at once"),
        ("SHUTDOWN WAIT_FOR_CLIENTS", "the client leaves"),
        ("SHUTDOWN WAIT_FOR_SERVERS", "the transaction ends"),
    ],
)
def test_shutdown(weir, command, exits_when):
    client = weir.connect()
    client.query("begin")
    weir.told_to_stop = True
    console = background(weir, command)
    if exits_when == "at once":
        assert console.is_closed_by_peer()
    else:
        assert console.result().tags == ["SHUTDOWN"]
        assert client.value("select 1") == 1
        assert weir.process.poll() is None
        client.query("commit")
        if exits_when == "the client leaves":
            assert client.value("select 2") == 2
            client.terminate()
        console.close()
    assert weir.wait_for_exit() == 0
