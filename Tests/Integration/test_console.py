"""The console shows the columns that monitoring expects, in that order and of those types."""

from __future__ import annotations

import asyncio

import asyncpg
import psycopg
import pytest

import wire
from postgres import PASSWORD
from waiting import wait_until
from wire import extended, query

OIDS = {"s": 25, "i": 23, "q": 20, "N": 1700}

CONNECTION = (
    "type s, user s, database s, replication s, state s, addr s, port i, local_addr s, local_port i, connect_time s, "
    "request_time s, wait i, wait_us i, close_needed i, ptr s, link s, remote_pid i, tls s, application_name s, "
    "prepared_statements i, id i"
)
COUNTERS = (
    "server_assignment_count xact_count query_count {received} {sent} xact_time query_time wait_time "
    "{p}client_parse_count {p}server_parse_count {p}bind_count"
)


def counters(prefix: str, received: str, sent: str, parse_prefix: str = "") -> str:
    return ", ".join(
        f"{prefix}{name} N" for name in COUNTERS.format(received=received, sent=sent, p=parse_prefix).split()
    )


COLUMNS = {
    "DATABASES": "name s, host s, port i, database s, force_user s, pool_size i, min_pool_size i, reserve_pool_size i, "
    "server_lifetime i, pool_mode s, load_balance_hosts s, max_connections i, current_connections i, "
    "max_client_connections i, current_client_connections i, paused i, disabled i",
    "POOLS": "database s, user s, cl_active i, cl_waiting i, cl_active_cancel_req i, cl_waiting_cancel_req i, "
    "sv_active i, sv_active_cancel i, sv_being_canceled i, "
    "sv_idle i, sv_used i, sv_tested i, sv_login i, maxwait i, maxwait_us i, "
    "pool_mode s, load_balance_hosts s",
    "CLIENTS": CONNECTION,
    "SERVERS": CONNECTION,
    "USERS": "name s, pool_size s, reserve_pool_size s, pool_mode s, max_user_connections i, current_connections i, "
    "max_user_client_connections i, current_client_connections i",
    "LISTS": "list s, items i",
    "STATS": "database s, " + counters("total_", "received", "sent") + ", " + counters("avg_", "recv", "sent"),
    "STATS_TOTALS": "database s, " + counters("", "bytes_received", "bytes_sent"),
    "STATS_AVERAGES": "database s, " + counters("", "bytes_received", "bytes_sent", "avg_"),
    "TOTALS": "name s, value N",
    "CONFIG": "key s, value s, default s, changeable s",
    "STATE": "key s, value s",
    "VERSION": "version s",
}


@pytest.mark.parametrize("topic", COLUMNS)
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_columns_order_and_types(weir, topic, protocol):
    weir.connect().value("select 1")
    wanted = [(name, OIDS[letter]) for name, letter in (pair.split() for pair in COLUMNS[topic].split(", "))]
    with weir.console() as console:
        result = console.exchange(
            query(f"SHOW {topic}") if protocol == "simple" else extended(f"show {topic.lower()};")
        )
        assert result.errors == []
        assert result.columns == wanted
        assert result.rows and result.tags == ["SHOW"] and result.status == "I"


@pytest.mark.sanitizer_short
@pytest.mark.every_backend
def test_show_pools_tells_what_is_going_on(weir):
    active, idle = weir.connect(), weir.connect()
    active.query("begin")
    idle.value("select 1")
    row = weir.wait_for_pool(cl_active=2, cl_waiting=0, sv_active=1, sv_idle=1, maxwait=0)
    assert row["pool_mode"] == "transaction"
    assert row["load_balance_hosts"] in (None, "", "round-robin")


def test_maxwait_is_the_age_of_the_oldest_waiter(weir_factory):
    weir = weir_factory(default_pool_size=1)
    holder, waiter = weir.connect(), weir.connect()
    holder.query("begin")
    waiter.send(query("select 1"))
    wait_until(lambda: weir.pool()["maxwait"] >= 1, "maxwait reaches one second", 5)
    row = weir.pool()
    assert row["cl_waiting"] == 1 and 0 <= row["maxwait_us"] < 1_000_000
    holder.query("commit")
    waiter.result()
    weir.wait_for_pool(maxwait=0, maxwait_us=0)


def test_show_clients_and_servers_point_to_each_other(weir):
    client = weir.connect(application_name="the tool")
    client.query("begin")
    pid = client.value("select pg_backend_pid()")
    rows = [row for row in weir.show("CLIENTS") if row["application_name"] == "the tool"]
    servers = weir.show("SERVERS", remote_pid=pid)
    assert len(rows) == 1 and len(servers) == 1
    row, server = rows[0], servers[0]
    assert (row["type"], row["user"], row["database"], row["state"]) == ("C", "app", "app", "active")
    assert (server["type"], server["state"], server["port"]) == ("S", "active", weir.postgres.port)
    assert row["link"] == server["ptr"] and server["link"] == row["ptr"]
    assert (row["addr"], row["port"]) == client.socket.getsockname()
    assert row["replication"] == "none"
    client.query("commit")
    wait_until(lambda: weir.show("SERVERS", remote_pid=pid)[0]["state"] == "idle", "the server is idle")


def test_show_databases_and_users(weir_factory, postgres):
    weir = weir_factory(
        databases={
            "second": f"host=127.0.0.1 port={postgres.port} dbname=app user=other pool_size=7 pool_mode=session"
        },
        users={"third": "pool_mode=statement max_user_connections=9"},
    )
    rows = {row["name"]: row for row in weir.show("DATABASES")}
    assert rows["app"]["database"] == "app" and rows["app"]["force_user"] is None
    second = rows["second"]
    assert (second["database"], second["force_user"], second["pool_size"], second["pool_mode"]) == (
        "app",
        "other",
        7,
        "session",
    )
    third = weir.show("USERS", name="third")[0]
    assert (third["pool_mode"], third["max_user_connections"]) == ("statement", 9)


def test_statistics_count_transactions_and_queries(weir):
    client = weir.connect()
    client.value("select 1")

    def totals() -> dict:
        return weir.show("STATS_TOTALS", database="app")[0]

    before = totals()
    client.query("begin")
    client.value("select 1")
    client.query("commit")
    for number in range(10):
        client.exchange(extended(f"select {number}"))
    client.value(f"select length('{'x' * 10_000}')")

    def counted() -> bool:
        after = totals()
        return (
            after["xact_count"] - before["xact_count"] == 12
            and after["query_count"] - before["query_count"] == 14
            and after["bytes_received"] - before["bytes_received"] >= 10_000
        )

    wait_until(counted, "12 transactions and 14 queries are counted")


def test_show_config_tells_value_default_and_whether_it_can_change(weir):
    rows = {row["key"]: row for row in weir.show("CONFIG")}
    assert rows["default_pool_size"] == {"key": "default_pool_size", "value": "5", "default": "20", "changeable": "yes"}
    assert rows["listen_port"]["changeable"] == "no"
    assert list(rows) == sorted(rows)


def test_show_help_is_a_notice(weir):
    with weir.console() as console:
        result = console.query("SHOW HELP")
        assert result.notices and "SHOW" in (result.notices[0].detail or result.notices[0].message)


@pytest.mark.parametrize(
    "command",
    [
        "SHOW NOTHING",
        "FLY",
        "PAUSE nowhere",
        "RESUME",
        "DISABLE",
        "KILL_CLIENT x",
        "SET nothing = 1",
        "KILL nowhere",
        "ENABLE",
        "RESUME nowhere",
        "SHOW",
        "'",
        '"',
        "PAUSE a b c",
    ],
)
def test_a_wrong_command_is_an_error_and_the_console_goes_on(weir, command):
    with weir.console() as console:
        result = console.exchange(query(command))
        assert result.errors and result.errors[0].severity == "ERROR" and result.status == "I"
        assert console.query("SHOW VERSION").rows


def test_a_stats_user_may_look_and_nothing_else(weir):
    with weir.console("stats") as console:
        for topic in COLUMNS:
            assert console.query(f"SHOW {topic}").columns
        for command in (
            "PAUSE",
            "RESUME",
            "RELOAD",
            "SET verbose = 1",
            "KILL app",
            "KILL_CLIENT 1",
            "RECONNECT",
            "DISABLE app",
            "ENABLE app",
            "WAIT_CLOSE",
            "SHUTDOWN",
            "SUSPEND",
        ):
            for request in (query(command), extended(command)):
                result = console.exchange(request)
                assert result.errors and "admin access needed" in result.errors[0].message, command
    assert weir.connect().value("select 1") == 1


def test_an_ordinary_user_may_not_enter(weir):
    with pytest.raises(wire.ServerError) as raised:
        weir.console("app")
    assert raised.value.severity == "FATAL"


def test_the_console_has_two_names(weir):
    for name in ("weir", "pgbouncer"):
        with weir.raw().login("admin", name, PASSWORD) as console:
            assert console.query("SHOW VERSION").rows
            assert console.parameters["client_encoding"] == "UTF8" and "server_version" in console.parameters


def test_drivers_talk_to_the_console(weir):
    with psycopg.connect(weir.dsn(user="admin", database="pgbouncer"), autocommit=True) as connection:
        assert connection.execute("SHOW POOLS").description[0].name == "database"

    async def main():
        connection = await asyncpg.connect(
            host="127.0.0.1", port=weir.port, user="admin", password=PASSWORD, database="weir", ssl=False
        )
        rows = await connection.fetch("SHOW DATABASES")
        assert {"app", "second"} <= {row["name"] for row in rows}
        assert all(isinstance(row["port"], int) for row in rows)
        assert await connection.fetch("SHOW STATS")
        await connection.close()

    asyncio.run(main())


def test_the_console_is_open_on_the_unix_socket_without_a_password(weir_factory):
    """The process's own user is `pgbouncer` there; run by root, the tests and Weir are different users."""
    import os
    import subprocess

    from postgres import as_unprivileged, binary

    weir = weir_factory(auth_type="scram-sha-256")
    done = subprocess.run(
        as_unprivileged(
            [
                binary("psql"),
                "-XAt",
                "-h",
                weir.directory,
                "-p",
                str(weir.port),
                "-U",
                "pgbouncer",
                "pgbouncer",
                "-c",
                "SHOW VERSION",
            ]
        ),
        capture_output=True,
        text=True,
        timeout=20,
        cwd="/",
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


def test_several_commands_in_one_query_or_one_packet(weir):
    with weir.console() as console:
        console.send(query("SHOW VERSION") + query("SHOW STATE;") + query("SHOW LISTS"))
        assert [bool(console.result().rows) for _ in range(3)] == [True] * 3


def test_an_empty_command_is_answered(weir):
    with weir.console() as console:
        assert console.exchange(query("")).types.endswith("Z")
        assert console.exchange(query("   ;  ")).types.endswith("Z")
