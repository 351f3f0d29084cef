"""Programs and drivers that people really use run through Weir without being changed."""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading

import asyncpg
import pg8000.dbapi
import psycopg
import psycopg2
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

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
@pytest.mark.parametrize("protocol", ["simple", "extended"])
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


def test_psycopg_3(weir, table):
    with weir.psycopg(autocommit=False) as connection:
        connection.prepare_threshold = None
        with connection.transaction():
            connection.execute("insert into t values (%s, %s)", (1, "one"))
            with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction():
                connection.execute("insert into t values (%s, %s)", (1, "again"))
            connection.execute("insert into t values (%s, %s)", (2, "two"))
        assert connection.execute("select v from t order by id").fetchall() == [("one",), ("two",)]
        connection.commit()
        with connection.cursor().copy("copy t from stdin") as copy:
            copy.write_row((3, "three"))
        with connection.cursor().copy("copy (select id from t order by id) to stdout") as copy:
            assert [row for row in copy.rows()] == [("1",), ("2",), ("3",)]


def test_psycopg_3_pipeline(weir, table):
    with weir.psycopg() as connection:
        connection.prepare_threshold = None
        with connection.pipeline():
            for number in range(100):
                connection.execute("insert into t values (%s, %s)", (number, str(number)))
        assert connection.execute("select count(*), sum(id) from t").fetchone() == (100, 4950)


def test_psycopg_2(weir, table):
    connection = psycopg2.connect(weir.dsn())
    with connection, connection.cursor() as cursor:
        cursor.execute("insert into t values (%s, %s) returning v", (1, "é"))
        assert cursor.fetchone() == ("é",)
    with connection, connection.cursor("named") as cursor:
        cursor.itersize = 10
        cursor.execute("select generate_series(1, 100)")
        assert len(cursor.fetchall()) == 100
    connection.close()


def test_asyncpg_in_transaction_mode(weir, table):
    async def main():
        pool = await asyncpg.create_pool(
            host="127.0.0.1",
            port=weir.port,
            user="app",
            database="app",
            password=PASSWORD,
            ssl=False,
            min_size=8,
            max_size=8,
            statement_cache_size=0,
            reset=lambda connection: asyncio.sleep(0),
        )

        async def one(number: int):
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(f"insert into t values ({number}, 'x')")
                return await connection.fetchval(f"select id from t where id = {number}")

        assert await asyncio.gather(*(one(n) for n in range(50))) == list(range(50))
        await pool.close()

    asyncio.run(main())


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


def test_sqlalchemy_with_asyncpg(weir, table):
    async def main():
        engine = create_async_engine(
            weir.url("postgresql+asyncpg"),
            pool_size=10,
            connect_args={"statement_cache_size": 0, "prepared_statement_name_func": lambda: "", "ssl": False},
        )

        async def one(number: int):
            async with engine.begin() as connection:
                await connection.execute(sqlalchemy.text("insert into t values (:i, :v)"), {"i": number, "v": "x"})
            async with engine.connect() as connection:
                return (
                    await connection.execute(sqlalchemy.text("select id from t where id = :i"), {"i": number})
                ).scalar()

        assert await asyncio.gather(*(one(n) for n in range(40))) == list(range(40))
        await engine.dispose()

    asyncio.run(main())


def test_sqlalchemy_with_psycopg(weir, table):
    engine = sqlalchemy.create_engine(weir.url("postgresql+psycopg"), connect_args={"prepare_threshold": None})
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("insert into t values (1, 'x')"))
        assert connection.execute(sqlalchemy.text("select count(*) from t")).scalar() == 1
    engine.dispose()


def test_pg8000(weir, table):
    connection = pg8000.dbapi.connect(user="app", password=PASSWORD, host="127.0.0.1", port=weir.port, database="app")
    cursor = connection.cursor()
    cursor.execute("insert into t values (1, 'x')")
    cursor.execute("select v from t")
    assert cursor.fetchall() == (["x"],)
    connection.commit()
    connection.close()
