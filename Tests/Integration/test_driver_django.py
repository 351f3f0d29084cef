"""Django's ORM on psycopg 3, the same through Weir as directly: with its defaults, and with the server binding."""

from __future__ import annotations

import sys

import pytest

from driving import SERVERS, program, same_through_weir

COMMAND = [sys.executable, program("django_orm.py")]
STEPS = {
    "schema",
    "create",
    "bulk create",
    "filter",
    "prefetch_related",
    "select_related",
    "update and delete",
    "atomic",
    "select_for_update",
    "server-side cursor in a transaction",
    "many to many",
    "raw",
}


@pytest.fixture
def small(weir_factory):
    return weir_factory(default_pool_size=SERVERS)


def test_django(small):
    same_through_weir(small, COMMAND, "everyday", STEPS)


@pytest.mark.one_backend
def test_django_binds_and_prepares_on_the_server(small):
    same_through_weir(small, COMMAND, "everyday", STEPS, {"BINDING": "server"})


def test_django_set(small):
    same_through_weir(small, COMMAND, "set", {"schema", "set", "reset"})


def test_django_listen(small):
    same_through_weir(small, COMMAND, "listen", {"schema", "heard", "still"})


def test_django_hold(small):
    same_through_weir(small, COMMAND, "hold", {"schema", "server-side cursor with hold"})
