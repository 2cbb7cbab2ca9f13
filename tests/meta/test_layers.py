"""The floors of the house: import-linter's contracts in setup.cfg hold, and none was emptied."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_room_imports_only_from_lower_floors() -> None:
    """Runs in a subprocess: grimp imports nothing of ours, but keeps process-wide caches."""
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as run; run()",
            "--config",
            "setup.cfg",
            "--no-cache",
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def test_the_contract_of_the_floors_names_every_room() -> None:
    """A room that chose no floor would be free to import anything."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    floors = config["importlinter:contract:floors"]
    assert floors["exhaustive"] == "True"
    named = set(
        floors["layers"].replace("(", " ").replace(")", " ").replace(":", " ").replace("|", " ").split()
    )
    package = ROOT / "django_update_pipeline"
    rooms = {path.stem for path in package.glob("*.py")} | {
        path.name for path in package.iterdir() if (path / "__init__.py").exists()
    }
    assert rooms - {"__init__"} <= named
