"""The project of `site.py` on a uvicorn of its own, which can be killed and started again at the same port."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Site:
    """The served project."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.folder = folder
        self.log = folder / "server.log"
        self.runtime = tempfile.mkdtemp(prefix="dup-")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "uvicorn", "tests.client.site:application", "--factory"]
        command += ["--port", str(self.port), "--log-level", "warning", "--timeout-graceful-shutdown", "2"]
        variables = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "SITE_STATIC": str(self.folder),
            "UPDATE_PIPELINE_RUNTIME_DIR": self.runtime,
        }
        variables.pop("DJANGO_SETTINGS_MODULE", None)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 40
        while True:
            try:
                self.do("nothing")
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the site did not come up:\n{self.log.read_text()}")
                time.sleep(0.05)

    def do(self, what: str, number: int = 0) -> None:
        with urllib.request.urlopen(f"{self.url}/do/{what}/?n={number}", timeout=20) as answer:
            assert answer.read() == b"ok"

    def metrics(self) -> dict[str, Any]:
        """What its pipeline says of itself."""
        with urllib.request.urlopen(f"{self.url}/metrics/", timeout=20) as answer:
            told: dict[str, Any] = json.load(answer)
        return told

    def kill(self) -> None:
        """As `kill -9` does: nobody says goodbye."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    served = Site(folder)
    try:
        served.start()
        yield served
    finally:
        served.kill()
        shutil.rmtree(served.runtime, ignore_errors=True)
