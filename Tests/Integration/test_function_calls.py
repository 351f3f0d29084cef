"""Function calls, the third sub-protocol: answered as by PostgreSQL itself, in and outside transactions and batches."""

from __future__ import annotations

import struct

import pytest

from conversation import direct, hold, states, types
from wire import bind, execute, extended, message, parse, query, sync


def call(oid: int, *arguments: str) -> bytes:
    """A FunctionCall with arguments and result in text format."""
    body = struct.pack("!ihh", oid, 0, len(arguments))
    for argument in arguments:
        body += struct.pack("!i", len(argument.encode())) + argument.encode()
    return message("F", body + struct.pack("!h", 0))


FUNCTIONS = {
    "abs": "abs(int4)",
    "divide": "int4div(int4,int4)",
    "length": "length(text)",
    "repeat": "repeat(text,int4)",
    "set": "set_config(text,text,bool)",
    "noisy": "public.noisy(text)",
}


@pytest.fixture(scope="module")
def oids(postgres_of_the_session):
    """The functions' OIDs in the database app, by short names."""
    with direct(postgres_of_the_session) as connection:
        connection.query(
            "create or replace function public.noisy(text) returns text language plpgsql as"
            " $$ begin raise notice 'heard %', $1; return upper($1); end $$"
        )
        return {
            name: int(connection.value(f"select '{signature}'::regprocedure::oid::int8"))
            for name, signature in FUNCTIONS.items()
        }


def cases(f: dict[str, int]) -> dict[str, tuple[list, str, list[str]]]:
    """Name: the steps, the types of all messages that come, the SQLSTATEs of the errors."""
    good, bad = call(f["abs"], "-5"), call(f["divide"], "1", "0")
    select = parse("select 7::int") + bind() + execute()
    return {
        "a result": ([(good, "Z")], "VZ", []),
        "a notice and a result": ([(call(f["noisy"], "x"), "Z")], "NVZ", []),
        "an error": ([(bad, "Z")], "EZ", ["22012"]),
        "a function that is not there": ([(call(999_999), "Z")], "EZ", ["42883"]),
        "too few arguments": ([(call(f["divide"], "1"), "Z")], "EZ", ["08P01"]),
        "a message of nonsense": ([(message("F", b"\0\0"), "Z")], "EZ", ["08P01"]),
        "several in one packet": ([(good + bad + good, "Z"), (b"", "Z"), (b"", "Z")], "VZEZVZ", ["22012"]),
        "between queries": ([(query("select 1") + good + query("select 2"), "Z"), (b"", "Z"), (b"", "Z")],
                            "TDCZVZTDCZ", []),
        "in a transaction": ([(query("begin"), "Z"), (good, "Z"), (query("commit"), "Z")], "CZVZCZ", []),
        "an error in a transaction": (
            [(query("begin"), "Z"), (bad, "Z"), (good, "Z"), (query("rollback"), "Z"), (good, "Z")],
            "CZEZEZCZVZ",
            ["22012", "25P02"],
        ),
        "in a batch": ([(select + good + select + sync(), "Z"), (b"", "Z")], "12DCVZ12DCZ", []),
        "an error in a batch": ([(select + bad + select + sync(), "Z"), (b"", "Z")], "12DCEZ12DCZ", ["22012"]),
        "in what a batch skips": (
            [(parse("select 1/0") + bind() + execute() + good + sync() + good, "Z"), (b"", "Z")],
            "1EZVZ",
            ["22012"],
        ),
        "an error behind it in a batch": (
            [(select + good + parse("selec") + bad + query("select 1") + select + sync() + good, "Z"), (b"", "Z"),
             (b"", "Z")],
            "12DCVZEZVZ",
            ["42601"],
        ),
        "an error of a query in a batch": (
            [(select + query("selec") + select + good + sync(), "Z"), (b"", "Z"), (b"", "Z")],
            "12DCEZ12DCVZZ",
            ["42601"],
        ),
        "a batch that is flushed": (
            [(select + b"H\0\0\0\4", "C"), (good, "Z"), (parse("selec") + b"H\0\0\0\4", "E"),
             (good + query("select 1") + sync(), "Z")],
            "12DCVZEZ",
            ["42601"],
        ),
        "a large argument": ([(call(f["length"], "x" * 300_000), "Z")], "VZ", []),
        "a large result": ([(call(f["repeat"], "x", "300000"), "Z")], "VZ", []),
        "with a batch behind it": ([(good + extended("select 1"), "Z"), (b"", "Z")], "VZ12TDCZ", []),
    }


@pytest.mark.every_backend
@pytest.mark.parametrize("mode", ["transaction", "session", "transaction without statements"])
@pytest.mark.parametrize("name", cases(dict.fromkeys(FUNCTIONS, 0)))
def test_a_function_call_is_answered_as_by_postgres_itself(weir_factory, postgres, oids, mode, name):
    steps, expected, errors = cases(oids)[name]
    with direct(postgres) as reference:
        said = hold(reference, steps)
    settings = {"max_prepared_statements": 0} if "without" in mode else {}
    weir = weir_factory(pool_mode=mode.split()[0], default_pool_size=1, **settings)
    client = weir.connect()
    heard = hold(client, steps)
    assert heard == said
    assert (types(heard), states(heard)) == (expected, errors)
    assert client.value("select 41") == 41
    process = client.value("select pg_backend_pid()")
    client.terminate()
    # The server owes nothing: it is kept, and the next client gets its own answers.
    assert weir.connect().value("select pg_backend_pid()") == process


def test_a_function_call_sent_one_byte_at_a_time(weir_factory, oids):
    client = weir_factory().connect()
    for byte in call(oids["abs"], "-5") + query("select 1"):
        client.send(bytes([byte]))
    assert types(client.read_until("Z")) == "VZ"
    assert client.result().value == 1


@pytest.mark.every_backend
def test_what_a_function_call_sets_follows_the_client(weir_factory, oids):
    """The other client holds the server on which it was set."""
    weir = weir_factory(default_pool_size=2)
    client, other = weir.connect(), weir.connect()
    client.send(call(oids["set"], "TimeZone", "Asia/Tokyo", "f"))
    client.read_until("Z")
    first = client.value("select pg_backend_pid()")
    holders = [other, weir.connect()]
    for holder in holders:
        holder.query("begin")
        if holder.value("select pg_backend_pid()") == first:
            break
    else:
        raise AssertionError("nobody was given the first server")
    assert other.value("show timezone") == "UTC"
    for holder in holders:
        if holder.value("select pg_backend_pid()") != first:
            holder.query("rollback")
    assert client.value("show timezone") == "Asia/Tokyo"
    assert client.value("select pg_backend_pid()") != first


@pytest.mark.every_backend
def test_a_client_that_leaves_in_a_function_call_leaves_nothing_behind(weir_factory, postgres, oids):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    sleep = int(client.value("select 'pg_sleep(float8)'::regprocedure::oid::int8"))
    client.send(call(sleep, "60"))
    postgres.wait_for_query("pg_sleep", "fastpath function call")
    client.reset()
    assert weir.connect().value("select 7") == 7


def test_a_function_call_is_cancelled(weir_factory, postgres):
    weir = weir_factory()
    client = weir.connect()
    sleep = int(client.value("select 'pg_sleep(float8)'::regprocedure::oid::int8"))
    client.send(call(sleep, "60"))
    postgres.wait_for_query("pg_sleep", "fastpath function call")
    client.cancel()
    assert states(client.read_until("Z")) == ["57014"]
