"""FrontendStateAdapter: shapes an agent's state for the browser, losing nothing.

The manager keeps what the simulation says (`location`, `activity`, free fields); the browser gets one
nested object of sections that are always all there, so that a page may read them without asking. Every
field of the manager's state is found again: in its section, or, when no section knows it, in `attributes`.
An agent that was only registered fills about 2 KB of compact JSON, a lively one 3 to 4 KB.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from dating_show.services.unified_agent_manager import UnifiedAgentManager, get_unified_agent_manager
from dating_show.villa import grounds, personality

FrontendState = dict[str, Any]

FRONTEND_NAMES = {"current_location": "location", "current_action": "activity"}
"""What the browser calls differently from the manager."""

_SECTIONS = frozenset(
    {
        "agent_id",
        "name",
        "location",
        "activity",
        "personality_traits",
        "identity",
        "role",
        "skills",
        "position",
        "emotions",
        "relationships",
        "dialogue",
        "memory",
        "cultural",
        "governance",
    }
)
"""The fields of a manager's state that a section takes up."""


class FrontendStateAdapter:
    """Reads agents from a manager in the shape of the browser, and writes what a browser changed.

    Safe from any thread; it keeps nothing of its own, so what it returns is always the newest state.
    """

    def __init__(self, manager: UnifiedAgentManager | None = None) -> None:
        self.unified_manager = manager if manager is not None else get_unified_agent_manager()

    def get_agent_for_frontend(self, agent_id: str) -> FrontendState | None:
        """The agent's full frontend state, a new dict of JSON values, or None for an unknown agent."""
        state = self.unified_manager.get_agent_state(agent_id)
        return None if state is None else shape_for_frontend(state)

    def get_all_agents_for_frontend(self) -> list[FrontendState]:
        """Every agent's full frontend state, in the order of registration."""
        return [shape_for_frontend(state) for state in self.unified_manager.get_all_agents_state().values()]

    def update_agent_from_frontend(self, agent_id: str, updates: Mapping[str, Any]) -> bool:
        """Applies what a browser changed, in the browser's names, and notifies at once.

        A section given as an object is merged into what the section holds, since a page knows only the
        keys it shows; `attributes` are the free fields again.

        Returns:
            True, or False for an unknown agent.

        Raises:
            TypeError: `updates` is no mapping with string keys.
        """
        state = self.unified_manager.get_agent_state(agent_id)
        if state is None:
            return False
        if not isinstance(updates, Mapping) or not all(isinstance(key, str) for key in updates):
            raise TypeError(f"agent {agent_id}: updates must be a mapping with string keys, not {updates!r}")
        changed: dict[str, Any] = {}
        for key, value in updates.items():
            name = FRONTEND_NAMES.get(key, key)
            if name == "attributes" and isinstance(value, Mapping):
                changed.update(value)
            elif isinstance(value, Mapping) and isinstance(state.get(name), Mapping):
                changed[name] = {**state[name], **value}
            else:
                changed[name] = value
        return self.unified_manager.update_agent_state(agent_id, changed, batch_mode=False)

    def get_social_network_data(self) -> dict[str, Any]:
        """Who is close to whom: `{"nodes": [...], "edges": [...], "metadata": {...}}`.

        A node is `{"id", "label", "location", "mood"}`; an edge `{"from", "to", "kind", "weight"}` with a
        weight from -1 (dislike) to 1, one for each direction, only between registered agents.
        """
        states = self.unified_manager.get_all_agents_state()
        nodes = []
        edges = []
        for agent_id, state in states.items():
            emotions = _section(state, "emotions")
            nodes.append(
                {
                    "id": agent_id,
                    "label": state["name"],
                    "location": state["location"],
                    "mood": emotions.get("mood", "calm"),
                }
            )
            for other_id, bond in _section(state, "relationships").items():
                if other_id in states and isinstance(bond, Mapping):
                    edges.append(
                        {
                            "from": agent_id,
                            "to": other_id,
                            "kind": bond.get("kind", "acquaintance"),
                            "weight": bond.get("affinity", 0.0),
                        }
                    )
        possible = max(len(nodes) * (len(nodes) - 1), 1)
        return {
            "nodes": nodes,
            "edges": edges,
            "metadata": {
                "total_agents": len(nodes),
                "total_relationships": len(edges),
                "network_density": round(len(edges) / possible, 3),
            },
        }


def shape_for_frontend(state: Mapping[str, Any]) -> FrontendState:
    """The frontend state of one manager's state: every section, and the free fields in `attributes`."""
    name = state["name"]
    first, _, last = name.partition(" ")
    traits = {**personality.NEUTRAL_TRAITS, **_section(state, "personality_traits")}
    location = state["location"]
    place = {**_place_of(state["agent_id"], location), **_section(state, "position")}
    return {
        "agent_id": state["agent_id"],
        "name": name,
        "current_location": location,
        "current_action": state["activity"],
        "identity": {"first_name": first, "last_name": last, **_IDENTITY, **_section(state, "identity")},
        "role": {**_ROLE, **_section(state, "role")},
        "skills": {**personality.skills_of(traits), **_section(state, "skills")},
        "personality": {"traits": traits, "summary": personality.summary_of(traits)},
        # A field is sent whole: what changes with each step is kept apart from what seldom does.
        "position": {"x": place.pop("x"), "y": place.pop("y")},
        "whereabouts": place,
        "emotions": {**personality.resting_emotions(traits), **_section(state, "emotions")},
        "relationships": _section(state, "relationships"),
        "dialogue": {**_DIALOGUE, **_section(state, "dialogue")},
        "memory": {**_memory_of(first), **_section(state, "memory")},
        "cultural": {**personality.cultural_leanings(traits), **_section(state, "cultural")},
        "governance": {**personality.governance_leanings(traits), **_section(state, "governance")},
        "attributes": {
            key: value
            for key, value in state.items()
            # A section that is no object can't be merged into its place; it is kept here, not dropped.
            if key not in _SECTIONS or (key in _NESTED and not isinstance(value, Mapping))
        },
    }


_NESTED = _SECTIONS - {"agent_id", "name", "location", "activity"}

_IDENTITY = {
    "age": None,
    "occupation": "guest of the villa",
    "hometown": None,
    "bio": "Nobody has told much about this one yet. The villa will find out.",
    "languages": ["English"],
    "colour": None,
    "look": None,
    "guest": False,
}
_ROLE = {
    "title": "islander",
    "status": "in the villa",
    "duties": ["keep the pool tidy", "cook once a week", "be on time for the rose ceremony"],
    "roses_received": 0,
    "roses_given": 0,
    "partner": None,
    "ceremonies": 0,
}
_DIALOGUE = {
    "speaking": False,
    "with": None,
    "with_name": None,
    "line": None,
    "tone": "quiet",
    "lines_spoken": 0,
    "recent": [],
}


def _section(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = state.get(name)
    return dict(value) if isinstance(value, Mapping) else {}


def _memory_of(first_name: str) -> dict[str, Any]:
    return {
        "recent": [],
        "goals": ["feel at home", "find out who is honest", "be there at the next rose ceremony"],
        "reflection": f"{first_name} has just arrived and is still looking around.",
        "beliefs": [
            "the villa hears everything",
            "a rose given late counts as much as one given first",
            "the kitchen is where the truth is told",
        ],
        "conversations": 0,
    }


def _place_of(agent_id: str, location: Any) -> dict[str, Any]:
    x, y = grounds.standing_point(agent_id, str(location))
    return {
        "x": x,
        "y": y,
        "unit": "percent of the map's width and height",
        "place_label": grounds.label_of(str(location)),
        "moving": False,
        "destination": None,
    }


_adapter: FrontendStateAdapter | None = None
_adapter_lock = threading.Lock()


def get_frontend_state_adapter() -> FrontendStateAdapter:
    """The process's one adapter, over the process's one manager, made at the first call."""
    global _adapter
    with _adapter_lock:
        if _adapter is None or _adapter.unified_manager is not get_unified_agent_manager():
            _adapter = FrontendStateAdapter()
        return _adapter
