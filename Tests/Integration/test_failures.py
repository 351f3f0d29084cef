"""When a server dies, the client gets an error that says so, and keeps its connection.

One test for each row of the table in the architecture, section 7: what the client sees when things fail.
"""

from __future__ import annotations

import pytest

import wire
from fakeserver import complete, ready
from waiting import wait_until
from wire import bind, close, describe, execute, extended, flush, message, parse, query, sync


@pytest.fixture
def weir(weir_factory, proxy):
    return weir_factory(databases={"app": f"host=127.0.0.1 port={proxy.port}"}, query_wait_timeout=5)


@pytest.fixture
def client(weir):
    client = weir.connect()
    client.value("select 1")
    return client


WAYS = ["reset", "close"]


def die(proxy, way: str) -> None:
    proxy.reset_all() if way == "reset" else proxy.close_all()


def still_works(client: wire.Connection) -> None:
    assert client.value("select 41 + 1") == 42
    assert client.exchange(extended("select 7::int")).value == 7


@pytest.mark.every_backend
@pytest.mark.parametrize("way", WAYS)
def test_an_idle_servers_death_is_not_seen_by_anybody(weir, client, proxy, way):
    weir.wait_for_pool(sv_idle=1)
    die(proxy, way)
    weir.wait_for_pool(sv_idle=0)
    still_works(client)


@pytest.mark.sanitizer_short
@pytest.mark.every_backend
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_death_in_a_query_outside_a_transaction(weir, client, proxy, way, protocol):
    client.send(query("select pg_sleep(60)") if protocol == "simple" else extended("select pg_sleep(60)"))
    weir.postgres.wait_for_query("pg_sleep")
    die(proxy, way)
    result = client.result()
    assert [(error.severity, error.sqlstate) for error in result.errors] == [("ERROR", "08006")]
    assert result.status == "I"
    weir.wait_for_log(r"server conn crashed\?")
    still_works(client)


def test_death_before_the_query_was_answered_with_anything(client, proxy):
    proxy.when_sent(b"select 'fatal'", lambda link: link.reset())
    result = client.exchange(query("select 'fatal'"))
    assert [error.sqlstate for error in result.errors] == ["08006"] and result.status == "I"
    still_works(client)


@pytest.mark.every_backend
@pytest.mark.parametrize("way", WAYS)
def test_death_in_a_query_within_a_transaction(weir, client, proxy, way, table):
    client.query("begin")
    client.query("insert into t values (1, 'lost')")
    client.send(query("select pg_sleep(60)"))
    weir.postgres.wait_for_query("pg_sleep")
    die(proxy, way)
    result = client.result()
    assert [(error.severity, error.sqlstate) for error in result.errors] == [("ERROR", "08006")]
    assert result.status == "E"
    for refused in (query("select 1"), extended("select 1"), query("insert into t values (2, 'x')"), query("begin")):
        result = client.exchange(refused)
        assert [error.sqlstate for error in result.errors] == ["25P02"] and result.status == "E"
    assert client.query("rollback").status == "I"
    assert client.value("select count(*) from t") == 0
    still_works(client)


@pytest.mark.parametrize("way", WAYS)
def test_death_in_a_transaction_between_two_queries(weir, client, proxy, way):
    client.query("begin")
    client.value("select 1")
    die(proxy, way)
    weir.wait_for_pool(sv_active=0)
    result = client.exchange(query("select 2"))
    assert result.errors[0].sqlstate == "08006" and result.status == "E"
    assert client.exchange(query("select 3")).errors[0].sqlstate == "25P02"
    client.query("rollback")
    still_works(client)


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_a_rollback_after_a_death_between_two_queries_succeeds(weir, client, proxy, protocol):
    """The transaction is rolled back, as was asked; a driver's pool keeps its connection."""
    client.query("begin")
    proxy.reset_all()
    weir.wait_for_pool(sv_active=0)
    result = client.exchange(query("rollback") if protocol == "simple" else extended("rollback"))
    assert (result.errors, result.tags, result.status) == ([], ["ROLLBACK"], "I")
    still_works(client)


@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_a_commit_after_a_death_between_two_queries_fails(weir, client, proxy, table, protocol):
    client.query("begin")
    client.query("insert into t values (1, 'lost')")
    proxy.reset_all()
    weir.wait_for_pool(sv_active=0)
    result = client.exchange(query("commit") if protocol == "simple" else extended("commit"))
    assert [error.sqlstate for error in result.errors] == ["08006"] and result.tags == []
    assert client.query("rollback").status == "I"
    assert client.value("select count(*) from t") == 0


@pytest.mark.parametrize(
    "end", ["rollback", "ROLLBACK;", "  /* why */ Rollback work", "abort", "commit", "end", "COMMIT TRANSACTION"]
)
@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.one_backend
def test_any_end_of_the_transaction_ends_the_failed_state(weir, client, proxy, end, protocol):
    """PostgreSQL answers COMMIT of a failed transaction with ROLLBACK."""
    client.query("begin")
    proxy.reset_all()
    weir.wait_for_pool(sv_active=0)
    assert client.exchange(query("select 1")).status == "E"
    result = client.exchange(query(end) if protocol == "simple" else extended(end))
    assert (result.errors, result.tags, result.status) == ([], ["ROLLBACK"], "I")
    still_works(client)


@pytest.mark.one_backend
def test_rollback_to_a_savepoint_cannot_bring_the_transaction_back(weir, client, proxy):
    client.query("begin")
    client.query("savepoint s")
    proxy.reset_all()
    weir.wait_for_pool(sv_active=0)
    client.exchange(query("select 1"))
    result = client.exchange(query("rollback to savepoint s"))
    assert result.errors and result.status == "E"
    assert client.query("rollback").status == "I"


@pytest.mark.parametrize("reached", [True, False], ids=["the server got it", "the server did not get it"])
@pytest.mark.parametrize("protocol", ["simple", "extended"])
@pytest.mark.parametrize("word", ["commit", "END"])
def test_death_while_commit_is_under_way(client, proxy, table, reached, protocol, word):
    client.query("begin")
    client.query("insert into t values (1, 'perhaps')")

    def fail(link):
        proxy.pause(to_server=False)
        link.reset()
        proxy.resume()

    proxy.when_sent(word.encode(), fail, forward=reached)
    if reached:
        proxy.pause(to_server=False)
    result = client.exchange(query(word) if protocol == "simple" else extended(word))
    proxy.resume()
    assert [(error.severity, error.sqlstate) for error in result.errors] == [("ERROR", "08007")]
    assert result.status == "I"
    still_works(client)


@pytest.mark.every_backend
@pytest.mark.parametrize(
    "before, requests, answered",
    [
        pytest.param(parse("commit", "c") + sync(), [bind(name="c") + execute() + sync()], 0, id="prepared"),
        pytest.param(parse("commit") + sync(), [bind() + execute() + sync()], 0, id="unnamed, prepared before"),
        pytest.param(b"", [query("commit and chain")], 0, id="and chain"),
        pytest.param(b"", [query("insert"), query("commit")], 1, id="behind a query"),
        pytest.param(b"", [extended("insert"), extended("commit")], 1, id="behind a batch"),
        pytest.param(b"", [query("insert"), query("commit")], 0, id="behind a query that is not answered"),
    ],
)
def test_death_while_a_commit_of_any_kind_is_under_way(weir_factory, fake, before, requests, answered):
    client = weir_factory(databases={"app": f"host=127.0.0.1 port={fake.port}"}).connect()
    client.send(query("begin"))
    session = fake.session()
    session.expect("Q")
    session.send(complete("BEGIN") + ready("T"))
    client.result()
    if before:
        client.send(before)
        session.expect("PS")
        session.send(message("1") + ready("T"))
        client.result()
    client.send(b"".join(requests))
    for request in requests:
        session.read_until("QS")
    for request in requests[:answered]:
        steps = b"" if request[:1] == b"Q" else message("1") + message("2") + message("n")
        session.send(steps + complete("INSERT 0 1") + ready("T"))
        assert client.result().status == "T"
    session.close()
    *others, last = [client.result() for _ in requests[answered:]]
    assert [error.sqlstate for error in last.errors] == ["08007"] and last.status == "I"
    assert all([error.sqlstate for error in other.errors] == ["08006"] for other in others)


def test_death_in_the_middle_of_a_message_half_passed_on(weir, client, proxy):
    other = weir.connect()
    proxy.cut_after(1 << 20)
    client.send(query(f"select repeat('x', {16 << 20})"))
    assert client.is_closed_by_peer()
    weir.wait_for_log(r"server conn crashed\?")
    still_works(other)


@pytest.mark.every_backend
@pytest.mark.parametrize("way", ["the server dies", "the client is killed", "the query takes too long"])
def test_nothing_is_written_into_a_message_half_passed_on(weir_factory, proxy, way):
    """An error of Weir's own would complete the message, and the client would take it for data."""
    limits = {"query_timeout": 1} if way == "the query takes too long" else {}
    weir = weir_factory(databases={"app": f"host=127.0.0.1 port={proxy.port}"}, **limits)
    client = weir.connect()
    client.value("select 1")
    (link,) = proxy.open_links
    # A row of 1,000 bytes of which 105 come: its header and the beginning of its value.
    row = wire.message("D", b"\0\1" + (994).to_bytes(4, "big") + b"v" * 994)[:105]
    proxy.when_sent(b"select 'half'", lambda link: link.inject(row))
    client.send(query("select 'half'"))
    assert client.read_exactly(len(row)) == row
    if way == "the server dies":
        link.reset()
    if way == "the client is killed":
        weir.admin("KILL app")
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read_exactly(1)


def test_death_between_two_messages_of_an_answer(weir, client, proxy):
    """Whole messages were passed on; the error follows them in order."""
    client.send(parse("select 1") + bind() + describe() + execute() + flush())
    assert "".join(reply.type for reply in client.read_until("C")) == "12TDC"
    client.send(parse("select pg_sleep(60)") + bind() + execute() + flush())
    weir.postgres.wait_for_query("pg_sleep")
    proxy.reset_all()
    client.send(sync())
    result = client.result()
    assert [error.sqlstate for error in result.errors] == ["08006"]
    assert result.types.endswith("EZ")
    still_works(client)


def test_what_was_pipelined_behind_the_failed_query_is_answered_too(weir, client, proxy):
    """One ReadyForQuery for each Sync or simple query, as the client counts them."""
    client.send(query("select pg_sleep(60)") + extended("select 1") + query("select 2"))
    weir.postgres.wait_for_query("pg_sleep")
    proxy.reset_all()
    assert [error.sqlstate for error in client.result().errors] == ["08006"]
    for _ in range(2):
        result = client.result()
        assert result.rows or result.errors
        assert result.status == "I"
    still_works(client)


def test_death_in_a_copy_from_the_client(weir, client, proxy, table):
    client.send(query("copy t from stdin"))
    client.read_until("G")
    client.send(wire.message("d", b"1\tone\n"))
    weir.postgres.wait_for_query("copy t")
    proxy.reset_all()
    result = client.result()
    assert [error.sqlstate for error in result.errors] == ["08006"] and result.status == "I"
    client.send(wire.message("d", b"2\ttwo\n") + wire.message("c"))
    assert client.value("select count(*) from t") == 0


@pytest.mark.parametrize("phase", ["idle", "query", "transaction"])
def test_a_backend_ended_by_an_administrator(weir_factory, postgres, phase):
    """The server says FATAL 57P01 itself; the client must not lose its connection by it."""
    weir = weir_factory()
    client = weir.connect()
    pid = client.value("select pg_backend_pid()")
    if phase == "transaction":
        client.query("begin")
    if phase == "query":
        client.send(query("select pg_sleep(60)"))
        postgres.wait_for_query("pg_sleep")
    postgres.sql("select pg_terminate_backend(%s)", (pid,))
    wait_until(lambda: postgres.server_count() == 0, "the backend is gone")
    if phase == "query":
        result = client.result()
        assert result.errors[0].severity == "ERROR" and result.errors[0].sqlstate in ("08006", "57P01")
        assert result.status == "I"
    if phase == "transaction":
        assert client.exchange(query("select 1")).status == "E"
        client.query("rollback")
    if phase == "idle":
        weir.wait_for_pool(sv_idle=0)
    still_works(client)


def test_a_server_that_sends_nonsense_is_closed_and_its_client_told(weir, client, proxy):
    client.send(query("select pg_sleep(60)"))
    weir.postgres.wait_for_query("pg_sleep")
    proxy.open_links[0].inject(b"!\0\0\0\x03")
    result = client.result()
    assert result.errors[0].sqlstate in ("08P01", "08006") and result.status == "I"
    still_works(client)


@pytest.mark.parametrize(
    "answer", [b"", b"X", b"E\0\0\0\x05\0", b"R\0\0\0\x08\0\0\0\x63", b"Z\0\0\0\x05I", b"\xff" * 40]
)
@pytest.mark.one_backend
def test_a_server_that_answers_the_login_with_nonsense(weir_factory, answer):
    """A fake server says one thing and closes; the client gets an error, and Weir lives."""
    import socket
    import threading

    with socket.socket() as fake:
        fake.bind(("127.0.0.1", 0))
        fake.listen()

        def serve():
            try:
                while True:
                    connection, _ = fake.accept()
                    connection.recv(1000)
                    connection.sendall(answer)
                    connection.close()
            except OSError:
                pass

        threading.Thread(target=serve, daemon=True).start()
        weir = weir_factory(
            databases={"fake": f"host=127.0.0.1 port={fake.getsockname()[1]}"},
            query_wait_timeout=2,
            client_login_timeout=3,
        )
        with pytest.raises((wire.ServerError, EOFError)):
            weir.connect(database="fake")
        assert weir.connect().value("select 1") == 1
        fake.shutdown(socket.SHUT_RDWR)


def test_named_statements_closed_after_a_death_are_no_error(weir, client, proxy):
    client.query("begin")
    client.exchange(parse("select 1", name="s") + sync())
    proxy.reset_all()
    weir.wait_for_pool(sv_active=0)
    assert client.exchange(query("select 1")).status == "E"
    client.query("rollback")
    assert client.exchange(close("S", "s") + sync()).errors == []
    still_works(client)
