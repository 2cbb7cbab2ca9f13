"""A talk between two islanders: who speaks when, in which tone, and what it leaves behind. Values only."""

from __future__ import annotations

import random

from dating_show.villa import grounds, lines, personality
from dating_show.villa.effects import Effect, Happening
from dating_show.villa.islander import Bond, Islander
from django_update_pipeline import UpdatePriority

LINE_S = (3.2, 4.4)
"""Shortest and longest time one line hangs in the air."""

PAUSE_S = (5.0, 14.0)
"""How long somebody does not start another talk."""


class Conversation:
    """Two who talk; `advance` speaks the next line when it is due."""

    def __init__(
        self,
        beginner: Islander,
        other: Islander,
        now_s: float,
        rng: random.Random,
        repertoire: lines.Repertoire,
    ) -> None:
        self.pair = (beginner, other)
        self.tone = choose_tone(beginner, other, rng)
        self._lines = repertoire.exchange(
            self.tone, you=other.first_name, me=beginner.first_name, place=grounds.there(beginner.place)
        )
        self._spoken = 0
        self._next_at = now_s + 0.8
        self.is_over = False
        for one, two in (self.pair, self.pair[::-1]):
            one.talking_with = two.agent_id
            one.tone = self.tone
            one.do(f"talking to {two.first_name}")
            one.mark("dialogue")

    def advance(self, now_s: float, rng: random.Random) -> list[Effect]:
        """Speaks the next line if it is due, and ends the talk after the last one."""
        if self.is_over or now_s < self._next_at:
            return []
        if any(one.is_walking for one in self.pair):
            return self.end(now_s, rng)  # Somebody was called away.
        for one in self.pair:
            if one.line is not None:
                one.line = None
                one.mark("dialogue")
        if self._spoken == len(self._lines):
            return self.end(now_s, rng)
        speaker = self.pair[self._spoken % 2]
        listener = self.pair[1 - self._spoken % 2]
        line = self._lines[self._spoken]
        self._spoken += 1
        self._next_at = now_s + rng.uniform(*LINE_S)
        say(speaker, listener, line)
        return [
            Happening(
                speaker.agent_id,
                "dialogue",
                {
                    "speaker": speaker.agent_id,
                    "speaker_name": speaker.persona.name,
                    "listener": listener.agent_id,
                    "listener_name": listener.persona.name,
                    "text": line,
                    "tone": self.tone,
                    "location": speaker.place,
                },
                UpdatePriority.NORMAL,
            )
        ]

    def end(self, now_s: float, rng: random.Random) -> list[Effect]:
        """Ends the talk: feelings move, both turn to something else; a new bond is told."""
        self.is_over = True
        effects: list[Effect] = []
        for one, two in (self.pair, self.pair[::-1]):
            one.line = None
            one.talking_with = None
            one.tone = "quiet"
            one.conversations += 1
            one.next_talk_at = now_s + rng.uniform(*PAUSE_S)
            one.next_plan_at = min(one.next_plan_at, now_s + rng.uniform(1.0, 6.0))
            if not one.is_walking:
                one.do(rng.choice(grounds.PLACES[one.place].activities))
            one.mark("dialogue")
            if self._spoken < 2:
                continue  # Nobody had answered yet: nothing happened between them.
            bond = one.bond(two.agent_id)
            before = bond.kind
            leave_impression(one, two, bond, self.tone, rng)
            one.remember(f"{_VERBS[self.tone]} {two.first_name} {grounds.there(one.place)}")
            one.mark("relationships")
            if bond.kind != before and bond.kind != "acquaintance":
                effects.append(bond_changed(one, two, bond))
        return effects


_VERBS = {
    "small_talk": "chatted with",
    "flirt": "flirted with",
    "deep": "opened up to",
    "tease": "joked with",
    "quarrel": "argued with",
}


def choose_tone(one: Islander, two: Islander, rng: random.Random) -> str:
    """How two talk now: by what they feel, by who they are, and by chance."""
    bond = one.bond(two.agent_id)
    chemistry = personality.attraction(one.persona.traits, two.persona.traits)
    weights = {
        "small_talk": 1.2,
        "flirt": 0.3
        + 1.6 * chemistry * max(bond.romance, 0.25)
        + (0.8 if one.partner == two.agent_id else 0.0),
        "deep": 0.2 + 1.2 * bond.trust * personality.trait(one.persona.traits, "openness"),
        "tease": 0.7 * personality.trait(one.persona.traits, "extraversion"),
        "quarrel": max(0.05, -bond.affinity) + (0.25 if one.valence < -0.3 else 0.0),
    }
    return rng.choices(list(weights), list(weights.values()))[0]


def leave_impression(one: Islander, two: Islander, bond: Bond, tone: str, rng: random.Random) -> None:
    """What a talk does to what `one` feels for `two`, and to the mood of `one`."""
    chemistry = personality.attraction(one.persona.traits, two.persona.traits) - 0.5
    luck = rng.uniform(-0.06, 0.08)
    bond.talks += 1
    if tone == "quarrel":
        bond.move(affinity=-0.16 + luck, romance=-0.05, trust=-0.08)
        one.feel(-0.22, -0.05, priority=UpdatePriority.NORMAL)
    elif tone == "flirt":
        bond.move(affinity=0.08 + 0.2 * chemistry + luck, romance=0.13 + 0.3 * chemistry + luck, trust=0.03)
        one.feel(0.16 + luck, 0.06, priority=UpdatePriority.NORMAL)
    elif tone == "deep":
        bond.move(affinity=0.11 + 0.2 * chemistry + luck, romance=0.04 + luck / 2, trust=0.12)
        one.feel(0.07 + luck, -0.03, priority=UpdatePriority.NORMAL)
    else:
        bond.move(affinity=0.06 + 0.3 * chemistry + luck, romance=0.01, trust=0.04)
        one.feel(0.05 + luck, 0.02, priority=UpdatePriority.NORMAL)


def bond_changed(one: Islander, two: Islander, bond: Bond) -> Happening:
    """Tells that somebody is now a friend, a crush or a rival for another."""
    sentence = {
        "friend": f"{one.first_name} has found a friend in {two.first_name}.",
        "crush": f"{one.first_name} can't stop looking at {two.first_name}.",
        "rival": f"{one.first_name} has had enough of {two.first_name}.",
    }[bond.kind]
    return Happening(
        one.agent_id,
        "relationship_changed",
        {
            "agent_id": one.agent_id,
            "other_id": two.agent_id,
            "kind": bond.kind,
            "affinity": round(bond.affinity, 2),
            "romance": round(bond.romance, 2),
            "text": sentence,
        },
        UpdatePriority.NORMAL,
    )


def say(speaker: Islander, listener: Islander, line: str) -> None:
    """Puts a line into the speaker's mouth, and into what both remember of the talk."""
    speaker.line = line
    speaker.lines_spoken += 1
    for one in (speaker, listener):
        one.recent_lines.append(f"{speaker.first_name}: {line}")
        one.mark("dialogue")
