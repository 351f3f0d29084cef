"""ruby-pg with its defaults, pipeline mode and type maps among them, the same through Weir as directly."""

from __future__ import annotations

import pytest

from driving import HOLD_STEPS, SERVERS, program, requires, runs, same_through_weir

COMMAND = ["ruby", "-w", program("ruby_pg.rb")]

pytestmark = requires(runs("ruby", "-rpg", "-e", "1"))


@pytest.fixture
def small(weir_factory):
    return weir_factory(default_pool_size=SERVERS)


def test_ruby_pg(small):
    steps = {
        "simple",
        "parametrised",
        "prepared",
        "unnamed",
        "described",
        "error",
        "types",
        "binary",
        "type map",
        "pipeline",
        "pipeline error",
        "copy",
        "cursor",
        "row by row",
        "error in a transaction",
        "savepoint",
        "cancel",
        "large object",
        "time zone",
        "connected anew",
        "rows",
    }
    same_through_weir(small, COMMAND, "everyday", steps)


def test_ruby_pg_hold_deallocate(small):
    same_through_weir(small, COMMAND, "deallocate", {"prepared", "prepared again", "many", "all gone"})


def test_ruby_pg_set(small):
    same_through_weir(small, COMMAND, "set", {"set", "reset"})


def test_ruby_pg_listen(small):
    same_through_weir(small, COMMAND, "listen", {"heard", "still"})


def test_ruby_pg_hold(small):
    same_through_weir(small, COMMAND, "hold", HOLD_STEPS)
