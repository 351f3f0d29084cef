# The measuring itself.
#
# Transactions: pgbench reports once a second, stamped with the time. Between the report that ends the warm-up and the
# last one wanted, the window, the contender's CPU clock is read and the reported transactions are added up. So what
# pgbench does to start (hundreds of logins) and to end is outside the window for both figures.
#
# CPU: the kernel's clock of the process, in nanoseconds, over all its threads, those of io_uring and those already
# ended included. The share of user time is only known in ticks of 10 ms.
#
# Memory: resident memory before and after thousands of clients log in, each running one query, divided by their
# number. "Before" is a process that has served a short load, so that buffers which every contender touches once are
# not counted as the clients'.
import os
import re
import resource
import socket
import statistics
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from contenders import ContenderFailed

PROGRESS = re.compile(r"progress: ([\d.]+) s, ([\d.]+) tps, lat (\S+) ms")


@dataclass(frozen=True)
class CPU:
    """CPU time of a process, so far."""

    nanoseconds: int
    user_ticks: int
    system_ticks: int

    @staticmethod
    def of(pid):
        # The clock id of another process's CPU clock, as clock_getcpuclockid(3) makes it.
        nanoseconds = time.clock_gettime_ns((~pid << 3) | 2)
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return CPU(nanoseconds, int(fields[11]), int(fields[12]))


@dataclass(frozen=True)
class Transactions:
    """Figures of one run: CPU and user CPU in microseconds per transaction, rate per second, latency in ms.

    In a case of several `statements` all of this is for one of them.
    """

    cpu: float
    user: float
    tps: float
    latency: float


@dataclass(frozen=True)
class Idle:
    """Bytes for each idle client, and what the process had without any."""

    bytes: float
    empty: float


def pgbench(port, options):
    return [os.path.join(os.environ["PG_BIN"], "pgbench"), "-n", "-h", "127.0.0.1", "-p", str(port), "-U", "bench",
            *options, "bench"]


def measure_transactions(contender, case, warm_up, seconds, directory):
    options = ["-c", str(case.clients), "-j", str(case.threads), *case.options,
               # One second more than wanted: the report of the last second is not always printed.
               "-T", str(warm_up + seconds + 1), "-P", "1", "--progress-timestamp"]
    if case.script:
        script = Path(directory) / f"{case.name}.sql"
        script.write_text(case.script)
        options += ["-f", str(script)]
    process = subprocess.Popen(pgbench(contender.port, options), stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, **dict(case.environment)})
    other, reports = [], []
    first = last = None
    for line in process.stderr:
        match = PROGRESS.search(line)
        if not match:
            other.append(line)
            continue
        reports.append([float(field) for field in match.groups()])
        if len(reports) == warm_up:
            first = CPU.of(contender.pid)
        elif len(reports) == warm_up + seconds:
            last = CPU.of(contender.pid)
    if process.wait() != 0 or first is None or last is None:
        text = "".join(other[-5:])
        raise ContenderFailed(f"{contender.name}, {case.name}: pgbench failed:\n{text}{contender.log_tail()}")
    return summary(case, reports[warm_up - 1:warm_up + seconds], first, last)


def summary(case, reports, first, last):
    """The figures of a window; its first report only tells when the window begins."""
    counts = [rate * (report_time - previous[0]) * case.statements
              for previous, (report_time, rate, _) in zip(reports, reports[1:])]
    transactions = sum(counts)
    if transactions <= 0:
        raise ContenderFailed(f"{case.name}: no transaction in the window")
    elapsed = reports[-1][0] - reports[0][0]
    rate = transactions / elapsed
    latency = sum(count * report[2] for count, report in zip(counts, reports[1:]) if count > 0)
    latency /= transactions * case.statements
    if case.connects:
        latency = case.clients / rate * 1e3
    cpu = (last.nanoseconds - first.nanoseconds) / 1e3 / transactions
    user, system = last.user_ticks - first.user_ticks, last.system_ticks - first.system_ticks
    return Transactions(cpu, cpu * user / max(1, user + system), rate, latency)


# --- Idle clients ----------------------------------------------------------------------------------------------------


def resident_bytes(pid):
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise ContenderFailed("no Rss in smaps_rollup")


def settled_bytes(pid):
    """Resident memory once it no longer changes (or after 5 s)."""
    deadline = time.monotonic() + 5
    previous = resident_bytes(pid)
    while time.monotonic() < deadline:
        time.sleep(0.3)
        now = resident_bytes(pid)
        if now == previous:
            break
        previous = now
    return previous


class IdleClient:
    """The least that is a PostgreSQL client: start-up with trust, one simple query."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.received = b""
        body = struct.pack("!I", 0x30000) + b"user\0bench\0database\0bench\0\0"
        self.socket.sendall(struct.pack("!I", len(body) + 4) + body)
        self.read_until_ready()
        query = b"SELECT 1\0"
        self.socket.sendall(b"Q" + struct.pack("!I", len(query) + 4) + query)
        self.read_until_ready()

    def read_until_ready(self):
        while True:
            while len(self.received) >= 5:
                kind, length = self.received[:1], struct.unpack("!I", self.received[1:5])[0]
                if len(self.received) < length + 1:
                    break
                body, self.received = self.received[5:length + 1], self.received[length + 1:]
                if kind == b"E":
                    raise ContenderFailed(f"an idle client got an error: {body!r}")
                if kind == b"Z":
                    return
            piece = self.socket.recv(8192)
            if not piece:
                raise ContenderFailed("an idle client was disconnected")
            self.received += piece

    def close(self):
        self.socket.close()


def measure_idle(contender, case):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < case.clients + 100:
        raise ContenderFailed(f"{case.name} needs a limit of {case.clients + 100} open files, this shell has {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    load = pgbench(contender.port, ["-S", "-c", "16", "-t", "500"])
    warm = subprocess.run(load, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if warm.returncode != 0:
        raise ContenderFailed(f"{contender.name}: pgbench failed:\n{warm.stderr}{contender.log_tail()}")
    empty = settled_bytes(contender.pid)
    clients = []
    try:
        for _ in range(case.clients):
            clients.append(IdleClient(contender.port))
        full = settled_bytes(contender.pid)
    except OSError as error:
        raise ContenderFailed(f"{contender.name}: client {len(clients) + 1}: {error}\n{contender.log_tail()}") from error
    finally:
        for client in clients:
            client.close()
    return Idle((full - empty) / case.clients, empty)


def median(results, figure):
    return statistics.median(getattr(result, figure) for result in results)


def ratio(results, others, figure):
    """The median over the rounds of the ratio within a round: neighbours in time share the machine's mood."""
    return statistics.median(getattr(one, figure) / getattr(other, figure) for one, other in zip(results, others)
                             if getattr(other, figure) > 0)
