"""The campaign's command: plays hostile conversations and reports what they did.

    python -m tests.hostile                                 100,000 inputs in process
    python -m tests.hostile --over sockets --count 3000     real sockets: uvicorn and daphne
    python -m tests.hostile --count 1000000                 the long one
    python -m tests.hostile --seed 4711 --count 1           one conversation again

Exit code 0 if nothing was found, 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

#: What `--over` may name, and the doors it stands for, each with its share of the inputs.
DOORS: dict[str, dict[str, float]] = {
    "in-process": {"asgi": 0.7, "consumers": 0.3},
    "sockets": {"uvicorn": 0.7, "daphne": 0.3},
    "asgi": {"asgi": 1.0},
    "consumers": {"consumers": 1.0},
    "uvicorn": {"uvicorn": 1.0},
    "daphne": {"daphne": 1.0},
}


def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description="Plays hostile clients.")
    parser.add_argument("--over", choices=DOORS, default="in-process", help="the doors to knock at")
    parser.add_argument("--seed", type=int, default=0, help="the first conversation's seed")
    parser.add_argument(
        "--count", type=int, default=100_000, help="inputs to reach; a conversation is never cut"
    )
    parser.add_argument("--json", type=Path, help="write the report to this file, too")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        os.environ["HOSTILE_DATABASE"] = str(Path(folder) / "hostile.sqlite3")
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.hostile.settings"
        import django

        django.setup()
        from .people import settle

        people = settle()
        reports = asyncio.run(_campaign(options, people))
    for report in reports:
        print(json.dumps(report, indent=1) if report["finds"] else json.dumps(report), flush=True)
        for find in report["finds"]:
            print(f"FOUND {find}", file=sys.stderr)
    if options.json is not None:
        options.json.write_text(json.dumps(reports), encoding="utf-8")
    return 1 if any(report["finds"] for report in reports) else 0


async def _campaign(options: argparse.Namespace, people: dict[str, bytes]) -> list[dict[str, Any]]:
    from .campaign import run

    shares = DOORS[options.over]
    if find_spec("channels") is None:
        shares = {name: 1.0 for name in shares if name in ("asgi", "uvicorn")}
    reports = []
    for name, share in shares.items():
        count = max(1, round(options.count * share))
        report = await run(_door(name, people), options.seed, count, talkative=count > 100_000)
        reports.append(report.summary())
    return reports


def _door(name: str, people: dict[str, bytes]) -> Any:
    if name in ("asgi", "consumers"):
        from .in_process import InProcess

        return InProcess(name, people)
    from .sockets import OverSockets

    return OverSockets(name, people)


if __name__ == "__main__":
    sys.exit(main())
