# The tables, on the terminal and as Markdown. Both come from the same rows.
import os
import platform
import re
import subprocess
from pathlib import Path

from cases import CASES, FLOOR, PEER, goals
from measure import median, ratio

TRANSACTION_HEAD = ["", "CPU us/txn", "of it user", "txn/s", "latency ms", "CPU / pgbouncer", "CPU / relay",
                    "txn/s / pgbouncer", "latency / pgbouncer"]
IDLE_HEAD = ["", "bytes/client", "empty MB", "bytes / pgbouncer"]
UNITS = {"cpu": "CPU", "tps": "txn/s", "latency": "latency", "bytes": "bytes a client"}


def ratio_text(results, name, other, figure):
    if name == other:
        return "1"
    if not results.get(name) or not results.get(other):
        return ""
    return f"{ratio(results[name], results[other], figure):.2f}"


def rows_of(case, results):
    """The head and the rows of one case's table; `results` is contender -> list of a figure set for each round."""
    if case.idle:
        rows = [[name, f"{median(runs, 'bytes'):,.0f}", f"{median(runs, 'empty') / 1e6:.1f}",
                 ratio_text(results, name, PEER, "bytes")] for name, runs in results.items() if runs]
        return IDLE_HEAD, rows
    rows = []
    for name, runs in results.items():
        if not runs:
            continue
        rows.append([
            name, f"{median(runs, 'cpu'):,.1f}", f"{median(runs, 'user'):,.1f}", f"{median(runs, 'tps'):,.0f}",
            f"{median(runs, 'latency'):.3f}", ratio_text(results, name, PEER, "cpu"),
            ratio_text(results, name, FLOOR, "cpu"), ratio_text(results, name, PEER, "tps"),
            ratio_text(results, name, PEER, "latency")])
    return TRANSACTION_HEAD, rows


def text_table(head, rows):
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  " + "  ".join(cells))
    return "\n".join(lines)


def markdown_table(head, rows):
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *rows])


def reached(all_results):
    """For each goal whose figures are there: its text and whether it is reached."""
    outcome = []
    for goal in goals():
        results = all_results.get(goal.case, {})
        if not results.get(goal.of) or (goal.against and not results.get(goal.against)):
            continue
        base = all_results.get(goal.base, {}) if goal.base else {}
        if goal.base and not (base.get(goal.of) and base.get(goal.against)):
            continue
        if goal.against:
            value = ratio(results[goal.of], results[goal.against], goal.figure)
            what = f"{goal.case}: {UNITS[goal.figure]}, {goal.of} / {goal.against}"
            if goal.base:
                value /= ratio(base[goal.of], base[goal.against], goal.figure)
                what += f", to that of {goal.base}"
            figure, bound = f"{value:.2f}", f"{goal.bound:.2f}"
        else:
            value = median(results[goal.of], goal.figure)
            what = f"{goal.case}: {UNITS[goal.figure]}, {goal.of}"
            figure, bound = f"{value:,.0f}", f"{goal.bound:,.0f}"
        is_reached = value >= goal.bound if goal.at_least else value <= goal.bound
        outcome.append([what, figure, ("at least " if goal.at_least else "at most ") + bound,
                        "yes" if is_reached else "NO"])
    return outcome


GOALS_HEAD = ["goal", "measured", "wanted", "reached"]


def machine():
    """What was measured on: processor, cores, kernel, and the programs' versions."""
    text = Path("/proc/cpuinfo").read_text(errors="replace")
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    parts = [model.group(1) if model else platform.machine(), f"{os.cpu_count()} cores", f"Linux {platform.release()}"]
    for command in [[os.path.join(os.environ["PG_BIN"], "postgres"), "--version"], ["pgbouncer", "--version"]]:
        try:
            out = subprocess.run(command, capture_output=True, text=True, check=True,
                                 env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}).stdout
            parts.append(out.splitlines()[0].replace("postgres (PostgreSQL)", "PostgreSQL"))
        except (OSError, subprocess.CalledProcessError, IndexError):
            continue
    return ", ".join(parts)


def print_case(case, results):
    print(f"\n{case.title}\n{text_table(*rows_of(case, results))}", flush=True)


def print_goals(all_results):
    outcome = reached(all_results)
    if outcome:
        print(f"\n{text_table(GOALS_HEAD, outcome)}", flush=True)


def write_markdown(path, all_results, description):
    parts = [f"{description}\n\n{machine()}."]
    for name, results in all_results.items():
        parts.append(f"**{CASES[name].title}**\n\n{markdown_table(*rows_of(CASES[name], results))}")
    outcome = reached(all_results)
    if outcome:
        parts.append(markdown_table(GOALS_HEAD, outcome))
    Path(path).write_text("\n\n".join(parts) + "\n")
