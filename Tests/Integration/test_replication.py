"""Replication connections: real programs stream through Weir, each on a server connection of its own."""

from __future__ import annotations

import os
import signal
import subprocess

import psycopg
import psycopg2
import psycopg2.extras
import pytest

import wire
from postgres import PASSWORD, REPLICATION_ROLE, as_unprivileged, binary, free_port, give_to_unprivileged
from waiting import wait_until
from wire import describe, execute, message, parse, query, sync




@pytest.fixture
def weir(weir_factory):
    """Transaction mode and one server, which a client holds: replication does not depend on the pool."""
    weir = weir_factory(default_pool_size=1, start=False)
    # What the programs for physical replication name as their database.
    weir.databases["replication"] = weir.server()
    weir.start()
    weir.connect().query("begin")
    return weir


@pytest.fixture
def slot(postgres):
    """Drops what slots a test made, when their owners are gone."""
    yield "weir_slot"
    postgres.terminate_servers()
    wait_until(lambda: not postgres.value("select count(*) from pg_replication_slots where active"), "slots are idle")
    postgres.sql("select pg_drop_replication_slot(slot_name) from pg_replication_slots")


@pytest.fixture
def programs(weir):
    """Starts PostgreSQL's programs as clients of Weir; those that still run are killed in the end."""
    running: list[subprocess.Popen] = []

    def start(name: str, *arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(
            as_unprivileged([binary(name), *arguments]),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            env=os.environ | {"PGPASSWORD": PASSWORD},
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def run(process: subprocess.Popen) -> str:
    """Waits for a program to end well; its output."""
    output, errors = process.communicate(timeout=50)
    assert process.returncode == 0, errors
    return output


def direct(postgres, kind: str = "database", **parameters) -> wire.Connection:
    connection = wire.Connection(("127.0.0.1", postgres.port))
    return connection.login(REPLICATION_ROLE, "app", PASSWORD, replication=kind, **parameters)


# What PostgreSQL says is what the client hears


@pytest.mark.every_backend
@pytest.mark.sanitizer_short
def test_a_logical_connection_is_answered_by_a_server_of_its_own(weir, postgres):
    client = weir.replication()
    (row,) = client.query("IDENTIFY_SYSTEM").dictionaries
    assert row["dbname"] == "app"
    with direct(postgres) as other:
        assert row["systemid"] == other.query("IDENTIFY_SYSTEM").dictionaries[0]["systemid"]
    assert client.value("select current_database()") == "app"
    wait_until(lambda: [sender["database"] for sender in postgres.walsenders()] == ["app"], "one walsender is left")


@pytest.mark.parametrize("value", ["true", "on", "yes", "1"])
@pytest.mark.one_backend
def test_a_physical_connection_has_no_database(weir, value):
    client = weir.replication(value)
    assert client.query("IDENTIFY_SYSTEM").dictionaries[0]["dbname"] is None


@pytest.mark.one_backend
def test_replication_false_is_an_ordinary_client(weir_factory, postgres):
    weir = weir_factory()
    client = weir.connect(replication="false")
    assert client.value("select 1") == 1
    assert not postgres.walsenders()


@pytest.mark.one_backend
def test_another_value_is_refused(weir):
    with pytest.raises(wire.ServerError) as refused:
        weir.replication("perhaps")
    assert (refused.value.severity, refused.value.sqlstate) == ("FATAL", "22023")


def test_start_up_parameters_reach_the_server_as_they_are(weir, postgres):
    """A subscription sets extra_float_digits in its options, which no pooled client could."""
    asked = {"options": "-c extra_float_digits=3 -c datestyle=German", "application_name": "a subscriber"}
    client = weir.replication(**asked)
    with direct(postgres, **asked) as other:
        assert client.parameters == other.parameters
    assert list(client.parameters) == list(other.parameters)
    assert client.value("show extra_float_digits") == "3"
    assert client.parameters["application_name"] == "a subscriber"


@pytest.mark.one_backend
def test_an_unknown_start_up_parameter_is_refused_by_the_server(weir):
    with pytest.raises(wire.ServerError) as refused:
        weir.replication(no_such_parameter="1")
    assert refused.value.sqlstate == "42704"


def test_replies_are_those_of_postgresql_byte_for_byte(weir, postgres):
    client = weir.replication()
    with direct(postgres) as other:
        for data in (
            query("select g, repeat('x', 1000) from generate_series(1, 500) g"),
            query("no such command"),
            query("SHOW server_version_num"),
            query("select 1; select 2; select 1/0; select 3"),
            query("begin") + query("select 1") + query("rollback"),
        ):
            for connection in (client, other):
                connection.send(data)
            count = 3 if data.startswith(query("begin")) else 1
            for _ in range(count):
                assert client.read_until("Z") == other.read_until("Z")


def test_the_extended_protocol_is_refused_by_postgresql(weir, postgres):
    client = weir.replication()
    with direct(postgres) as other:
        for connection in (client, other):
            connection.send(parse("select 1") + describe() + execute() + sync())
        replies = client.read_until("Z"), other.read_until("Z")
    assert replies[0] == replies[1]
    assert replies[0][0].type == "E"
    assert client.value("select 1") == 1


def test_headers_that_arrive_in_pieces_are_passed_on(weir):
    client = weir.replication()
    for byte in query("select 'in pieces'"):
        client.send(bytes([byte]))
    assert client.result().value == "in pieces"


def test_two_clients_have_a_server_each(weir, postgres):
    first, second = weir.replication(), weir.replication()
    assert first.value("select pg_backend_pid()") != second.value("select pg_backend_pid()")
    assert len(postgres.walsenders()) == 2


def test_who_may_not_replicate_hears_it_from_postgresql(weir_factory):
    """The pool of the same user does not suffer: its servers can be had as before."""
    weir = weir_factory()
    with pytest.raises(wire.ServerError) as refused:
        weir.connect("app", "app", replication="database")
    assert (refused.value.severity, refused.value.sqlstate) == ("FATAL", "42501")
    assert "walsender" in refused.value.message
    assert weir.connect().value("select 1") == 1


def test_a_password_is_asked_for_as_usual(weir_factory, postgres):
    weir = weir_factory(auth_type="scram-sha-256")
    with pytest.raises(wire.ServerError) as refused:
        weir.connect(REPLICATION_ROLE, "app", "wrong", replication="database")
    assert refused.value.sqlstate == "28P01"
    assert not postgres.walsenders()
    assert weir.replication().value("select 1") == 1


@pytest.mark.one_backend
def test_an_unknown_database_is_refused(weir_factory):
    weir = weir_factory()
    with pytest.raises(wire.ServerError) as refused:
        weir.replication("true", "replication")
    assert refused.value.sqlstate == "3D000"


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_every_pool_mode_gives_a_server_of_its_own(weir_factory, mode):
    weir = weir_factory(pool_mode=mode)
    client = weir.replication()
    client.query("begin")
    assert client.query("select 1").status == "T"


# Programs


@pytest.mark.every_backend
def test_psql_identifies_the_system(weir, programs, postgres):
    process = programs(
        "psql", "-X", "-A", "-t", "-c", "IDENTIFY_SYSTEM", weir.dsn(REPLICATION_ROLE, replication="database")
    )
    assert run(process).strip().endswith("|app")


def test_a_base_backup_becomes_a_standby_that_streams_through_weir(weir, programs, postgres, table, tmp_path_factory):
    postgres.sql("checkpoint")
    copy = f"{weir.directory}/copy"
    arguments = ["-D", copy, "-X", "stream", "-c", "fast", "-R", "-d", weir.dsn(REPLICATION_ROLE, "replication")]
    run(programs("pg_basebackup", *arguments))
    port = free_port()
    standby = programs("postgres", "-D", copy, "-c", f"port={port}", "-c", f"unix_socket_directories={weir.directory}")
    address = f"host=127.0.0.1 port={port} user=app dbname=app"

    def rows() -> list:
        try:
            with psycopg.connect(address, connect_timeout=5) as connection:
                return connection.execute("select v from t").fetchall()
        except psycopg.OperationalError:
            assert standby.poll() is None, standby.communicate()[1]
            return []

    with psycopg.connect(postgres.address("app", "app"), autocommit=True) as connection:
        connection.execute("insert into t values (1, 'after the backup')")
    wait_until(lambda: rows() == [("after the backup",)], "the standby has what came after the backup", 30)
    (sender,) = postgres.walsenders()
    assert sender["application_name"] == "walreceiver"
    assert [row["replication"] for row in weir.show("SERVERS", user=REPLICATION_ROLE)] == ["physical"]
    standby.send_signal(signal.SIGINT)
    standby.communicate(timeout=20)
    wait_until(lambda: not postgres.walsenders(), "the standby's server is closed")


def test_pg_receivewal_keeps_its_slot_and_receives_whole_segments(weir, programs, postgres, slot):
    folder = f"{weir.directory}/wal"
    os.mkdir(folder)
    give_to_unprivileged(folder)
    dsn = weir.dsn(REPLICATION_ROLE, "replication")
    run(programs("pg_receivewal", "-d", dsn, "-S", slot, "--create-slot"))
    receiver = programs("pg_receivewal", "-d", dsn, "-S", slot, "-D", folder, "-s", "1")
    wait_until(
        lambda: postgres.value("select active from pg_replication_slots where slot_name = %s", (slot,)),
        "the slot is in use",
    )
    for _ in range(2):
        postgres.sql("select pg_logical_emit_message(false, 'weir', repeat('x', 1000)), pg_switch_wal()")

    def segments() -> list[str]:
        return [name for name in os.listdir(folder) if not name.endswith(".partial")]

    wait_until(lambda: len(segments()) >= 2, "two segments are received")
    for name in segments():
        with open(f"{folder}/{name}", "rb") as received, open(f"{postgres.data}/pg_wal/{name}", "rb") as written:
            assert received.read() == written.read()
    receiver.send_signal(signal.SIGINT)
    run(receiver)
    wait_until(lambda: not postgres.walsenders(), "its server is closed")


def test_pg_recvlogical_receives_changes(weir, programs, postgres, table, slot):
    dsn = weir.dsn(REPLICATION_ROLE)
    run(programs("pg_recvlogical", "-d", dsn, "-S", slot, "--create-slot", "-P", "test_decoding"))
    receiver = programs("pg_recvlogical", "-d", dsn, "-S", slot, "--start", "-f", "-", "-F", "0")
    with psycopg.connect(postgres.address("app", "app"), autocommit=True) as connection:
        connection.execute("insert into t select g, repeat('v', 100) from generate_series(1, 1000) g")
    seen = 0
    for line in receiver.stdout:
        seen += line.startswith("table public.t: INSERT")
        if line.startswith("COMMIT") and seen:
            break
    assert seen == 1000
    receiver.send_signal(signal.SIGINT)
    receiver.communicate(timeout=20)
    wait_until(lambda: not postgres.walsenders(), "its server is closed")


def test_a_subscription_copies_and_follows_a_table(weir, postgres, table, slot):
    with psycopg.connect(postgres.address("postgres", "app"), autocommit=True) as source:
        source.execute(f"grant select on t to {REPLICATION_ROLE}")
        source.execute("insert into t values (1, 'before')")
        source.execute("drop publication if exists everything")
        source.execute("create publication everything for table t")
        source.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))
        with psycopg.connect(postgres.address("postgres", "second"), autocommit=True) as target:
            target.execute("drop table if exists t; create table t (id int primary key, v text)")
            target.execute(
                f"create subscription mine connection '{weir.dsn(REPLICATION_ROLE)}' publication everything"
                f" with (create_slot = false, slot_name = '{slot}')"
            )
            try:
                source.execute("insert into t values (2, 'after')")
                wait_until(
                    lambda: target.execute("select v from t order by id").fetchall() == [("before",), ("after",)],
                    "the subscription has both rows",
                    30,
                )
            finally:
                target.execute("alter subscription mine disable")
                target.execute("alter subscription mine set (slot_name = none)")
                target.execute("drop subscription mine; drop table t")
        source.execute("drop publication everything")


@pytest.mark.parametrize(
    "kind, decoded",
    [
        (psycopg2.extras.LogicalReplicationConnection, True),
        (psycopg2.extras.PhysicalReplicationConnection, False),
    ],
)
def test_psycopg2_streams(weir, postgres, slot, kind, decoded):
    connection = psycopg2.connect(weir.dsn(REPLICATION_ROLE), connection_factory=kind)
    try:
        cursor = connection.cursor()
        if decoded:
            cursor.create_replication_slot(slot, output_plugin="test_decoding")
            cursor.start_replication(slot, decode=True)
        else:
            cursor.create_replication_slot(slot)
            cursor.start_replication(slot, start_lsn=postgres.value("select pg_current_wal_flush_lsn()"))
        if decoded:
            with psycopg.connect(postgres.address("app", "app"), autocommit=True) as other:
                other.execute("select pg_logical_emit_message(true, 'weir', 'hello')")
        else:
            postgres.sql("select pg_switch_wal()")
        found = wait_until(cursor.read_message, "a message comes")
        assert ("BEGIN" in found.payload) if decoded else len(found.payload) > 0
        cursor.send_feedback(flush_lsn=found.data_start)
    finally:
        connection.close()
    wait_until(lambda: not postgres.walsenders(), "its server is closed")


def test_a_client_that_does_not_read_costs_bounded_memory(weir, postgres, slot):
    client = weir.replication("true")
    client.query(f"CREATE_REPLICATION_SLOT {slot} PHYSICAL RESERVE_WAL")
    start = postgres.value("select pg_current_wal_lsn()")
    before = weir.resident_bytes()
    client.send(query(f"START_REPLICATION SLOT {slot} PHYSICAL {start}"))
    assert client.read().type == "W"
    for _ in range(40):
        postgres.sql("select pg_logical_emit_message(false, 'weir', repeat(md5(random()::text), 32768))")
    postgres.sql("select pg_switch_wal()")
    end = postgres.value("select pg_current_wal_flush_lsn()")
    wanted = postgres.value("select %s::pg_lsn - %s::pg_lsn", (end, start))
    assert wanted > 40_000_000
    assert weir.resident_bytes() - before < 20_000_000
    received = 0
    while received < wanted:
        reply = client.read()
        assert reply.type == "d"
        if reply.body[:1] == b"w":
            received += len(reply.body) - 25
    client.send(message("c"))
