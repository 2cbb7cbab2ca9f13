"""What a server writes to its log when a client sends bytes that are no text."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _frame(payload: bytes) -> bytes:
    """A masked text frame."""
    return bytes([0x81, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


def _connected(port: int, deadline: float) -> socket.socket:
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=20)
        except ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "tracebacks"), [("tests.settings", 4), ("tests.integration.log_settings", 0)]
)
def test_frames_that_are_no_utf_8_fill_no_log_with_the_filter(settings: str, tracebacks: int) -> None:
    """Without it uvicorn writes a traceback each: should that end one day, the filter and its page can go."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="dup") as folder:
        env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": settings,
            "PYTHONPATH": str(ROOT),
            "UPDATE_PIPELINE_RUNTIME_DIR": folder,
        }
        command = [sys.executable, "-m", "uvicorn", "django_update_pipeline.asgi:application"]
        command += ["--port", str(port), "--ws", "websockets-sansio"]
        server = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            deadline = time.monotonic() + 60
            for _ in range(4):
                with _connected(port, deadline) as client:
                    key = base64.b64encode(b"0" * 16).decode()
                    client.sendall(
                        f"GET /ws/updates/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
                        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
                    )
                    got = b""
                    while b"connection_established" not in got:
                        got += client.recv(4096)
                    client.sendall(_frame(b"\xff\xfe"))
                    while got[-2:] != b"\x03\xef":  # 1007: not UTF-8
                        more = client.recv(4096)
                        assert more, got
                        got += more
        finally:
            server.terminate()
            log = server.communicate(timeout=30)[0]
    assert log.count("Traceback") == tracebacks, log
    lines = [line for line in log.splitlines() if "Invalid UTF-8" in line]
    if not tracebacks:
        assert [line.rsplit("(", 1)[1] for line in lines] == ["1 so far)", "2 so far)", "4 so far)"]
    assert "Application startup complete" in log
