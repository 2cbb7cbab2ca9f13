"""The simulation's command: plays histories and reports the first that breaks a promise.

    python -m tests.simulation                       500 histories
    python -m tests.simulation --seeds 10000         the long one
    python -m tests.simulation --seed 4711           one history again
    python -m tests.simulation --bugs                planted bugs, and how many histories it takes to catch each

Exit code 0 if every promise held (with --bugs: if every bug was caught), 1 otherwise.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter

from .bugs import report
from .world import run_seed


def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Plays histories.")
    parser.add_argument("--seed", type=int, help="one history")
    parser.add_argument("--seeds", type=int, default=500, help="how many histories")
    parser.add_argument("--first", type=int, default=0, help="the first one's seed")
    parser.add_argument("--keep-going", action="store_true", help="report all that fail")
    parser.add_argument("--bugs", action="store_true", help="plant bugs")
    options = parser.parse_args()
    if options.bugs:
        return report(options.seeds)

    began = time.perf_counter()
    counts: Counter[str] = Counter()
    failed: list[int] = []
    seeds = (
        [options.seed] if options.seed is not None else range(options.first, options.first + options.seeds)
    )
    for done, seed in enumerate(seeds, 1):
        try:
            world = run_seed(seed)
        except Exception as error:
            failed.append(seed)
            print(f"FAILED: {error!s:.600}\n  again: python -m tests.simulation --seed {seed}", flush=True)
            if options.seed is not None:
                traceback.print_exc()
            if not options.keep_going:
                return 1
            continue
        for name, count in world.counts.items():
            counts[name] = max(counts[name], count) if name.startswith("most") else counts[name] + count
        if done % 500 == 0:
            print(f"{done} histories, {time.perf_counter() - began:.0f} s", flush=True)
    took = time.perf_counter() - began
    print(f"{len(seeds)} histories in {took:.1f} s, {len(failed)} failed {failed[:20] or ''}")
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    return 1 if failed else 0


sys.exit(main())
