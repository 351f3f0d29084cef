"""node-postgres with its defaults, the same through Weir as directly: queries, named statements, cursors, its pool."""

from __future__ import annotations

import os

import pytest

from driving import CLIENTS, HOLD_STEPS, SERVERS, build_folder, exists, program, requires, same_through_weir

# Where Debian's node-pg lies, or where Scripts/test unpacked it beside a Node that is not Debian's.
UNPACKED = os.path.join(build_folder("node"), "usr/share/nodejs")
MODULES = UNPACKED if os.path.exists(f"{UNPACKED}/pg") else "/usr/share/nodejs"
COMMAND = ["node", program("node_pg.js")]
ENV = {"NODE_PATH": MODULES}

pytestmark = requires("node", exists(f"{MODULES}/pg"))


@pytest.fixture
def small(weir_factory):
    assert CLIENTS > SERVERS
    return weir_factory(default_pool_size=SERVERS)


def test_node_postgres(small):
    steps = {
        "simple",
        "parametrised",
        "prepared",
        "prepared error",
        "types",
        "queued",
        "cursor",
        "stream",
        "error in a transaction",
        "savepoint",
        "cancel",
        "time zone",
        "pool",
        "rows",
    }
    same_through_weir(small, COMMAND, "everyday", steps, ENV)


def test_node_postgres_set(small):
    same_through_weir(small, COMMAND, "set", {"set", "reset"}, ENV)


def test_node_postgres_listen(small):
    same_through_weir(small, COMMAND, "listen", {"heard", "still"}, ENV)


def test_node_postgres_hold(small):
    same_through_weir(small, COMMAND, "hold", HOLD_STEPS, ENV)
