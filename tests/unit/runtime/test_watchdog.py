"""The loop's watchdog: a real thread, a real loop, and blocking calls that are released by the tests."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.core.liveness import Stall
from django_update_pipeline.core.messages import JSONObject
from django_update_pipeline.runtime.watchdog import Watchdog
from django_update_pipeline.testing import FaultyTransport

from .conftest import MakePipeline

ROOT = Path(__file__).resolve().parents[3]


def watchdogs() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "update-pipeline-watchdog"]


def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Waits in a thread that is not the loop's."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come in time"
        time.sleep(0.005)
    return found


def blocks_until(release: threading.Event) -> None:
    """A call that holds the loop as a plugin's does."""
    release.wait(20)


@pytest.mark.fault("F9", "a loop that is blocked is told of, with its place, while it is blocked")
async def test_a_stall_is_named_while_it_is_going_on_and_when_it_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dog = Watchdog(limit_s=0.1, tick_s=0.02)
    dog.start()
    release = threading.Event()
    seen: list[Stall] = []

    def look() -> None:
        try:
            seen.append(until(lambda: dog.stall() if dog.stall().where else None))
            until(lambda: "has been blocked" in caplog.text)
        finally:
            release.set()

    looker = threading.Thread(target=look)
    looker.start()
    with caplog.at_level(logging.WARNING):
        blocks_until(release)
        looker.join()
        while not dog.meter.count:  # noqa: ASYNC110 - looking is the test
            await asyncio.sleep(0.01)
    dog.stop()
    assert seen[0].is_on
    assert "test_watchdog.py" in seen[0].where
    assert "in blocks_until" in seen[0].where
    ended = dog.stall()
    assert not ended.is_on
    assert ended.seconds >= seen[0].seconds
    assert "in blocks_until" in ended.where
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(" blocked")[0] for line in lines] == ["the event loop has been", "the event loop was"]
    assert all("in blocks_until" in line and "\n" not in line for line in lines)


async def test_a_long_stall_is_told_with_ever_longer_pauses(caplog: pytest.LogCaptureFixture) -> None:
    """At 1, 2, 4 ... times its length: a loop that never comes back floods no log."""
    dog = Watchdog(limit_s=0.02, tick_s=0.01)
    dog.start()
    release = threading.Event()
    looker = threading.Thread(target=lambda: (until(lambda: dog.stall().seconds > 0.5), release.set()))
    looker.start()
    blocks_until(release)
    looker.join()
    dog.stop()
    told = sum("has been blocked" in record.getMessage() for record in caplog.records)
    assert 1 <= told <= 6, caplog.text


async def test_health_names_the_plugin_that_blocks_the_loop(make_pipeline: MakePipeline) -> None:
    release = threading.Event()
    seen: list[dict[str, Any]] = []

    class Radio:
        def transform(self, agent_id: str, update_type: str, data: JSONObject) -> JSONObject:
            blocks_until(release)
            return data

    async with make_pipeline(transformers=[Radio()]) as pipeline:

        def stalled() -> dict[str, Any] | None:
            report = pipeline.get_health_status()
            return report if "loop_stalled" in report["deductions"] else None

        def look() -> None:
            try:
                seen.append(until(stalled))
            finally:
                release.set()

        looker = threading.Thread(target=look)
        looker.start()
        await pipeline.publish("lamp", data={"on": True})
        looker.join()
    [issue] = [issue for issue in seen[0]["issues"] if issue.startswith("The event loop")]
    assert "has been blocked" in issue
    assert "Radio of plugin" in issue
    assert "in blocks_until" in issue


async def test_its_thread_lives_from_start_to_stop(make_pipeline: MakePipeline) -> None:
    before = len(watchdogs())
    pipeline = make_pipeline()
    assert len(watchdogs()) == before
    for _ in range(3):
        await pipeline.start()
        await pipeline.start()
        assert len(watchdogs()) == before + 1
        assert pipeline._monitor.watchdog.is_watching
        await pipeline.stop()
        assert len(watchdogs()) == before
        assert not pipeline._monitor.watchdog.is_watching


async def test_a_pipeline_that_can_t_start_leaves_no_thread(make_pipeline: MakePipeline) -> None:
    before = len(watchdogs())
    transport = FaultyTransport()

    async def fail(node: Any) -> None:
        raise OSError("no")

    transport.start = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no"):
        await make_pipeline(transport).start()
    assert len(watchdogs()) == before


def test_a_loop_that_ended_without_stop_leaves_no_thread(make_pipeline: MakePipeline) -> None:
    before = len(watchdogs())
    pipeline = make_pipeline()
    for _ in range(3):
        asyncio.run(pipeline.start())
        until(lambda: len(watchdogs()) == before)


@pytest.mark.fault("F43", "without a thread for the watchdog the pipeline runs, and says so in one line")
async def test_without_a_thread_the_pipeline_runs_unwatched(
    make_pipeline: MakePipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    async with make_pipeline() as pipeline:
        await pipeline.publish("lamp", data={"on": True})
        assert not pipeline._monitor.watchdog.is_watching
    assert [r.getMessage() for r in caplog.records if "nobody watches" in r.getMessage()] == [
        "nobody watches the event loop: RuntimeError: can't start new thread"
    ]


async def test_the_loop_is_asked_again_and_again_and_what_fails_there_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rounds = 0
    enough = asyncio.Event()

    def fail() -> None:
        nonlocal rounds
        rounds += 1
        if rounds >= 3:
            enough.set()
        raise ValueError("a bug\nof ours")

    dog = Watchdog(fail, tick_s=0.01)
    dog.start()
    async with asyncio.timeout(20):
        await enough.wait()
    dog.stop()
    [line] = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert line.startswith("what is measured on the loop failed: ValueError: a bug\\nof ours (")
    assert line.endswith("in fail)")


async def test_a_question_of_before_a_restart_is_no_answer_of_after(make_pipeline: MakePipeline) -> None:
    dog = Watchdog(tick_s=60.0)
    dog.start()
    old = dog._stop
    assert old is not None
    dog.stop()
    dog.start()
    dog.meter.ask(0.0)
    dog._answer(old)
    assert dog.meter.is_asked
    dog.stop()


SLEEPER = """
import asyncio, os, signal, sys
from django_update_pipeline import UpdatePipeline

async def main():
    async with UpdatePipeline() as pipeline:
        rounds = 0
        look_round = pipeline._monitor.watchdog._on_round
        def counted():
            nonlocal rounds
            rounds += 1
            look_round()
        pipeline._monitor.watchdog._on_round = counted
        while rounds < 2:
            await asyncio.sleep(0.01)
        before = rounds
        print("stop me", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        woken = rounds - before
        await pipeline.publish("lamp", data={"on": True})
        while rounds < before + woken + 2:
            await asyncio.sleep(0.01)
        health, metrics = pipeline.get_health_status(), pipeline.get_performance_metrics()
        print(woken, health["health_score"], health["issues"], metrics["loop_stalls"], flush=True)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.fault("F2", "a process that was stopped for seconds blames no plugin and goes on")
@pytest.mark.fault("F40", "after a suspension one tick catches up; there is no storm of timers")
def test_a_process_that_was_stopped_blames_nobody_and_catches_up_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "stop me\n"
            os.kill(process.pid, 19)  # SIGSTOP
            time.sleep(3.0)  # of every clock: a stopped process has none that could be set
            process.stdin.write("go\n")
            process.stdin.flush()
            os.kill(process.pid, 18)  # SIGCONT
            line = process.stdout.readline()
        finally:
            process.kill()
    assert line, "it died"
    woken, rest = line.split(" ", 1)
    # Three seconds are a dozen rounds; it may have come round once before it was stopped and once after.
    assert int(woken) <= 4, line
    assert rest == "100 [] 0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.fault(
    "F5", "a child of a fork has no watchdog, says nothing of its parent's loop, and can start one"
)
def test_a_fork_leaves_the_watchdog_behind() -> None:
    program = """
import asyncio, os, threading
from django_update_pipeline import UpdatePipeline
dog = None
async def child():
    dog.start()
    assert dog.is_watching
    dog.stop()
    assert threading.active_count() == 1, threading.enumerate()
async def main():
    global dog
    pipeline = UpdatePipeline()
    await pipeline.start()
    dog = pipeline._monitor.watchdog
    dog.meter.ask(-99.0)
    pid = os.fork()
    if pid == 0:
        return pid
    assert os.waitpid(pid, 0)[1] == 0
    await pipeline.stop()
    return pid
pid = asyncio.run(main())
if pid == 0:
    assert not dog.is_watching and dog.stall().seconds == 0.0
    dog.stop()
    asyncio.run(child())
print("done", flush=True)
os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["done", "done"]


def test_a_bare_pipeline_that_never_starts_has_no_thread() -> None:
    before = threading.active_count()
    UpdatePipeline().get_health_status()
    assert threading.active_count() == before
