"""A recording on its way through a served pipeline: ReplaySource, manager, adapter, queue.

Runs in the server. It begins to play when the local operator asks for `play`, once the viewers are there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dating_show.services.unified_agent_manager import UnifiedAgentManager, get_unified_agent_manager
from django_update_pipeline import get_update_pipeline, hookimpl
from django_update_pipeline.plugins.sources import ReplaySource, read_recording


class Stage:
    """Brings recorded movements into a manager, and tells of each new activity and each new line of a talk.

    The test that watches plays the same recording on a stage of its own: what that manager then holds, and
    what is told there, is what every viewer has to end with.

    Args:
        tell: called with (agent id, data) for each event.
    """

    def __init__(self, manager: UnifiedAgentManager, tell: Callable[[str, dict[str, Any]], object]) -> None:
        self.manager = manager
        self.tell = tell
        self.played = 0
        self._lines: dict[str, list[dict[str, Any]]] = {}
        self._activity: dict[str, str] = {}

    def play(self, name: str, state: dict[str, Any]) -> None:
        """One recorded movement. Every other one is notified at once, the rest is gathered."""
        self.manager.register_agent(name, name)
        self.played += 1
        fields = {**state, "location": state["place"]["sector"] or "outdoors", "played": self.played}
        self.manager.update_agent_state(name, fields, batch_mode=bool(self.played % 2))
        if state["activity"] != self._activity.get(name):
            self._activity[name] = state["activity"]
            self.tell(name, {"activity": state["activity"], "played": self.played})
        lines, known = state["chat"] or [], self._lines.get(name, [])
        self._lines[name] = lines
        for line in lines[len(known) :] if lines[: len(known)] == known else lines:
            self.tell(name, {**line, "played": self.played})


_source: ReplaySource | None = None


@hookimpl
async def handle_action(client: Any, agent_id: str, action: str, params: dict[str, Any]) -> object | None:
    """`play {"path": ..., "steps_per_s": ...}`, from this machine only."""
    global _source
    if action != "play" or not client.is_local_operator:
        return None
    pipeline = get_update_pipeline()

    def tell(name: str, data: dict[str, Any]) -> None:
        pipeline.queue_agent_update(agent_id=name, update_type="happening", data=data)

    stage = Stage(get_unified_agent_manager(), tell)
    _source = ReplaySource(
        read_recording(params["path"]), steps_per_s=params["steps_per_s"], apply=stage.play
    )
    await _source.start(pipeline)
    return True
