"""Weir as the tests see it: a process with a configuration, a log, a console and signals.

Each test gets its own Weir with its own folder, ports and sockets. What the process writes goes to
a file, so that a test can wait for a line and a failed test can show the last ones.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile

import psycopg

import wire
from postgres import PASSWORD, REPLICATION_ROLE, ROLES, Postgres, free_port, give_to_unprivileged, unprivileged_user
from waiting import wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
START_SECONDS = 20
# What a sanitizer, or the Swift run-time before it ends the process, leaves in the log.
CRASH = re.compile(r"(Address|Thread|UndefinedBehavior|Leak)Sanitizer|Fatal error:|Exclusivity|Thread 0 .*crashed")


def weir_binary() -> str:
    """WEIR_BINARY, or else the release build, or else the debug build."""
    named = os.environ.get("WEIR_BINARY")
    candidates = [named] if named else [f"{ROOT}/.build/release/weir", f"{ROOT}/.build/debug/weir"]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    raise FileNotFoundError(f"no Weir to test: build it, or set WEIR_BINARY (looked at {', '.join(candidates)})")


def is_pgbouncer() -> bool:
    """The harness itself can be proven with PgBouncer, which lacks Weir's own settings."""
    return os.path.basename(weir_binary()) == "pgbouncer"


class Weir:
    """One Weir. Every part of its configuration can be changed before `start` or `reload`."""

    def __init__(self, postgres: Postgres, io_backend: str = "epoll", workers: int = 1, **settings):
        self.postgres = postgres
        self.directory = tempfile.mkdtemp(prefix="weir-", dir="/tmp")
        give_to_unprivileged(self.directory)
        self.port = free_port()
        self.process: subprocess.Popen | None = None
        self.connections: list = []
        self.told_to_stop = False
        self.flags: list[str] = []
        self.environment: dict[str, str] = {}
        self.settings: dict[str, object] = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": self.directory,
            "auth_type": "trust",
            "auth_file": self.path("userlist.txt"),
            "admin_users": "admin",
            "stats_users": "stats",
            "pool_mode": "transaction",
            "default_pool_size": 5,
            "max_client_conn": 1000,
            "server_login_retry": 1,
        }
        if not is_pgbouncer():
            self.settings |= {"io_backend": io_backend, "workers": workers}
        if user := unprivileged_user():
            self.settings["user"] = user
        self.settings |= settings
        self.databases: dict[str, str] = {name: self.server() for name in ("app", "second")}
        self.users: dict[str, str] = {}
        self.userlist: dict[str, str] = {name: PASSWORD for name in ROLES} | {"admin": PASSWORD, "stats": PASSWORD}

    def path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def server(self, port: int | None = None, **options) -> str:
        """A connection string for [databases] that leads to the tests' PostgreSQL, or to a proxy before it."""
        pairs = {"host": "127.0.0.1", "port": port or self.postgres.port} | options
        return " ".join(f"{key}={value}" for key, value in pairs.items())

    # Life

    def write(self) -> None:
        def section(name: str, pairs: dict) -> str:
            return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in pairs.items()) + "\n"

        text = section("databases", self.databases)
        if self.users:
            text += section("users", self.users)
        self._put("weir.ini", text + section("pgbouncer", self.settings))
        self._put("userlist.txt", "".join(f'"{name}" "{secret}"\n' for name, secret in self.userlist.items()))

    def _put(self, name: str, text: str) -> None:
        with open(self.path(name), "w") as file:
            file.write(text)
        give_to_unprivileged(self.path(name))

    def spawn(self) -> None:
        with open(self.path("log"), "ab") as log:
            self.process = subprocess.Popen(
                [weir_binary(), *self.flags, self.path("weir.ini")],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,
                env=os.environ | self.environment,
            )

    def start(self) -> "Weir":
        """Writes the configuration, starts, and returns when it accepts clients."""
        self.write()
        self.told_to_stop = False
        already = self.log().count("process up")
        self.spawn()

        def is_up() -> bool:
            up = self.log().count("process up") > already
            assert up or self.process.poll() is None, (
                f"Weir ended with {self.process.returncode} at start:\n{self.log()}"
            )
            return up

        wait_until(is_up, "the log says 'process up'", START_SECONDS)
        return self

    def signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            self.told_to_stop = True
        self.process.send_signal(number)

    def wait_for_exit(self, timeout: float = 15) -> int:
        self.told_to_stop = True
        return self.process.wait(timeout)

    def stop(self) -> None:
        """Ends it at once, closes what the test left open, and complains if it had died before."""
        for connection in self.connections:
            connection.close()
        died = self.process is not None and not self.told_to_stop and self.process.poll() is not None
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise AssertionError("Weir did not end on SIGQUIT") from None
        assert not died, f"Weir ended by itself with {self.process.returncode}"
        if found := CRASH.search(self.log()):
            raise AssertionError(f"the log tells of a crash: {found.group(0)}")

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    # Log

    def log(self) -> str:
        try:
            with open(self.path("log"), errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def wait_for_log(self, pattern: str, timeout: float = 15, count: int = 1) -> re.Match:
        """The `count`-th place where `pattern` matches."""
        expression = re.compile(pattern)

        def found():
            matches = list(expression.finditer(self.log()))
            return matches[count - 1] if len(matches) >= count else None

        return wait_until(found, f"the log matches {pattern!r}", timeout)

    # Clients

    def connect(
        self, user: str = "app", database: str = "app", password: str | None = None, timeout: float = 15, **parameters
    ):
        """A raw client, logged in; closed at the end of the test at the latest."""
        return self.raw(timeout).login(user, database, password, **parameters)

    def replication(self, kind: str = "database", database: str = "app", **parameters) -> wire.Connection:
        """A raw replication client, logged in."""
        return self.connect(REPLICATION_ROLE, database, PASSWORD, replication=kind, **parameters)

    def raw(self, timeout: float = 15) -> wire.Connection:
        """A raw client that has said nothing yet."""
        connection = wire.Connection(("127.0.0.1", self.port), timeout)
        self.connections.append(connection)
        return connection

    def raw_unix(self) -> wire.Connection:
        connection = wire.Connection(self.path(f".s.PGSQL.{self.port}"))
        self.connections.append(connection)
        return connection

    def dsn(self, user: str = "app", database: str = "app", password: str = PASSWORD, **more) -> str:
        pairs = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": user,
            "dbname": database,
            "password": password,
            "sslmode": "disable",
        } | more
        return " ".join(f"{key}={value}" for key, value in pairs.items())

    def url(self, scheme: str = "postgresql", user: str = "app", database: str = "app") -> str:
        return f"{scheme}://{user}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def psycopg(self, autocommit: bool = True, **options) -> psycopg.Connection:
        connection = psycopg.connect(self.dsn(**options), autocommit=autocommit)
        self.connections.append(connection)
        return connection

    # Console

    def console(self, user: str = "admin") -> wire.Connection:
        connection = self.raw(30)
        return connection.login(user, "pgbouncer", PASSWORD)

    def admin(self, command: str) -> list[dict]:
        """Runs a console command as an administrator; rows as dictionaries."""
        with self.console() as console:
            return console.query(command).dictionaries

    def show(self, what: str, **only) -> list[dict]:
        """The rows of SHOW `what` in which each named column has the given value."""
        return [row for row in self.admin(f"SHOW {what}") if all(row[key] == value for key, value in only.items())]

    def pool(self, database: str = "app", user: str = "app") -> dict:
        rows = self.show("POOLS", database=database, user=user)
        return rows[0] if rows else {}

    def wait_for_pool(self, database: str = "app", user: str = "app", timeout: float = 15, **columns) -> dict:
        """Waits until the pool's row of SHOW POOLS has these values."""
        seen: dict = {}

        def matches():
            nonlocal seen
            seen = self.pool(database, user)
            return seen if seen and all(seen[key] == value for key, value in columns.items()) else None

        try:
            return wait_until(matches, f"pool {database}/{user} shows {columns}", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; the pool is {seen}") from None

    def reload(self) -> None:
        """Writes the configuration anew and lets Weir read it."""
        self.write()
        self.admin("RELOAD")

    def resident_bytes(self) -> int:
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
