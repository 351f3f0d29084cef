"""Fixtures of the integration tests.

`weir_factory` starts as many Weirs as a test wants, each with its own settings. A test that uses
it runs once for each of two set-ups (one worker on io_uring, two workers on epoll); marked
`every_backend` it runs on all four, marked `one_backend` on one: for behaviour that neither the
back end nor the number of threads can touch.
"""

from __future__ import annotations

import ctypes
import os
import resource

import pytest

import wire
from fakeserver import FakeServer
from faultproxy import FaultProxy
from pooler import Weir, is_pgbouncer
from postgres import Postgres

ALL = [("io_uring", 1), ("epoll", 1), ("io_uring", 2), ("epoll", 2)]
LOG_TAIL_LINES = 60


def io_uring_is_missing() -> str | None:
    """Why io_uring cannot be used here, or None."""
    libc = ctypes.CDLL(None, use_errno=True)
    parameters = ctypes.create_string_buffer(120)
    descriptor = libc.syscall(425, 4, parameters)
    if descriptor < 0:
        return f"io_uring is not available here: {os.strerror(ctypes.get_errno())}"
    os.close(descriptor)
    try:
        with open("/proc/sys/kernel/io_uring_disabled") as switch:
            if (value := switch.read().strip()) != "0":
                return f"io_uring is not available here: kernel.io_uring_disabled is {value}"
    except FileNotFoundError:
        pass
    return None


def pytest_configure(config):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pytest_generate_tests(metafunc):
    if "backend" not in metafunc.fixturenames:
        return
    node = metafunc.definition
    missing = io_uring_is_missing()
    if is_pgbouncer():
        chosen = [("epoll", 1)]
    elif node.get_closest_marker("every_backend"):
        chosen = ALL
    elif node.get_closest_marker("one_backend"):
        chosen = ALL[1:2] if missing else ALL[:1]
    else:
        chosen = [ALL[0], ALL[3]]
    metafunc.parametrize(
        "backend",
        [
            pytest.param(
                pair,
                id=f"{pair[0]}-{pair[1]}",
                marks=[pytest.mark.skip(reason=missing)] if missing and pair[0] == "io_uring" else [],
            )
            for pair in chosen
        ],
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for weir in getattr(item, "weirs", []):
            tail = weir.log().splitlines()[-LOG_TAIL_LINES:]
            report.sections.append((f"log of Weir on port {weir.port}", "\n".join(tail)))
    return report


@pytest.fixture(scope="session")
def postgres_of_the_session():
    server = Postgres()
    try:
        server.create()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres(postgres_of_the_session):
    """The tests' PostgreSQL; running, and without a trace of the Weirs of earlier tests."""
    server = postgres_of_the_session
    if server.process.poll() is not None:
        server.start()
    server.terminate_servers()
    return server


@pytest.fixture
def weir_factory(request, postgres, backend):
    """Returns a function `(start=True, databases=…, users=…, userlist=…, **settings) -> Weir`."""
    request.node.weirs = []

    def make(
        start: bool = True,
        databases: dict | None = None,
        users: dict | None = None,
        userlist: dict | None = None,
        **settings,
    ) -> Weir:
        weir = Weir(postgres, *backend, **settings)
        request.node.weirs.append(weir)
        weir.databases |= databases or {}
        weir.users |= users or {}
        weir.userlist |= userlist or {}
        return weir.start() if start else weir

    yield make
    problems = []
    for weir in request.node.weirs:
        try:
            weir.stop()
        except AssertionError as error:
            problems.append(str(error))
    log = "\n".join(weir.log()[-4000:] for weir in request.node.weirs) if problems else ""
    for weir in request.node.weirs:
        weir.remove()
    assert not problems, f"{problems}\n{log}"


@pytest.fixture
def weir(weir_factory):
    """A Weir with a pool of 5 servers in transaction mode."""
    return weir_factory()


@pytest.fixture
def proxy(postgres):
    """A proxy before PostgreSQL that can be told to fail; see faultproxy.py."""
    proxy = FaultProxy(postgres.port)
    yield proxy
    proxy.close()


@pytest.fixture
def fake():
    """A server that the test plays itself; see fakeserver.py."""
    server = FakeServer()
    yield server
    server.close()


@pytest.fixture
def table(postgres):
    """The name of an empty table t (id int primary key, v text) in the database app."""
    import psycopg

    with psycopg.connect(postgres.address("app", "app"), autocommit=True) as connection:
        connection.execute("drop table if exists t cascade; create table t (id int primary key, v text)")
    return "t"


@pytest.fixture
def direct(postgres):
    """A connection to PostgreSQL itself."""
    with wire.Connection(("127.0.0.1", postgres.port)) as connection:
        yield connection.login("app", "app", application_name="direct")
