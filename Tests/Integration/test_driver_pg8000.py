"""pg8000 by its DB-API and by its native interface, the same through Weir as directly."""

from __future__ import annotations

import sys

import pytest

from driving import HOLD_STEPS, SERVERS, program, same_through_weir

COMMAND = [sys.executable, program("pg8000_driver.py")]


@pytest.fixture
def small(weir_factory):
    return weir_factory(default_pool_size=SERVERS)


def test_pg8000(small):
    steps = {
        "simple",
        "parametrised",
        "types",
        "batch",
        "copy",
        "cursor",
        "error in a transaction",
        "savepoint",
        "timeout",
        "time zone",
        "rows",
    }
    same_through_weir(small, COMMAND, "everyday", steps)


def test_pg8000_natively(small):
    same_through_weir(small, COMMAND, "native", {"simple", "prepared", "error", "savepoint", "copy"})


def test_pg8000_set(small):
    same_through_weir(small, COMMAND, "set", {"set", "reset", "set natively"})


def test_pg8000_listen(small):
    same_through_weir(small, COMMAND, "listen", {"heard", "still"})


def test_pg8000_hold(small):
    same_through_weir(small, COMMAND, "hold", HOLD_STEPS)
