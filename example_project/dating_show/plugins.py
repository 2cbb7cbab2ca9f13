"""The dating show as a plugin of the pipeline: everything that joins the two, on one screen."""

from __future__ import annotations

from typing import Any

from dating_show import actions
from dating_show.changes import ChangesOf
from dating_show.services.frontend_state_adapter import FrontendStateAdapter, get_frontend_state_adapter
from dating_show.services.unified_agent_manager import get_unified_agent_manager
from dating_show.villa.source import VillaSource
from django_update_pipeline import Action, UpdatePriority, hookimpl
from django_update_pipeline.plugins.sources import UnifiedAgentManagerSource

STATE_TYPES = frozenset({"state_change", "state_patch", "state_removed"})
NOTIFICATIONS = ("agent_notifications",)


class VillaRouter:
    """States go to the default channel, all else to `agent_notifications`.

    A founding client replaces an agent by the data of each update it gets: on the default channel it
    must meet nothing but states.
    """

    def route(self, agent_id: str, update_type: str) -> tuple[str, ...] | None:
        """The channels of an update; None is the default channel."""
        return None if update_type in STATE_TYPES else NOTIFICATIONS


@hookimpl
def provide_sources(config: Any) -> list[Any]:
    """The manager's changes, and the villa that makes them (where it is enabled)."""
    manager = get_unified_agent_manager()
    adapter = get_frontend_state_adapter()
    changes = [
        UnifiedAgentManagerSource(ChangesOf(manager, urgency), adapter, priority=urgency)
        for urgency in (UpdatePriority.HIGH, UpdatePriority.NORMAL, UpdatePriority.LOW)
    ]
    return [*changes, VillaSource(manager)]


@hookimpl
def provide_frontend_adapter(config: Any) -> FrontendStateAdapter:
    """What `pipeline.frontend_adapter` is."""
    return get_frontend_state_adapter()


@hookimpl
def provide_router(config: Any) -> VillaRouter:
    """Keeps events off the default channel."""
    return VillaRouter()


@hookimpl
def provide_actions(config: Any) -> list[Action]:
    """What the villa knows to do, and for whom."""
    return actions.ACTIONS
