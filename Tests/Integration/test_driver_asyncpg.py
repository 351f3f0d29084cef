"""asyncpg at its defaults, the same through Weir as directly."""

from __future__ import annotations

import sys

import pytest

from driving import HOLD_STEPS, SERVERS, program, same_through_weir

COMMAND = [sys.executable, program("asyncpg_driver.py")]


@pytest.fixture
def small(weir_factory):
    return weir_factory(default_pool_size=SERVERS)


@pytest.mark.every_backend
def test_asyncpg(small):
    steps = {
        "simple",
        "parametrised",
        "statements",
        "no cache",
        "types",
        "types of its own",
        "prepared",
        "batch",
        "copy",
        "copy given up",
        "cursor",
        "error in a transaction",
        "savepoint",
        "isolation",
        "pool",
        "pool resets",
        "rows",
    }
    same_through_weir(small, COMMAND, "everyday", steps)


def test_asyncpg_cancel(small):
    same_through_weir(small, COMMAND, "cancel", {"task cancelled", "timeout"})


def test_asyncpg_set(small):
    same_through_weir(small, COMMAND, "set", {"set", "reset", "reset by the driver"})


def test_asyncpg_listen(small):
    same_through_weir(small, COMMAND, "listen", {"heard", "still"})


def test_asyncpg_hold(small):
    same_through_weir(small, COMMAND, "hold", HOLD_STEPS)
