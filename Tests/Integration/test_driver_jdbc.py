"""pgjdbc with its defaults, the same through Weir as directly.

It names a statement at its fifth execution, asks for binary results from then on, keeps it until its cache is full, and
sends batches as pipelines.
"""

from __future__ import annotations

import glob
import os
import subprocess

import pytest

from driving import HOLD_STEPS, SERVERS, build_folder, exists, program, requires, same_through_weir

JAR = "/usr/share/java/postgresql.jar"
COMPILE_SECONDS = 60

pytestmark = [
    requires("java", "javac", exists(JAR)),
    # The first test compiles the program too.
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="session")
def pgjdbc() -> list[str]:
    """The program's command, compiled once for each process that runs tests."""
    folder = build_folder(f"java-{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}")
    sources = glob.glob(program("pgjdbc/*.java"))
    command = ["javac", "-encoding", "UTF-8", "-cp", JAR, "-d", folder, *sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS)
    assert done.returncode == 0, done.stderr
    return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{JAR}:{folder}", "Pgjdbc"]


@pytest.fixture
def small(weir_factory):
    # pgjdbc asks for extra_float_digits at login.
    return weir_factory(default_pool_size=SERVERS)


def test_pgjdbc(small, pgjdbc):
    steps = {
        "simple",
        "parametrised",
        "not yet prepared",
        "prepared",
        "error",
        "text",
        "binary",
        "batch",
        "batch with keys",
        "copy",
        "cursor",
        "error in a transaction",
        "savepoint",
        "autosave",
        "cancel",
        "query timeout",
        "large object",
        "query modes",
        "time zone",
        "rows",
    }
    same_through_weir(small, pgjdbc, "everyday", steps)


def test_pgjdbc_hold_deallocate(small, pgjdbc):
    same_through_weir(small, pgjdbc, "deallocate", {"more than the cache holds", "prepared anew"})


def test_pgjdbc_set(small, pgjdbc):
    same_through_weir(small, pgjdbc, "set", {"set", "reset", "schema"})


def test_pgjdbc_listen(small, pgjdbc):
    same_through_weir(small, pgjdbc, "listen", {"heard", "still"})


def test_pgjdbc_hold(small, pgjdbc):
    same_through_weir(small, pgjdbc, "hold", HOLD_STEPS)
