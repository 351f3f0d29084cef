"""Settings when clients leave, servers die or refuse them, and those that cannot be carried to another server."""

from __future__ import annotations

import os
import signal

import psycopg
import pytest

import wire
from settingchecks import check_follows, pair, shown
from waiting import wait_until
from wire import bind, execute, extended, parse, query, sync

pytestmark = pytest.mark.every_backend


@pytest.mark.parametrize("leave", ["terminate", "close", "reset"])
def test_a_client_that_leaves_right_after_set_leaves_nothing(weir_factory, leave):
    weir = weir_factory(default_pool_size=1)
    other = weir.connect()
    process = other.value("select pg_backend_pid()")
    for number in range(10):
        client = weir.connect()
        client.send(query("set work_mem = '9MB'; set app.a = '1'"))
        if number % 2:
            client.result()
        getattr(client, leave)()
        assert shown(other, "work_mem") == "4MB"
        assert shown(other, "app.a") in (None, "")
        wait_until(lambda: weir.pool()["cl_active"] == 1, "the client is gone")
        assert shown(other, "work_mem") == "4MB"
    if leave == "terminate":
        assert other.value("select pg_backend_pid()") == process, "asking or cleaning is enough"


def test_a_client_that_leaves_while_its_settings_are_put_in_place_leaves_none(weir_factory, proxy):
    """PostgreSQL does not report this one, so that nobody hears what its server has now."""
    databases = {"app": f"host=127.0.0.1 port={proxy.port}"}
    weir = weir_factory(databases=databases, default_pool_size=1, track_extra_parameters="search_path")
    other = weir.connect()
    before = shown(other, "search_path")
    client = weir.connect(search_path="pg_catalog")
    proxy.when_sent(b"pg_catalog", lambda link: None, forward=True)
    proxy.pause(to_server=False)
    client.send(query("select 1"))
    assert proxy.triggered.wait(5)
    client.close()
    weir.wait_for_log("client unexpected eof")
    proxy.resume()
    assert shown(other, "search_path") == before


def test_a_client_takes_its_settings_to_another_server_when_its_own_dies(weir_factory, postgres):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    client.query("set work_mem = '9MB'; set app.a = '1'")
    process = client.value("select pg_backend_pid()")
    os.kill(process, signal.SIGTERM)
    wait_until(lambda: postgres.server_count() == 0, "the server is gone")
    for _ in range(2):
        result = client.exchange(query("select current_setting('work_mem') || current_setting('app.a')"))
        if not result.errors:
            break
    assert result.value == "9MB1"
    assert client.value("select pg_backend_pid()") != process


def test_a_client_ends_when_what_it_was_told_is_set_is_lost_with_the_server(weir_factory, postgres):
    """The server was not asked yet, because the pipeline went on: nobody knows the value."""
    weir, client, other = pair(weir_factory)
    client.send(query("set app.a = '1'") + query("select pg_sleep(60)"))
    assert client.result().tags == ["SET"]
    process = postgres.wait_for_query("pg_sleep(60)")["pid"]
    postgres.sql("select pg_terminate_backend(%s)", [process])
    with pytest.raises(wire.ServerError) as caught:
        client.result()
    assert caught.value.severity == "FATAL"
    assert other.value("select current_setting('app.a', true)") in (None, "")
    client = weir.connect()
    client.send(query("begin") + query("set app.a = '1'") + query("select pg_sleep(60)"))
    process = postgres.wait_for_query("pg_sleep(60)")["pid"]
    postgres.sql("select pg_terminate_backend(%s)", [process])
    assert [client.result().status for _ in range(3)] == ["T", "T", "E"], "what was not committed is not lost"
    assert client.query("rollback").status == "I"


def test_a_value_that_no_server_takes_any_more_ends_its_client_alone(weir_factory):
    weir, client, other = pair(weir_factory)
    other.query("create text search configuration own (copy = simple)")
    client.query("set default_text_search_config = 'public.own'")
    check_follows(client, other, "default_text_search_config", "public.own", shown(other, "default_text_search_config"))
    default = shown(other, "default_text_search_config")
    other.query("drop text search configuration own")
    with pytest.raises(wire.ServerError) as caught:
        assert client.exchange(query("select 1")).errors[0].sqlstate == "08006"
        client.query("select 1")
    assert caught.value.severity == "FATAL" and "public.own" in caught.value.message
    assert shown(other, "default_text_search_config") == default
    assert weir.connect().value("select 1") == 1


def test_tracked_parameters_of_the_login_follow_though_no_server_reports_them(weir_factory):
    weir = weir_factory(default_pool_size=1, track_extra_parameters="IntervalStyle, search_path, statement_timeout")
    other = weir.connect()
    client = weir.connect(search_path='"A b", public', options="-c statement_timeout=5s")
    for _ in range(2):
        check_follows(client, other, "search_path", '"A b", public', '"$user", public')
        check_follows(client, other, "statement_timeout", "5s", "0")
    client.query("set search_path = public")
    check_follows(client, other, "search_path", "public", '"$user", public')


def test_a_prepared_listen_in_the_middle_of_a_batch(weir_factory):
    """It may have to wait for the connection that listens; what is in front of it is sent once."""
    weir, client, other = pair(weir_factory)
    client.exchange(parse("listen channel_of_batch", name="l") + sync())
    client.send(parse("select 1") + bind() + execute() + bind(name="l") + execute() + parse("select 2") + bind()
                + execute() + sync() + query("select 3"))
    result = client.result()
    assert (result.errors, result.types) == ([], "12DC2C12DCZ")
    assert client.result().value == 3
    other.query("notify channel_of_batch, 'x'")
    reply = client.read()
    assert reply.type == "A" and reply.body[4:] == b"channel_of_batch\0x\0"


def test_settings_arrive_on_every_server(weir_factory):
    """With more servers than one, and with more workers than one, whichever serves."""
    weir = weir_factory(default_pool_size=3)
    clients = [weir.connect() for _ in range(8)]
    for number, client in enumerate(clients):
        client.query(f"set app.a = '{number}'; set work_mem = '{number + 1}MB'")
    for _ in range(10):
        for client in clients:
            client.send(query("select current_setting('app.a'), current_setting('work_mem'), pg_sleep(0.002)"))
        for number, client in enumerate(clients):
            assert client.result().rows[0][:2] == [str(number), f"{number + 1}MB"]
    assert weir.show("PINS") == []


def test_a_statement_timeout_that_hardly_lets_anything_through(weir_factory):
    """The server is asked under the client's own timeout: if that is too short, it is asked again without."""
    weir, client, other = pair(weir_factory)
    for number in range(20):
        result = client.exchange(query("set statement_timeout = '1ms'"))
        if result.errors:
            continue
        result = client.exchange(query("set work_mem = '9MB'"))
        result = client.exchange(query("show statement_timeout"))
        assert result.errors or result.value == "1ms"
        assert shown(other, "statement_timeout") == "0"
        assert shown(other, "work_mem") == "4MB"
    assert weir.show("PINS") == []


def test_a_role_follows_and_row_level_security_with_it(weir_factory, postgres):
    with psycopg.connect(postgres.address("postgres", "app"), autocommit=True) as connection:
        connection.execute("drop table if exists secrets; drop role if exists tenant1, tenant2")
        connection.execute("create role tenant1; create role tenant2; grant tenant1, tenant2 to app")
        connection.execute(
            "create table secrets (owner text); insert into secrets values ('tenant1'), ('tenant2'), ('tenant2');"
            " alter table secrets enable row level security; grant select on secrets to public;"
            " create policy own on secrets using (owner = current_user)"
        )
    weir = weir_factory(default_pool_size=1)
    one, two, plain = weir.connect(), weir.connect(), weir.connect()
    one.query("set role tenant1")
    two.exchange(extended("set role 'tenant2'"))
    for _ in range(3):
        assert one.value("select count(*) from secrets") == 1
        assert two.exchange(extended("select count(*) from secrets")).value == 2
        assert plain.value("select count(*) from secrets") == 0
        assert plain.value("select current_user") == "app"
    one.query("reset role")
    two.query("set role none")
    for client in (one, two, plain):
        assert client.value("select current_user") == "app"
    one.query("begin; set role tenant1; rollback")
    two.query("begin; set local role tenant2; commit")
    for client in (one, two, plain):
        assert client.value("select current_user") == "app"
    assert weir.show("PINS") == []


def test_nothing_runs_without_a_role_that_is_no_longer_granted(weir_factory, postgres):
    """A statement behind a SET ROLE that fails would run with the rights of the login."""
    with psycopg.connect(postgres.address("postgres", "app"), autocommit=True) as connection:
        connection.execute("drop table if exists log_of_users; drop role if exists limited; create role limited")
        connection.execute("grant limited to app; create table log_of_users (name text); grant all on log_of_users to public")
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    client.query("set role limited")
    assert other.value("select 1") == 1
    postgres.sql("revoke limited from app")
    with pytest.raises((wire.ServerError, EOFError)) as caught:
        client.query("insert into log_of_users values (current_user)")
    assert "limited" in str(caught.value)
    assert other.query("select name from log_of_users").rows == []
    assert other.value("select current_user") == "app"


def test_session_authorization_of_a_superuser_follows(weir_factory, postgres):
    with psycopg.connect(postgres.address("postgres", "app"), autocommit=True) as connection:
        connection.execute("drop role if exists group_of_other; create role group_of_other; grant group_of_other to other")
    weir = weir_factory(default_pool_size=1, userlist={"postgres": ""})
    root, plain = weir.connect("postgres"), weir.connect("postgres")
    root.query("set session authorization other")
    root.query("set work_mem = '9MB'")
    for _ in range(2):
        assert root.value("select session_user || ' ' || current_user") == "other other"
        assert plain.value("select session_user") == "postgres"
    root.query("set role group_of_other")
    for _ in range(2):
        assert root.value("select session_user || ' ' || current_user") == "other group_of_other"
        assert plain.value("select session_user || ' ' || current_user") == "postgres postgres"
        assert root.value("show work_mem") == "9MB"
    root.query("reset session authorization")
    for client in (root, plain):
        assert client.value("select session_user || ' ' || current_user") == "postgres postgres"
    root.query("set log_min_duration_statement = '1h'")
    check_follows(root, plain, "log_min_duration_statement", "1h", "-1")


def test_settings_that_are_too_many_or_too_long_hold_the_server(weir_factory):
    weir, client, other = pair(weir_factory, query_wait_timeout=1)
    client.query(";".join(f"set app.s{number} = '{number}'" for number in range(70)))
    assert client.value("select current_setting('app.s3') || current_setting('app.s69')") == "369"
    wait_until(lambda: [row["reason"] for row in weir.show("PINS")] == ["settings"], "the server is held")
    client.close()
    assert shown(other, "app.s3") in (None, "")
    client = weir.connect()
    client.query(f"set app.long = '{'y' * 2048}'")
    assert client.value("select length(current_setting('app.long'))") == 2048
    wait_until(lambda: [row["reason"] for row in weir.show("PINS")] == ["settings"], "the server is held")
    assert other.exchange(query("select 1")).errors[0].sqlstate == "53300"
    client.query("reset all")
    wait_until(lambda: weir.show("PINS") == [], "the server is shared again")
    assert other.value("select 1") == 1


def test_values_in_another_encoding_are_never_changed(weir_factory):
    """A value that is read in LATIN1 may look like UTF-8 and mean something else."""
    weir = weir_factory(default_pool_size=2)
    other = weir.connect()
    for raw in (b"\xe9", b"\xc3\xa9"):
        client = weir.connect(client_encoding="LATIN1")
        client.send(wire.message("Q", b"set app.a = '" + raw + b"'\0"))
        assert client.result().errors == []
        for _ in range(3):
            client.send(query("select length(current_setting('app.a')), encode(convert_to(current_setting('app.a'), 'UTF8'), 'hex')"))
            row = client.result().rows[0]
            assert row == [len(raw), raw.decode("latin1").encode().hex()]
            other.value("select 1")
        client.close()
    client = weir.connect(client_encoding="LATIN1")
    client.query("set app.a = 'plain'")
    check_follows(client, other, "app.a", "plain", None)
    assert weir.show("PINS") == []
