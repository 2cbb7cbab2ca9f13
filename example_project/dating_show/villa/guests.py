"""Guests: agents of a recorded Generative Agents run who walk through the villa while it is played.

A step of a recording is turned into states for the manager and new lines of dialogue. Their world is not
ours: a tile of their map is laid over the villa's grounds in proportion, and the places keep their names.
"""

from __future__ import annotations

import re
import threading
import zlib
from typing import Annotated, Any

import msgspec

from dating_show.services.unified_agent_manager import UnifiedAgentManager
from dating_show.villa.effects import Happening
from django_update_pipeline import UpdatePriority

MAP_TILES = (140, 100)
"""Width and height of the recorded world ("the Ville") in tiles."""

MOST_GUESTS = 200

Text = Annotated[str, msgspec.Meta(max_length=500)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Tile = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]


class Position(msgspec.Struct, frozen=True):
    """Where a guest is, in tiles of the recorded world."""

    x: Tile
    y: Tile


class RecordedPlace(msgspec.Struct, frozen=True):
    """The same in words, from the large to the small."""

    sector: Text = ""
    arena: Text = ""
    object: Text = ""


class Line(msgspec.Struct, frozen=True):
    """Something that was said."""

    speaker: Name
    line: Annotated[str, msgspec.Meta(max_length=2000)]


class Movement(msgspec.Struct, frozen=True):
    """What one step of a recording says of one guest; `plugins.sources.movement_state` gives this shape."""

    position: Position
    activity: Text = ""
    emoji: Text = ""
    place: RecordedPlace = RecordedPlace()
    chat: Annotated[list[Line], msgspec.Meta(max_length=200)] | None = None


class BadStep(ValueError):
    """A step that is not of the recording's shape; the message says what is wrong, and where."""


class GuestBook:
    """The guests who are here, and what they have said already. Safe from any thread."""

    def __init__(self, manager: UnifiedAgentManager) -> None:
        self.manager = manager
        self._lock = threading.Lock()
        self._guests: dict[str, str] = {}
        self._said: dict[frozenset[str], list[Line]] = {}

    def play(self, step: Any, movements: Any) -> list[Happening]:
        """Applies one step; agents who were never seen are registered.

        Args:
            step: the recorded step's number.
            movements: JSON values, an object of `Movement` by the guest's name.

        Returns:
            The lines that were not said before, as dialogue.

        Raises:
            BadStep: the shape is another, or too many guests; nothing of the step was applied.
        """
        try:
            msgspec.convert(step, Annotated[int, msgspec.Meta(ge=0)])
            moved = msgspec.convert(movements, dict[Name, Movement])
        except msgspec.ValidationError as error:
            raise BadStep(str(error)) from error
        with self._lock:
            if len(self._guests.keys() | moved.keys()) > MOST_GUESTS:
                raise BadStep(f"no more than {MOST_GUESTS} guests fit into the villa")
            happenings: list[Happening] = []
            for name, movement in moved.items():
                agent_id = self._guests.get(name) or self._welcome(name)
                self.manager.update_agent_state(agent_id, _state_of(movement))
            for name, movement in moved.items():
                happenings += self._new_lines(name, movement.chat or [])
            return happenings

    def send_home(self) -> int:
        """Takes all guests out of the villa; how many they were."""
        with self._lock:
            gone, self._guests = self._guests, {}
            self._said.clear()
            for agent_id in gone.values():
                self.manager.remove_agent(agent_id)
            return len(gone)

    def _welcome(self, name: str) -> str:
        slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "nobody"
        agent_id = f"guest_{slug}"
        if agent_id in self._guests.values():  # Two names, one slug.
            agent_id = f"{agent_id}_{zlib.crc32(name.encode()):08x}"
        self._guests[name] = agent_id
        self.manager.register_agent(agent_id, name, {})
        self.manager.update_agent_state(
            agent_id,
            {
                "identity": {
                    "occupation": "guest from a recorded town",
                    "bio": "Lives in another simulation and is only played here.",
                    "colour": _COLOURS[zlib.crc32(name.encode()) % len(_COLOURS)],
                    "guest": True,
                },
                "role": {"title": "guest", "duties": []},
            },
        )
        return agent_id

    def _new_lines(self, name: str, lines: list[Line]) -> list[Happening]:
        # A recording repeats the whole talk at each step of it, once for each of the two who talk.
        if not lines:
            return []
        pair = frozenset({name, *(line.speaker for line in lines)})
        known = self._said.get(pair, [])
        self._said[pair] = lines
        new = lines[len(known) :] if lines[: len(known)] == known else lines
        happenings = []
        for line in new:
            listener = next((other for other in sorted(pair) if other != line.speaker), None)
            speaker_id = self._guests.get(line.speaker, self._guests[name])
            happenings.append(
                Happening(
                    speaker_id,
                    "dialogue",
                    {
                        "speaker": speaker_id,
                        "speaker_name": line.speaker,
                        "listener": None if listener is None else self._guests.get(listener),
                        "listener_name": listener,
                        "text": line.line,
                        "tone": "recorded",
                        "location": None,
                    },
                    UpdatePriority.NORMAL,
                )
            )
        return happenings


_COLOURS = ("#7a6c9d", "#557f8f", "#9d7a5b", "#6d8a5f", "#a06b7c", "#5f7fae")


def _state_of(movement: Movement) -> dict[str, Any]:
    x, y = movement.position.x, movement.position.y
    place = movement.place
    return {
        "emoji": movement.emoji,
        "location": place.sector or "outdoors",
        "activity": movement.activity or "walking",
        "position": {
            "x": round(min(100.0, max(0.0, 100 * x / MAP_TILES[0])), 1),
            "y": round(min(100.0, max(0.0, 100 * y / MAP_TILES[1])), 1),
            "place_label": place.sector or "outdoors",
            "inside": ", ".join(filter(None, (place.arena, place.object))),
        },
    }
