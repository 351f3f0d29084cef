"""Go's pgx and lib/pq with their defaults, the same through Weir as directly.

pgx names every statement, keeps it, and asks for binary results. lib/pq uses the unnamed statement in two exchanges,
so that another client's statement may come in between. Debian's packages are built without the module proxy.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from driving import HOLD_STEPS, SERVERS, build_folder, exists, program, requires, same_through_weir

GO_SOURCES = "/usr/share/gocode"
BUILD_SECONDS = 150

pytestmark = [
    requires("go", exists(f"{GO_SOURCES}/src/github.com/lib/pq"), exists(f"{GO_SOURCES}/src/github.com/jackc/pgx/v4")),
    # The first build compiles the drivers too.
    pytest.mark.timeout(240),
]

EVERYDAY = {
    "simple",
    "parametrised",
    "prepared",
    "binary",
    "copy",
    "cursor",
    "error in a transaction",
    "savepoint",
    "cancel by context",
    "rows",
}


def build(name: str) -> list[str]:
    """The program's command, compiled if that was not done before."""
    binary = os.path.join(build_folder("go"), name)
    done = subprocess.run(
        ["go", "build", "-o", binary, program(f"{name}/{name}.go")],
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        env=os.environ
        | {"GO111MODULE": "off", "GOPATH": GO_SOURCES, "GOFLAGS": "", "GOCACHE": build_folder("go-cache")},
    )
    assert done.returncode == 0, done.stderr
    return [binary]


@pytest.fixture(scope="module")
def pgx() -> list[str]:
    return build("pgx")


@pytest.fixture(scope="module")
def libpq() -> list[str]:
    return build("libpq")


@pytest.fixture
def small(weir_factory):
    return weir_factory(default_pool_size=SERVERS)


def test_pgx(small, pgx):
    same_through_weir(small, pgx, "everyday", EVERYDAY | {"batch", "cancel"})


def test_libpq(small, libpq):
    same_through_weir(small, libpq, "everyday", EVERYDAY | {"types"})


def test_pgx_hold_deallocate(small, pgx):
    same_through_weir(small, pgx, "deallocate", {"prepared", "prepared again", "more than the cache holds"})


def test_pgx_set(small, pgx):
    same_through_weir(small, pgx, "set", {"set", "reset"})


def test_libpq_set(small, libpq):
    same_through_weir(small, libpq, "set", {"set", "reset"})


def test_pgx_listen(small, pgx):
    same_through_weir(small, pgx, "listen", {"heard", "still"})


def test_libpq_listen(small, libpq):
    same_through_weir(small, libpq, "listen", {"heard", "still"})


def test_pgx_hold(small, pgx):
    same_through_weir(small, pgx, "hold", HOLD_STEPS)


def test_libpq_hold(small, libpq):
    same_through_weir(small, libpq, "hold", HOLD_STEPS)
