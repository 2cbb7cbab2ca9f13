"""What the recorded conversations ask of a server: actions that make it say everything it can say."""

from __future__ import annotations

import asyncio
from typing import Any

from django_update_pipeline import (
    UNSET,
    ActionRefused,
    UpdatePriority,
    get_update_pipeline,
    hookimpl,
    permission_changed,
)

NAME = "tests.integration.spoken_plugin"

_withdrawn: set[str] = set()
_is_failing = False


class Poison:
    """Fails on one agent's events."""

    name = "poison"

    def transform(self, agent_id: str, update_type: str, data: Any) -> Any:
        if agent_id == "poisoned":
            raise ValueError("it is poisoned")
        return data


@hookimpl
def provide_transformers(config: Any) -> list[Any]:
    return [Poison()]


@hookimpl
def authorize_subscribe(client: Any, channel: str) -> bool | None:
    return False if channel in _withdrawn else None


@hookimpl
def observe_batch_delivered(size: int, duration_s: float) -> None:
    if _is_failing:
        raise RuntimeError("it can't hear")


@hookimpl
def handle_action(client: Any, agent_id: str, action: str, params: dict[str, Any]) -> Any:
    act = ACTIONS.get(action)
    return None if act is None else act(agent_id, **params)


def _publish(*args: Any, **more: Any) -> None:
    """Queues an update, and waits until it is delivered."""
    pipeline = get_update_pipeline()
    assert pipeline._life.loop is not None
    asyncio.run_coroutine_threadsafe(pipeline.publish(*args, **more), pipeline._life.loop).result(20)


def _fill(agent_id: str, count: int, size: int, channels: list[str]) -> str:
    for n in range(count):
        state = {"n": n, "mood": "calm", "fill": "x" * size}
        get_update_pipeline().queue_agent_update(f"{agent_id}_{n:03}", data=state, channels=channels)
    _publish(f"{agent_id}_last", data={"n": count, "mood": "calm"}, channels=channels)
    return "filled"


def _patch(agent_id: str, channels: list[str] | None = None, **fields: Any) -> str:
    changes = {name: UNSET if value is None else value for name, value in fields.items()}
    _publish(agent_id, "state_patch", changes, channels=channels)
    return "patched"


def _urgent(agent_id: str) -> str:
    _publish(agent_id, "state_patch", {"mood": "alarmed"}, priority=UpdatePriority.CRITICAL)
    return "told"


def _say(agent_id: str, count: int = 1, channels: list[str] | None = None) -> str:
    """Events; many of them go out in one batch, which is more than the ring holds."""
    for n in range(count - 1):
        get_update_pipeline().queue_agent_update(agent_id, "said", {"n": n}, channels=channels)
    _publish(agent_id, "said", {"n": count}, channels=channels)
    return "said"


def _remove(agent_id: str) -> str:
    _publish(agent_id, "state_removed", {})
    return "removed"


def _notify(agent_id: str) -> str:
    get_update_pipeline().queue_system_notification("the ceremony begins", level="info")
    return "told"


def _withdraw(agent_id: str) -> str:
    _withdrawn.add(agent_id)
    permission_changed()
    return "withdrawn"


def _give_back(agent_id: str) -> str:
    _withdrawn.discard(agent_id)
    return "given back"


def _poison(agent_id: str) -> str:
    get_update_pipeline().queue_agent_update("poisoned", "said", {"text": "help"})
    return "queued"


def _deafen(agent_id: str, is_on: bool) -> str:
    global _is_failing
    _is_failing = is_on
    return "done"


def _refuse(agent_id: str) -> str:
    raise ActionRefused("not today")


ACTIONS = {
    "fill": _fill,
    "patch": _patch,
    "urgent": _urgent,
    "say": _say,
    "remove": _remove,
    "notify": _notify,
    "withdraw": _withdraw,
    "give_back": _give_back,
    "poison": _poison,
    "deafen": _deafen,
    "refuse": _refuse,
}
