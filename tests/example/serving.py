"""The example in a server of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "example_project"


@dataclass
class Served:
    """The example in a server of its own, which can be killed and started again at the same port."""

    port: int
    command: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/dating_show/"

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=EXAMPLE,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=50,
        )

    def start(self) -> None:
        """Starts it and waits for the page."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *self.command],
                cwd=EXAMPLE,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(self.url, timeout=5) as answer:
                    assert answer.status == 200
                    return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the example did not come up:\n{self.log.read_text()}")
                time.sleep(0.1)

    def kill(self) -> None:
        """Ends it without a word (kill -9)."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


def serve_example(folder: Path, *command: str) -> Iterator[Served]:
    """Starts the example with `command` (`{port}` is filled in), waits for the page, stops it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    runtime = tempfile.mkdtemp(prefix="dup-")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "dating_show.settings",
        "DATING_SHOW_DATABASE": str(folder / "villa.sqlite3"),
        "PYTHONPATH": os.pathsep.join([str(EXAMPLE), str(EXAMPLE.parent)]),
        "PYTHONUNBUFFERED": "1",
        # The control socket of this server, and of no other; its path may have some 100 bytes only.
        "UPDATE_PIPELINE_RUNTIME_DIR": runtime,
    }
    folder.chmod(0o700)
    served = Served(
        port, tuple(part.format(port=port) for part in command), environment, folder / "server.log"
    )
    try:
        served.start()
        yield served
    finally:
        served.stop()
        shutil.rmtree(runtime, ignore_errors=True)


UVICORN = ("-m", "uvicorn", "dating_show.asgi:application", "--port", "{port}", "--log-level", "warning")
