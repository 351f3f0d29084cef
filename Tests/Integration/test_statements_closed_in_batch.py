"""DISCARD ALL and DEALLOCATE ALL in a batch: what comes behind them in the same batch finds the names free."""

from __future__ import annotations

import pytest

from conversation import direct, hold
from sessiontalk import tags
from test_differential import SOURCE_PLACE
from wire import bind, close, describe, execute, parse, query, sync


def run(name: str = "", portal: str = "") -> bytes:
    return bind(name=name, portal=portal) + execute(portal=portal)


def cases(command: str) -> dict[str, list[bytes]]:
    """Name: the batches, each of which is sent when the one before it has been answered."""
    closing = parse(command, "r") + run("r")
    unnamed = parse(command) + run()
    known = parse("select 'known'", "q") + run("q") + sync()
    return {
        "its own name": [closing + parse("select 7", "r") + run("r") + sync(), run("r") + sync()],
        "its own name and text": [closing + parse(command, "r") + sync(), run("r") + sync()],
        "a name from before": [known, unnamed + parse("select 8", "q") + run("q") + sync(), run("q") + sync()],
        "a text from before": [known, unnamed + parse("select 'known'", "q") + run("q") + sync(), run("q") + sync()],
        "a text from before, unused": [known, unnamed + parse("select 'known'", "q") + sync(), run("q") + sync()],
        "a name that was closed": [known, unnamed + run("q") + sync(), run("q") + sync(), known],
        "a description": [known, unnamed + describe("S", "q") + sync(), known],
        "a close": [known, unnamed + close("S", "q") + parse("select 9", "q") + sync(), run("q") + sync()],
        "a name that was given in the batch": [
            parse("select 1", "q") + closing + parse("select 2", "q") + run("q") + sync(),
            run("q") + sync(),
            run("r") + sync(),
        ],
        "twice": [
            known,
            closing + parse("select 1", "q") + parse(command, "r") + run("r") + parse("select 2", "q") + sync(),
            run("q") + sync(),
            run("r") + sync(),
        ],
        "an error before it": [
            known,
            parse("selec") + closing + parse("select 8", "q") + sync(),
            run("q") + sync(),
            run("r") + sync(),
            known.replace(b"known", b"again"),
        ],
        "an error behind it": [known, closing + parse("selec") + parse("select 8", "q") + sync(), run("q") + sync()],
        "an error in what was sent before": [
            known,
            query("savepoint s") + unnamed + run("q") + sync(),
            parse("selec") + sync() + closing + parse("select 8", "q") + run("q") + sync(),
            run("q") + sync(),
        ],
        "an error of its own": [
            known,
            query("begin"),
            parse("select 1/0") + run() + sync(),
            closing + parse("select 8", "q") + sync(),
            query("rollback"),
            run("q") + sync(),
            run("r") + sync(),
        ],
        "it is not executed": [
            known,
            parse(command, "r") + bind(name="r") + parse("select 8", "p") + run("p") + sync(),
            run("q") + sync(),
            run("p") + sync(),
            run("r") + sync(),
            run("q") + sync(),
        ],
        "another portal is executed": [
            known,
            parse(command, "r") + bind(name="r", portal="one") + bind(name="q", portal="two") + execute(portal="two")
            + parse("select 8", "p") + run("p") + sync(),
            run("q") + sync(),
            run("p") + sync(),
            run("r") + sync(),
            run("p") + sync(),
        ],
    }  # fmt: skip


def answers(client, batches: list[bytes]) -> list[tuple[str, bytes]]:
    heard = []
    for data in batches:
        heard += hold(client, [(data, "Z")] + [(b"", "Z")] * (sum(tag in b"QS" for tag in b"".join(tags(data))) - 1))
    return [(reply.type, SOURCE_PLACE.sub(b"", reply.body)) for reply in heard if reply.type != "S"]


@pytest.mark.every_backend
@pytest.mark.parametrize("settings", [{}, {"cache_unnamed_statements": 1}, {"max_prepared_statements": 2}], ids=str)
@pytest.mark.parametrize("command", ["discard all", "deallocate all"])
@pytest.mark.parametrize("name", cases(""))
def test_what_comes_behind_a_command_that_closes_all_statements(weir_factory, postgres, name, command, settings):
    batches = cases(command)[name]
    weir = weir_factory(default_pool_size=1, **settings)
    with direct(postgres) as reference:
        expected = answers(reference, batches)
    client, other = weir.connect(), weir.connect()
    assert not other.exchange(parse("select 'known'", "q") + sync()).errors
    assert answers(client, batches) == expected
    assert other.exchange(run("q") + sync()).rows == [["known"]]
    # What the server has is what Weir takes it to have.
    client.terminate()
    with weir.connect() as third, direct(postgres) as reference:
        assert answers(third, batches) == answers(reference, batches)
