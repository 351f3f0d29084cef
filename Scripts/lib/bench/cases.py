# The cases, the contenders' names and the goals: what is compared with what, and what is asked of Weir.
from dataclasses import dataclass

MAIN = "weir-io_uring"
PEER = "pgbouncer"
FLOOR = "relay-io_uring"
CONTENDERS = [MAIN, "weir-epoll", PEER, FLOOR, "relay-epoll"]

# A result of 2 MB that costs the server little to make: 2,048 pieces of 1 KB, not two million of one byte.
LARGE_RESULT = "SELECT repeat(repeat('x', 1024), 2048);\n"

ACCOUNTS = 1_000_000

# What applications send that know how to: twenty questions at once, one wait for all the answers.
BATCH = (
    "".join(f"\\set aid{number} random(1, {ACCOUNTS})\n" for number in range(20))
    + "\\startpipeline\n"
    + "".join(f"SELECT abalance FROM pgbench_accounts WHERE aid = :aid{number};\n" for number in range(20))
    + "\\endpipeline\n"
)

# More statements than a server keeps (max_prepared_statements): each client cycles through 500 of them, so that with
# every one another has to go. pgbench counts scripts that are over: one run of the script is a part of the cycle.
DISTINCT_STATEMENTS = 500
DISTINCT_STATEMENTS_A_RUN = 20


def distinct():
    lines = [f"\\set part mod(:part + 1, {DISTINCT_STATEMENTS // DISTINCT_STATEMENTS_A_RUN})",
             f"\\set aid random(1, {ACCOUNTS})"]
    for number in range(DISTINCT_STATEMENTS):
        part, place = divmod(number, DISTINCT_STATEMENTS_A_RUN)
        if place == 0:
            lines.append(f"\\{'elif' if part else 'if'} :part = {part}")
        lines.append(f"SELECT abalance + {number} FROM pgbench_accounts WHERE aid = :aid;")
    return "\n".join([*lines, "\\endif", ""])


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    clients: int
    threads: int = 1
    options: tuple = ()
    script: str = ""
    # What pgbench finds in its environment.
    environment: tuple = ()
    # Every transaction logs in anew; then pgbench's own latency leaves the login out, so it is not used.
    connects: bool = False
    # Memory of idle clients instead of transactions.
    idle: bool = False
    # How many statements, each a transaction of its own, are one to pgbench: the figures are for one of them.
    statements: int = 1
    # Seconds of load at least before the measured ones.
    warm_up: int = 0
    # Who cannot do this. (PgBouncer 1.18 has no prepared statements in transaction mode.)
    without: tuple = ()


CASES = {
    case.name: case
    for case in [
        Case("simple-1", "simple protocol, 1 client", 1, options=("-S", "-M", "simple")),
        Case("simple-16", "simple protocol, 16 clients", 16, options=("-S", "-M", "simple")),
        Case("simple-64", "simple protocol, 64 clients", 64, 2, ("-S", "-M", "simple")),
        Case("simple-400", "simple protocol, 400 clients", 400, 2, ("-S", "-M", "simple")),
        Case("extended-16", "extended protocol, 16 clients", 16, options=("-S", "-M", "extended")),
        # Settings that each session has from its start, the same in all, as an application's are.
        Case("settings-16", "simple protocol, 16 clients with settings of their own", 16, options=("-S", "-M", "simple"),
             environment=(("PGOPTIONS", "-c statement_timeout=60s -c search_path=public"),), without=(PEER,)),
        Case("prepared-16", "prepared statements, 16 clients", 16, options=("-S", "-M", "prepared"), without=(PEER,)),
        Case("prepared-64", "prepared statements, 64 clients", 64, 2, ("-S", "-M", "prepared"), without=(PEER,)),
        Case("tpcb-prepared-16", "TPC-B transactions of prepared statements, 16 clients", 16,
             options=("-M", "prepared"), without=(PEER,)),
        Case("batch-20", "20 statements in one pipeline, 16 clients", 16, options=("-M", "extended"), script=BATCH),
        # Before they are measured all clients have prepared all statements.
        Case("distinct-500", "500 distinct prepared statements in turn, 16 clients, figures for one statement", 16,
             options=("-M", "prepared", "-D", "part=0"), script=distinct(), statements=DISTINCT_STATEMENTS_A_RUN,
             warm_up=5, without=(PEER,)),
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
    # The case whose ratio this one is set in relation to.
    base: str | None = None


def goals():
    """What is asked of Weir, in the order of the report."""
    wanted = [
        Goal("simple-16", "cpu", MAIN, PEER, 0.88),
        Goal("simple-16", "cpu", MAIN, FLOOR, 1.15),
        Goal("simple-64", "cpu", MAIN, PEER, 0.78),
        Goal("prepared-16", "cpu", MAIN, FLOOR, 1.20),
        Goal("settings-16", "cpu", MAIN, FLOOR, 1.05, base="simple-16"),
        Goal("large-4", "cpu", MAIN, PEER, 0.58),
        Goal("connect-8", "cpu", MAIN, PEER, 1.0),
    ]
    for case in CASES.values():
        if case.idle:
            wanted.append(Goal(case.name, "bytes", MAIN, None, 1200))
        elif PEER not in case.without:
            wanted.append(Goal(case.name, "tps", MAIN, PEER, 0.97, at_least=True))
            wanted.append(Goal(case.name, "latency", MAIN, PEER, 1.03))
            wanted.append(Goal(case.name, "cpu", "weir-epoll", PEER, 1.0))
    return wanted
