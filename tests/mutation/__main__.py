"""Mutation testing of the core: mutmut changes it in thousands of small ways, and the tests must notice each.

    python -m tests.mutation                    every module, shard after shard; a table at the end
    python -m tests.mutation --shard auto       the shard whose turn it is: what the core and its tests hold decides
    python -m tests.mutation --shard 3          shard 3
    python -m tests.mutation --modules wire     one module
    python -m tests.mutation --keep DIR         leaves mutmut's folders there: `cd DIR/0; mutmut browse`

Exit code 0 if every surviving mutant is explained in `survivors.toml` and, for the whole, at least 90 % were killed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .judging import Mutant, Survivors, mutants_of
from .sharding import CORE, NOT_MEASURED, ROOT, Shard, shards, whose_turn

LEAST_KILLED = 0.90
CONFIG = """
[tool.mutmut]
source_paths = ["django_update_pipeline/"]
only_mutate = [{files}]
also_copy = ["tests", "pyproject.toml", "setup.cfg"]
# Each mutant in a process that has run no test before. In a fork of the one that has, what a test left behind (a patch,
# by one that mutmut failed on purpose) would fail the tests of every mutant, and pass for having noticed it.
process_isolation = "forkserver"
# A mutant that hangs costs seconds, not minutes; the slowest tests of one take about one.
timeout_constant = 1.0
timeout_multiplier = 5.0
pytest_add_cli_args = ["-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:xdist"]
pytest_add_cli_args_test_selection = [{tests}]
"""


def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description="Mutation testing of the core."
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--shard", help=f"auto, or a number below {len(shards())}")
    chosen.add_argument("--modules", nargs="+", help="modules of the core by name")
    parser.add_argument("--jobs", type=int, default=2, help="mutants tested at once")
    parser.add_argument("--keep", type=Path, help="a folder for mutmut's own, which is kept")
    options = parser.parse_args()

    turn = [whose_turn()] if options.shard == "auto" else range(len(shards()))
    if options.shard not in (None, "auto"):
        turn = [int(options.shard)]
    todo = [shards()[number] for number in turn]
    if options.modules:
        todo = [Shard((module,)) for module in options.modules]
    survivors = Survivors.read(Path(__file__).with_name("survivors.toml"))
    found: list[Mutant] = []
    for number, shard in enumerate(todo):
        began, spent = time.monotonic(), processor_s()
        with tempfile.TemporaryDirectory() as folder:
            place = options.keep / str(number) if options.keep else Path(folder)
            mutants = run(shard, place, options.jobs)
        found += mutants
        killed = sum(mutant.is_killed for mutant in mutants)
        took, spent = time.monotonic() - began, processor_s() - spent
        print(
            f"{shard}: {killed} of {len(mutants)} killed, {took:.0f} s, {spent:.0f} s of a processor",
            flush=True,
        )
    for name, reason in NOT_MEASURED.items():
        print(f"{name}: not measured yet, {reason}")
    is_whole = options.shard is None and not options.modules
    return report(found, survivors, is_whole)


def processor_s() -> float:
    """Seconds of a processor that ended children took: what a shard costs, however busy the machine is."""
    times = os.times()
    return times.children_user + times.children_system


def run(shard: Shard, place: Path, jobs: int) -> list[Mutant]:
    """Has mutmut run one shard in a copy of what it needs."""
    shutil.copytree(
        ROOT / "django_update_pipeline",
        place / "django_update_pipeline",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for folder in ("unit/core", "property"):  # all of them: one may build on another's world
        shutil.copytree(
            ROOT / "tests" / folder,
            place / "tests" / folder,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for name in ("conftest.py", "settings.py", "urls.py"):
        shutil.copy(ROOT / "tests" / name, place / "tests" / name)
    shutil.copy(ROOT / "setup.cfg", place)
    files = [f"{CORE}/{module}.py" for module in shard.modules]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    done = run_mutmut(
        place, files, [f"tests/{name}" for name in shard.tests()], shard.patterns(), jobs, project
    )
    mutants = [
        mutant for module in shard.modules for mutant in mutants_of(place, module) if shard.has(mutant.name)
    ]
    untested = [mutant.name for mutant in mutants if mutant.code is None]
    if not mutants or untested:
        last = re.split(r"[\r\n]+", done.stdout)[-30:]
        raise SystemExit(
            f"mutmut failed ({done.returncode}) on {shard}:\n" + "\n".join(last) + done.stderr[-3000:]
        )
    return mutants


def run_mutmut(
    place: Path, files: list[str], tests: list[str], patterns: list[str], jobs: int, project: str = ""
) -> subprocess.CompletedProcess[str]:
    """Has mutmut change these files, and run these tests, all of them below `place`."""
    config = project + CONFIG.format(files=json.dumps(files)[1:-1], tests=json.dumps(tests)[1:-1])
    (place / "pyproject.toml").write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(jobs), *patterns]
    env = {**os.environ, "HYPOTHESIS_PROFILE": "mutation", "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, errors="replace")


def report(mutants: list[Mutant], survivors: Survivors, is_whole: bool) -> int:
    """Prints the score of each module, and the survivors nobody has explained."""
    print(f"\n{'module':18} {'mutants':>7} {'killed':>7} {'explained':>9} {'score':>7}")
    unexplained: list[Mutant] = []
    modules = sorted({mutant.module for mutant in mutants})
    for module in [*modules, "all"]:
        those = [mutant for mutant in mutants if module in (mutant.module, "all")]
        alive = [mutant for mutant in those if not mutant.is_killed]
        explained = [mutant for mutant in alive if survivors.explain(mutant)]
        if module == "all":
            unexplained = [mutant for mutant in alive if mutant not in explained]
        killed = len(those) - len(alive)
        print(f"{module:18} {len(those):7} {killed:7} {len(explained):9} {killed / max(1, len(those)):7.1%}")
    for mutant in unexplained:
        print(f"\nsurvived: {mutant}")
    problems = [f"{len(unexplained)} mutants survived unexplained"] if unexplained else []
    if is_whole:
        score = sum(mutant.is_killed for mutant in mutants) / max(1, len(mutants))
        if score < LEAST_KILLED:
            problems.append(f"{score:.1%} killed, fewer than {LEAST_KILLED:.0%}")
        problems += [f"explains nothing any more: {entry}" for entry in survivors.unused(NOT_MEASURED)]
    for problem in problems:
        print(f"FAILED: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
