"""SQL that names statements of the protocol, EXECUTE and DEALLOCATE, finds them as on a connection to PostgreSQL."""

from __future__ import annotations

import pytest

import wire
from wire import bind, close, execute, parse, query, sync

pytestmark = pytest.mark.every_backend

PARSED = {
    "q": "select $1::int + 1",
    "Q r": "select 7",
    "setting": "set work_mem = '9MB'",
    "keep": "insert into t values ($1)",
}

# Each is run on a connection to PostgreSQL too, with the same statements.
SCRIPTS = [
    ["execute q(1)", "execute q (2)", "EXECUTE \"q\"(3)", "execute \"Q r\""],
    ["execute q(1); execute q(2); select 3"],
    ["select 'execute q(1)'; /* execute */ execute q(1) -- q"],
    ["explain (costs off) execute q(1)", "explain (costs off) execute \"Q r\""],
    ["create table made as execute q(5); select * from made; drop table made"],
    ["execute q", "execute q(1, 2)", "execute nobody", "execute q('x')"],
    ["begin", "execute q(1)", "execute q(1/0)", "execute q(2)", "rollback", "execute q(3)"],
    ["begin; execute q(1); select 1/0; execute q(2)", "rollback", "execute q(3)"],
    ["execute setting; show work_mem", "show work_mem"],
    ["begin; execute setting; rollback", "show work_mem"],
    ["begin", "execute keep(1); execute keep(2)", "commit", "select count(*) from t", "execute keep(1)", "truncate t"],
    ["prepare own as select 5; execute own; execute q(1); deallocate own; deallocate q", "execute q(1)"],
    ["deallocate q; select 1", "execute q(1)", "deallocate q", "execute \"Q r\""],
    ["select 1; deallocate q; deallocate \"Q r\"", "execute q(1)", "execute \"Q r\""],
    ["select 1/0; deallocate q", "execute q(1)", "deallocate q; select 1"],
    ["deallocate q; select 1/0", "execute q(1)"],
    ["begin; deallocate q; rollback", "execute q(1)"],
    ["begin; select 1/0; deallocate q; rollback", "rollback", "execute q(1)"],
    ["deallocate q; execute q(1)", "execute q(1)"],
    ["deallocate q; deallocate q", "execute q(1)"],
    ["prepare own as select 5", "deallocate own; deallocate q; select 2", "execute own", "execute q(1)"],
    ["deallocate nobody; deallocate q", "execute q(1)"],
    [f"prepare {'x' * 300} as select 5; deallocate \"{'x' * 300}\"; select 1/0; deallocate q", "execute q(1)"],
    ["deallocate all; execute q(1)", "execute q(1)"],
    ["deallocate prepare q; select 1", "discard all", "execute \"Q r\""],
]


def prepare(client: wire.Connection) -> None:
    for name, text in PARSED.items():
        assert client.exchange(close("S", name) + parse(text, name) + sync()).types == "31Z"


def answers(client: wire.Connection, script: list[str], in_one_packet: bool) -> list:
    """What a script is answered, with all texts of errors, and which statements there are in the end."""
    requests = [query(text) for text in script]
    requests += [bind(*["1"][: text.count("$")], name=name) + execute() + sync() for name, text in PARSED.items()]
    if in_one_packet:
        client.send(b"".join(requests))
    results = [client.result() if in_one_packet else client.exchange(request) for request in requests]
    return [(r.types.replace("S", ""), r.rows, r.tags, [str(e) for e in r.errors], r.status) for r in results]


@pytest.mark.parametrize("in_one_packet", [False, True], ids=["one by one", "in one packet"])
def test_sql_finds_the_statements_of_the_protocol(weir_factory, postgres, direct, table, in_one_packet):
    weir = weir_factory(default_pool_size=2)
    for script in SCRIPTS:
        with weir.connect() as client, wire.Connection(("127.0.0.1", postgres.port)) as other:
            other.login("app", "app")
            found = []
            for each in (client, other):
                prepare(each)
                found.append(answers(each, script, in_one_packet))
                direct.query("truncate t")
            assert found[0] == found[1], script


def test_a_statement_is_found_on_every_server(weir_factory):
    weir = weir_factory(default_pool_size=3)
    client, *others = [weir.connect() for _ in range(4)]
    client.exchange(parse("select $1::int + 1", "q") + sync())
    pids = set()
    for number, other in enumerate(others):
        pids.add(client.query("execute q(1); select pg_backend_pid()").rows[1][0])
        assert client.query("execute q(1); execute q(2)").rows == [[2], [3]]
        if number < 2:
            other.query("begin")
            other.value("select 1")
    assert len(pids) > 1
    # A statement that is shared is not another's loss.
    other = others[2]
    other.exchange(parse("select $1::int + 1", "q") + sync())
    client.query("deallocate q; select 1")
    assert other.query("execute q(4)").value == 5
    assert client.exchange(query("execute q(4)")).errors[0].sqlstate == "26000"


def test_nothing_is_left_of_what_was_not_deallocated(weir_factory):
    weir = weir_factory(default_pool_size=1)
    client = weir.connect()
    for _ in range(20):
        client.exchange(parse("select 7", "q") + sync())
        assert client.exchange(query("select 1/0; deallocate q")).errors[0].sqlstate == "22012"
        assert client.query("deallocate q; select 1").tags == ["DEALLOCATE", "SELECT 1"]
    assert client.value("select count(*) from pg_prepared_statements where name like '%DEALLOC%'") == 0
