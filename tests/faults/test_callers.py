"""F11, F12 and F16: whoever queues, from wherever, whatever: never blocked, nothing lost, poison refused."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from django_update_pipeline import PipelineConfig, UpdatePipeline
from django_update_pipeline.core.config import QueueConfig
from django_update_pipeline.exceptions import InvalidUpdate
from django_update_pipeline.runtime.clock import SystemClock
from django_update_pipeline.runtime.parts import default_parts
from django_update_pipeline.testing import RecordingTransport

LONG = os.environ.get("UPDATE_PIPELINE_LONG") == "1"
THREADS, CALLS = 50, 20_000 if LONG else 2_000
SHARED = 7
ROOT = Path(__file__).resolve().parents[2]


def made() -> tuple[UpdatePipeline, RecordingTransport]:
    config = PipelineConfig(queue=QueueConfig(max_events=2 * THREADS * CALLS, max_event_bytes=2**31))
    parts = default_parts(config, SystemClock())
    transport = parts.transport = RecordingTransport()
    return UpdatePipeline(config, parts=parts), transport


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.fault(
    "F11", "what fifty threads queue at once all arrives, in the order of each thread for each agent"
)
@pytest.mark.timeout(1800 if LONG else 300)
async def test_fifty_threads_queue_at_once(frequent_switches: None) -> None:
    pipeline, transport = made()
    go = threading.Event()
    problems: list[BaseException] = []

    def queue(number: int) -> None:
        go.wait()
        try:
            for n in range(CALLS):
                pipeline.queue_agent_update(
                    f"shared_{(number + n) % SHARED}", "said", {"thread": number, "n": n}
                )
        except BaseException as error:  # told to the test below
            problems.append(error)

    threads = [threading.Thread(target=queue, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    async with pipeline:
        go.set()
        while any(thread.is_alive() for thread in threads):  # noqa: ASYNC110 - a deadlock meets the test's timeout
            await asyncio.sleep(0.01)
        while pipeline.get_performance_metrics()["pending"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert problems == []
    total = pipeline.get_performance_metrics()["conservation"]["total"]
    assert total["accepted"] == total["delivered"] == THREADS * CALLS
    last: dict[tuple[int, str], int] = {}
    for change in transport.changes():
        data = msgspec.json.decode(change.content)
        key = (data["thread"], change.agent_id)
        assert data["n"] > last.get(key, -1), key
        last[key] = data["n"]


class Finalized:
    """Queues an update when it is collected, whatever its thread is just doing."""

    def __init__(self, pipeline: UpdatePipeline, counted: list[int]) -> None:
        self.pipeline = pipeline
        self.counted = counted
        self.me = self  # a cycle: only the collector ends it

    def __del__(self) -> None:
        self.pipeline.queue_agent_update("finalized", "said", {"n": len(self.counted)})
        self.counted.append(1)


@pytest.mark.fault(
    "F12", "what a finalizer queues is accepted, in the middle of whatever its thread was doing"
)
def test_a_finalizer_may_queue_while_it_interrupts_queueing() -> None:
    pipeline, _ = made()
    counted: list[int] = []
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for n in range(2_000):
            Finalized(pipeline, counted)
            pipeline.queue_agent_update(f"a{n % 3}", "said", {"n": [n, {"deep": [n]}]})
    finally:
        gc.set_threshold(*before)
        gc.collect()
    total = pipeline.get_performance_metrics()["conservation"]["total"]
    assert len(counted) == 2_000
    assert total["accepted"] == total["pending"] == 4_000


@pytest.mark.fault(
    "F12",
    "queueing works alike with a running loop, with none, and in a callback of another loop",
)
async def test_it_does_not_matter_which_loop_runs_where_something_is_queued() -> None:
    pipeline, transport = made()

    def queue(where: str) -> None:
        pipeline.queue_agent_update(where, "said", {})

    def other_loop() -> None:
        async def inside() -> None:
            asyncio.get_running_loop().call_soon(queue, "callback of another loop")
            await asyncio.sleep(0)  # the callback's turn
            queue("another loop")

        asyncio.run(inside())

    async with pipeline:
        queue("its own loop")
        asyncio.get_running_loop().call_soon(queue, "callback of its own loop")
        await asyncio.to_thread(queue, "no loop")
        await asyncio.to_thread(other_loop)
        await pipeline.publish("last", "said", {})
        while pipeline.get_performance_metrics()["pending"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert {change.agent_id for change in transport.changes()} == {
        "its own loop",
        "callback of its own loop",
        "no loop",
        "another loop",
        "callback of another loop",
        "last",
    }


@pytest.mark.fault(
    "F12", "a signal handler that queues in the middle of queueing is neither blocked nor blocks"
)
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
def test_a_storm_of_signals_queues_in_the_middle_of_queueing() -> None:
    pipeline, _ = made()
    signals = 0

    def handler(number: int, frame: Any) -> None:
        nonlocal signals
        signals += 1
        pipeline.queue_agent_update("signalled", "said", {"n": signals})

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    calls = 0
    try:
        while signals < 200:
            pipeline.queue_agent_update(f"a{calls % 5}", "said", {"n": calls})
            calls += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    total = pipeline.get_performance_metrics()["conservation"]["total"]
    assert total["accepted"] == total["pending"] == calls + signals


# F16


class Lazy:
    """Like a row that is read from the database when somebody looks."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"nobody reads {name}")


class Pickled:
    def __reduce__(self) -> Any:
        raise AssertionError("nobody pickles")


def cycle() -> dict[str, Any]:
    data: dict[str, Any] = {"list": []}
    data["list"].append(data)
    return data


def deep() -> dict[str, Any]:
    data: dict[str, Any] = {}
    for _ in range(100_000):
        data = {"in": data}
    return data


class Exits(dict[str, Any]):
    """A mapping whose reading ends the process."""

    def items(self) -> Any:
        raise SystemExit(3)

    def __iter__(self) -> Any:
        raise SystemExit(3)


POISON = {
    "NaN": lambda: {"x": float("nan")},
    "a cycle": cycle,
    "50 MB": lambda: {"x": "x" * 50_000_000},
    "a lazy object": lambda: {"row": Lazy()},
    "an object with __reduce__": lambda: {"x": Pickled()},
    "100,000 levels": deep,
    "half a surrogate": lambda: {"x": "\ud83d"},
    "a generator": lambda: {"x": (n for n in range(3))},
    "a set of objects": lambda: {"x": {object()}},
}


@pytest.mark.fault(
    "F16", "poison is refused at the call, to its caller, and nothing of it is kept or tried again"
)
@pytest.mark.parametrize("update_type", ["state_change", "state_patch", "said"])
@pytest.mark.parametrize("name", list(POISON))
def test_poison_is_refused_at_the_call(name: str, update_type: str) -> None:
    pipeline, _ = made()
    pipeline.queue_agent_update("known", "state_change", {"n": 1})
    for agent_id in ("known", "new"):
        with pytest.raises(InvalidUpdate) as caught:
            pipeline.queue_agent_update(agent_id, update_type, POISON[name]())
        assert len(str(caught.value)) < 1_000
    total = pipeline.get_performance_metrics()["conservation"]["total"]
    assert (total["accepted"], total["pending"]) == (1, 1)
    assert not pipeline.dead_letters.list()


@pytest.mark.fault(
    "F16", "what a load or transformer makes of an update is looked at like what a caller hands in"
)
@pytest.mark.parametrize("name", list(POISON))
async def test_poison_from_a_load_dies_of_its_retries_and_others_pass(name: str) -> None:
    pipeline, _ = made()
    async with pipeline, asyncio.timeout(60):
        pipeline.queue_agent_changed("poison", lambda agent_id: POISON[name]())
        pipeline.queue_agent_changed("exits", lambda agent_id: Exits(a=1))
        await pipeline.publish("good", "state_change", {"n": 1})
        while len(pipeline.dead_letters) < 1:  # noqa: ASYNC110 - looking is the test
            await asyncio.sleep(0.01)
        while pipeline.get_performance_metrics()["pending"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert pipeline.is_running
    assert "poison" in {letter.agent_id for letter in pipeline.dead_letters.list()}
    assert "good" in pipeline.store.states("updates")


@pytest.mark.fault("F16", "keys and values of bytes are sent as base64 text: odd, and no poison")
async def test_bytes_are_text_to_a_browser() -> None:
    pipeline, _ = made()
    data: dict[Any, Any] = {b"\xff": b"\x00"}
    async with pipeline:
        await pipeline.publish("a", "state_change", data)
    assert pipeline.store.states("updates") == {"a": b'{"/w==":"AA=="}'}


# F10

EXITS = {
    "sys.exit in the middle": (
        """
        async def main():
            async with pipeline:
                queue(1000)
                sys.exit(7)
        asyncio.run(main())
        """,
        7,
    ),
    "started and never stopped": (
        """
        async def main():
            await pipeline.start()
            queue(20_000)
        asyncio.run(main())
        """,
        0,
    ),
    "an error in the middle": (
        """
        async def main():
            await pipeline.start()
            queue(20_000)
            raise RuntimeError("on purpose")
        asyncio.run(main())
        """,
        1,
    ),
    "queued at exit": (
        """
        atexit.register(queue, 1000)
        async def main():
            await pipeline.start()
            queue(1000)
        asyncio.run(main())
        """,
        0,
    ),
    "a thread queues while the interpreter ends": (
        """
        def for_ever():
            while True:
                queue(1)
        async def main():
            await pipeline.start()
            for _ in range(3):
                threading.Thread(target=for_ever, daemon=True).start()
            await asyncio.sleep(0.2)
        asyncio.run(main())
        """,
        0,
    ),
    "a finalizer queues at the very end": (
        """
        class Last:
            def __del__(self):
                queue(1)
        last = Last()
        last.me = last
        pipeline.last = last
        async def main():
            await pipeline.start()
            queue(1000)
        asyncio.run(main())
        """,
        0,
    ),
    "a blocked transport": (
        """
        async def publish(publication):
            await asyncio.Event().wait()
        pipeline.transport.publish = publish
        async def main():
            async with pipeline:
                queue(1000)
                report = await pipeline.stop(0.2)
                assert report.pending == 1000, report
        asyncio.run(main())
        """,
        0,
    ),
}


@pytest.mark.fault(
    "F10", "an interpreter that ends with a full queue ends: nothing hangs, the exit code is its own"
)
@pytest.mark.parametrize("name", list(EXITS))
def test_an_interpreter_that_ends_with_a_full_queue_ends(name: str) -> None:
    script, code = EXITS[name]
    head = """
    import asyncio, atexit, sys, threading
    from django_update_pipeline import PipelineConfig, UpdatePipeline
    from django_update_pipeline.core.config import QueueConfig
    pipeline = UpdatePipeline(PipelineConfig(queue=QueueConfig(max_events=10_000_000)))
    def queue(count):
        for n in range(count):
            pipeline.queue_agent_update(f"a{n % 20}", "said", {"n": n})
    """
    source = textwrap.dedent(head) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", source],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Fatal" not in done.stderr
    assert "deadlock" not in done.stderr
