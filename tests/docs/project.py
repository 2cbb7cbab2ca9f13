"""A project of a reader's own, made in an empty folder from a page's blocks, and served as the page says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.docs.markdown import ROOT, Block

RUNSERVER = ["manage.py", "runserver", "--noreload", "PORT"]


def write(folder: Path, block: Block) -> None:
    """Puts a block where the page says: it is the whole file, or goes to the end of one that is there."""
    file = folder / str(block.file)
    if block.is_whole:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.code, encoding="utf-8")
    else:
        assert file.exists(), f"{block.name} adds to a file that is not there"
        file.write_text(file.read_text(encoding="utf-8") + "\n\n" + block.code, encoding="utf-8")


def environment() -> dict[str, str]:
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "mysite.settings", "PYTHONPATH": str(ROOT)}


def manage(folder: Path, *arguments: str, **variables: str) -> str:
    """What the command prints.

    Raises:
        AssertionError: it ends with another code than 0.
    """
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment(), **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def served(folder: Path, command: list[str], *, killed: bool = False) -> Iterator[str]:
    """The project, served by a command on a free port; yields `127.0.0.1:PORT`. `killed` is how it ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    arguments = [port if word == "PORT" else word for word in command]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, env=environment(), stdout=log, stderr=log
        )
        try:
            host = f"127.0.0.1:{port}"
            wait_for_port(int(port), server, folder)
            yield host
        finally:
            server.kill() if killed else server.terminate()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_for_port(port: int, server: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 45
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server did not come up:\n" + (folder / "server.log").read_text())


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def frame(websocket: Any) -> dict[str, Any]:
    received: dict[str, Any] = json.loads(websocket.recv(timeout=10))
    return received
