"""SQLAlchemy's engines on four drivers, the same through Weir as directly."""

from __future__ import annotations

import sys

import pytest

from driving import HOLD_STEPS, SERVERS, program, same_through_weir

COMMAND = [sys.executable, program("sqlalchemy_engines.py")]
EVERYDAY = {
    "reflection",
    "simple",
    "parametrised",
    "update and delete",
    "insert many with returning",
    "insert many",
    "types",
    "stream",
    "error in a transaction",
    "savepoint",
    "timeout",
    "isolation",
    "pool",
    "rows",
}

on_each_driver = pytest.mark.parametrize("driver", ["psycopg2", "psycopg", "pg8000", "asyncpg"])


@pytest.fixture
def small(weir_factory):
    return weir_factory(default_pool_size=SERVERS)


@on_each_driver
def test_sqlalchemy(small, driver):
    same_through_weir(small, COMMAND, "everyday", EVERYDAY, {"DRIVER": driver})


@pytest.mark.one_backend
@on_each_driver
def test_sqlalchemy_set(small, driver):
    same_through_weir(small, COMMAND, "set", {"set", "again from the pool", "reset"}, {"DRIVER": driver})


@pytest.mark.one_backend
@on_each_driver
def test_sqlalchemy_hold(small, driver):
    same_through_weir(small, COMMAND, "hold", HOLD_STEPS, {"DRIVER": driver})
