"""RESET, SET … TO DEFAULT and DISCARD ALL go back to what the start-up packet asked for, as in PostgreSQL.

Servers do not know what that is: for them it was a SET. Each test has a client whose server would tell otherwise.
"""

from __future__ import annotations

import psycopg
import pytest

import wire
from settingchecks import ODD, directly, refusal, shown
from wire import extended, query

pytestmark = pytest.mark.every_backend


RESETS = [
    ("work_mem", "reset work_mem"),
    ("work_mem", "set work_mem to default"),
    ("work_mem", "reset all"),
    ("work_mem", "discard all"),
    ("work_mem", "do $$ begin reset work_mem; end $$"),
    ("work_mem", "begin; reset all; commit"),
    ("work_mem", "begin; reset all; rollback"),
    ("work_mem", "begin; set work_mem = '8MB'; reset work_mem; commit"),
    ("work_mem", "begin; savepoint a; reset work_mem; rollback to a; commit"),
    ("work_mem", "begin; reset work_mem; select 1/0; commit"),
    ("app.x", "reset app.x"),
    ("app.x", "set app.x to default"),
    ("app.x", "reset all"),
    ("app.x", "discard all"),
    ("app.x", "set app.x = '3'; reset all"),
    ("app.x", "reset all; set app.x = ''"),
    ("search_path", "reset search_path; reset work_mem"),
    ("application_name", "reset application_name"),
    ("application_name", "reset all"),
    ("TimeZone", "set time zone local"),
    ("TimeZone", "discard all"),
]
VALUES = {
    "work_mem": ("7MB", "9MB"),
    "app.x": (ODD, "2"),
    "search_path": ("app, public", "other"),
    "application_name": ("one", "two"),
    "TimeZone": ("Asia/Tokyo", "Europe/Oslo"),
}


@pytest.mark.parametrize("mode", ["transaction", "session", "statement"])
def test_a_reset_goes_back_to_what_the_login_asked_for_as_in_postgresql(weir_factory, postgres, mode):
    weir = weir_factory(default_pool_size=1 if mode != "session" else 4, pool_mode=mode)
    other = weir.connect()
    for name, reset in RESETS:
        if mode == "statement" and "begin;" in reset:
            continue
        value, later = VALUES[name]
        parameters = {"lock_timeout": "1h", name: value}
        expected, client = directly(postgres, **parameters), weir.connect(**parameters)
        for text in (f"set {name} = '{later}'", reset):
            for connection in (expected, client):
                if connection.exchange(query(text)).status == "E":
                    connection.query("rollback")
        for _ in range(2):
            assert shown(client, name) == shown(expected, name), reset
            assert shown(client, "lock_timeout") == shown(expected, "lock_timeout"), reset
            assert shown(other, "lock_timeout") == "0"
        client.close()
        expected.close()
    assert weir.show("PINS") == []


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_what_is_sent_behind_a_reset_at_once_sees_what_the_login_asked_for(weir_factory, mode):
    """Npgsql sends DISCARD ALL in front of a query, in the same write."""
    weir = weir_factory(default_pool_size=1 if mode == "transaction" else 2, pool_mode=mode)
    other = weir.connect()
    client = weir.connect(work_mem="7MB", TimeZone="Asia/Tokyo")
    shows = "select current_setting('work_mem') || current_setting('timezone')"
    for reset in ("discard all", "reset all", "reset work_mem", "set work_mem to default"):
        for send in (query, extended):
            client.query("set work_mem = '9MB'")
            client.send(send(reset) + extended(shows) + query(shows) + query("begin") + query("show work_mem"))
            replies = [client.result() for _ in range(5)]
            assert [reply.errors for reply in replies] == [[]] * 5
            assert [replies[place].value for place in (1, 2, 4)] == ["7MBAsia/Tokyo", "7MBAsia/Tokyo", "7MB"]
            client.query("commit")
            assert other.value("show work_mem") == "4MB"
        if reset == "discard all":
            continue
        client.send(query("begin") + query(reset) + query("commit") + query(shows))
        replies = [client.result() for _ in range(4)]
        assert replies[3].value == "7MBAsia/Tokyo"
        client.send(query("begin; " + reset) + query("commit"))
        assert [client.result().errors for _ in range(2)] == [[], []]
        assert client.value(shows) == "7MBAsia/Tokyo"


def test_a_copy_behind_a_reset_in_one_text(weir_factory, table):
    """The server waits for data while what comes behind the RESET waits for the server."""
    weir = weir_factory(default_pool_size=1)
    client = weir.connect(work_mem="7MB")
    client.send(
        query(f"reset all; copy {table} from stdin")
        + wire.message("d", b"1\tx\n") + wire.message("c")
    )
    client.read_until("G")
    assert client.result().tags == ["COPY 1"]
    assert client.value("show work_mem") == "7MB"


def test_a_reset_on_a_held_server(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect(work_mem="7MB")
    client.query("create temp table held (i int)")
    client.query("set work_mem = '9MB'")
    client.send(query("reset all") + query("show work_mem") + query("select count(*) from held"))
    client.result()
    assert [client.result().value for _ in range(2)] == ["7MB", 0]
    assert client.value("show work_mem") == "7MB"


def test_a_role_of_the_login(weir_factory, postgres):
    """RESET ALL leaves a role, RESET ROLE goes back to the login's, SET ROLE NONE gives it up."""
    with psycopg.connect(postgres.address("postgres", "app"), autocommit=True) as connection:
        connection.execute("drop role if exists tenant_a, tenant_b, stranger")
        connection.execute("create role tenant_a; create role tenant_b; create role stranger")
        connection.execute("grant tenant_a, tenant_b to app")
    weir = weir_factory(default_pool_size=1)
    plain, client, expected = weir.connect(), weir.connect(role="tenant_a"), directly(postgres, role="tenant_a")
    texts = [
        "select 1", "set role tenant_b", "reset all", "reset role", "set role none", "reset role", "discard all",
        "set role tenant_b", "discard all", "reset session authorization", "set role none", "set role to default",
        "set role none", "set session_authorization = default", "set role none", "set session authorization default",
    ]
    for text in texts:
        for connection in (client, expected):
            connection.query(text)
        for _ in range(2):
            assert client.value("select current_user") == expected.value("select current_user"), text
            assert plain.value("select current_user") == "app"
    error = refusal(weir.connect, role="stranger")
    assert (error.sqlstate, error.message) == ("42501", 'permission denied to set role "stranger"')
    assert plain.value("select current_user") == "app"
    for connection in (plain, client, expected):
        connection.close()


def test_the_server_dies_while_a_reset_is_settled(weir_factory, postgres):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect(work_mem="7MB")
    client.send(query("reset all; select pg_sleep(60)") + query("show work_mem"))
    process = postgres.wait_for_query("pg_sleep(60)")["pid"]
    postgres.sql("select pg_terminate_backend(%s)", [process])
    assert client.result().errors[0].sqlstate == "08006"
    assert client.result().value == "7MB"


def test_a_reset_query_that_leaves_the_role_does_not_leave_it_to_others(weir_factory, postgres):
    """RESET ALL does not give up a role, set by the login or later."""
    with psycopg.connect(postgres.address("postgres", "app"), autocommit=True) as connection:
        connection.execute("drop role if exists tenant_r; create role tenant_r; grant tenant_r to app")
    weir = weir_factory(default_pool_size=1, server_reset_query="RESET ALL", server_reset_query_always=1)
    later, other = weir.connect(), weir.connect()
    later.query("set role tenant_r")
    assert other.value("select current_user") == "app"
    first = weir.connect(role="tenant_r", work_mem="7MB")
    for _ in range(2):
        assert [first.value("select current_user"), first.value("show work_mem")] == ["tenant_r", "7MB"]
        assert [other.value("select current_user"), other.value("show work_mem")] == ["app", "4MB"]
        assert later.value("select current_user") == "tenant_r"
