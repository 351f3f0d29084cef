"""What a transaction has done stays done: UNLISTEN where another one follows in the same text, batch or packet."""

from __future__ import annotations

import pytest

import wire
from listening import heard
from wire import bind, close, execute, extended, parse, query, sync

pytestmark = pytest.mark.every_backend

FAILS = "select 1/0"

# Each begins with a client that listens to a, b and c, and is run on PostgreSQL itself too.
SCRIPTS = [
    ["begin", "unlisten *", "commit and chain", "rollback"],
    ["begin", "unlisten a", "commit and chain", "unlisten b", "rollback"],
    ["begin", "unlisten a", "commit and chain", "unlisten b", "rollback and chain", "unlisten c", "commit"],
    ["begin", "unlisten a", "rollback and chain", "unlisten b", "commit and chain", "unlisten c", "rollback"],
    ["begin", "unlisten a", "commit and chain", FAILS, "rollback"],
    ["begin", "unlisten a", "commit and chain", "savepoint s", "unlisten b", FAILS, "rollback to s", "commit"],
    ["begin", "unlisten a", FAILS, "commit and chain", "unlisten b", "commit"],
    ["begin", "unlisten a", FAILS, "rollback and chain", "unlisten b", "commit"],
    ["begin", "unlisten a", FAILS, "commit", "unlisten b"],
    ["begin", "savepoint s", "unlisten a", FAILS, "rollback to s", "unlisten b", "commit and chain", "rollback"],
    ["begin", "savepoint s", "unlisten a", "commit and chain", "rollback to s", "rollback"],
    ["begin", "unlisten a", "end and chain", "abort"],
    ["begin", "unlisten a", "commit and no chain", "begin", "rollback"],
    ["unlisten a", "begin", "rollback"],
    ["unlisten a", FAILS, "unlisten b"],
    ["begin", "unlisten a", "listen d", "commit and chain", "unlisten d", "listen a", "rollback"],
    ["begin", "unlisten a", FAILS, "unlisten b", "rollback", "unlisten c"],
]
# Only one text can hold these together.
TEXTS = [
    ["begin; unlisten *; commit and chain; rollback"],
    ["begin; unlisten a; commit; select 1/0"],
    ["begin; unlisten a; commit; begin; unlisten b; rollback; unlisten c"],
    ["begin; unlisten a; commit and chain; unlisten b; select 1/0; commit", "rollback"],
    ["begin; select 1/0; unlisten a; commit", "unlisten b", "rollback"],
    ["begin", "unlisten a", FAILS, "commit and chain; unlisten b; commit; select 1/0"],
    ["begin", "unlisten a", FAILS, "rollback; unlisten b"],
    ["begin; commit; begin; unlisten a; select 1/0; commit", "rollback"],
    ["unlisten a; begin; rollback; unlisten b"],
    ["begin; unlisten a", "commit and chain; unlisten b", "rollback"],
    ["begin; savepoint s; unlisten a; release s; commit and chain; savepoint s; unlisten b; rollback to s; commit"],
]


def named(sql: str, number: int) -> list[bytes]:
    return [parse(sql, f"s{number}") + bind(name=f"s{number}") + execute() + sync(), close("S", f"s{number}") + sync()]


def batch(script: list[str]) -> list[bytes]:
    """The whole script in one batch, which is one implicit transaction where it has none of its own."""
    return [b"".join(parse(sql) + bind() + execute() for sql in script) + sync()]


FORMS = {
    "simple": lambda script: [query(sql) for sql in script],
    "extended": lambda script: [extended(sql) for sql in script],
    "prepared": lambda script: [part for number, sql in enumerate(script) for part in named(sql, number)],
    "batch": batch,
    "text": lambda script: [query("; ".join(script))],
}


def check(weir, postgres, direct, requests: list[bytes], in_one_packet: bool, what) -> None:
    """Both ends of the conversation listen to the same channels afterwards."""
    with weir.connect() as client, wire.Connection(("127.0.0.1", postgres.port)) as other:
        other.login("app", "app")
        answers, channels = [], []
        for each in (client, other):
            each.query("listen a; listen b; listen c")
            if in_one_packet:
                each.send(b"".join(requests))
            results = [each.result() if in_one_packet else each.exchange(request) for request in requests]
            answers.append([(r.tags, [error.sqlstate for error in r.errors], r.status) for r in results])
            each.query("rollback")
            each.query("listen fence")
        assert answers[0] == answers[1], what
        direct.query("; ".join(f"notify {channel}" for channel in "abcd") + "; notify fence, 'end'")
        for each in (client, other):
            found = []
            while ("fence", "end") not in found:
                found += heard(each)
            channels.append(found)
        assert channels[0] == channels[1], what


@pytest.mark.parametrize("in_one_packet", [False, True], ids=["one by one", "in one packet"])
@pytest.mark.parametrize("form", FORMS)
def test_what_is_committed_is_not_rolled_back_by_what_follows(weir_factory, postgres, direct, form, in_one_packet):
    weir = weir_factory(default_pool_size=2)
    for script in SCRIPTS:
        check(weir, postgres, direct, FORMS[form](script), in_one_packet, script)


@pytest.mark.parametrize("statements", [200, 0])
@pytest.mark.parametrize("in_one_packet", [False, True], ids=["one by one", "in one packet"])
def test_what_a_text_commits_is_not_rolled_back_by_its_end(weir_factory, postgres, direct, in_one_packet, statements):
    weir = weir_factory(default_pool_size=2, max_prepared_statements=statements)
    for script in TEXTS:
        check(weir, postgres, direct, [query(text) for text in script], in_one_packet, script)
