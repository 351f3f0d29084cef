"""Errors, notices and parameter changes that a server sends when nobody has asked."""

from __future__ import annotations

import signal
import subprocess

import psycopg
import pytest

import wire
from fakeserver import FakeServer, Session, answer, complete, error, notice, parameter, ready, row
from postgres import REPLICATION_ROLE, as_unprivileged, binary, free_port, give_to_unprivileged
from waiting import wait_until
from wire import bind, execute, extended, flush, parse, query, sync

FATAL = error("57P01", "terminating connection due to administrator command", "FATAL")
# Within the tag, the length, the severity, the rest; whole.
CUTS = [1, 3, 5, 6, 9, 20, len(FATAL) - 1, len(FATAL)]


@pytest.fixture
def weir(weir_factory, fake):
    return weir_factory(databases={"app": f"host=127.0.0.1 port={fake.port}"}, default_pool_size=1)


@pytest.fixture
def client(weir):
    return weir.connect()


def begin(client: wire.Connection, session: Session) -> None:
    client.send(query("begin"))
    session.expect("Q")
    session.send(complete("BEGIN") + ready("T"))
    assert client.result().status == "T"


def works(client: wire.Connection, session: Session) -> None:
    client.send(query("select 'still here'"))
    session.expect("Q")
    session.send(answer("yes"))
    assert client.result().value == "yes"


# The server says that it ends.


@pytest.mark.every_backend
def test_a_fatal_error_in_a_query_is_an_error_however_it_is_cut(client, fake):
    """The row in front of the first piece proves that it was read before the second was sent."""
    for cut in CUTS:
        session = fake.session()
        client.send(query("select 1"))
        session.expect("Q")
        session.send(row("first") + FATAL[:cut])
        assert [client.read().type for _ in "TD"] == ["T", "D"]
        session.send(FATAL[cut:])
        session.close()
        result = client.result()
        assert [(e.severity, e.sqlstate) for e in result.errors] == [("ERROR", "08006")], cut
        assert "administrator command" in result.errors[0].detail
        assert result.status == "I"
        client.send(query("select 2"))
        fresh = fake.session()
        fresh.expect("Q")
        fresh.send(answer("2"))
        assert client.result().value == "2"
        fake.sessions.put(fresh)


@pytest.mark.every_backend
def test_a_fatal_error_between_two_queries_of_a_transaction_is_cut(weir, client, fake):
    for cut in CUTS:
        session = fake.session()
        begin(client, session)
        session.send(notice("the end is near") + FATAL[:cut])
        assert client.read().type == "N"
        session.send(FATAL[cut:])
        session.close()
        weir.wait_for_pool(sv_active=0)
        result = client.exchange(query("select 1"))
        assert [(e.severity, e.sqlstate) for e in result.errors] == [("ERROR", "08006")], cut
        assert result.status == "E"
        assert client.query("rollback").status == "I"
        client.send(query("select 2"))
        fresh = fake.session()
        fresh.expect("Q")
        fresh.send(answer("2"))
        assert client.result().value == "2"
        fake.sessions.put(fresh)


def test_a_fatal_error_in_a_batch_is_an_error(client, fake):
    session = fake.session()
    client.send(extended("select 1"))
    session.expect("PBDES")
    session.send(wire.message("1") + wire.message("2") + FATAL[:7])
    assert [client.read().type for _ in "12"] == ["1", "2"]
    session.send(FATAL[7:])
    session.close()
    result = client.result()
    assert [(e.severity, e.sqlstate) for e in result.errors] == [("ERROR", "08006")] and result.status == "I"


def test_a_batch_that_has_failed_gets_no_second_error_when_its_server_dies(weir, client, fake):
    client.send(parse("select 1") + bind() + execute() + flush())
    session = fake.session()
    session.expect("PBEH")
    session.send(error("22000", "one"))
    assert client.read().type == "E"
    session.close()
    weir.wait_for_log("server conn crashed")
    assert client.exchange(sync()).types == "Z"


def test_a_fatal_error_that_fits_no_buffer_is_an_error_too(client, fake):
    session = fake.session()
    client.send(query("select 1"))
    session.expect("Q")
    session.send(error("57P01", "x" * 100_000, "FATAL"))
    session.close()
    result = client.result()
    assert [(e.severity, e.sqlstate) for e in result.errors] == [("ERROR", "08006")] and result.status == "I"


@pytest.mark.every_backend
@pytest.mark.parametrize("cut", [1, 7, len(FATAL)])
def test_a_fatal_error_of_an_idle_server_is_not_seen_by_anybody(weir, client, fake, cut):
    session = fake.session()
    works(client, session)
    session.send(FATAL[:cut])
    session.send(FATAL[cut:])
    session.close()
    weir.wait_for_pool(sv_idle=0)
    client.send(query("select 2"))
    fresh = fake.session()
    fresh.expect("Q")
    fresh.send(answer("2"))
    assert client.result().value == "2"


@pytest.mark.parametrize("cut", [7, len(FATAL)])
@pytest.mark.parametrize("phase", ["idle", "query"])
def test_in_session_mode_the_servers_last_words_are_the_clients(weir_factory, fake, phase, cut):
    """As without a pooler: one FATAL error, the server's own, and the end."""
    weir = weir_factory(databases={"app": f"host=127.0.0.1 port={fake.port}"}, pool_mode="session")
    client = weir.connect()
    session = fake.session()
    works(client, session)
    if phase == "query":
        client.send(query("select 1"))
        session.expect("Q")
    session.send(FATAL[:cut])
    session.send(FATAL[cut:])
    session.close()
    with pytest.raises(wire.ServerError) as raised:
        client.result()
    assert (raised.value.severity, raised.value.sqlstate) == ("FATAL", "57P01")
    with pytest.raises(EOFError):
        client.read()


@pytest.mark.parametrize("length", [16_000, 16_370, 16_383, 16_384, 16_385, 20_000, 200_000])
def test_errors_of_every_size_come_whole(weir_factory, length):
    """Around the size of a buffer, up to which errors are gathered before they are looked at."""
    client = weir_factory().connect()
    for _ in range(3):
        result = client.exchange(query(f"do $$ begin raise exception '%', repeat('x', {length}); end $$"))
        assert [len(e.message) for e in result.errors] == [length] and result.status == "I"
    assert client.value("select 1") == 1


@pytest.mark.every_backend
@pytest.mark.parametrize("total", range(16_380, 16_389))
def test_errors_as_large_as_a_buffer_pass_in_pieces_of_any_size(client, fake, total):
    session = fake.session()
    whole = error("22000", "x" * (total - len(error("22000", ""))))
    assert len(whole) == total
    for first in (1, 5, 6, 100, total - 1):
        client.send(query("select 1"))
        session.expect("Q")
        session.send(row("first") + whole[:first])
        assert [client.read().type for _ in "TD"] == ["T", "D"]
        session.send(whole[first:] + ready())
        assert client.read() == wire.Message("E", whole[5:])
        assert client.read().type == "Z"


# Notices.


def test_notices_at_every_step_of_a_servers_login_do_no_harm(weir, fake):
    fake.before_login = notice("before authentication")
    fake.in_login = notice("after authentication")
    fake.after_login = notice("after the parameters")
    client = weir.connect()
    assert client.notices == []
    works(client, fake.session())


def test_an_error_after_a_notice_before_authentication_is_the_clients(weir, fake):
    fake.before_login = notice("sorry") + error("53300", "too many connections already", "FATAL")
    with pytest.raises(wire.ServerError) as raised:
        weir.connect()
    assert (raised.value.severity, raised.value.sqlstate) == ("FATAL", "53300")


def test_a_notice_in_a_transaction_reaches_the_client_at_once(client, fake):
    session = fake.session()
    begin(client, session)
    session.send(notice("by the way"))
    assert wire.error_fields(client.read().body)["M"] == "by the way"
    works(client, session)


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "request_, reply", [(wire.parse("select 1", "b"), "1"), (wire.close(name="b"), "3")], ids=["Parse", "Close"]
)
def test_a_reply_in_the_servers_place_does_not_come_in_the_midst_of_a_notice(client, fake, request_, reply):
    client.send(wire.parse("select 1", "a") + wire.sync())
    session = fake.session()
    session.expect("PS")
    session.send(wire.message("1") + ready())
    client.result()
    begin(client, session)
    whole = notice("by the way")
    session.send(whole[:10])
    assert client.read_exactly(10) == whole[:10]
    client.send(request_ + wire.sync())
    session.expect("S")
    session.send(whole[10:] + ready("T"))
    assert client.read_exactly(len(whole) - 10) == whole[10:]
    assert client.result().types == f"{reply}Z"


def test_a_notice_of_an_idle_server_is_for_nobody_and_does_no_harm(weir, client, fake):
    session = fake.session()
    works(client, session)
    session.send(notice("to nobody") + notice("x" * 40_000))
    works(client, session)
    assert weir.pool()["sv_idle"] == 1


@pytest.mark.every_backend
def test_half_a_notice_of_an_idle_server_is_for_nobody_when_it_changes_workers(weir_factory, fake):
    """Else its other half, which reads like an answer, would be taken for one there."""
    weir = weir_factory(databases={"app": f"host=127.0.0.1 port={fake.port}"}, default_pool_size=1)
    first, second = weir.connect(), weir.connect()
    session = fake.session()
    works(first, session)
    rest = answer("for nobody")
    half = wire.message("N", b"SNOTICE\0" + rest)[: -len(rest)]
    before = weir.show("STATS_TOTALS", database="app")[0]["bytes_sent"]
    session.send(half)
    wait_until(
        lambda: weir.show("STATS_TOTALS", database="app")[0]["bytes_sent"] == before + len(half), "Weir has read it"
    )
    second.send(query("select 1"))
    if weir.settings["workers"] > 1:
        assert session.is_closed_by_peer()
        session = fake.session()
    else:
        session.send(rest)
    session.expect("Q")
    session.send(answer("1"))
    assert second.result().value == "1"
    works(second, session)


# Parameters.


def told(weir, count: int = 4) -> set[str]:
    """What clients that log in now, in all workers, are told of in_hot_standby."""
    clients = [weir.connect() for _ in range(count)]
    values = {client.parameters["in_hot_standby"] for client in clients}
    for client in clients:
        client.terminate()
    return values


@pytest.fixture
def standby(weir, fake):
    fake.parameters["in_hot_standby"] = "on"
    return fake


@pytest.mark.every_backend
def test_clients_that_come_after_a_promotion_are_told(weir, standby: FakeServer):
    """The server has no client when it tells."""
    assert told(weir) == {"on"}
    session = standby.session()
    session.send(parameter("in_hot_standby", "off"))
    wait_until(lambda: told(weir) == {"off"}, "new clients hear of the promotion")
    works(weir.connect(), session)


@pytest.mark.every_backend
def test_a_promotion_in_a_transaction_is_told_to_its_client_and_to_later_ones(weir, standby: FakeServer):
    client = weir.connect()
    session = standby.session()
    begin(client, session)
    session.send(parameter("in_hot_standby", "off"))
    assert client.read() == wire.Message("S", b"in_hot_standby\0off\0")
    wait_until(lambda: told(weir) == {"off"}, "new clients hear of the promotion")
    works(client, session)


def test_a_new_server_that_is_no_standby_any_more_is_believed(weir, standby: FakeServer):
    client = weir.connect()
    standby.session().close()
    weir.wait_for_pool(sv_idle=0)
    standby.parameters["in_hot_standby"] = "off"
    client.send(query("select 1"))
    session = standby.session()
    session.expect("Q")
    session.send(answer("1"))
    client.result()
    wait_until(lambda: told(weir) == {"off"}, "new clients hear of the promotion")


def test_who_a_session_becomes_is_not_told_to_others(weir_factory, postgres):
    """The server reports is_superuser and session_authorization too; these are the session's own."""
    postgres.sql("alter role other superuser")
    try:
        weir = weir_factory(default_pool_size=1)
        first = weir.connect("other")
        assert first.parameters["session_authorization"] == "other"
        first.query("begin")
        first.query("set local session authorization app")
        assert first.parameters["is_superuser"] == "off"
        assert weir.connect("other").parameters["is_superuser"] == "on"
        first.query("rollback")
    finally:
        postgres.sql("alter role other nosuperuser")


@pytest.fixture
def real_standby(weir_factory, postgres):
    """A Weir in front of a standby that was made from the tests' PostgreSQL, and the standby's address."""
    weir = weir_factory(start=False)
    folder, port = f"{weir.directory}/standby", free_port()
    postgres.sql("checkpoint")
    source = postgres.address(REPLICATION_ROLE)
    command = [binary("pg_basebackup"), "-D", folder, "-X", "fetch", "-c", "fast", "-d", source]
    subprocess.run(as_unprivileged(command), check=True, cwd="/", capture_output=True)
    with open(f"{folder}/standby.signal", "w"):
        give_to_unprivileged(f"{folder}/standby.signal")
    options = ["-c", f"port={port}", "-c", f"unix_socket_directories={weir.directory}"]
    process = subprocess.Popen(
        as_unprivileged([binary("postgres"), "-D", folder, *options]),
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"host=127.0.0.1 port={port} user=postgres dbname=app"

    def answers() -> bool:
        assert process.poll() is None, "the standby did not start"
        try:
            psycopg.connect(address, connect_timeout=5).close()
            return True
        except psycopg.OperationalError:
            return False

    try:
        wait_until(answers, "the standby accepts connections", 30)
        weir.databases["app"] = weir.server(port)
        yield weir.start(), address
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)


def test_the_promotion_of_a_standby_is_heard(real_standby):
    """PostgreSQL tells of it with the next answer, to that client through Weir, and Weir to later ones."""
    weir, address = real_standby
    client = weir.connect()
    assert client.parameters["in_hot_standby"] == "on"
    with pytest.raises(wire.ServerError) as raised:
        client.query("create table nothing ()")
    assert raised.value.sqlstate == "25006"
    with psycopg.connect(address, autocommit=True) as connection:
        assert connection.execute("select pg_promote()").fetchone() == (True,)
    assert client.value("select 1") == 1
    assert client.parameters["in_hot_standby"] == "off"
    wait_until(lambda: told(weir) == {"off"}, "new clients hear of the promotion")
    client.query("create table something ()")
