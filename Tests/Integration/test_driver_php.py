"""PHP's PDO with its defaults (statements prepared natively), the same through Weir as directly."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from driving import HOLD_STEPS, SERVERS, program, requires, same_through_weir

COMMAND = ["php", "-d", "display_errors=stderr", program("pdo.php")]


def pdo_pgsql() -> bool:
    if not shutil.which("php"):
        return False
    modules = subprocess.run(["php", "-m"], capture_output=True, text=True).stdout.splitlines()
    return {"pdo_pgsql", "pcntl"} <= set(modules)


pytestmark = requires("php", pdo_pgsql)


@pytest.fixture
def small(weir_factory):
    return weir_factory(default_pool_size=SERVERS)


def test_pdo(small):
    steps = {
        "simple",
        "prepared",
        "error",
        "types",
        "binary",
        "emulated",
        "not prepared",
        "copy",
        "error in a transaction",
        "savepoint",
        "timeout",
        "large object",
        "time zone",
        "rows",
    }
    same_through_weir(small, COMMAND, "everyday", steps)


def test_pdo_hold_deallocate(small):
    same_through_weir(small, COMMAND, "deallocate", {"cursor", "prepared anew"})


def test_pdo_set(small):
    same_through_weir(small, COMMAND, "set", {"set", "reset"})


def test_pdo_listen(small):
    same_through_weir(small, COMMAND, "listen", {"heard", "still"})


def test_pdo_hold(small):
    same_through_weir(small, COMMAND, "hold", HOLD_STEPS)
