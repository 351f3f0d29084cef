"""Settings that a start-up packet asks for and servers do not report: the client begins with them on every server.

What they are, and what is refused, is compared with PostgreSQL itself.
"""

from __future__ import annotations

import asyncio
import struct

import asyncpg
import psycopg
import pytest

import wire
from settingchecks import ODD, check_follows, directly, refusal, shown
from waiting import wait_until
from wire import bind, execute, extended, parse, query, sync

pytestmark = pytest.mark.every_backend

# What the packet says, the setting, the value that is shown.
KINDS = [
    ({"work_mem": "7MB"}, "work_mem", "7MB"),
    ({"options": "-c work_mem=7MB"}, "work_mem", "7MB"),
    ({"options": "-cwork-mem=7MB"}, "work_mem", "7MB"),
    ({"options": "--WORK_mem=7168"}, "work_mem", "7MB"),
    ({"options": "-c work_mem=1MB --work_mem=2MB -c WORK_MEM=7MB"}, "work_mem", "7MB"),
    ({"options": "-c work_mem=1MB", "WORK_MEM": "7MB"}, "work_mem", "7MB"),
    ({"WORK_MEM": "7MB", "options": "-c work_mem=1MB"}, "work_mem", "7MB"),
    ({"work_mem": "1MB", "Work_Mem": "7MB"}, "work_mem", "7MB"),
    ({"extra_float_digits": "2"}, "extra_float_digits", "2"),
    ({"search_path": '"A b", public, "x,""y"'}, "search_path", '"A b", public, "x,""y"'),
    ({"options": "-c search_path=app,\\ public"}, "search_path", "app, public"),
    ({"search_path": ""}, "search_path", ""),
    ({"statement_timeout": "5s"}, "statement_timeout", "5s"),
    ({"app.text": ODD}, "app.text", ODD),
    ({"app.a$b._c": ""}, "app.a$b._c", ""),
    ({"options": "-c app.x=a\\\\b\\ 'c"}, "app.x", "a\\b 'c"),
    ({"default_transaction_isolation": "serializable"}, "default_transaction_isolation", "serializable"),
    ({"temp_tablespaces": ""}, "temp_tablespaces", ""),
    ({"app.long": "y" * 1024}, "app.long", "y" * 1024),
]


def test_every_kind_of_startup_setting_follows_its_client(weir_factory, postgres):
    weir = weir_factory(default_pool_size=1)
    other = weir.connect()
    for parameters, name, value in KINDS:
        assert shown(directly(postgres, **parameters), name) == value
        default = shown(other, name)
        client = weir.connect(**parameters)
        check_follows(client, other, name, value, default)
        client.close()
    assert weir.show("PINS") == []


def test_the_first_message_sees_them_in_every_protocol(weir_factory):
    weir = weir_factory(default_pool_size=2)
    for send in (query, extended):
        client = weir.connect(options="-c work_mem=7MB -c search_path=app")
        assert client.exchange(send("select current_setting('work_mem') || current_setting('search_path')")).value == (
            "7MBapp"
        )
    client = weir.connect(work_mem="8MB")
    client.send(parse("show work_mem", name="s") + sync() + bind(name="s") + execute() + sync())
    client.send(query("show work_mem"))
    assert [client.result().errors for _ in range(2)] == [[], []]
    assert client.result().value == "8MB"


def test_what_is_set_later_counts(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(work_mem="7MB"), weir.connect(work_mem="6MB")
    client.query("set work_mem = '9MB'")
    check_follows(client, other, "work_mem", "9MB", "6MB")
    client.query("begin; set work_mem = '10MB'; rollback")
    check_follows(client, other, "work_mem", "9MB", "6MB")
    client.query("begin; set local work_mem = '10MB'; commit")
    check_follows(client, other, "work_mem", "9MB", "6MB")


REFUSED = [
    {"nonsense": "1"},
    {"options": "-c nonsense=1"},
    {"work_mem": "much"},
    {"options": "-c work_mem=-7"},
    {"server_version": "1"},
    {"shared_buffers": "1MB"},
    {"log_statement": "all"},
    {"search_path": "x;drop table t"},
    {"session_authorization": "other"},
    {"is_superuser": "on"},
    {"foo bar": "1"},
    {"work-mem": "1MB"},
    {"work_mem;select 1": "1"},
    {'work_mem"': "1"},
    {"work_mem\n": "1"},
    {"é": "1"},
    {"app.a-b": "1"},
    {"app..b": "1"},
    {"1app.b": "1"},
    {"app.": "1"},
    {"options": "-c a\\ b.c=1"},
    {"USER": "x"},
]


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_what_postgresql_refuses_is_refused_with_its_words(weir_factory, postgres, mode):
    weir = weir_factory(default_pool_size=1 if mode == "transaction" else 2, pool_mode=mode)
    other = weir.connect()
    process = other.value("select pg_backend_pid()")
    for parameters in REFUSED:
        expected = refusal(lambda **more: directly(postgres, **more), **parameters)
        error = refusal(weir.connect, **parameters)
        assert error.sqlstate == expected.sqlstate, parameters
        assert error.message.lower() == expected.message.lower(), "names have no case"
        assert expected.detail in ("", error.detail)
        assert other.value("select pg_backend_pid()") == process
    assert weir.connect(work_mem="7MB").value("show work_mem") == "7MB"


def test_one_bad_setting_spoils_all_and_nothing_of_the_query_is_run(weir_factory, table):
    weir = weir_factory(default_pool_size=1)
    other = weir.connect()
    for number in range(3):
        client = weir.connect(work_mem="7MB", lock_timeout="never")
        client.send(query(f"insert into {table} values ({number}, 'x')"))
        with pytest.raises(wire.ServerError) as raised:
            client.result()
        assert raised.value.sqlstate == "22023" and "lock_timeout" in raised.value.message
        assert other.query(f"select * from {table}").rows == []
        assert shown(other, "work_mem") == "4MB"


def test_what_can_only_be_set_at_the_start_is_refused(weir_factory):
    weir = weir_factory(default_pool_size=1)
    error = refusal(weir.connect, ignore_system_indexes="on")
    assert error.sqlstate == "55P02" and "cannot be set after connection start" in error.message
    for name in ("local_preload_libraries", "options"):
        text = "-c SESSION_preload_libraries=x" if name == "options" else "x"
        error = refusal(weir.connect, **{name: text})
        assert error.sqlstate == "0A000" and "unsupported startup parameter: " in error.message


def test_the_bounds(weir_factory):
    weir = weir_factory(default_pool_size=1)
    other = weir.connect()
    many = {f"app.s{number}": str(number) for number in range(63)}
    client = weir.connect(**many)
    check_follows(client, other, "app.s62", "62", None)
    for parameters in (
        many | {f"app.t{number}": "1" for number in range(2)},
        {"options": " ".join(f"-c a.b{number}=1" for number in range(600))},
        {"app.x": "y" * 1025},
        {"app." + "x" * 60: "1"},
    ):
        error = refusal(weir.connect, **parameters)
        assert error.sqlstate == "54000" and "startup parameter" in error.message
    same = {"options": " ".join("-c work_mem=7MB" for _ in range(600))}
    assert weir.connect(**same).value("show work_mem") == "7MB"
    for parameters in ({"options": "-c work_mem=7MB " * 1000}, {f"a.b{number}": "1" for number in range(10_000)}):
        # As in PostgreSQL, where 10,000 bytes are the limit.
        assert "invalid length of startup packet" in refusal(weir.connect, **parameters).message
    assert shown(other, "app.s62") in (None, "")


def packet(body: bytes) -> bytes:
    return struct.pack("!ii", len(body) + 8, 196608) + body


@pytest.mark.parametrize(
    "body",
    [
        b"user\0app\0work_mem\0009MB\0\0;select 1\0\0",
        b"user\0app\0work_mem\0\0009MB\0\0",
        b"user\0app\0options\0-c work_mem=9MB\0-c\0\0",
        b"user\0app\0app.x\0\xff\xfe\0\0",
        b"user\0app\0app.\xff\0x\0\0",
        b"user\0app\0options\0-c app.x=\xe9\0\0",
    ],
)
def test_odd_bytes_are_refused(weir, body):
    client = weir.raw()
    client.send(packet(body))
    reply = client.read()
    assert reply.type == "E" and client.is_closed_by_peer()
    assert weir.connect(work_mem="7MB").value("show work_mem") == "7MB"


def test_words_of_transactions_are_taken_as_postgresql_takes_them(weir_factory, postgres):
    """They count for the login's own transaction, and for no other."""
    weir = weir_factory(default_pool_size=1)
    parameters = {"transaction_read_only": "on", "seed": "0.5"}
    expected, client = directly(postgres, **parameters), weir.connect(**parameters)
    for name in ("transaction_read_only", "transaction_isolation"):
        assert shown(client, name) == shown(expected, name)
    expected.close()


def test_ignored_parameters_stay_ignored(weir_factory):
    weir = weir_factory(default_pool_size=1, ignore_startup_parameters="Extra_Float_Digits, work_mem")
    client = weir.connect(extra_float_digits="3", options="-c WORK_MEM=9MB -c lock_timeout=7s")
    assert [shown(client, name) for name in ("extra_float_digits", "work_mem", "lock_timeout")] == ["1", "4MB", "7s"]
    weir.settings["ignore_startup_parameters"] = "options"
    weir.write()
    weir.admin("RELOAD")
    assert shown(weir.connect(options="-x -y z", lock_timeout="8s"), "lock_timeout") == "8s"


@pytest.mark.parametrize("reset", ["DISCARD ALL", "RESET ALL", "", "SELECT 1 -- nothing", "UNLISTEN *;"])
def test_in_session_mode_they_end_with_their_session(weir_factory, postgres, reset):
    with psycopg.connect(postgres.address("postgres", "app"), autocommit=True) as connection:
        connection.execute("drop role if exists tenant_s; create role tenant_s; grant tenant_s to app")
    weir = weir_factory(default_pool_size=1, pool_mode="session", server_reset_query=reset)
    parameters = {"work_mem": "7MB", "app.x": ODD, "search_path": "app", "role": "tenant_s"}
    processes = set()
    for _ in range(2):
        client = weir.connect(**parameters)
        for _ in range(2):
            assert [shown(client, name) for name in parameters] == list(parameters.values())
        client.query("set work_mem = '9MB'; set application_name = 'mine'")
        assert shown(client, "work_mem") == "9MB"
        processes.add(client.value("select pg_backend_pid()"))
        client.close()
        other = weir.connect()
        row = other.query(
            "select current_setting('work_mem'), current_setting('app.x', true), current_setting('search_path'),"
            " current_user, pg_backend_pid()"
        ).rows[0]
        assert row[1:4] == ["", '"$user", public', "app"]
        assert row[0] == "4MB"
        processes.add(row[4])
        other.close()
    assert len(processes) == 1


def test_the_settings_of_a_login_are_confirmed_once(weir_factory, postgres):
    """Later clients with the same settings do not wait for the answer; one that fails then tells so."""
    weir = weir_factory(default_pool_size=1)
    for _ in range(3):
        assert weir.connect(work_mem="7MB").value("show work_mem") == "7MB"
    owner = weir.connect()
    owner.query("create text search configuration mine (copy = simple)")
    parameters = {"default_text_search_config": "public.mine"}
    for _ in range(2):
        assert shown(weir.connect(**parameters), "default_text_search_config") == "public.mine"
    owner.query("drop text search configuration mine")
    client = weir.connect(**parameters)
    assert client.exchange(query("select 1")).errors[0].sqlstate == "08006"
    for late in (lambda: client, lambda: weir.connect(**parameters)):
        with pytest.raises(wire.ServerError) as raised:
            late().query("select 1")
        assert raised.value.severity == "FATAL" and "public.mine" in raised.value.message
    assert owner.value("select 1") == 1


def test_a_client_takes_them_to_another_server_when_its_own_dies(weir_factory, postgres):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect(work_mem="7MB")
    process = client.value("select pg_backend_pid()")
    postgres.sql("select pg_terminate_backend(%s)", [process])
    wait_until(lambda: postgres.server_count() == 0, "the server is gone")
    for _ in range(2):
        result = client.exchange(query("show work_mem"))
        if not result.errors:
            break
    assert result.value == "7MB"


def test_psycopg_with_options_interleaved(weir_factory):
    """Four clients with values of their own take turns on two servers, in transactions of several statements."""
    weir = weir_factory(default_pool_size=2)
    plain = weir.psycopg()
    clients = []
    for number in range(4):
        options = f"-c search_path=schema_{number},public -c statement_timeout={number + 5}s -c app.tenant=t{number}"
        clients.append(weir.psycopg(options=f"'{options}'", autocommit=False))
    shows = "select current_setting('search_path'), current_setting('statement_timeout'), current_setting('app.tenant')"
    for _ in range(5):
        for first in (0, 2):
            pair = clients[first : first + 2]
            for client in pair:
                client.execute("select 1")
            for client in pair:
                number = clients.index(client)
                for _ in range(2):
                    row = client.execute(shows).fetchone()
                    assert row == (f"schema_{number},public", f"{number + 5}s", f"t{number}")
            for client in pair:
                client.commit()
        row = plain.execute(shows.replace("tenant'", "tenant', true")).fetchone()
        assert row[:2] == ('"$user", public', "0") and row[2] in (None, "")
    assert len(weir.show("SERVERS", database="app")) == 2


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_asyncpg_with_server_settings(weir_factory, mode):
    """As SQLAlchemy's users have them; its pool sends RESET ALL whenever a connection comes back."""
    weir = weir_factory(default_pool_size=2 if mode == "transaction" else 5, pool_mode=mode)

    async def work(number: int) -> None:
        wanted = {"jit": "off", "application_name": f"n{number}", "search_path": f"s{number}", "app.x": ODD}
        pool = await asyncpg.create_pool(weir.url(), min_size=1, max_size=1, server_settings=wanted, timeout=30)
        for _ in range(10):
            async with pool.acquire() as connection:
                async with connection.transaction():
                    for name, value in wanted.items():
                        assert await connection.fetchval("select current_setting($1)", name) == value
                await connection.execute("set search_path = elsewhere")
        await pool.close()

    async def everybody() -> None:
        await asyncio.gather(*(work(number) for number in range(4)))

    asyncio.run(everybody())
    assert shown(weir.connect(), "search_path") == '"$user", public'


def test_the_console_takes_them_too(weir):
    """pgjdbc asks for extra_float_digits wherever it logs in."""
    client = weir.connect("admin", "pgbouncer", weir.userlist["admin"], extra_float_digits="3")
    assert client.query("show version").rows
