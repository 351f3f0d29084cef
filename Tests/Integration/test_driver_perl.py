"""Perl's DBD::Pg with its defaults, the same through Weir as directly.

It names a statement at its second execution, and deallocates with SQL when the statement goes out of scope.
"""

from __future__ import annotations

import pytest

from driving import HOLD_STEPS, SERVERS, program, requires, runs, same_through_weir

COMMAND = ["perl", program("dbd_pg.pl")]

pytestmark = requires(runs("perl", "-MDBD::Pg", "-e", "1"))


@pytest.fixture
def small(weir_factory):
    return weir_factory(default_pool_size=SERVERS)


def test_dbd_pg(small):
    steps = {
        "simple",
        "parametrised",
        "not yet prepared",
        "prepared",
        "prepared at once",
        "not prepared",
        "error",
        "array",
        "types",
        "binary",
        "asynchronous",
        "copy",
        "cursor",
        "error in a transaction",
        "savepoint",
        "no autocommit",
        "cancel",
        "cancel by the next",
        "large object",
        "time zone",
        "rows",
    }
    same_through_weir(small, COMMAND, "everyday", steps)


def test_dbd_pg_hold_deallocate(small):
    same_through_weir(small, COMMAND, "deallocate", {"prepared anew", "after an error"})


def test_dbd_pg_set(small):
    same_through_weir(small, COMMAND, "set", {"set", "reset"})


def test_dbd_pg_listen(small):
    same_through_weir(small, COMMAND, "listen", {"heard", "still"})


def test_dbd_pg_hold(small):
    same_through_weir(small, COMMAND, "hold", HOLD_STEPS)
