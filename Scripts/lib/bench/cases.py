# The cases, the contenders' names and the goals: what is compared with what, and what is asked of Weir.
from dataclasses import dataclass

MAIN = "weir-io_uring"
PEER = "pgbouncer"
FLOOR = "relay-io_uring"
CONTENDERS = [MAIN, "weir-epoll", PEER, FLOOR, "relay-epoll"]

# A result of 2 MB that costs the server little to make: 2,048 pieces of 1 KB, not two million of one byte.
LARGE_RESULT = "SELECT repeat(repeat('x', 1024), 2048);\n"


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    clients: int
    threads: int = 1
    options: tuple = ()
    script: str = ""
    # Every transaction logs in anew; then pgbench's own latency leaves the login out, so it is not used.
    connects: bool = False
    # Memory of idle clients instead of transactions.
    idle: bool = False


CASES = {
    case.name: case
    for case in [
        Case("simple-1", "simple protocol, 1 client", 1, options=("-S", "-M", "simple")),
        Case("simple-16", "simple protocol, 16 clients", 16, options=("-S", "-M", "simple")),
        Case("simple-64", "simple protocol, 64 clients", 64, 2, ("-S", "-M", "simple")),
        Case("simple-400", "simple protocol, 400 clients", 400, 2, ("-S", "-M", "simple")),
        Case("extended-16", "extended protocol, 16 clients", 16, options=("-S", "-M", "extended")),
        Case("large-4", "2 MB results, 4 clients", 4, options=("-M", "simple"), script=LARGE_RESULT),
        # pgbench connects with blocking calls: only with a thread for each do 8 clients log in side by side.
        Case("connect-8", "a connection for each transaction, 8 clients", 8, 8, ("-S", "-C", "-M", "simple"), connects=True),
        Case("idle-4000", "memory of 4,000 idle clients", 4000, idle=True),
    ]
}


@dataclass(frozen=True)
class Goal:
    case: str
    figure: str
    of: str
    # None: the figure itself is the goal, not its ratio to another contender's.
    against: str | None
    bound: float
    at_least: bool = False


def goals():
    """What is asked of Weir, in the order of the report."""
    wanted = [
        Goal("simple-16", "cpu", MAIN, PEER, 0.88),
        Goal("simple-16", "cpu", MAIN, FLOOR, 1.15),
        Goal("simple-64", "cpu", MAIN, PEER, 0.78),
        Goal("large-4", "cpu", MAIN, PEER, 0.58),
        Goal("connect-8", "cpu", MAIN, PEER, 1.0),
    ]
    for case in CASES.values():
        if case.idle:
            wanted.append(Goal(case.name, "bytes", MAIN, None, 1200))
        else:
            wanted.append(Goal(case.name, "tps", MAIN, PEER, 0.97, at_least=True))
            wanted.append(Goal(case.name, "latency", MAIN, PEER, 1.03))
            wanted.append(Goal(case.name, "cpu", "weir-epoll", PEER, 1.0))
    return wanted
