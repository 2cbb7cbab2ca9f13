"""What the tests can ask of a running server, by actions: from a logged-in client, or over the control socket."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import time
from typing import Any

from django_update_pipeline import UpdatePriority, get_update_pipeline, hookimpl
from django_update_pipeline.core.codes import CLOSE_CODES
from django_update_pipeline.exceptions import ActionRefused

from .lives import Lives


@hookimpl
def handle_action(client: Any, agent_id: str, action: str, params: dict[str, Any]) -> Any:
    """Runs in Django's thread, so most of what is asked for here is queued from another thread than the loop's."""
    act = ACTIONS.get(action)
    return None if act is None else act(agent_id, **params)


def _state(agent_id: str, **data: Any) -> str:
    """A state, and waits until it is delivered."""
    pipeline = get_update_pipeline()
    assert pipeline._life.loop is not None
    published = asyncio.run_coroutine_threadsafe(pipeline.publish(agent_id, data=data), pipeline._life.loop)
    published.result(10)
    return "delivered"


def _events(agent_id: str, count: int, first: int = 0, channels: list[str] | None = None) -> str:
    """Numbered events, each after a state with the same number."""
    pipeline = get_update_pipeline()
    for n in range(first, first + count):
        pipeline.queue_agent_update(agent_id, "state_change", {"n": n})
        pipeline.queue_agent_update(
            agent_id, "counted", {"n": n}, UpdatePriority(n % 4 if n % 7 == 0 else 2), channels=channels
        )
    return "queued"


def _flood(agent_id: str, agents: int, rounds: int, size: int) -> str:
    """Many states from a thread, one round after the other is delivered: more than sockets' buffers hold."""

    def queue() -> None:
        pipeline = get_update_pipeline()
        for n in range(rounds):
            for agent in range(agents):
                pipeline.queue_agent_update(f"{agent_id}_{agent}", data={"n": n, "fill": "x" * size})
            while pipeline.get_performance_metrics()["pending"]:
                time.sleep(0.001)

    threading.Thread(target=queue, name="flood").start()
    return "queued"


def _close(agent_id: str, code: int) -> str:
    """Closes the connection whose id `agent_id` is, as the package would for that reason."""
    pipeline = get_update_pipeline()
    connection = pipeline.websocket_manager.connections.get(agent_id)
    if connection is None:
        raise ActionRefused("no such connection")
    (chosen,) = (one for one in CLOSE_CODES if one.code == code)
    assert pipeline._life.loop is not None
    pipeline._life.loop.call_soon_threadsafe(connection.close, chosen)
    return "closing"


def _tick(agent_id: str, seconds: float) -> str:
    """A new state ten times a second, from a thread, for so long."""

    def tick() -> None:
        for n in range(int(seconds * 10)):
            get_update_pipeline().queue_agent_update(agent_id, data={"n": n})
            time.sleep(0.1)  # what browsers are shown meanwhile is the test

    threading.Thread(target=tick, name="tick", daemon=True).start()
    return "ticking"


def _forget(agent_id: str) -> str:
    """Removes every agent, and waits until that is delivered: for tests that share a server."""
    pipeline = get_update_pipeline()
    for agent in list(pipeline.store.states("updates")):
        pipeline.queue_agent_update(agent, "state_removed")
    return _state(agent_id)


def _live(agent_id: str, seed: int, seconds: float, agents: int) -> str:
    """Agents live for so long: states, patches, removals, events of every priority, twenty ticks of ten a second."""
    threading.Thread(target=_lives.run, args=(seed, seconds, agents), name="lives", daemon=True).start()
    return "living"


def _lived(agent_id: str) -> Any:
    """What the source of `live` holds, as an answer that refuses."""
    raise ActionRefused(json.dumps(_lives.account()))


def _hang(agent_id: str) -> str:
    """From now on the transport answers nothing, and something waits for it."""
    pipeline = get_update_pipeline()

    async def never(publication: Any) -> None:
        await asyncio.Event().wait()

    pipeline.transport.publish = never  # type: ignore[method-assign]
    pipeline.queue_agent_update(agent_id, data={"stuck": True})
    return "hanging"


def _census(agent_id: str) -> Any:
    """What this process holds, as an answer that refuses: the only way to say more than yes."""
    gc.collect()
    pipeline = get_update_pipeline()
    loop = pipeline._life.loop
    assert loop is not None
    tasks = [task.get_name() for task in asyncio.all_tasks(loop)]
    raise ActionRefused(
        "{"
        f'"pid": {os.getpid()}, "connections": {pipeline.websocket_manager.get_connection_count()}, '
        f'"tasks": {len(tasks)}, "writers": {tasks.count("update-pipeline-writer")}, '
        f'"threads": {threading.active_count()}, "descriptors": {len(os.listdir("/proc/self/fd"))}'
        "}"
    )


_lives = Lives()

ACTIONS = {
    "forget": _forget,
    "tick": _tick,
    "state": _state,
    "events": _events,
    "flood": _flood,
    "close": _close,
    "hang": _hang,
    "live": _live,
    "lived": _lived,
    "census": _census,
}
