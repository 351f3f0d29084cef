"""Named prepared statements follow their client from server to server, and servers keep a bounded number of them."""

from __future__ import annotations

import threading

import pytest

import wire
from wire import bind, close, describe, execute, flush, message, parse, query, sync

MODES = ["transaction", "statement"]


def run(name: str, *values: str) -> bytes:
    return bind(*values, name=name) + execute() + sync()


def prepare(client: wire.Connection, name: str, sql: str) -> None:
    assert client.exchange(parse(sql, name) + sync()).types == "1Z"


def server_names(client: wire.Connection) -> list[str]:
    """The statements of the server that the client happens to get."""
    return [row[0] for row in client.query("select name from pg_prepared_statements order by 1").rows]


def value(client: wire.Connection, name: str, *values: str) -> str:
    result = client.exchange(run(name, *values))
    assert not result.errors, result.errors
    return str(result.rows[0][0])


class Held:
    """Keeps a server of the pool busy, so that others get another one."""

    def __init__(self, weir):
        self.client = weir.connect()
        self.client.query("begin")
        self.process = self.client.value("select pg_backend_pid()")

    def free(self):
        self.client.query("rollback")


@pytest.mark.every_backend
@pytest.mark.sanitizer_short
@pytest.mark.parametrize("mode", MODES)
def test_many_clients_use_their_statements_on_few_servers(weir_factory, mode):
    """Twelve clients give the same names to different statements; each gets only its own results."""
    weir = weir_factory(default_pool_size=2, pool_mode=mode)
    problems, processes = [], set()

    def work(me: int) -> None:
        client = weir.connect(timeout=40)
        for name in ("a", "b"):
            prepare(client, name, f"select $1::int + {me * 100}, '{name}', pg_backend_pid()")
        for number in range(40):
            name = "ab"[number % 2]
            row = client.exchange(run(name, str(number))).rows[0]
            processes.add(row[2])
            if [str(part) for part in row[:2]] != [str(me * 100 + number), name]:
                problems.append((me, number, row))

    threads = [threading.Thread(target=work, args=(me,)) for me in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert not problems and not any(thread.is_alive() for thread in threads)
    assert len(processes) == 2


def test_a_statement_is_found_on_a_server_that_never_saw_it(weir_factory):
    weir = weir_factory(default_pool_size=2)
    client = weir.connect()
    prepare(client, "q", "select pg_backend_pid()")
    first = value(client, "q")
    holders = [Held(weir)]
    if str(holders[0].process) != first:
        holders[0].client.query("rollback")
        holders = [Held(weir)]
    second = value(client, "q")
    assert str(holders[0].process) != second
    holders[0].free()


@pytest.mark.one_backend
def test_one_text_is_one_statement_on_a_server(weir_factory):
    weir = weir_factory(default_pool_size=1)
    clients = [weir.connect() for _ in range(4)]
    for number, client in enumerate(clients):
        prepare(client, f"q{number}", "select 1")
        assert value(client, f"q{number}") == "1"
    assert len(server_names(clients[0])) == 1
    prepare(clients[0], "other", "select 2")
    assert len(server_names(clients[0])) == 2


def test_parameter_types_tell_statements_apart(weir_factory):
    client = weir_factory(default_pool_size=1).connect()
    for name, type_ in (("a", 23), ("b", 25)):
        client.exchange(parse("select pg_typeof($1)::text", name, (type_,)) + sync())
    assert [value(client, "a", "1"), value(client, "b", "1")] == ["integer", "text"]


@pytest.mark.one_backend
def test_a_known_statement_is_prepared_without_the_server(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    prepare(client, "a", "select 1")
    prepare(client, "b", "select 1")
    client.send(parse("select 1", "c") + flush())
    assert client.read().type == "1"
    assert client.exchange(sync()).types == "Z"
    prepare(other, "a", "select 1")
    counts = weir.show("STATS", database="app")[0]
    assert (counts["total_client_parse_count"], counts["total_server_parse_count"]) == (4, 1)


@pytest.mark.every_backend
def test_the_least_recently_used_statement_goes_first(weir_factory):
    weir = weir_factory(default_pool_size=1, max_prepared_statements=3)
    client = weir.connect()
    for number in range(10):
        prepare(client, f"q{number}", f"select {number}")
    for _ in range(5):
        for number in range(10):
            assert value(client, f"q{number}") == str(number)
            assert len(server_names(client)) <= 3
    first = server_names(client)
    assert value(client, "q9") == "9"
    assert server_names(client) == first, "it was there already"


def test_a_batch_may_use_more_statements_than_a_server_keeps(weir_factory):
    client = weir_factory(default_pool_size=1, max_prepared_statements=3).connect()
    batch = b"".join(parse(f"select {n}", f"q{n}") + bind(name=f"q{n}") + execute() for n in range(10))
    again = b"".join(bind(name=f"q{n}") + execute() for n in (9, 0, 9, 5, 0))
    result = client.exchange(batch + again + sync())
    assert not result.errors
    assert [int(row[0]) for row in result.rows] == [*range(10), 9, 0, 9, 5, 0]


def test_a_statement_that_was_evicted_and_used_again_behind_an_error(weir_factory):
    """The error keeps the server from closing the statement, and from preparing it anew."""
    client = weir_factory(default_pool_size=1, max_prepared_statements=3).connect()
    for number in range(6):
        prepare(client, f"q{number}", f"select {number}")
    for _ in range(3):
        for last in range(6):
            spoilt = parse("select 1/0") + bind() + execute()
            spoilt += b"".join(bind(name=f"q{(last + n) % 6}") + execute() for n in range(6))
            spoilt += bind(name=f"q{last}") + execute() + sync()
            assert [error.sqlstate for error in client.exchange(spoilt).errors] == ["22012"]
            for number in (last, (last + 1) % 6, (last + 4) % 6):
                assert value(client, f"q{number}") == str(number)


def test_a_client_has_a_bounded_number_of_statements(weir_factory):
    client = weir_factory(max_client_prepared_statements=3).connect()
    for number in range(3):
        prepare(client, f"q{number}", f"select {number}")
    result = client.exchange(parse("select 3", "q3") + bind(name="q3") + execute() + sync())
    assert result.types == "EZ" and result.errors[0].sqlstate == "53400"
    assert result.errors[0].message == "too many prepared statements"
    assert client.exchange(close("S", "q0") + parse("select 3", "q3") + sync()).types == "31Z"
    assert value(client, "q3") == "3"


def test_zero_passes_everything_through(weir_factory):
    client = weir_factory(default_pool_size=1, max_prepared_statements=0).connect()
    prepare(client, "plain", "select 1")
    assert server_names(client) == ["plain"]


def test_session_mode_passes_everything_through(weir_factory):
    client = weir_factory(pool_mode="session").connect()
    prepare(client, "plain", "select 1")
    assert server_names(client) == ["plain"]


@pytest.mark.parametrize("command", ["DISCARD ALL", "DEALLOCATE ALL"])
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_all_statements_can_be_dropped(weir_factory, command, protocol):
    client = weir_factory(default_pool_size=1).connect()
    prepare(client, "q", "select 1")
    result = client.exchange(query(command) if protocol == "simple" else wire.extended(command))
    assert result.tags == [command]
    assert client.exchange(run("q")).errors[0].sqlstate == "26000"
    assert server_names(client) == []
    prepare(client, "q", "select 2")
    assert value(client, "q") == "2"


def test_what_is_prepared_behind_discard_all_stays(weir_factory):
    client = weir_factory(default_pool_size=1).connect()
    prepare(client, "q", "select 1")
    client.send(query("discard all") + parse("select 1", "q") + run("q"))
    assert client.result().tags == ["DISCARD ALL"]
    result = client.result()
    assert not result.errors and result.rows == [["1"]]
    batch = parse("discard all") + bind() + execute() + parse("select 3", "r") + sync()
    assert client.exchange(batch).types == "12C1Z"
    assert value(client, "r") == "3"
    assert client.exchange(close("S", "r") + parse("select 3", "r") + run("r")).rows == [["3"]]


def test_another_clients_discard_all_costs_a_client_nothing(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    prepare(client, "q", "select 1")
    other.query("discard all")
    assert value(client, "q") == "1"


def test_a_killed_server_between_parse_and_bind(weir_factory, postgres):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    prepare(client, "q", "select 1")
    postgres.terminate_servers()
    weir.wait_for_log("closing because")
    result = client.exchange(run("q"))
    assert result.rows == [["1"]] or client.exchange(run("q")).rows == [["1"]]


@pytest.mark.parametrize("known", [False, True])
def test_a_parse_that_its_server_did_not_survive_gave_no_name(weir_factory, postgres, proxy, known):
    """The connection breaks without a word while the Parse, or one before it, is under way."""
    weir = weir_factory(default_pool_size=1, databases={"app": f"host=127.0.0.1 port={proxy.port}"})
    client = weir.connect()
    prepare(client, "p", "select 1")
    client.send(parse("select pg_sleep(60)") + bind() + execute())
    client.send(parse("select 1" if known else "select 2", "q") + close("S", "p") + sync())
    postgres.wait_for_query("pg_sleep")
    proxy.reset_all()
    assert client.result().errors[0].sqlstate == "08006"
    prepare(client, "q", "select 3")
    assert value(client, "q") == "3"
    assert value(client, "p") == "1"


@pytest.mark.parametrize("size", [16_000, 16_384, 16_400, 40_000, 1_000_000])
def test_large_statements_can_have_names(weir_factory, size):
    weir = weir_factory(default_pool_size=1)
    client, other = weir.connect(), weir.connect()
    text = f"select length('{'x' * size}')"
    assert client.exchange(parse(text, "large") + run("large")).rows == [[str(size)]]
    other.query("discard all")
    assert value(client, "large") == str(size)
    failed = client.exchange(parse("select 1/0") + bind() + execute() + parse(text, "more") + sync())
    assert [error.sqlstate for error in failed.errors] == ["22012"]
    prepare(client, "more", text)


def test_a_statement_that_is_too_large_for_a_name_is_refused_clearly(weir):
    client = weir.connect()
    client.send(parse("select '" + "x" * (2 << 20) + "'", "large") + sync())
    assert client.result().errors[0].sqlstate == "54000"
    assert str(client.value("select 1")) == "1"
    prepare(client, "large", "select 2")


def test_a_large_unnamed_statement_needs_no_room(weir):
    client = weir.connect()
    data = wire.extended("select length('" + "x" * (2 << 20) + "')")
    client.send(data[:5])
    client.send(data[5:])
    assert client.result().rows == [[2 << 20]]


def test_statements_and_settings_come_in_one_write(weir_factory):
    weir = weir_factory(default_pool_size=1)
    clients = {name: weir.connect(application_name=name) for name in ("one", "two")}
    for client in clients.values():
        prepare(client, "q", "select current_setting('application_name')")
    for _ in range(5):
        for name, client in clients.items():
            assert value(client, "q") == name


def test_statements_are_found_after_a_hand_over_between_workers(weir_factory):
    weir = weir_factory(default_pool_size=1)
    clients = [weir.connect() for _ in range(8)]
    for number, client in enumerate(clients):
        prepare(client, "q", f"select {number}")
    for _ in range(5):
        for number, client in enumerate(clients):
            assert value(client, "q") == str(number)


@pytest.mark.parametrize("early_sync", [False, True])
def test_copy_of_a_named_statement(weir_factory, table, early_sync):
    client = weir_factory(default_pool_size=1).connect()
    prepare(client, "load", f"copy {table} from stdin")
    prepare(client, "count", f"select count(*) from {table}")
    client.send(bind(name="load") + execute() + (sync() if early_sync else b"") + (flush() if not early_sync else b""))
    assert [reply.type for reply in client.read_until("G")] == ["2", "G"]
    client.send(message("d", b"1\tx\n") + message("c") + sync())
    assert client.result().tags == ["COPY 1"]
    assert value(client, "count") == "1"


def test_describe_of_a_named_statement_and_of_its_portal(weir_factory):
    client = weir_factory(default_pool_size=1).connect()
    prepare(client, "q", "select $1::int as number")
    result = client.exchange(describe("S", "q") + bind("1", name="q") + describe("P") + execute() + sync())
    assert result.types == "tT2TDCZ" and result.columns == [("number", 23)]
