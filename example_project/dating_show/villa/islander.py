"""One islander: where they are, how they feel, whom they like, and which of that changed. Values only.

Whatever changes a section of the state marks it with a priority; `take_change` hands the marked sections
over once, so that a step sends only what it changed.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from dating_show.villa import grounds, personality
from dating_show.villa.cast import Persona
from dating_show.villa.effects import StateChange
from dating_show.villa.grounds import Point
from django_update_pipeline import UpdatePriority

STROLL = 62.0
"""Walking speed in map units a second: across the whole map in some 16 seconds."""

HURRY = 130.0
"""Speed of somebody who was called."""


@dataclass
class Bond:
    """What one feels for another: affinity from -1 to 1, romance and trust from 0 to 1."""

    affinity: float = 0.0
    romance: float = 0.0
    trust: float = 0.3
    talks: int = 0

    @property
    def kind(self) -> str:
        """One word for it."""
        if self.romance > 0.55 and self.affinity > 0.2:
            return "crush"
        if self.affinity > 0.45:
            return "friend"
        if self.affinity < -0.25:
            return "rival"
        return "acquaintance"

    def move(self, affinity: float = 0.0, romance: float = 0.0, trust: float = 0.0) -> None:
        """Shifts the feelings, kept in their ranges."""
        self.affinity = min(1.0, max(-1.0, self.affinity + affinity))
        self.romance = min(1.0, max(0.0, self.romance + romance))
        self.trust = min(1.0, max(0.0, self.trust + trust))


@dataclass
class Islander:
    """One of the cast, as they are at this moment. Points are in map units, times in the clock's seconds."""

    persona: Persona
    place: str
    point: Point
    activity: str = "settling in"
    path: deque[Point] = field(default_factory=deque)
    speed: float = STROLL
    valence: float = 0.2
    energy: float = 0.7
    bonds: dict[str, Bond] = field(default_factory=dict)
    partner: str | None = None
    roses_received: int = 0
    roses_given: int = 0
    ceremonies: int = 0
    lines_spoken: int = 0
    conversations: int = 0
    line: str | None = None
    tone: str = "quiet"
    talking_with: str | None = None
    recent_lines: deque[str] = field(default_factory=lambda: deque(maxlen=3))
    memories: deque[str] = field(default_factory=lambda: deque(maxlen=4))
    next_plan_at: float = 0.0
    next_talk_at: float = 0.0
    names: dict[str, str] = field(default_factory=dict)
    _marks: dict[str, UpdatePriority] = field(default_factory=dict)

    @property
    def agent_id(self) -> str:
        """The id under which the manager knows them."""
        return self.persona.agent_id

    @property
    def first_name(self) -> str:
        """What the others call them."""
        return self.persona.first_name

    @property
    def is_walking(self) -> bool:
        """Whether there is way left to go."""
        return bool(self.path)

    @property
    def mood(self) -> str:
        """One word for valence and energy."""
        return personality.mood_word(self.valence, self.energy)

    @property
    def target(self) -> Point:
        """Where they will stand when they have arrived."""
        return self.path[-1] if self.path else self.point

    def mark(self, *sections: str, priority: UpdatePriority = UpdatePriority.NORMAL) -> None:
        """Notes sections as changed; a section keeps its most urgent mark until it is taken."""
        for section in sections:
            self._marks[section] = min(priority, self._marks.get(section, priority))

    def go(self, place: str, spot: Point, *, speed: float, urgent: bool = False) -> None:
        """Sets out for a spot in a place. The place is theirs from now on; `position` says the rest."""
        was = None if self.is_walking else self.place
        self.path = deque(grounds.route(self.point, was, spot, place))
        self.speed = speed
        if place != self.place:
            self.place = place
            self.activity = f"on the way to {grounds.label_of(place)}"
        priority = UpdatePriority.HIGH if urgent else UpdatePriority.NORMAL
        self.mark("location", "activity", "position", priority=priority)

    def walk(self, dt_s: float) -> bool:
        """Walks for so long; True if they arrived in this step."""
        if not self.path:
            return False
        left = self.speed * dt_s
        while self.path and left > 0:
            target = self.path[0]
            distance = math.dist(self.point, target)
            if distance <= left:
                self.point = self.path.popleft()
                left -= distance
            else:
                share = left / distance
                x, y = self.point
                self.point = (x + (target[0] - x) * share, y + (target[1] - y) * share)
                left = 0
        self.mark("position")
        return not self.path

    def do(self, activity: str) -> None:
        """Begins to do something where they are."""
        self.activity = activity
        self.mark("activity")

    def feel(self, valence: float, energy: float = 0.0, *, priority: UpdatePriority) -> None:
        """Shifts the mood, kept in its ranges."""
        self.valence = min(1.0, max(-1.0, self.valence + valence))
        self.energy = min(1.0, max(0.0, self.energy + energy))
        self.mark("emotions", priority=priority)

    def remember(self, what: str) -> None:
        """Puts something into the short memory; the oldest of four is forgotten."""
        self.memories.append(what)
        self.mark("memory")

    def bond(self, other_id: str) -> Bond:
        """What they feel for somebody, made at the first look."""
        return self.bonds.setdefault(other_id, Bond())

    def take_change(self) -> StateChange | None:
        """The sections marked since the last call, as one change, or None."""
        if not self._marks:
            return None
        marks, self._marks = self._marks, {}
        updates = {section: getattr(self, f"_{section}")() for section in marks}
        return StateChange(self.agent_id, updates, min(marks.values()))

    def whole_state(self) -> dict[str, Any]:
        """Every section, for somebody whom the manager does not know yet."""
        return {section: getattr(self, f"_{section}")() for section in SECTIONS}

    def _location(self) -> str:
        return self.place

    def _activity(self) -> str:
        return self.activity

    def _position(self) -> dict[str, Any]:
        x, y = grounds.percent(self.point)
        return {
            "x": x,
            "y": y,
            "place_label": grounds.label_of(self.place),
            "moving": self.is_walking,
            "destination": self.place if self.is_walking else None,
        }

    def _identity(self) -> dict[str, Any]:
        persona = self.persona
        return {
            "age": persona.age,
            "occupation": persona.occupation,
            "hometown": persona.hometown,
            "bio": persona.bio,
            "colour": persona.colour,
            "look": dict(zip(("skin", "hair", "style"), persona.look, strict=True)),
        }

    def _role(self) -> dict[str, Any]:
        return {
            "status": "coupled up" if self.partner else "single",
            "partner": self.names.get(self.partner) if self.partner else None,
            "roses_received": self.roses_received,
            "roses_given": self.roses_given,
            "ceremonies": self.ceremonies,
        }

    def _emotions(self) -> dict[str, Any]:
        resting = personality.resting_emotions(self.persona.traits)["levels"]
        longing = max((bond.romance for bond in self.bonds.values()), default=0.0)
        v, e = self.valence, self.energy
        return {
            "mood": self.mood,
            "valence": round(v, 2),
            "energy": round(e, 2),
            "levels": {
                "joy": _level(resting["joy"] + 0.45 * v),
                "affection": _level(resting["affection"] + 0.3 * v),
                "longing": _level(longing),
                "jealousy": _level(resting["jealousy"] - 0.3 * v),
                "tension": _level(resting["tension"] - 0.4 * v + 0.2 * (e - 0.5)),
                "calm": _level(resting["calm"] + 0.2 * v - 0.3 * (e - 0.5)),
            },
        }

    def _relationships(self) -> dict[str, Any]:
        return {
            other_id: {
                "name": self.names.get(other_id, other_id),
                "kind": "partner" if other_id == self.partner else bond.kind,
                "affinity": round(bond.affinity, 2),
                "romance": round(bond.romance, 2),
                "trust": round(bond.trust, 2),
                "talks": bond.talks,
            }
            for other_id, bond in self.bonds.items()
        }

    def _dialogue(self) -> dict[str, Any]:
        return {
            "speaking": self.line is not None,
            "with": self.talking_with,
            "with_name": self.names.get(self.talking_with) if self.talking_with else None,
            "line": self.line,
            "tone": self.tone,
            "lines_spoken": self.lines_spoken,
            "recent": list(self.recent_lines),
        }

    def _memory(self) -> dict[str, Any]:
        return {
            "recent": list(self.memories),
            "conversations": self.conversations,
            "reflection": self._reflection(),
        }

    def _reflection(self) -> str:
        liked = max(self.bonds, key=lambda other: self.bonds[other].affinity, default=None)
        if liked is None or self.bonds[liked].affinity < 0.15:
            return "Too early to say who is who."
        name = self.names.get(liked, liked)
        return (
            f"Keeps thinking of {name}." if self.bonds[liked].romance > 0.4 else f"Feels easy around {name}."
        )


SECTIONS = (
    "location",
    "activity",
    "position",
    "identity",
    "role",
    "emotions",
    "relationships",
    "dialogue",
    "memory",
)
"""What a change may carry: fields of the manager's state."""


def _level(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 2)
