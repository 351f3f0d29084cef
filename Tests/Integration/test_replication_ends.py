"""Replication connections from the side of whoever runs Weir: limits, timeouts, cancel, the console, and every end."""

from __future__ import annotations

import pytest

import wire
from postgres import PASSWORD, REPLICATION_ROLE
from waiting import wait_until
from wire import query


def stream(weir, postgres, **login) -> wire.Connection:
    """A client to which WAL streams."""
    client = weir.replication("true", **login)
    client.send(query(f"START_REPLICATION PHYSICAL {postgres.value('select pg_current_wal_flush_lsn()')}"))
    assert client.read().type == "W"
    return client


def streams(client: wire.Connection, postgres) -> bool:
    """Whether WAL that is written now arrives."""
    postgres.sql("select pg_logical_emit_message(true, 'weir', 'needle')")
    while True:
        reply = client.read()
        assert reply.type == "d", reply
        if reply.body[:1] == b"w" and b"needle" in reply.body:
            return True


def background(weir, command: str) -> wire.Connection:
    console = weir.console()
    weir.connections.append(console)
    console.send(query(command))
    return console


def wait_for_its_end(postgres) -> None:
    wait_until(lambda: not postgres.walsenders(), "the walsender is gone")


def last_words(client: wire.Connection) -> wire.ServerError:
    """The error that comes before the end of the connection."""
    error = wire.ServerError(wire.error_fields(client.read_until("E")[-1].body))
    assert client.is_closed_by_peer()
    return error


# Limits


@pytest.mark.every_backend
def test_it_counts_in_max_db_connections_and_not_in_the_pool(weir_factory, postgres):
    weir = weir_factory(default_pool_size=1, max_db_connections=2)
    busy = weir.connect()
    busy.query("begin")
    client = weir.replication()
    assert weir.show("DATABASES", name="app")[0]["current_connections"] == 2
    with pytest.raises(wire.ServerError) as refused:
        weir.replication()
    assert (refused.value.severity, refused.value.sqlstate) == ("FATAL", "53300")
    assert "max_db_connections" in refused.value.message
    client.terminate()
    wait_until(lambda: weir.show("DATABASES", name="app")[0]["current_connections"] == 1, "its permit is back")
    assert weir.replication().value("select 1") == 1


@pytest.mark.every_backend
def test_idle_servers_make_room_for_it(weir_factory, postgres):
    weir = weir_factory(max_db_connections=2)
    clients = [weir.connect() for _ in range(2)]
    for client in clients:
        client.query("begin")
    for client in clients:
        client.query("commit")
    assert weir.replication().value("select 1") == 1
    assert weir.replication().value("select 1") == 1
    wait_until(lambda: postgres.server_count("app", "app") == 0, "both idle servers are closed")


def test_its_permit_goes_to_whoever_waits(weir_factory, postgres):
    weir = weir_factory(max_db_connections=1)
    client = weir.replication()
    other = weir.raw()
    other.send(wire.startup(user="app", database="app"))
    other.authenticate("app", None)
    assert other.is_silent(0.2)
    client.terminate()
    assert other.welcome().value("select 1") == 1


# Timeouts


def test_no_timeout_ends_a_stream(weir_factory, postgres):
    weir = weir_factory(
        query_timeout=1,
        transaction_timeout=2,
        idle_transaction_timeout=1,
        client_idle_timeout=1,
        server_idle_timeout=1,
        server_lifetime=1,
    )
    client = stream(weir, postgres)
    for _ in range(2):
        # The same times have passed for others.
        assert last_words(weir.connect()).message == "client_idle_timeout"
        busy = weir.connect()
        busy.send(query("select pg_sleep(30)"))
        assert "query timeout" in busy.result().errors[0].message
    assert streams(client, postgres)


@pytest.mark.one_backend
def test_a_server_that_does_not_answer_is_given_up(weir_factory, proxy):
    weir = weir_factory(server_connect_timeout=1, start=False)
    weir.databases["app"] = weir.server(proxy.port)
    weir.start()
    proxy.swallow()
    with pytest.raises(wire.ServerError) as refused:
        weir.replication()
    assert (refused.value.severity, refused.value.sqlstate) == ("FATAL", "08001")
    assert "connect timeout" in refused.value.detail
    proxy.accept_again()
    assert weir.replication().value("select 1") == 1


@pytest.mark.one_backend
def test_a_client_leaves_while_its_server_logs_in(weir_factory, proxy):
    weir = weir_factory(start=False)
    weir.databases["app"] = weir.server(proxy.port)
    weir.start()
    proxy.swallow()
    client = weir.raw()
    client.send(wire.startup(user=REPLICATION_ROLE, database="app", replication="database"))
    wait_until(lambda: weir.show("SERVERS", state="new"), "its server logs in")
    client.close()
    wait_until(lambda: not weir.show("SERVERS"), "its server is closed")
    weir.wait_for_log("closing because: replication client was closed")


# Cancel


@pytest.mark.every_backend
def test_cancel_reaches_its_server(weir, postgres):
    client = weir.replication()
    client.send(query("select pg_sleep(30)"))
    wait_until(lambda: any("pg_sleep" in sender["query"] for sender in postgres.walsenders()), "it runs")
    client.cancel()
    assert client.result().errors[0].sqlstate == "57014"
    assert client.value("select 1") == 1


# The client ends


@pytest.mark.every_backend
@pytest.mark.parametrize("how", ["terminate", "close", "reset"])
@pytest.mark.sanitizer_short
def test_its_server_is_closed_when_the_client_leaves(weir, postgres, how):
    client = stream(weir, postgres)
    getattr(client, how)()
    wait_for_its_end(postgres)
    wait_until(lambda: not weir.show("CLIENTS", user=REPLICATION_ROLE), "the client is gone")
    assert not weir.show("SERVERS", user=REPLICATION_ROLE)
    weir.wait_for_log("closing because: replication client was closed")


def test_its_server_is_closed_when_the_client_leaves_in_the_middle_of_a_message(weir, postgres):
    client = weir.replication()
    client.send(query("select 1")[:7])
    wait_until(lambda: postgres.walsenders(), "its server is there")
    client.close()
    wait_for_its_end(postgres)


def test_a_bad_length_ends_the_client(weir, postgres):
    client = weir.replication()
    client.send(b"Q\0\0\0\1")
    assert last_words(client).sqlstate == "08P01"
    wait_for_its_end(postgres)


# The server ends


@pytest.mark.every_backend
def test_the_client_hears_the_servers_last_words(weir, postgres):
    client = stream(weir, postgres)
    postgres.sql("select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'walsender'")
    replies = []
    try:
        while True:
            replies.append(client.read())
    except EOFError:
        pass
    errors = [wire.ServerError(wire.error_fields(reply.body)) for reply in replies if reply.type == "E"]
    assert [error.sqlstate for error in errors] == ["57P01"]
    assert "administrator command" in errors[0].message


def test_the_client_hears_of_a_crash(weir_factory, postgres, proxy):
    weir = weir_factory(start=False)
    weir.databases["app"] = weir.server(proxy.port)
    weir.start()
    client = weir.replication()
    proxy.reset_all()
    error = last_words(client)
    assert (error.severity, error.sqlstate) == ("FATAL", "08006")
    assert error.message.startswith("server conn crashed?")


def test_nothing_is_said_into_a_message_that_is_cut(weir_factory, postgres, proxy):
    weir = weir_factory(start=False)
    weir.databases["app"] = weir.server(proxy.port)
    weir.start()
    client = weir.replication()
    proxy.cut_after(1000)
    client.send(query("select repeat('x', 100000)"))
    received = b""
    try:
        while True:
            client.fill()
    except (EOFError, ConnectionResetError):
        received = bytes(client.buffer)
    assert len(received) == 1000
    assert received.endswith(b"xxxx")


@pytest.mark.one_backend
def test_a_server_that_cannot_be_reached(weir_factory, proxy):
    weir = weir_factory(start=False)
    weir.databases["app"] = weir.server(proxy.port)
    weir.start()
    proxy.refuse()
    with pytest.raises(wire.ServerError) as refused:
        weir.replication()
    assert (refused.value.severity, refused.value.sqlstate) == ("FATAL", "08001")
    proxy.accept_again()
    assert weir.replication().value("select 1") == 1


# The console


def test_show_tells_of_it(weir, postgres):
    client = weir.replication(application_name="a stream")
    ordinary = weir.connect()
    ordinary.query("select 1")
    (row,) = weir.show("CLIENTS", user=REPLICATION_ROLE)
    (server,) = weir.show("SERVERS", user=REPLICATION_ROLE)
    for shown in (row, server):
        assert (shown["replication"], shown["state"], shown["application_name"]) == ("logical", "active", "a stream")
    assert (row["link"], server["link"]) == (server["ptr"], row["ptr"])
    assert server["remote_pid"] == postgres.walsenders()[0]["pid"]
    pool = weir.pool(user=REPLICATION_ROLE)
    assert (pool["cl_active"], pool["sv_active"], pool["sv_idle"]) == (1, 1, 0)
    assert weir.show("CLIENTS", user="app")[0]["replication"] == "none"
    assert weir.show("SERVERS", user="app")[0]["replication"] == "none"
    stream(weir, postgres)
    assert sorted(row["replication"] for row in weir.show("SERVERS", user=REPLICATION_ROLE)) == ["logical", "physical"]
    client.terminate()
    assert "replication=logical" in weir.log()


@pytest.mark.every_backend
def test_pause_waits_for_it_and_lets_no_new_one_begin(weir, postgres):
    client = stream(weir, postgres)
    console = background(weir, "PAUSE")
    wait_until(lambda: weir.show("DATABASES", name="app")[0]["paused"] == 1, "it is paused")
    assert streams(client, postgres)
    waiting = weir.raw()
    waiting.send(wire.startup(user=REPLICATION_ROLE, database="app", replication="database"))
    waiting.authenticate(REPLICATION_ROLE, PASSWORD)
    assert waiting.is_silent(0.3)
    weir.wait_for_pool(user=REPLICATION_ROLE, cl_active=1, cl_waiting=1, sv_active=1)
    assert console.is_silent(0.1)
    client.terminate()
    assert console.result().tags == ["PAUSE"]
    assert waiting.is_silent(0.3)
    weir.admin("RESUME")
    assert waiting.welcome().value("select 1") == 1


def test_pause_while_its_server_logs_in_lets_it_wait(weir_factory, proxy):
    weir = weir_factory(start=False)
    weir.databases["app"] = weir.server(proxy.port)
    weir.start()
    proxy.swallow()
    client = weir.raw()
    client.send(wire.startup(user=REPLICATION_ROLE, database="app", replication="database"))
    wait_until(lambda: weir.show("SERVERS", state="new"), "its server logs in")
    weir.admin("PAUSE")
    proxy.accept_again()
    client.authenticate(REPLICATION_ROLE, PASSWORD)
    assert client.is_silent(0.3)
    weir.admin("RESUME")
    assert client.welcome().value("select 1") == 1


@pytest.mark.parametrize("command", ["PAUSE", "RECONNECT"])
def test_server_fast_close_ends_it(weir_factory, postgres, command):
    weir = weir_factory(server_fast_close=1)
    client = stream(weir, postgres)
    weir.admin(command)
    assert last_words(client).sqlstate == "57P01"
    wait_for_its_end(postgres)


def test_reconnect_marks_it_and_wait_close_waits_for_it(weir, postgres):
    client = stream(weir, postgres)
    weir.admin("RECONNECT")
    assert weir.show("SERVERS", user=REPLICATION_ROLE)[0]["close_needed"] == 1
    assert streams(client, postgres)
    console = background(weir, "WAIT_CLOSE")
    assert console.is_silent(0.3)
    client.terminate()
    assert console.result().tags == ["WAIT_CLOSE"]


@pytest.mark.parametrize("command", ["KILL app", "KILL_CLIENT"])
def test_kill_ends_it(weir, postgres, command):
    client = stream(weir, postgres)
    if command == "KILL_CLIENT":
        command += f" {weir.show('CLIENTS', user=REPLICATION_ROLE)[0]['id']}"
    weir.admin(command)
    assert last_words(client).sqlstate == "57P01"
    wait_for_its_end(postgres)


def test_a_removed_database_ends_it(weir, postgres):
    client = stream(weir, postgres)
    del weir.databases["app"]
    weir.reload()
    assert "database removed" in last_words(client).message
    wait_for_its_end(postgres)


@pytest.mark.parametrize("command", ["SHUTDOWN", "SHUTDOWN WAIT_FOR_CLIENTS", "SHUTDOWN WAIT_FOR_SERVERS"])
def test_shutdown(weir, postgres, command):
    client = stream(weir, postgres)
    weir.told_to_stop = True
    console = background(weir, command)
    if command == "SHUTDOWN":
        assert last_words(client).sqlstate == "57P01"
    else:
        assert console.result().tags == ["SHUTDOWN"]
        assert streams(client, postgres)
        assert weir.process.poll() is None
        client.terminate()
        console.close()
    assert weir.wait_for_exit() == 0
    wait_for_its_end(postgres)
