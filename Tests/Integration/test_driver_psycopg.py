"""psycopg 3 at its defaults and in its other ways, the same through Weir as directly."""

from __future__ import annotations

import sys

import pytest

from driving import HOLD_STEPS, SERVERS, program, same_through_weir

COMMAND = [sys.executable, program("psycopg_driver.py")]
EVERYDAY = {
    "simple",
    "parametrised",
    "types",
    "batch",
    "copy text",
    "copy binary",
    "server-side cursor",
    "stream",
    "nested transactions",
    "error in a transaction",
    "savepoint",
    "timeout",
    "time zone",
    "rows",
}
PIPELINE = {
    "pipeline",
    "error in a pipeline",
    "transactions in a pipeline",
    "set in a pipeline",
    "commits in a pipeline",
}


@pytest.fixture
def small(weir_factory):
    return weir_factory(default_pool_size=SERVERS)


@pytest.mark.parametrize("mode", ["default", "client binding", "prepared at once", "never prepared", "binary"])
def test_psycopg(small, mode):
    same_through_weir(small, COMMAND, "everyday", EVERYDAY, {"MODE": mode})


@pytest.mark.parametrize("mode", ["default", "prepared at once"])
def test_psycopg_pipeline(small, mode):
    same_through_weir(small, COMMAND, "pipeline", PIPELINE, {"MODE": mode})


def test_psycopg_asynchronous(small):
    same_through_weir(small, COMMAND, "asynchronous", {"asynchronous", "task cancelled"})


@pytest.mark.parametrize("mode", ["default", "prepared at once"])
def test_psycopg_cancel(small, mode):
    same_through_weir(small, COMMAND, "cancel", {"cancel", "cancel_safe"}, {"MODE": mode})


@pytest.mark.parametrize("mode", ["default", "prepared at once"])
def test_psycopg_set(small, mode):
    same_through_weir(small, COMMAND, "set", {"set", "reset", "session"}, {"MODE": mode})


def test_psycopg_listen(small):
    same_through_weir(small, COMMAND, "listen", {"heard", "still", "notify handler"})


@pytest.mark.parametrize("mode", ["default", "prepared at once"])
def test_psycopg_hold(small, mode):
    same_through_weir(small, COMMAND, "hold", HOLD_STEPS, {"MODE": mode})
