"""Runs a driver's program directly and through Weir, and wants to see the same.

The programs lie in `drivers/`. Each takes a port, a number of clients and the part to play, lets that many clients
play it at once, and prints one JSON line for each step of each client. Directly, every client has a server of its
own; Weir has fewer servers than clients. What was printed must not differ.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable

import psycopg
import pytest

from pooler import ROOT, Weir
from postgres import PASSWORD, Postgres

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "drivers")
CLIENTS = 4
SERVERS = 2
RUN_SECONDS = 50
# The steps of the part `hold`: one client keeps its server in each of these ways, the others go on.
HOLD_STEPS = {"temporary table", "advisory lock", "cursor with hold", "sql prepare", "beside a holder"}

# What each program printed on a direct connection, so that the next set-up need not ask again.
_direct: dict[tuple[str, ...], list[str]] = {}


def program(name: str) -> str:
    return os.path.join(PROGRAMS, name)


def empty_database(postgres: Postgres) -> None:
    """Leaves the database app with nothing but an empty table t (id int primary key, v text)."""
    with psycopg.connect(postgres.address("app", "app"), autocommit=True) as connection:
        connection.execute(
            "do $$ declare name text; begin"
            " for name in select tablename from pg_tables where schemaname = 'public' loop"
            "  execute format('drop table public.%I cascade', name);"
            " end loop; end $$;"
            "create table t (id int primary key, v text)"
        )


def play(command: list[str], port: int, part: str, env: dict[str, str] | None = None) -> list[str]:
    """What the program prints, line by line, in a fixed order: the clients run at once."""
    done = subprocess.run(
        [*command, str(port), str(CLIENTS), part],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        env=os.environ | {"PGPASSWORD": PASSWORD} | (env or {}),
    )
    assert done.returncode == 0, f"{part} on port {port}: {done.stdout}\n{done.stderr}"
    return sorted(done.stdout.splitlines())


def same_through_weir(
    weir: Weir, command: list[str], part: str, steps: set[str], env: dict[str, str] | None = None
) -> None:
    """The program's `part` prints the same through Weir as on direct connections, and these steps are in it."""
    key = (*command, part, str(env))
    if key not in _direct:
        empty_database(weir.postgres)
        _direct[key] = play(command, weir.postgres.port, part, env)
        weir.postgres.terminate_servers()
    direct = _direct[key]
    assert steps_of(direct) == steps, "the program itself skipped a step, or does more than the test knows"
    empty_database(weir.postgres)
    through = play(command, weir.port, part, env)
    lost, added = Counter(direct) - Counter(through), Counter(through) - Counter(direct)
    assert not lost and not added, f"only direct: {sorted(lost)}\nonly through Weir: {sorted(added)}"
    # To listen takes one more connection for all clients of the database.
    assert 1 <= weir.postgres.server_count("app") <= SERVERS + (part == "listen")


def steps_of(lines: list[str]) -> set[str]:
    return {json.loads(line)["step"] for line in lines}


def requires(*what: str | Callable[[], bool]):
    """Skips where a program (by name) or something else (by a function) is missing."""
    missing = [
        need if isinstance(need, str) else need.__name__
        for need in what
        if not (shutil.which(need) if isinstance(need, str) else need())
    ]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def exists(pattern: str) -> Callable[[], bool]:
    def found() -> bool:
        return bool(glob.glob(pattern))

    found.__name__ = pattern
    return found


def runs(*command: str) -> Callable[[], bool]:
    def works() -> bool:
        return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0

    works.__name__ = " ".join(command)
    return works


def build_folder(name: str) -> str:
    folder = os.path.join(ROOT, ".build", "drivers", name)
    os.makedirs(folder, exist_ok=True)
    return folder
