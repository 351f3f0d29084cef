"""A throw-away PostgreSQL for the tests.

It lives in a temporary folder, listens on a free port of 127.0.0.1, is not durable on purpose
(fsync off), and has one role for each way of proving who one is. Run by root, it drops to the user
`postgres`, because PostgreSQL refuses root.
"""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile

import psycopg

from waiting import wait_until

PASSWORD = "pass-3141"

# Role: how pg_hba asks it for its password.
ROLES = {
    "app": "trust",
    "other": "trust",
    "third": "trust",
    "md5user": "md5",
    "scramuser": "scram-sha-256",
    "plainuser": "password",
    "streamer": "scram-sha-256",
}

# Who may open replication connections.
REPLICATION_ROLE = "streamer"


def binary(name: str) -> str:
    """The newest installed PostgreSQL's program of that name."""
    found = glob.glob(f"/usr/lib/postgresql/*/bin/{name}")
    if found:
        return max(found, key=lambda path: int(path.split("/")[4]))
    path = shutil.which(name)
    assert path, f"{name} is not installed"
    return path


def unprivileged_user() -> str | None:
    """Whom to become when the tests run as root; None when they do not."""
    return "postgres" if os.geteuid() == 0 else None


def as_unprivileged(command: list[str]) -> list[str]:
    user = unprivileged_user()
    become = ["--reuid", user, "--regid", user, "--clear-groups"] if user else []
    return ["setpriv", *become, "--pdeathsig", "QUIT", *command]


def give_to_unprivileged(path: str) -> None:
    if user := unprivileged_user():
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


PORTS_FIRST = 10_000
PORTS_PER_BLOCK = 1_000
PORT_BLOCKS = 22

_block: socket.socket | None = None
_block_start = 0
_next_port = 0


def _claim_block() -> None:
    """Takes a block of ports for this process, so that test runs side by side never pick the same one.

    The claim is an abstract Unix socket: the kernel gives it back when the process ends, however it ends.
    """
    global _block, _block_start
    claim = socket.socket(socket.AF_UNIX)
    for number in range(PORT_BLOCKS):
        try:
            claim.bind(f"\0weir-test-ports-{number}")
        except OSError:
            continue
        _block, _block_start = claim, PORTS_FIRST + number * PORTS_PER_BLOCK
        return
    raise RuntimeError(f"all {PORT_BLOCKS} blocks of ports are taken by other test runs")


def free_port() -> int:
    """A port nobody listens on, below the range that the kernel gives to outgoing connections."""
    global _next_port
    if _block is None:
        _claim_block()
    for _ in range(PORTS_PER_BLOCK):
        port = _block_start + _next_port % PORTS_PER_BLOCK
        _next_port += 1
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError(f"no free port from {_block_start} on")


class Postgres:
    """One running server; `port`, and `sql` as the superuser on a connection of its own."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="weir-postgres-", dir="/tmp")
        give_to_unprivileged(self.directory)
        self.data = f"{self.directory}/data"
        self.port = free_port()
        self.process: subprocess.Popen | None = None
        self._connection: psycopg.Connection | None = None

    def create(self) -> None:
        subprocess.run(
            as_unprivileged(
                [
                    binary("initdb"),
                    "-D",
                    self.data,
                    "-U",
                    "postgres",
                    "-A",
                    "trust",
                    "--no-sync",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                ]
            ),
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )
        with open(f"{self.data}/postgresql.conf", "a") as configuration:
            configuration.write(
                f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = '{self.directory}'\n"
                "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nmax_connections = 300\n"
                "password_encryption = 'scram-sha-256'\nautovacuum = off\nlog_min_messages = warning\n"
                "timezone = 'UTC'\nlog_timezone = 'UTC'\njit = off\n"
                "wal_level = logical\nmax_wal_senders = 20\nmax_replication_slots = 20\n"
            )
        with open(f"{self.data}/pg_hba.conf", "w") as rules:
            for role, method in ROLES.items():
                rules.write(f"host all {role} 127.0.0.1/32 {method}\nlocal all {role} {method}\n")
            for role in (REPLICATION_ROLE, "postgres"):
                rules.write(f"host replication {role} 127.0.0.1/32 {ROLES.get(role, 'trust')}\n")
            rules.write("host all postgres 127.0.0.1/32 trust\nlocal all postgres trust\n")
        self.start()
        for role, method in ROLES.items():
            if method == "md5":
                self.sql("set password_encryption = 'md5'")
            self.sql(f"create role {role} login password '{PASSWORD}'")
            self.sql("reset password_encryption")
        self.sql(f"alter role {REPLICATION_ROLE} replication")
        for database in ("app", "second"):
            self.sql(f"create database {database} owner app")
            with psycopg.connect(self.address("postgres", database), autocommit=True) as connection:
                connection.execute("grant all on schema public to public")

    def address(self, user: str = "postgres", database: str = "postgres") -> str:
        return f"host=127.0.0.1 port={self.port} user={user} dbname={database} password={PASSWORD}"

    def start(self) -> None:
        with open(f"{self.directory}/log", "ab") as log:
            self.process = subprocess.Popen(
                as_unprivileged([binary("postgres"), "-D", self.data]),
                stdout=log,
                stderr=log,
                cwd="/",
            )

        def answers() -> bool:
            assert self.process.poll() is None, f"PostgreSQL did not start; see {self.directory}/log"
            try:
                psycopg.connect(self.address(), connect_timeout=5).close()
                return True
            except psycopg.OperationalError:
                return False

        wait_until(answers, "PostgreSQL accepts connections", 30)

    def stop(self, immediate: bool = False) -> None:
        """Fast (clients get FATAL 57P01), or immediate (as after a crash)."""
        if self._connection:
            self._connection.close()
            self._connection = None
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
            self.process.wait(30)

    def remove(self) -> None:
        self.stop(immediate=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def sql(self, statement: str, parameters=None) -> list[tuple]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.address(), autocommit=True)
        cursor = self._connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, parameters=None):
        return self.sql(statement, parameters)[0][0]

    # What Weir holds here. The tests' own connections are in the database postgres.

    def servers(self, database: str | None = None, user: str | None = None) -> list[dict]:
        """Backends of ordinary clients outside the database postgres, oldest first."""
        rows = self.sql(
            "select pid, datname, usename, state, query, application_name, backend_start from pg_stat_activity"
            " where backend_type = 'client backend' and datname <> 'postgres'"
            " and (%(d)s::text is null or datname = %(d)s)"
            " and (%(u)s::text is null or usename = %(u)s) order by backend_start",
            {"d": database, "u": user},
        )
        names = ("pid", "database", "user", "state", "query", "application_name", "start")
        return [dict(zip(names, row)) for row in rows]

    def server_count(self, database: str | None = None, user: str | None = None) -> int:
        return len(self.servers(database, user))

    def terminate_servers(self) -> None:
        """Ends every backend outside the database postgres and waits until they are gone."""
        self.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where backend_type = 'client backend' and datname <> 'postgres' or backend_type = 'walsender'"
        )
        wait_until(lambda: self.server_count() == 0 and not self.walsenders(), "all backends are gone")

    def walsenders(self) -> list[dict]:
        """The backends of replication connections, oldest first."""
        rows = self.sql(
            "select pid, coalesce(datname, ''), usename, application_name, query from pg_stat_activity"
            " where backend_type = 'walsender' order by backend_start"
        )
        return [dict(zip(("pid", "database", "user", "application_name", "query"), row)) for row in rows]

    def wait_for_query(self, text: str, state: str = "active") -> dict:
        """The backend whose current query contains `text`."""
        return wait_until(
            lambda: next((s for s in self.servers() if text in s["query"] and s["state"] == state), None),
            f"a backend is {state} with {text!r}",
        )
