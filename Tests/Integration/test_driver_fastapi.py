"""A FastAPI service with SQLAlchemy's asynchronous engine on asyncpg, the same through Weir as directly."""

from __future__ import annotations

import sys

import pytest

from driving import SERVERS, program, same_through_weir

COMMAND = [sys.executable, program("fastapi_app.py")]


@pytest.fixture
def small(weir_factory):
    return weir_factory(default_pool_size=SERVERS)


def test_a_fastapi_service(small):
    steps = {
        "create",
        "bulk",
        "conflicts",
        "select eagerly, page by page",
        "join eagerly, page by page",
        "savepoint",
        "stream",
        "error",
        "cancel",
        "at once",
    }
    same_through_weir(small, COMMAND, "everyday", steps)
