"""Guests: agents of a recorded Generative Agents run who walk through the villa while it is played.

A step of a recording is turned into states for the manager and new lines of dialogue. Their world is not
ours: a tile of their map is laid over the villa's grounds in proportion, and the places keep their names.
"""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Mapping
from typing import Any

from dating_show.services.unified_agent_manager import UnifiedAgentManager
from dating_show.villa.effects import Happening
from django_update_pipeline.core.messages import UpdatePriority

MAP_TILES = (140, 100)
"""Width and height of the recorded world ("the Ville") in tiles."""

MOST_GUESTS = 200
LONGEST_TEXT = 500
MOST_LINES = 100

_COLOURS = ("#7a6c9d", "#557f8f", "#9d7a5b", "#6d8a5f", "#a06b7c", "#5f7fae")


class BadStep(ValueError):
    """A step that is not of the recording's shape; the message says what is wrong."""


class GuestBook:
    """The guests who are here, and what they have said already. Safe from any thread."""

    def __init__(self, manager: UnifiedAgentManager) -> None:
        self.manager = manager
        self._lock = threading.Lock()
        self._guests: dict[str, str] = {}
        self._tiles: dict[str, tuple[float, float]] = {}
        self._said: dict[frozenset[str], list[tuple[str, str]]] = {}

    def play(self, step: Any, personas: Any) -> list[Happening]:
        """Applies one step; agents who were never seen are registered.

        Args:
            step: the recorded step's number.
            personas: `{"<name>": {"movement": [x, y], "pronunciatio": "...", "description": "...",
                "chat": null | [["<speaker>", "<line>"], ...]}}`; what is missing has not changed.

        Returns:
            The lines that were not said before, as dialogue.

        Raises:
            BadStep: the shape is another; nothing of the step was applied.
        """
        if not isinstance(step, int) or isinstance(step, bool) or not isinstance(personas, Mapping):
            raise BadStep("a step is a number, and its personas are an object by name")
        checked = [(name, _checked(name, persona)) for name, persona in personas.items()]
        with self._lock:
            if len(self._guests.keys() | personas.keys()) > MOST_GUESTS:
                raise BadStep(f"no more than {MOST_GUESTS} guests fit into the villa")
            happenings: list[Happening] = []
            for name, persona in checked:
                agent_id = self._guests.get(name) or self._welcome(name)
                self.manager.update_agent_state(agent_id, self._state_of(agent_id, step, persona))
                happenings += self._new_lines(agent_id, name, persona.get("chat"))
            return happenings

    def _welcome(self, name: str) -> str:
        slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "nobody"
        agent_id = f"guest_{slug}"
        if agent_id in self._guests.values():  # Two names, one slug.
            agent_id = f"{agent_id}_{zlib.crc32(name.encode()):08x}"
        self._guests[name] = agent_id
        self.manager.register_agent(agent_id, name, {})
        colour = _COLOURS[zlib.crc32(name.encode()) % len(_COLOURS)]
        self.manager.update_agent_state(
            agent_id,
            {
                "identity": {
                    "occupation": "guest from a recorded town",
                    "bio": "Lives in another simulation and is only played here.",
                    "colour": colour,
                    "guest": True,
                },
                "role": {"title": "guest", "duties": []},
            },
        )
        return agent_id

    def _state_of(self, agent_id: str, step: int, persona: Mapping[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = {"recorded_step": step}
        movement = persona.get("movement")
        activity, world, sector, where = _parts_of(persona.get("description"))
        if activity:
            state |= {"activity": activity, "recorded_world": world, "recorded_place": where}
        if sector:
            state["location"] = sector
        if movement is not None:
            tile = (float(movement[0]), float(movement[1]))
            was = self._tiles.get(agent_id, tile)
            self._tiles[agent_id] = tile
            state["position"] = {
                "x": round(min(100.0, max(0.0, 100 * tile[0] / MAP_TILES[0])), 1),
                "y": round(min(100.0, max(0.0, 100 * tile[1] / MAP_TILES[1])), 1),
                "tile": list(tile),
                "place_label": sector or "the town",
                "moving": tile != was,
            }
        if isinstance(persona.get("pronunciatio"), str):
            state["pronunciatio"] = persona["pronunciatio"]
        return state

    def _new_lines(self, agent_id: str, name: str, chat: Any) -> list[Happening]:
        # A recording repeats the whole talk at each step of it, once for each of the two who talk.
        if not chat:
            return []
        lines = [(str(speaker), str(line)) for speaker, line in chat]
        pair = frozenset({name, *(speaker for speaker, _ in lines)})
        known = self._said.get(pair, [])
        self._said[pair] = lines
        new = lines[len(known) :] if lines[: len(known)] == known else lines
        happenings = []
        for speaker, line in new:
            speaker_id = self._guests.get(speaker, agent_id)
            listener = next((other for other in sorted(pair) if other != speaker), None)
            happenings.append(
                Happening(
                    speaker_id,
                    "dialogue",
                    {
                        "speaker": speaker_id,
                        "speaker_name": speaker,
                        "listener": self._guests.get(listener) if listener else None,
                        "listener_name": listener,
                        "text": line,
                        "tone": "recorded",
                        "location": None,
                    },
                    UpdatePriority.NORMAL,
                )
            )
        return happenings


def _checked(name: Any, persona: Any) -> Mapping[str, Any]:
    if not isinstance(name, str) or not name.strip() or len(name) > 100:
        raise BadStep("a persona's name is a text of 1 to 100 characters")
    if not isinstance(persona, Mapping):
        raise BadStep(f"{name}: a persona is an object")
    movement = persona.get("movement")
    if movement is not None and not (
        isinstance(movement, (list, tuple))
        and len(movement) == 2
        and all(isinstance(part, (int, float)) and abs(part) < 1e6 for part in movement)
    ):
        raise BadStep(f"{name}: movement is a list of two numbers, not {movement!r}"[:200])
    for key in ("description", "pronunciatio"):
        text = persona.get(key)
        if text is not None and not (isinstance(text, str) and len(text) <= LONGEST_TEXT):
            raise BadStep(f"{name}: {key} is a text of at most {LONGEST_TEXT} characters")
    chat = persona.get("chat")
    if chat is not None and not (
        isinstance(chat, (list, tuple))
        and len(chat) <= MOST_LINES
        and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in chat)
    ):
        raise BadStep(f"{name}: chat is a list of at most {MOST_LINES} pairs of speaker and line")
    return persona


def _parts_of(description: Any) -> tuple[str, str, str, str]:
    """Activity, world, sector and the rest of "<activity> @ <world>:<sector>:<arena>:<object>"."""
    if not isinstance(description, str):
        return "", "", "", ""
    activity, _, address = description.partition(" @ ")
    world, _, rest = address.partition(":")
    sector, _, where = rest.partition(":")
    return activity.strip(), world.strip(), sector.strip(), where.replace(":", ", ").strip()
