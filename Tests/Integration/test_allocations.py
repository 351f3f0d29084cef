"""The data path allocates nothing and counts no references, so what Weir costs does not depend on the allocator.

A library preloaded into Weir counts the calls of the allocator and of Swift's retain and release (callcounter.c).
Clients in lockstep run thousands of transactions of a kind that Weir has seen before; the calls in between must be
those that Weir makes once in a while for itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

import callcounter
import wire
from pooler import Weir, weir_binary
from waiting import wait_until

CLIENTS = 8
ROUNDS = 400
WARM_UP_ROUNDS = 60

ALLOCATOR = ("malloc", "calloc", "realloc", "aligned_alloc", "free")
REFERENCES = ("retain", "release")

# What a worker may do for itself in a second. Ten times its clock ticks and lists the servers of each pool: measured,
# 40 to 55 calls of the allocator and 110 of retain and release. Here is twice that and more, and still fewer than one
# in twenty of the transactions.
ALLOCATOR_CALLS_PER_SECOND = 120
REFERENCE_CALLS_PER_SECOND = 300


@dataclass(frozen=True)
class Transaction:
    """One client's transaction: all its messages, and how many ReadyForQuery answer them."""

    name: str
    messages: bytes
    answers: int = 1
    rounds: int = ROUNDS
    clients: int = CLIENTS


def known(*values: str) -> bytes:
    """Runs a statement that the client has given a name before."""
    return wire.bind(*values, name="q") + wire.describe() + wire.execute()


# 50 KB, in 500 messages.
COPY_OUT = "copy (select repeat('y', 99) from generate_series(1, 500)) to stdout"
PREPARE = wire.parse("select $1::int + 1", name="q") + wire.describe("S", "q") + wire.sync()
COPIED = b"".join(wire.message("d", f"{row}\tvalue {row}\n".encode()) for row in range(50))

# What drivers without a cache of statements send: a statement that the worker and its servers know, prepared, run and
# closed each time.
ANEW = wire.parse("select $1::int + 2", name="k") + wire.bind("1", name="k") + wire.describe() + wire.execute()
ANEW += wire.close("S", "k") + wire.sync()

TRANSACTIONS = [
    Transaction("simple", wire.query("select 1")),
    Transaction("unnamed", wire.extended("select $1::int + 1", "1")),
    Transaction("prepared", known("1") + wire.sync()),
    Transaction("prepared pipeline", known("1") * 10 + wire.sync()),
    Transaction("prepared anew", ANEW),
    Transaction("simple block", wire.query("begin") + wire.query("select 1") + wire.query("commit"), 3),
    Transaction("prepared block", wire.query("begin") + known("1") + wire.sync() + wire.query("commit"), 3),
    Transaction("failing", wire.query("select 1/0")),
    Transaction("large result", wire.query("select repeat('x', 100000)"), rounds=100),
    # What comes in several pieces while its client waits for a server is held in a list; so nobody waits here.
    Transaction("large query", wire.query(f"select length('{'x' * 100_000}')"), rounds=800, clients=1),
    Transaction("copy out", wire.query(COPY_OUT), rounds=100),
    Transaction("copy in", wire.query("copy copied from stdin") + COPIED + wire.message("c"), rounds=100),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return callcounter.build(str(tmp_path_factory.mktemp("callcounter")))


@pytest.fixture(scope="module")
def symbols():
    return callcounter.Symbols(weir_binary())


@pytest.fixture
def counted(weir_factory, postgres, library, symbols, backend):
    """The counter of a Weir, its clients, which have each prepared their statement, and how many workers it has."""
    workers = backend[1]
    # One worker has fewer servers than clients, so that some always wait. Between two, servers that are waited for go
    # from one to the other, which is dear on purpose: they have enough of them.
    weir = weir_factory(start=False, default_pool_size=3 if workers == 1 else workers * CLIENTS, stats_period=3600)
    counter = callcounter.CallCounter(weir, library, symbols)
    weir.start()
    clients = [weir.connect(timeout=40) for _ in range(CLIENTS)]
    clients[0].query("drop table if exists copied")
    clients[0].query("create unlogged table copied (id int, v text)")
    for client in clients:
        assert not client.exchange(PREPARE).errors
    open_servers(weir, clients, 3 if workers == 1 else CLIENTS)
    # Logging in takes all of these: who sees none of a kind does not see it.
    seen = counter.counts()
    assert all(seen[kind] > CLIENTS for kind in ("malloc", "free", "retain", "release")), seen
    return counter, clients, workers


def open_servers(weir: Weir, clients: list[wire.Connection], wanted: int) -> None:
    """Keeps all clients busy at once until so many servers are open, so that none is opened later."""

    def are_open() -> bool:
        run(clients, wire.query("select pg_sleep(0.05)"), 1, 1)
        pool = weir.pool()
        return pool["sv_idle"] >= wanted and pool["sv_login"] == 0

    wait_until(are_open, f"{wanted} servers are open")


def run(clients: list[wire.Connection], messages: bytes, answers: int, rounds: int) -> None:
    """In each round every client sends its transaction; then all the answers are read."""
    for _ in range(rounds):
        for client in clients:
            client.send(messages)
        for client in clients:
            left = answers
            while left > 0:
                left -= client.read().type == "Z"


def excess(counter: callcounter.CallCounter, clients, workers: int, transaction: Transaction) -> str | None:
    """What is wrong with the calls that a transaction causes, and where they come from."""
    clients = clients[: transaction.clients]
    run(clients, transaction.messages, transaction.answers, min(WARM_UP_ROUNDS, transaction.rounds))
    counter.forget_stacks()
    started, before = time.monotonic(), counter.counts()
    counter.arm(True)
    run(clients, transaction.messages, transaction.answers, transaction.rounds)
    counter.arm(False)
    seconds, calls = time.monotonic() - started, counter.counts() - before
    count = transaction.rounds * len(clients)
    allocator = sum(calls[kind] for kind in ALLOCATOR)
    references = sum(calls[kind] for kind in REFERENCES)
    print(f"{transaction.name}: {count} in {seconds:.1f} s, {allocator} of the allocator, {references} references")
    # A tick more than the seconds hold.
    allowed = workers * (seconds + 0.2)
    if allocator <= allowed * ALLOCATOR_CALLS_PER_SECOND and references <= allowed * REFERENCE_CALLS_PER_SECOND:
        return None
    return f"{transaction.name}: in {count} transactions and {seconds:.1f} s {dict(calls)}\n{counter.stacks()}"


@pytest.mark.no_sanitizer
@pytest.mark.every_backend
@pytest.mark.timeout(120)
def test_a_transaction_neither_allocates_nor_counts_references(counted):
    counter, clients, workers = counted
    found = [excess(counter, clients, workers, transaction) for transaction in TRANSACTIONS]
    assert not any(found), "\n\n".join(text for text in found if text)


@pytest.mark.no_sanitizer
@pytest.mark.one_backend
def test_one_allocation_in_a_transaction_would_be_noticed(counted):
    counter, clients, workers = counted
    # More statements than a server keeps: each is unknown whenever it comes, and takes memory once.
    each = [wire.parse(f"select 'number {n}'", name="n") + wire.close("S", "n") + wire.sync() for n in range(300)]
    found = excess(counter, clients[:1], workers, Transaction("unknown", b"".join(each), answers=300, rounds=5))
    assert found and "StatementTable" in found
