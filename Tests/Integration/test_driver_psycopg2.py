"""psycopg2 at its defaults, the same through Weir as directly."""

from __future__ import annotations

import sys

import pytest

from driving import HOLD_STEPS, SERVERS, program, same_through_weir

COMMAND = [sys.executable, program("psycopg2_driver.py")]


@pytest.fixture
def small(weir_factory):
    return weir_factory(default_pool_size=SERVERS)


def test_psycopg2(small):
    steps = {
        "simple",
        "parametrised",
        "batch",
        "types",
        "binary",
        "copy",
        "copy binary",
        "server-side cursor",
        "error in a transaction",
        "savepoint",
        "timeout",
        "large object",
        "asynchronous",
        "time zone",
        "rows",
    }
    same_through_weir(small, COMMAND, "everyday", steps)


def test_psycopg2_cancel(small):
    same_through_weir(small, COMMAND, "cancel", {"cancel"})


def test_psycopg2_set(small):
    same_through_weir(small, COMMAND, "set", {"set", "reset", "session", "session reset"})


def test_psycopg2_listen(small):
    same_through_weir(small, COMMAND, "listen", {"heard", "still"})


def test_psycopg2_hold(small):
    same_through_weir(small, COMMAND, "hold", HOLD_STEPS)
