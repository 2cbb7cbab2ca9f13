"""The manager's changes by urgency, so that a drifting mood never stands before a step of somebody walking.

A source of the package carries all changes of one object with one priority; each `ChangesOf` is such an
object: a view on the manager that passes on only what is as urgent as it says.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from dating_show.services.unified_agent_manager import Listener, State, UnifiedAgentManager
from django_update_pipeline import UpdatePriority

SLOW_FIELDS = frozenset({"emotions", "relationships"})
"""A change of nothing else may wait a little: feelings settle by themselves, nobody waits for it."""


def urgency_of(event_type: str, changed: Mapping[str, Any] | None) -> UpdatePriority:
    """How urgent a notice of the manager is; `changed` are the fields of a gathered one."""
    if event_type == "agent_updated":
        return UpdatePriority.HIGH  # Somebody asked for it to be told at once.
    if changed and changed.keys() <= SLOW_FIELDS:
        return UpdatePriority.LOW
    return UpdatePriority.NORMAL


class ChangesOf:
    """The manager, as far as its changes have one urgency. The one for NORMAL also knows who is there."""

    def __init__(self, manager: UnifiedAgentManager, urgency: UpdatePriority) -> None:
        self._manager = manager
        self._urgency = urgency
        self._lock = threading.Lock()
        self._relays: dict[Listener, Listener] = {}

    def add_update_listener(self, listener: Listener) -> None:
        """Calls `listener` for the changes of this urgency."""

        def relay(event_type: str, agent_id: Any, state: Any) -> None:
            if event_type == "batch_update":
                mine = {one: what for one, what in agent_id.items() if self._is_mine(event_type, what)}
                if mine:
                    listener(event_type, mine, None)
            elif self._is_mine(event_type, None):
                listener(event_type, agent_id, state)

        with self._lock:
            if listener in self._relays:
                return
            self._relays[listener] = relay
        self._manager.add_update_listener(relay)

    def remove_update_listener(self, listener: Listener) -> None:
        """Stops calling it."""
        with self._lock:
            relay = self._relays.pop(listener, None)
        if relay is not None:
            self._manager.remove_update_listener(relay)

    def get_all_agents_state(self) -> dict[str, State]:
        """Who is there when a source starts: told by one of the views only, not by each."""
        return self._manager.get_all_agents_state() if self._urgency is UpdatePriority.NORMAL else {}

    def _is_mine(self, event_type: str, changed: Mapping[str, Any] | None) -> bool:
        return urgency_of(event_type, changed) is self._urgency
