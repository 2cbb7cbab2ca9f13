"""The benchmarks run: each door of the yardstick's application delivers, and the ingest table is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What the yardstick's own driver offers: it is started at the first connection, and hands out updates once the
# clients are there (an event is for those that are).
DRIVER = """
import asyncio
tasks, publishers = [], []
def start_once(publish):
    publishers.append(publish)
def go():
    tasks.append(asyncio.get_running_loop().create_task(publishers[0](7)))
def make_update(seq):
    return f"agent_{seq:03d}", {"location": "cafe_terrace", "seq": seq, "t": 1.5}
"""

# One anonymous client at /ws/, as the load client connects; prints the frames it gets.
CLIENT = """
import asyncio, driver, yardstick_app
async def main():
    inbox, done = asyncio.Queue(), asyncio.Event()
    inbox.put_nowait({"type": "websocket.connect"})
    async def send(message):
        if "text" in message:
            print(message["text"], flush=True)
            if '"connection_established"' in message["text"]:
                driver.go()
            if '"agent_update"' in message["text"]:
                done.set()
                inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
    scope = {"type": "websocket", "path": "/ws/", "raw_path": b"/ws/", "root_path": "", "query_string": b"",
             "headers": [(b"host", b"127.0.0.1:8000")], "subprotocols": [], "scheme": "ws", "extensions": {},
             "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "asgi": {"version": "3.0"}}
    async with asyncio.timeout(20):
        await yardstick_app.application(scope, inbox.get, send)
    await yardstick_app.pipeline.stop()
asyncio.run(main())
"""


@pytest.mark.parametrize("door", ["native", pytest.param("channels", marks=pytest.mark.channels)])
def test_each_door_of_the_yardstick_delivers_an_event_to_an_anonymous_client(
    door: str, tmp_path: Path
) -> None:
    (tmp_path / "driver.py").write_text(DRIVER, encoding="utf-8")
    path = os.pathsep.join(map(str, (tmp_path, ROOT, ROOT / "benchmarks")))
    env = {**os.environ, "PYTHONPATH": path, "BENCH_DOOR": door, "BENCH_PRIORITY": "NORMAL"}
    env.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        [sys.executable, "-c", CLIENT], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert '"type":"connection_established"' in first
    assert any('"agent_id":"agent_007"' in frame and '"seq":7' in frame for frame in rest), done.stdout


def test_the_benchmark_of_measuring_prints_its_table() -> None:
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "benchmarks" / "metrics.py",
            "--rounds",
            "1",
            "--calls",
            "500",
            "--watch-s",
            "0.1",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout.count(" us |") == 7
    assert done.stdout.count(" % |") == 2


def test_the_ingest_benchmark_prints_its_table() -> None:
    """Not the figures (a busy machine decides those), only that it measures both sizes."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "ingest.py", "--rounds", "1", "--calls", "100"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout.count("| yes |") + done.stdout.count("| NO |") == 2
