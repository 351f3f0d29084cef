"""Programs and drivers that people really use run through Weir without being changed."""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading

import asyncpg
import psycopg
import pytest

from postgres import PASSWORD, binary


def run(command: list[str], timeout: float = 50) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env={"PGPASSWORD": PASSWORD, "PATH": "/usr/bin:/bin"}
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture
def bench(postgres):
    """The database app with pgbench's tables of scale 1."""
    if not postgres.value("select count(*) from pg_database where datname = 'bench'"):
        postgres.sql("create database bench owner app")
        run(
            [
                binary("pgbench"),
                "-i",
                "-q",
                "-I",
                "dtgp",
                "-h",
                "127.0.0.1",
                "-p",
                str(postgres.port),
                "-U",
                "app",
                "bench",
            ]
        )
    return "bench"


@pytest.mark.every_backend
def test_psql_runs_statements_and_a_script(weir):
    command = [binary("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", weir.dsn()]
    assert run([*command, "-c", "select 1 + 1"]) == "2\n"
    script = (
        "begin; create temp table s (i int); insert into s select generate_series(1, 10); select sum(i) from s; commit"
    )
    assert run([*command, "-c", script]) == "55\n"
    assert "public" in run([*command, "-c", r"\dn"])


@pytest.mark.every_backend
@pytest.mark.parametrize("protocol", ["extended", "prepared"])
def test_pgbench_pipelines(weir_factory, bench, postgres, tmp_path, protocol):
    weir = weir_factory(databases={"bench": "host=127.0.0.1 port=%d" % postgres.port}, default_pool_size=3)
    script = tmp_path / "pipeline.sql"
    script.write_text(
        "\\set aid random(1, 100000)\n"
        "\\startpipeline\n"
        "begin;\n"
        "update pgbench_accounts set abalance = abalance + 1 where aid = :aid;\n"
        "select abalance from pgbench_accounts where aid = :aid;\n"
        "commit;\n"
        "select count(*) from pgbench_branches;\n"
        "\\endpipeline\n"
    )
    # A thread for each client: preparing blocks pgbench's thread.
    command = [binary("pgbench"), "-n", "-M", protocol, "-c", "8", "-j", "8", "-t", "50", "-f", str(script)]
    output = run([*command, "-h", "127.0.0.1", "-p", str(weir.port), "-U", "app", "bench"])
    assert "number of transactions actually processed: 400/400" in output, output
    assert re.search(r"number of failed transactions: 0 ", output), output


@pytest.mark.every_backend
@pytest.mark.parametrize("protocol", ["simple", "extended", "prepared"])
def test_pgbench_with_more_clients_than_servers(weir_factory, bench, postgres, protocol):
    weir = weir_factory(databases={"bench": "host=127.0.0.1 port=%d" % postgres.port}, default_pool_size=4)
    most = 0
    stop = threading.Event()

    def watch():
        nonlocal most
        with psycopg.connect(postgres.address(), autocommit=True) as watcher:
            while not stop.wait(0.02):
                counted = watcher.execute("select count(*) from pg_stat_activity where datname = 'bench'").fetchone()[0]
                most = max(most, counted)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        output = run(
            [
                binary("pgbench"),
                "-n",
                "-S",
                "-M",
                protocol,
                "-c",
                "16",
                "-j",
                "2",
                "-t",
                "200",
                "-h",
                "127.0.0.1",
                "-p",
                str(weir.port),
                "-U",
                "app",
                "bench",
            ]
        )
    finally:
        stop.set()
        watcher.join()
    assert "number of transactions actually processed: 3200/3200" in output, output
    assert re.search(r"number of failed transactions: 0 ", output), output
    assert 1 <= most <= 4


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_pgbench_read_write_transactions(weir_factory, bench, postgres, protocol):
    weir = weir_factory(databases={"bench": "host=127.0.0.1 port=%d" % postgres.port}, default_pool_size=3)
    output = run(
        [
            binary("pgbench"),
            "-n",
            "-M",
            protocol,
            "-c",
            "8",
            "-t",
            "40",
            "-h",
            "127.0.0.1",
            "-p",
            str(weir.port),
            "-U",
            "app",
            "bench",
        ]
    )
    assert "number of transactions actually processed: 320/320" in output, output


def test_pgbench_with_a_new_connection_for_each_transaction(weir_factory, bench, postgres):
    weir = weir_factory(databases={"bench": "host=127.0.0.1 port=%d" % postgres.port})
    output = run(
        [
            binary("pgbench"),
            "-n",
            "-S",
            "-C",
            "-c",
            "8",
            "-t",
            "40",
            "-h",
            "127.0.0.1",
            "-p",
            str(weir.port),
            "-U",
            "app",
            "bench",
        ]
    )
    assert "number of transactions actually processed: 320/320" in output, output


def test_pgbench_prepared_in_session_mode(weir_factory, bench, postgres):
    weir = weir_factory(
        databases={"bench": "host=127.0.0.1 port=%d" % postgres.port}, pool_mode="session", default_pool_size=8
    )
    output = run(
        [
            binary("pgbench"),
            "-n",
            "-S",
            "-M",
            "prepared",
            "-c",
            "8",
            "-t",
            "200",
            "-h",
            "127.0.0.1",
            "-p",
            str(weir.port),
            "-U",
            "app",
            "bench",
        ]
    )
    assert "number of transactions actually processed: 1600/1600" in output, output


def test_asyncpg_in_session_mode(weir_factory, table):
    weir = weir_factory(pool_mode="session", default_pool_size=3)

    async def main():
        pool = await asyncpg.create_pool(
            host="127.0.0.1",
            port=weir.port,
            user="app",
            database="app",
            password=PASSWORD,
            ssl=False,
            min_size=3,
            max_size=3,
        )

        async def one(number: int):
            async with pool.acquire() as connection:
                return await connection.fetchval("select $1::int + 1", number)

        assert await asyncio.gather(*(one(n) for n in range(50))) == list(range(1, 51))
        await pool.close()

    asyncio.run(main())
