"""Runs the black-box yardstick for the figures we promise, and prints them as ratios of one run.

usage: python benchmarks/yardstick.py --tools DIR [--bench ../shared/bench] [--rounds 3] [--out FILE.jsonl]

DIR is the folder that the yardstick's ``setup.sh`` filled. This Python must have the project installed with
the extras ``channels`` and ``uvicorn``. Peers are interleaved within each round, and every figure is the
median over the rounds of a ratio or difference taken inside one round. ``--report`` judges an existing file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIMIT, STOCK = "C send()", "channels uvicorn/sansio"
NATIVE, URGENT, CONSUMER = "ours classic", "ours classic critical", "ours channels classic"
SYNC, RIVALS = "ours sync", ("socketify", "nats")
BUSY = "paced:100:20000:100"
PACED, TICK, SLOW, STALL = "paced:100:250", "paced:100:250:25", "slow:100:250", "stall:100:250"
STALLED = 10  # of the hundred

RUNS: dict[str, tuple[list[str], list[str]]] = {
    "sat100": (["sat:100"], [LIMIT, STOCK, NATIVE, CONSUMER]),
    "sat1000": (["sat:1000"], [LIMIT, NATIVE]),
    "paced": ([PACED, TICK], [LIMIT, NATIVE, URGENT]),
    "slow": ([SLOW], [NATIVE]),
    "sync100": (["sat:100"], [STOCK, *RIVALS, SYNC]),
    "sync1000": (["sat:1000"], [STOCK, *RIVALS, SYNC]),
    "busy": ([BUSY], [SYNC]),
    "mem": (["mem"], [SYNC]),
    "stall": ([PACED, STALL], [SYNC]),
}

Result = dict[str, Any]


class Results:
    """The yardstick's JSON lines by test, peer and round."""

    def __init__(self, lines: list[Result]) -> None:
        self._by_key = {(r["test"], r["peer"], r["round"]): r for r in lines}
        self._rounds = sorted({r["round"] for r in lines})

    def median(self, figure: Callable[[Callable[[str, str], Result]], float]) -> float | None:
        """The median over the rounds of ``figure(get)``, where ``get(test, peer)`` is that round's result."""
        values = []
        for number in self._rounds:
            try:
                values.append(figure(lambda test, peer, n=number: self._by_key[test, peer, n]))
            except (KeyError, TypeError):
                continue  # the round lacks a peer, or the peer failed: judged by what is there
        return statistics.median(values) if values else None


def speed(result: Result) -> float:
    return float(result["load"]["updates_per_s"])


def p99(result: Result) -> float:
    return float(result["load"]["lat_ms"]["p99"])


def lost(result: Result) -> float:
    return float(result["lost_pct"])


@dataclass(frozen=True)
class Figure:
    """One promised figure; ``at_least`` or else at most ``bound``."""

    name: str
    bound: float
    at_least: bool
    of: Callable[[Callable[[str, str], Result]], float]


FIGURES = [
    Figure(
        "100 clients, native: speed / stock Channels",
        10,
        True,
        lambda g: speed(g("sat:100", NATIVE)) / speed(g("sat:100", STOCK)),
    ),
    Figure(
        "100 clients, native: speed / C send()",
        0.4,
        True,
        lambda g: speed(g("sat:100", NATIVE)) / speed(g("sat:100", LIMIT)),
    ),
    Figure(
        "100 clients, consumer: speed / stock Channels",
        6,
        True,
        lambda g: speed(g("sat:100", CONSUMER)) / speed(g("sat:100", STOCK)),
    ),
    Figure(
        "1,000 clients, native: speed / C send()",
        0.35,
        True,
        lambda g: speed(g("sat:1000", NATIVE)) / speed(g("sat:1000", LIMIT)),
    ),
    Figure("250/s NORMAL: p99 ms", 60, False, lambda g: p99(g(PACED, NATIVE))),
    Figure("250/s NORMAL: lost %", 0, False, lambda g: lost(g(PACED, NATIVE))),
    Figure("250/s CRITICAL: p99 ms", 5, False, lambda g: p99(g(PACED, URGENT))),
    Figure("250/s CRITICAL: lost %", 0, False, lambda g: lost(g(PACED, URGENT))),
    Figure("ticks of 25: p99 ms", 10, False, lambda g: p99(g(TICK, NATIVE))),
    Figure("ticks of 25: lost %", 0, False, lambda g: lost(g(TICK, NATIVE))),
    Figure(
        "one of 100 stalled: others' p99 ms over 1.2 x undisturbed",
        1,
        False,
        lambda g: p99(g(SLOW, NATIVE)) - 1.2 * p99(g(PACED, NATIVE)),
    ),
    Figure(
        "one of 100 stalled: peak MB over undisturbed",
        1,
        False,
        lambda g: g(SLOW, NATIVE)["rss_peak_mb"] - g(PACED, NATIVE)["rss_peak_mb"],
    ),
    Figure("one of 100 stalled: others lost %", 0, False, lambda g: lost(g(SLOW, NATIVE))),
    *(
        figure
        for test, clients in (("sat:100", "100"), ("sat:1000", "1,000"))
        for figure in (
            Figure(
                f"{clients} clients, sync: speed / stock Channels",
                200,
                True,
                lambda g, test=test: speed(g(test, SYNC)) / speed(g(test, STOCK)),
            ),
            Figure(
                f"{clients} clients, sync: speed / the faster of uWebSockets and NATS",
                1.2,
                True,
                lambda g, test=test: speed(g(test, SYNC)) / max(speed(g(test, rival)) for rival in RIVALS),
            ),
            Figure(f"{clients} clients, sync: lost %", 0, False, lambda g, test=test: lost(g(test, SYNC))),
        )
    ),
    Figure("100 clients x 20,000/s, sync: p99 ms", 100, False, lambda g: p99(g(BUSY, SYNC))),
    Figure("100 clients x 20,000/s, sync: lost %", 0, False, lambda g: lost(g(BUSY, SYNC))),
    Figure(
        "a stalled connection, sync: peak KB over undisturbed",
        64,
        False,
        lambda g: 1024 * (g(STALL, SYNC)["rss_peak_mb"] - g(PACED, SYNC)["rss_peak_mb"]) / STALLED,
    ),
    Figure("an idle connection, sync: KB", 24, False, lambda g: g("mem", SYNC)["kb_per_conn"]),
]


def drive(options: argparse.Namespace) -> None:
    """Run the yardstick, one set of peers after the other within each round."""
    tools = Path(options.tools).resolve()
    env = {
        **os.environ,
        "BENCH_OURS": str(ROOT),
        "BENCH_OURS_PY": sys.executable,
        "BENCH_BIN": str(tools),
        "BENCH_NODE_PATH": str(tools / "node" / "node_modules"),
    }
    names = options.only.split(",") if options.only else list(RUNS)
    for number in range(options.rounds):
        for name in names:
            tests, peers = RUNS[name]
            with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as part:
                command = [
                    tools / "venv" / "bin" / "python",
                    "run.py",
                    part.name,
                    "1",
                    ",".join(tests),
                    *peers,
                ]
                subprocess.run(list(map(str, command)), cwd=options.bench, env=env, check=True)
                with open(options.out, "a", encoding="utf-8") as out:
                    for line in part:
                        out.write(json.dumps({**json.loads(line), "round": number}) + "\n")


def report(results: Results) -> bool:
    """Print the table; whether every figure that was measured is within its bound."""
    good = True
    print("\n| figure | measured | bound | within |\n|---|---:|---:|---|")
    for figure in FIGURES:
        value = results.median(figure.of)
        sign = ">=" if figure.at_least else "<="
        if value is None:
            print(f"| {figure.name} | - | {sign} {figure.bound} | not measured |")
            continue
        within = value >= figure.bound if figure.at_least else value <= figure.bound
        good &= within
        print(f"| {figure.name} | {value:.2f} | {sign} {figure.bound} | {'yes' if within else 'NO'} |")
    return good


def main() -> int:
    """Run, then judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tools", help="the folder that setup.sh filled")
    parser.add_argument(
        "--bench", default=str(ROOT.parent / "shared" / "bench"), help="the yardstick's folder"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help=f"some of {','.join(RUNS)}")
    parser.add_argument("--out", default=str(Path(tempfile.gettempdir()) / "yardstick.jsonl"))
    parser.add_argument("--report", action="store_true", help="judge --out without running anything")
    options = parser.parse_args()
    if not options.report:
        if not options.tools:
            parser.error("--tools is needed: run setup.sh of the yardstick first")
        Path(options.out).unlink(missing_ok=True)
        drive(options)
    with open(options.out, encoding="utf-8") as lines:
        return 0 if report(Results([json.loads(line) for line in lines])) else 1


if __name__ == "__main__":
    sys.exit(main())
