"""The TypeScript client, built in a folder of its own: the clone stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node import installed

JS = Path(__file__).resolve().parents[2] / "js"

Node = Callable[..., str]


@pytest.fixture(scope="session")
def client_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of js/ with its packages and `dist/`."""
    modules = installed(JS)
    folder = tmp_path_factory.mktemp("client") / "js"
    shutil.copytree(JS, folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (folder / "node_modules").symlink_to(modules, target_is_directory=True)
    _run(folder, "build.mjs")
    return folder


@pytest.fixture(scope="session")
def node(client_folder: Path) -> Node:
    """Runs Node in the client's folder: what it prints, or a failure that shows it."""

    def run(*arguments: str, text: str | None = None, **environment: str) -> str:
        return _run(client_folder, *arguments, text=text, **environment)

    return run


def _run(folder: Path, *arguments: str, text: str | None = None, **environment: str) -> str:
    done = subprocess.run(
        ["node", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        input=text,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, f"node {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
