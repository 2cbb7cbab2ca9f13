"""The villa as a step function: `step(now_s)` moves everybody on and returns what came of it.

No clock, no I/O, no global chance: times come in, randomness is the injected `random.Random`, so that a
seed and a list of times give the same evening again. Not thread-safe: one loop or one test drives it.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Sequence

from dating_show.villa import grounds, lines, personality
from dating_show.villa.cast import CAST, Persona
from dating_show.villa.ceremony import VILLA_ID, RoseCeremony, give_rose
from dating_show.villa.conversation import Conversation
from dating_show.villa.effects import Effect, Happening
from dating_show.villa.islander import HURRY, STROLL, Bond, Islander
from django_update_pipeline import UpdatePriority

LONGEST_STEP_S = 2.0
"""A longer gap between two steps (a suspended laptop) counts as this much: nobody jumps through a wall."""

DRIFT_EVERY_S = 5.0
"""How often moods settle towards what is usual for somebody."""

TALK_RATE = 0.4
"""Chance per second that two who stand in one place and feel like it begin to talk."""

FADE_EVERY_DRIFTS = 6
"""Feelings fade a little with every so many drifts, so that an evening never ends with all in love."""

MOODS = {
    "cheerful": (0.5, 0.75),
    "calm": (0.15, 0.5),
    "restless": (-0.25, 0.8),
    "heartbroken": (-0.8, 0.4),
    "sleepy": (0.1, 0.1),
}
"""Moods a producer may ask for: valence and energy."""


class Villa:
    """Everyone in the villa, and what they are about to do.

    Args:
        rng: where all chance comes from.
        now_s: the time at which the show begins, in the seconds of any steady clock.
        cast: who takes part.
    """

    def __init__(self, rng: random.Random, now_s: float, cast: Sequence[Persona] = CAST) -> None:
        self._rng = rng
        self._now_s = now_s
        self._drift_at = now_s + DRIFT_EVERY_S
        self._repertoire = lines.Repertoire(rng)
        self._talks: list[Conversation] = []
        self._wanted: tuple[str, str] | None = None
        self._drifts = 0
        self._told: deque[Effect] = deque()
        self.islanders: dict[str, Islander] = {}
        names = {persona.agent_id: persona.name for persona in cast}
        for index, persona in enumerate(cast):
            # Two by two, in a place that one of them likes: the first talk begins within seconds.
            place = cast[index - index % 2].favourite_places[0]
            one = Islander(persona, place, self._free_spot(place), names=names)
            one.activity = rng.choice(grounds.PLACES[place].activities)
            one.valence = personality.resting_emotions(persona.traits)["valence"]
            one.next_plan_at = now_s + rng.uniform(0.5, 14.0)
            one.next_talk_at = now_s + rng.uniform(0.0, 4.0)
            self.islanders[persona.agent_id] = one
        for one in self.islanders.values():
            for other in self.islanders.values():
                if other is not one:
                    liking = personality.attraction(one.persona.traits, other.persona.traits)
                    one.bonds[other.agent_id] = Bond(
                        affinity=liking - 0.5, romance=max(0.0, liking - 0.45 + rng.uniform(-0.1, 0.2))
                    )
        self.ceremony = RoseCeremony(self.islanders, now_s)

    def step(self, now_s: float) -> list[Effect]:
        """Moves the villa on to `now_s` and returns the effects: first what happened, then who changed."""
        dt_s = min(max(now_s - self._now_s, 0.0), LONGEST_STEP_S)
        self._now_s = now_s
        effects: list[Effect] = list(self._told)
        self._told.clear()
        effects += self.ceremony.advance(now_s, self._rng, self._call_to)
        for one in self.islanders.values():
            if one.walk(dt_s):
                self._arrive(one)
        for talk in self._talks:
            effects += talk.advance(now_s, self._rng)
        self._talks = [talk for talk in self._talks if not talk.is_over]
        if not self.ceremony.is_on:
            self._plan()
            self._begin_talks(dt_s)
        if now_s >= self._drift_at:
            self._drift_at = now_s + DRIFT_EVERY_S
            self._drift()
        effects += self._couples()
        for one in self.islanders.values():
            change = one.take_change()
            if change is not None:
                effects.append(change)
        return effects

    # What a producer may ask for. Each takes effect with the next step.

    def send_to(self, agent_id: str, place: str) -> None:
        """Somebody is called to a place, and hurries."""
        one = self.islanders[agent_id]
        one.next_plan_at = self._now_s + 25.0
        one.go(place, self._free_spot(place, one), speed=HURRY, urgent=True)

    def cheer(self, agent_id: str, mood: str) -> None:
        """Somebody's mood changes to one of `MOODS`."""
        one = self.islanders[agent_id]
        one.valence, one.energy = MOODS[mood]
        one.feel(0.0, priority=UpdatePriority.HIGH)

    def bring_together(self, agent_id: str, other_id: str) -> None:
        """Somebody goes to another and talks to them as soon as both stand still."""
        one, other = self.islanders[agent_id], self.islanders[other_id]
        if other.place != one.place or one.is_walking:
            one.go(other.place, self._beside(other), speed=HURRY, urgent=True)
        one.next_talk_at = other.next_talk_at = self._now_s
        one.next_plan_at = other.next_plan_at = self._now_s + 25.0
        self._wanted = (agent_id, other_id)

    def hand_rose(self, agent_id: str, other_id: str) -> None:
        """Somebody gives a rose outside of a ceremony."""
        self._told.extend(give_rose(self.islanders[agent_id], self.islanders[other_id], self._rng))

    def call_ceremony(self) -> bool:
        """The next ceremony begins now; False if one is on."""
        return self.ceremony.ask_for(self._now_s)

    def _plan(self) -> None:
        for one in self.islanders.values():
            if self._now_s < one.next_plan_at or one.is_walking or one.talking_with is not None:
                continue
            if one.line is not None:
                one.line = None
                one.mark("dialogue")
            one.next_plan_at = self._now_s + self._rng.uniform(8.0, 24.0)
            if self._rng.random() < 0.3:
                one.do(self._rng.choice(grounds.PLACES[one.place].activities))
                continue
            place = self._choose_place(one)
            if place != one.place:
                one.go(place, self._free_spot(place, one), speed=STROLL)

    def _choose_place(self, one: Islander) -> str:
        weights = dict.fromkeys(grounds.PLACES, 0.3)
        for favourite in one.persona.favourite_places:
            weights[favourite] += 1.0
        if one.energy < 0.3:
            weights["bedroom"] += 3.0
        for other_id, bond in one.bonds.items():
            # People go where those are whom they like, the outgoing more than the quiet.
            pull = (
                0.8 * bond.romance + 0.6 * max(0.0, bond.affinity) + (1.0 if other_id == one.partner else 0.0)
            )
            outgoing = 0.4 + personality.trait(one.persona.traits, "extraversion")
            weights[self.islanders[other_id].place] += pull * outgoing
        weights[one.place] *= 0.2
        return self._rng.choices(list(weights), list(weights.values()))[0]

    def _begin_talks(self, dt_s: float) -> None:
        if self._wanted is not None:
            one, other = (self.islanders[agent_id] for agent_id in self._wanted)
            if self._can_talk(one) and self._can_talk(other) and one.place == other.place:
                self._wanted = None
                self._talks.append(Conversation(one, other, self._now_s, self._rng, self._repertoire))
            elif one.place != other.place and not one.is_walking:
                self._wanted = None  # The other has left meanwhile.
        willing = [
            one for one in self.islanders.values() if self._can_talk(one) and self._now_s >= one.next_talk_at
        ]
        self._rng.shuffle(willing)
        for index, one in enumerate(willing):
            for other in willing[index + 1 :]:
                if one.place != other.place or one.talking_with or other.talking_with:
                    continue
                if self._rng.random() < TALK_RATE * dt_s:
                    self._talks.append(Conversation(one, other, self._now_s, self._rng, self._repertoire))

    @staticmethod
    def _can_talk(one: Islander) -> bool:
        return one.talking_with is None and not one.is_walking

    def _arrive(self, one: Islander) -> None:
        one.next_talk_at = min(one.next_talk_at, self._now_s + 2.0)
        if one.talking_with is None and not self.ceremony.is_on:
            one.do(self._rng.choice(grounds.PLACES[one.place].activities))
        elif self.ceremony.is_on:
            one.do("waiting for the ceremony")

    def _call_to(self, one: Islander, place: str) -> None:
        if one.place != place:
            # Slow enough to be seen walking, fast enough that nobody is late.
            one.go(place, self._free_spot(place, one), speed=HURRY * 0.8, urgent=True)

    def _drift(self) -> None:
        self._drifts += 1
        for one in self.islanders.values():
            if self._drifts % FADE_EVERY_DRIFTS == 0:
                self._fade(one)
            usual = personality.resting_emotions(one.persona.traits)["valence"]
            tired = 0.03 if one.place == "bedroom" and not one.is_walking else -0.008
            one.feel(
                0.08 * (usual - one.valence) + self._rng.uniform(-0.03, 0.03),
                tired * (4 if tired > 0 else 1),
                priority=UpdatePriority.LOW,
            )

    def _fade(self, one: Islander) -> None:
        for other_id, bond in one.bonds.items():
            other = self.islanders[other_id]
            natural = personality.attraction(one.persona.traits, other.persona.traits)
            hold = 0.5 if other_id == one.partner else 1.0
            bond.move(
                affinity=0.05 * hold * (natural - 0.5 - bond.affinity),
                romance=0.06 * hold * (max(0.0, natural - 0.4) - bond.romance),
            )
        one.mark("relationships", priority=UpdatePriority.LOW)

    def _couples(self) -> list[Effect]:
        effects: list[Effect] = []
        for one in self.islanders.values():
            if one.partner is not None:
                other = self.islanders[one.partner]
                if min(one.bond(other.agent_id).romance, other.bond(one.agent_id).romance) < 0.35:
                    one.partner = other.partner = None
                    effects.append(self._pair_event("couple_parted", one, other, "{} and {} have parted."))
                continue
            for other_id, bond in one.bonds.items():
                other = self.islanders[other_id]
                if other.partner is None and bond.romance > 0.62 and other.bond(one.agent_id).romance > 0.62:
                    one.partner, other.partner = other_id, one.agent_id
                    effects.append(
                        self._pair_event("couple_formed", one, other, "{} and {} are a couple now.")
                    )
                    break
        return effects

    @staticmethod
    def _pair_event(kind: str, one: Islander, other: Islander, text: str) -> Happening:
        for changed in (one, other):
            changed.mark("role", "relationships", priority=UpdatePriority.HIGH)
        return Happening(
            one.agent_id,
            kind,
            {
                "agents": [one.agent_id, other.agent_id],
                "text": text.format(one.first_name, other.first_name),
            },
            UpdatePriority.HIGH,
        )

    def _free_spot(self, place: str, for_whom: Islander | None = None) -> grounds.Point:
        taken = [one.target for one in self.islanders.values() if one is not for_whom]
        spots = list(grounds.PLACES[place].spots)
        free = [spot for spot in spots if all(math.dist(spot, point) > 14 for point in taken)]
        if free:
            return self._rng.choice(free)
        x, y = self._rng.choice(spots)
        return x + self._rng.uniform(-22, 22), y + self._rng.uniform(-14, 14)

    def _beside(self, other: Islander) -> grounds.Point:
        x, y = other.target
        return (x + 36, y + 4) if x < grounds.WIDTH - 80 else (x - 36, y + 4)


__all__ = ["MOODS", "VILLA_ID", "Villa"]
