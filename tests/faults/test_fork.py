"""The process forks with a pipeline in it: the child has one of its own, and each update one sender."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest

from django_update_pipeline import service
from django_update_pipeline.testing import RecordingSocket

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

OWN = pytest.mark.fault(
    "F5", "a forked child begins afresh: no shared locks or sockets, one sender for each update"
)


@pytest.fixture
def pipeline(settings: Any) -> Iterator[Any]:
    settings.UPDATE_PIPELINE = {"TRANSPORT": "memory", "ENTRY_POINTS": False, "ON_COMMIT": False}
    service.reset_update_pipeline()
    yield service.get_update_pipeline()
    service.reset_update_pipeline()


def in_child(work: Callable[[], Any]) -> Any:
    """What `work` returns in a forked child; a child that hangs is ended."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python 3.12 warns of forks with threads: that is the test
        child = os.fork()
    if child == 0:
        signal.alarm(30)
        try:
            os.write(writer, json.dumps(work()).encode())
        except BaseException:
            os.write(writer, json.dumps(traceback.format_exc()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        with os.fdopen(reader) as answer:
            text = answer.read()
    finally:
        _, status = os.waitpid(child, 0)
    assert status == 0, f"the child hung or died: {status}"
    return json.loads(text)


async def deliver(pipeline: Any, agent_id: str) -> list[str]:
    """Starts, queues one state more, and returns the agents that a connection is told of."""
    socket = RecordingSocket()
    async with pipeline:
        await pipeline.register_websocket("one", socket)
        pipeline.queue_agent_update(agent_id, data={"n": 1})
        await socket.until(lambda: agent_id in socket.states)
    return sorted(socket.states)


def sockets() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


@OWN
def test_a_reference_from_before_the_fork_is_the_childs_own_pipeline(pipeline: Any) -> None:
    """As in a module that says `pipeline = get_update_pipeline()` and is preloaded."""
    pipeline.queue_agent_update("of_the_parent", data={"n": 0})
    epoch, node = pipeline.store.epoch, pipeline.node_id

    def work() -> Any:
        assert service.get_update_pipeline() is pipeline
        assert (pipeline.store.epoch, pipeline.node_id) != (epoch, node)
        assert pipeline.get_performance_metrics()["accepted"] == 0
        return asyncio.run(deliver(pipeline, "of_the_child"))

    assert in_child(work) == ["of_the_child"]
    assert asyncio.run(deliver(pipeline, "second")) == ["of_the_parent", "second"], "once, by the parent"


@OWN
def test_forks_while_threads_queue_hold_no_lock_and_send_nothing_twice(pipeline: Any) -> None:
    stop = threading.Event()
    counts = [0] * 4

    def queue(number: int) -> None:
        while not stop.is_set():
            pipeline.queue_agent_update(f"t{number}", data={"n": counts[number]})
            counts[number] += 1

    threads = [threading.Thread(target=queue, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        told = [in_child(lambda: asyncio.run(deliver(pipeline, "of_the_child"))) for _ in range(15)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert told == [["of_the_child"]] * 15
    assert asyncio.run(deliver(pipeline, "last")) == ["last", "t0", "t1", "t2", "t3"]
    assert pipeline.get_performance_metrics()["accepted"] == sum(counts) + 1


@OWN
async def test_a_fork_of_a_serving_process_leaves_its_clients_and_sockets_to_it(pipeline: Any) -> None:
    """The child serves on a control socket and a loop of its own; the parent's are untouched."""
    socket = RecordingSocket()
    await service.start_serving(pipeline)
    try:
        await pipeline.register_websocket("one", socket)
        path = service._control[pipeline].path
        assert path is not None

        def work() -> Any:
            asyncio.set_event_loop(None)
            asyncio._set_running_loop(None)
            before = sockets()

            async def serve() -> Any:
                assert pipeline.websocket_manager.get_connection_count() == 0
                await service.start_serving(pipeline)
                own = service._control[pipeline].path
                pipeline.queue_agent_update("of_the_child", data={})
                await service.stop_serving(pipeline)
                return str(own)

            return [asyncio.run(serve()), len(sockets() - before)]

        own, more = await asyncio.to_thread(in_child, work)
        assert own not in ("None", str(path))
        assert more == 0
        assert path.exists(), "the parent's control socket is not the child's to remove"
        pipeline.queue_agent_update("of_the_parent", data={"n": 1})
        await socket.until(lambda: "of_the_parent" in socket.states)
        assert sorted(socket.states) == ["of_the_parent"]
    finally:
        await service.stop_serving(pipeline)


@OWN
def test_what_was_queued_at_import_is_named_in_the_child(
    pipeline: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.queue_agent_update("early", data={})

    def work() -> Any:
        return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

    (warning,) = in_child(work)
    assert warning.startswith("1 update(s) were queued before the process forked")


def _child(pipe: Connection) -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    pipe.send(asyncio.run(deliver(service.get_update_pipeline(), "of_the_child")))


@OWN
@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_multiprocessing_have_pipelines_of_their_own(pipeline: Any, method: str) -> None:
    pipeline.queue_agent_update("of_the_parent", data={})
    context = multiprocessing.get_context(method)
    mine, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    try:
        assert mine.poll(60)
        assert mine.recv() == ["of_the_child"]
    finally:
        process.join(20)
        process.kill()
    assert process.exitcode == 0
