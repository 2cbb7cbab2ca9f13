"""The database prepares itself, also when two servers start at once."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from .serving import EXAMPLE

PREPARE = (
    "import asyncio, django; django.setup()\n"
    "from dating_show.database import prepare_database\n"
    "async def inside_a_loop(): prepare_database()\n"
    "asyncio.run(inside_a_loop())"
)


def prepare(path: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dating_show.settings",
        "DATING_SHOW_DATABASE": str(path),
        "PYTHONPATH": os.pathsep.join([str(EXAMPLE), str(EXAMPLE.parent)]),
    }
    return subprocess.Popen(
        [sys.executable, "-c", PREPARE], env=environment, stderr=subprocess.PIPE, text=True, cwd="/"
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=50)
    assert process.returncode == 0, errors


@pytest.mark.slow
def test_three_processes_prepare_one_empty_database_at_once(tmp_path: Path) -> None:
    path = tmp_path / "villa.sqlite3"
    for process in [prepare(path) for _ in range(3)]:
        finish(process)
    with sqlite3.connect(path) as database:
        tables = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
    database.close()
    assert {"auth_user", "django_session", "django_content_type"} <= tables
    finish(prepare(path))


@pytest.mark.slow
def test_a_database_that_cannot_be_prepared_stops_the_start(tmp_path: Path) -> None:
    process = prepare(tmp_path / "no such folder" / "villa.sqlite3")
    _, errors = process.communicate(timeout=50)
    assert process.returncode != 0
    assert "no such folder" in errors
