"""The rose ceremony: everyone comes to the fire pit, some give a rose, the others hope. Values only.

quiet --due, or somebody asks--> gathering --all there, or 20 s--> giving --no giver left--> quiet
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum

from dating_show.villa import grounds, lines
from dating_show.villa.conversation import say
from dating_show.villa.effects import Announcement, Effect, Happening
from dating_show.villa.islander import Islander
from django_update_pipeline import UpdatePriority

FIRST_AFTER_S = 40.0
EVERY_S = 150.0
GATHER_S = 20.0
ROSE_S = 4.5

PLACE = "fire_pit"
VILLA_ID = "villa"
"""The id under which what concerns everybody is told."""


class Phase(Enum):
    """Where a ceremony stands."""

    QUIET = "quiet"
    GATHERING = "gathering"
    GIVING = "giving"


class RoseCeremony:
    """The ceremonies of a villa, one after the other; `advance` is asked at each step."""

    def __init__(self, islanders: Mapping[str, Islander], now_s: float) -> None:
        self._islanders = islanders
        self._next_at = now_s + FIRST_AFTER_S
        self._until = 0.0
        self._givers: deque[Islander] = deque()
        self._roses: dict[str, str] = {}
        self.phase = Phase.QUIET
        self.held = 0

    @property
    def is_on(self) -> bool:
        """Whether everyone is wanted at the fire pit now."""
        return self.phase is not Phase.QUIET

    def ask_for(self, now_s: float) -> bool:
        """Lets the next ceremony begin at the next step; False if one is on."""
        if self.is_on:
            return False
        self._next_at = now_s
        return True

    def advance(
        self, now_s: float, rng: random.Random, call_to: Callable[[Islander, str], None]
    ) -> list[Effect]:
        """What the ceremony brings about now; `call_to(islander, place)` makes somebody come."""
        if self.phase is Phase.QUIET:
            return self._begin(now_s, call_to) if now_s >= self._next_at else []
        if self.phase is Phase.GATHERING:
            if now_s >= self._until or not any(one.is_walking for one in self._islanders.values()):
                self._seat(now_s, rng)
            return []
        return self._go_on(now_s, rng)

    def _begin(self, now_s: float, call_to: Callable[[Islander, str], None]) -> list[Effect]:
        self.phase = Phase.GATHERING
        self.held += 1
        self._until = now_s + GATHER_S
        self._roses = {}
        for one in self._islanders.values():
            one.ceremonies += 1
            one.mark("role")
            call_to(one, PLACE)
        return [
            Announcement("Rose ceremony starting"),
            Happening(
                VILLA_ID,
                "ceremony_started",
                {"ceremony": self.held, "location": PLACE, "text": "Everyone is called to the fire pit."},
                UpdatePriority.CRITICAL,
            ),
        ]

    def _seat(self, now_s: float, rng: random.Random) -> None:
        # Half of them give, in turns: who gave in the last ceremony receives in this one.
        everyone = list(self._islanders.values())
        everyone.sort(key=lambda one: (one.roses_given, rng.random()))
        self._givers = deque(everyone[: len(everyone) // 2])
        self._until = now_s + 1.5
        self.phase = Phase.GIVING
        for one in everyone:
            if not one.is_walking:
                one.do("waiting with a rose" if one in self._givers else "hoping for a rose")

    def _go_on(self, now_s: float, rng: random.Random) -> list[Effect]:
        if now_s < self._until:
            return []
        for one in self._islanders.values():
            if one.line is not None:
                one.line = None
                one.mark("dialogue")
        if not self._givers:
            return self._close(now_s, rng)
        self._until = now_s + ROSE_S
        giver = self._givers.popleft()
        free = [
            one
            for one in self._islanders.values()
            if one is not giver
            and one not in self._givers
            and one.agent_id not in self._roses.values()
            and one.agent_id not in self._roses
        ]
        if not free:
            return []
        receiver = max(free, key=lambda one: wish(giver, one, rng))
        self._roses[giver.agent_id] = receiver.agent_id
        return give_rose(giver, receiver, rng)

    def _close(self, now_s: float, rng: random.Random) -> list[Effect]:
        self.phase = Phase.QUIET
        self._next_at = now_s + EVERY_S
        empty = [
            one
            for one in self._islanders.values()
            if one.agent_id not in self._roses and one.agent_id not in self._roses.values()
        ]
        for one in self._islanders.values():
            one.next_plan_at = now_s + rng.uniform(0.5, 9.0)
            one.next_talk_at = now_s + rng.uniform(2.0, 10.0)
            one.do("thinking it over")
        for one in empty:
            one.feel(-0.35, -0.1, priority=UpdatePriority.NORMAL)
            one.remember("left the fire pit without a rose")
        names = " and ".join(one.first_name for one in empty)
        text = f"{names} went without." if names else "Nobody went without."
        return [
            Announcement("The rose ceremony is over"),
            Happening(
                VILLA_ID,
                "ceremony_ended",
                {"ceremony": self.held, "roses": dict(self._roses), "text": text},
                UpdatePriority.CRITICAL,
            ),
        ]


def wish(giver: Islander, other: Islander, rng: random.Random) -> float:
    """How much somebody wants to give a rose to another; a little chance breaks ties."""
    bond = giver.bond(other.agent_id)
    return (
        bond.romance
        + 0.5 * bond.affinity
        + (0.6 if giver.partner == other.agent_id else 0)
        + 0.1 * rng.random()
    )


def give_rose(giver: Islander, receiver: Islander, rng: random.Random) -> list[Effect]:
    """Gives a rose: it is said, counted, felt by both, and told to everyone at once."""
    line = rng.choice(lines.ROSE_LINES).format(you=receiver.first_name)
    say(giver, receiver, line)
    giver.roses_given += 1
    receiver.roses_received += 1
    giver.bond(receiver.agent_id).move(affinity=0.1, romance=0.12, trust=0.05)
    receiver.bond(giver.agent_id).move(affinity=0.18, romance=0.16, trust=0.1)
    giver.feel(0.15, priority=UpdatePriority.NORMAL)
    receiver.feel(0.4, 0.1, priority=UpdatePriority.NORMAL)
    giver.remember(f"gave a rose to {receiver.first_name}")
    receiver.remember(f"got a rose from {giver.first_name}")
    for one in (giver, receiver):
        one.mark("role", "relationships", priority=UpdatePriority.HIGH)
    return [
        Happening(
            giver.agent_id,
            "rose_given",
            {
                "giver": giver.agent_id,
                "giver_name": giver.persona.name,
                "receiver": receiver.agent_id,
                "receiver_name": receiver.persona.name,
                "line": line,
                "location": giver.place,
                "text": f"{giver.first_name} gives a rose to {receiver.first_name}.",
                "where": grounds.there(giver.place),
            },
            UpdatePriority.CRITICAL,
        )
    ]
