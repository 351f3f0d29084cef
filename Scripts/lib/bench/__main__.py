# The measuring half of Scripts/bench, which has started PostgreSQL and says in the environment where everything is.
# For each case every contender is started anew; then they run in turn, A B C A B C, so that slow drifts of the machine
# meet all of them alike; every ratio is taken within a round, and the median over the rounds is shown.
import argparse
import contextlib
import os
import signal
import sys

import cases
import report
from contenders import Contender, ContenderFailed, POOL_SIZE
from measure import measure_idle, measure_transactions


def names(known):
    def parse(text):
        chosen = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}, found '{text}'")
        return [name for name in known if name in chosen]
    return parse


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("expected a whole number from 1 on")
    return value


def options(arguments):
    parser = argparse.ArgumentParser(prog="Scripts/bench", description=(
        "CPU per transaction, throughput, latency and memory of Weir, PgBouncer and a bare relay, in turn."))
    parser.add_argument("--rounds", type=positive, default=5, help="runs of each contender in each case (5)")
    parser.add_argument("--seconds", type=positive, default=5, help="measured seconds of a run (5)")
    parser.add_argument("--warm-up", type=positive, default=1, help="seconds of load before them (1)")
    parser.add_argument("--cases", type=names(list(cases.CASES)), default=list(cases.CASES), metavar="A,B",
                        help=f"some of {', '.join(cases.CASES)} (all)")
    parser.add_argument("--contenders", type=names(cases.CONTENDERS), default=cases.CONTENDERS, metavar="A,B",
                        help=f"some of {', '.join(cases.CONTENDERS)} (all)")
    parser.add_argument("--quick", action="store_true", help="one round of two seconds: a check, not a measurement")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables to FILE as Markdown too")
    parser.add_argument("--statements", action="store_true",
                        help="instead of all this, the nanoseconds that looking at a statement takes")
    parser.add_argument("--list-chosen", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.quick:
        chosen.rounds, chosen.seconds = 1, 2
    return chosen


def run_case(case, chosen, failures):
    """The figures of each contender in each round; a contender that fails is left out of the rest of the case."""
    directory, user = os.environ["BENCH_DIRECTORY"], os.environ["BENCH_USER"]
    server_port = int(os.environ["PG_PORT"])
    # A relay holds a server connection for each idle client: nothing to compare.
    taking_part = [name for name in chosen.contenders
                   if name not in case.without and not (case.idle and name.startswith("relay"))]
    results = {name: [] for name in taking_part}

    def attempt(name, body):
        if name not in taking_part:
            return None
        try:
            return body()
        except ContenderFailed as failure:
            print(f"  FAILED: {failure}", file=sys.stderr, flush=True)
            failures.append(f"{name} in {case.name}")
            taking_part.remove(name)
            results[name].clear()
            return None

    def idle_round(name):
        with Contender(name, server_port, directory, user) as contender:
            results[name].append(measure_idle(contender, case))

    with contextlib.ExitStack() as running:
        started = {}
        if not case.idle:
            for name in list(taking_part):
                started[name] = attempt(name, lambda name=name: running.enter_context(
                    Contender(name, server_port, directory, user)))
        for number in range(chosen.rounds):
            for name in list(taking_part):
                show_progress(f"{case.name}, round {number + 1} of {chosen.rounds}, {name}")
                if case.idle:
                    attempt(name, lambda name=name: idle_round(name))
                else:
                    attempt(name, lambda name=name: results[name].append(measure_transactions(
                        started[name], case, max(chosen.warm_up, case.warm_up), chosen.seconds, directory)))
    show_progress("")
    return results


def show_progress(text):
    """One line that is written over again and again; for people only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def main():
    chosen = options(sys.argv[1:])
    if chosen.list_chosen:
        print("statements" if chosen.statements else " ".join(["chosen:", *chosen.contenders]))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    description = (f"Medians of {chosen.rounds} rounds of {chosen.seconds} s, contenders in turn; "
                   f"transaction pooling, {POOL_SIZE} server connections, one thread each.")
    print(f"{description}\n{report.machine()}", flush=True)
    all_results, failures = {}, []
    for name in chosen.cases:
        all_results[name] = run_case(cases.CASES[name], chosen, failures)
        report.print_case(cases.CASES[name], all_results[name])
    report.print_goals(all_results)
    if chosen.markdown:
        report.write_markdown(chosen.markdown, all_results, description)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
