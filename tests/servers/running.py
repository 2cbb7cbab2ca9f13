"""Servers of their own process, and everything they were: port, log, processes, the commands that reach them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from django_update_pipeline.control import CommandFailed, ControlClient

from .kinds import ServerKind

ROOT = Path(__file__).resolve().parents[2]
PROJECT = Path(__file__).resolve().parent / "project"
SETTINGS = "tests.servers.project.settings"

#: What no server's log may hold, unless its kind says why it is no trouble.
TROUBLE = re.compile(
    r"Traceback \(most recent call last\)|^(ERROR|CRITICAL)\b|\[(ERROR|CRITICAL)\]|Segmentation fault|Warning: "
    r"|was never (awaited|retrieved)|Task was destroyed",
    re.MULTILINE,
)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def session_members(session_id: int) -> dict[int, str]:
    """The living processes of a session, with their command lines: what a server started and did not end."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            _, _, rest = (entry / "stat").read_text().rpartition(")")
            state, _, _, session, *_ = rest.split()
            if int(session) == session_id and state != "Z":
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
    return found


@dataclass
class Running:
    """A running server."""

    kind: ServerKind
    port: int
    process: subprocess.Popen[bytes]
    log_path: Path
    environment: dict[str, str]
    cookies: dict[str, str]
    is_ended: bool = field(default=False, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def socket_url(self, path: str = "/ws/updates/") -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def page(self) -> str:
        with urllib.request.urlopen(self.url, timeout=10) as answer:
            assert answer.status == 200
            text: str = answer.read().decode()
            return text

    # commands

    def call(self, command: str, /, pid: int | None = None, **params: Any) -> Any:
        """A command over the control socket, as `manage.py` gives it from another process."""
        with self._surroundings(), ControlClient.connect(f"{SETTINGS}:{PROJECT}", 20, pid) as client:
            return client.call(command, **params)

    def act(self, action: str, agent_id: str = "agent", pid: int | None = None, **params: Any) -> None:
        """Has the served project's plugin do something."""
        self.call("action", pid=pid, agent_id=agent_id, action=action, params=params)

    def census(self, pid: int | None = None) -> dict[str, int]:
        """What the process holds: connections, tasks, threads, descriptors."""
        try:
            self.act("census", pid=pid)
        except CommandFailed as answer:
            counts: dict[str, int] = json.loads(str(answer))
            return counts
        raise AssertionError("a census answers by a refusal")

    def pids(self) -> list[int]:
        """The processes that serve, as their control sockets tell."""
        with self._surroundings():
            clients = ControlClient.connect_all(f"{SETTINGS}:{PROJECT}")
        for client in clients:
            client.close()
        return sorted(client.pid for client in clients)

    @contextlib.contextmanager
    def _surroundings(self) -> Iterator[None]:
        name = "UPDATE_PIPELINE_RUNTIME_DIR"
        before = os.environ.get(name)
        os.environ[name] = self.environment[name]
        try:
            yield
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before

    # the end

    def end(self, within_s: float = 20.0, with_signal: int = signal.SIGTERM) -> float:
        """Tells the server to end, and waits for it; returns how long it took, in seconds."""
        began = time.monotonic()
        if not self.is_ended:
            self.is_ended = True
            self.process.send_signal(with_signal)
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            pytest.fail(f"{self.kind} did not end within {within_s} s:\n{self.log[-4000:]}")
        return time.monotonic() - began

    def trouble(self) -> list[str]:
        """Lines of the log that look like trouble, those left out that the kind explains."""
        text = self.log
        for pattern, _reason in self.kind.noise:
            text = re.sub(pattern, "", text, flags=re.DOTALL | re.MULTILINE)
        return [text[max(0, at.start() - 200) : at.end() + 2000] for at in TROUBLE.finditer(text)]


def make_people(folder: Path) -> tuple[Path, dict[str, str]]:
    """A database with two people who are signed in, and their cookies by name."""
    database = folder / "people.sqlite3"
    environment = {**_environment(), "SERVED_DATABASE": str(database)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.servers.project.people"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return database, {name: f"sessionid={key}" for name, key in json.loads(done.stdout).items()}


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }


@contextlib.contextmanager
def serve(
    kind: ServerKind,
    folder: Path,
    people: tuple[Path, dict[str, str]],
    *,
    pipeline: dict[str, Any] | None = None,
    before: tuple[str, ...] = (),
    **environment: str,
) -> Iterator[Running]:
    """Runs a server from start to end; at the end nothing of it may be left, and its log must be clean.

    Args:
        kind: which, and with which options.
        folder: gets the database and the log.
        people: what `make_people` returned.
        pipeline: more of the UPDATE_PIPELINE setting.
        before: a command line that runs the server (`prlimit --nofile=64`).
        environment: more variables.
    """
    database, cookies = people
    shutil.copy(database, folder / "served.sqlite3")
    runtime = tempfile.mkdtemp(prefix="dup-")  # a socket's path may have some 100 bytes only
    port = free_port()
    variables = {
        **_environment(),
        "SERVED_DATABASE": str(folder / "served.sqlite3"),
        "SERVED_PIPELINE": json.dumps(pipeline or {}),
        "UPDATE_PIPELINE_RUNTIME_DIR": runtime,
        **kind.environment,
        **environment,
    }
    log_path = folder / "server.log"
    command = [*before, sys.executable, *(part.format(port=port) for part in kind.command)]
    with log_path.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=output, stderr=output, start_new_session=True
        )
    running = Running(kind, port, process, log_path, variables, cookies)
    try:
        _wait_until_up(running)
        yield running
        running.end()
        left = _what_is_left(process.pid)
        assert not left, f"{kind} left processes behind: {left}"
        assert not running.trouble(), running.trouble()[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(runtime, ignore_errors=True)


def _wait_until_up(running: Running) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            running.page()
            break
        except OSError:
            if running.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{running.kind} did not come up:\n{running.log}")
            time.sleep(0.05)
    while len(running.pids()) < running.kind.workers:
        if time.monotonic() > deadline:
            pytest.fail(f"{running.kind}: only {running.pids()} answer:\n{running.log}")
        time.sleep(0.05)


def _what_is_left(session_id: int) -> dict[int, str]:
    """What of a server is left; helpers of multiprocessing get a moment to notice that they are alone."""
    deadline = time.monotonic() + 5
    while (left := session_members(session_id)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
