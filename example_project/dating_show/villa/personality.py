"""What follows from an agent's traits: skills, resting emotions, leanings, attraction. Pure functions.

Traits are free names with numbers from 0 to 1; the five of `NEUTRAL_TRAITS` are read here, others are only
carried along. A value that is no number counts as 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Traits = Mapping[str, Any]

NEUTRAL_TRAITS = {
    "openness": 0.5,
    "conscientiousness": 0.5,
    "extraversion": 0.5,
    "agreeableness": 0.5,
    "neuroticism": 0.5,
}

_HIGH_WORDS = {
    "openness": "curious",
    "conscientiousness": "dependable",
    "extraversion": "outgoing",
    "agreeableness": "warm",
    "neuroticism": "sensitive",
}
_LOW_WORDS = {
    "openness": "down-to-earth",
    "conscientiousness": "spontaneous",
    "extraversion": "quiet",
    "agreeableness": "outspoken",
    "neuroticism": "steady",
}


def trait(traits: Traits, name: str) -> float:
    """The trait's value, kept within 0 and 1; 0.5 when it is missing or no number."""
    value = traits.get(name, 0.5)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        return 0.5
    return min(1.0, max(0.0, float(value)))


def summary_of(traits: Traits) -> str:
    """Up to three words for what stands out, the most marked first, like "warm, curious and steady"."""
    marked = sorted(
        (abs(trait(traits, name) - 0.5), name)
        for name in NEUTRAL_TRAITS
        if abs(trait(traits, name) - 0.5) > 0.1
    )
    words = [
        (_HIGH_WORDS if trait(traits, name) > 0.5 else _LOW_WORDS)[name] for _, name in reversed(marked)
    ][:3]
    if not words:
        return "hard to read"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def skills_of(traits: Traits) -> dict[str, float]:
    """What somebody with these traits is likely good at, 0 to 1."""
    o, c, e, a, n = (trait(traits, name) for name in NEUTRAL_TRAITS)
    return {
        "charm": round(0.2 + 0.5 * e + 0.3 * a, 2),
        "humour": round(0.2 + 0.4 * o + 0.4 * e, 2),
        "listening": round(0.2 + 0.6 * a + 0.2 * (1 - e), 2),
        "cooking": round(0.2 + 0.5 * c + 0.3 * o, 2),
        "dancing": round(0.1 + 0.5 * e + 0.4 * o, 2),
        "strategy": round(0.2 + 0.5 * c + 0.3 * (1 - a), 2),
        "composure": round(0.1 + 0.8 * (1 - n), 2),
    }


def resting_emotions(traits: Traits) -> dict[str, Any]:
    """How somebody with these traits feels when nothing happens; levels from 0 to 1, valence from -1 to 1."""
    e, a, n = (trait(traits, name) for name in ("extraversion", "agreeableness", "neuroticism"))
    valence = round(0.1 + 0.35 * e + 0.25 * a - 0.4 * n, 2)
    return {
        "mood": mood_word(valence, 0.6),
        "valence": valence,
        "energy": 0.6,
        "levels": {
            "joy": round(0.3 + 0.4 * e, 2),
            "affection": round(0.2 + 0.4 * a, 2),
            "longing": 0.3,
            "jealousy": round(0.1 + 0.3 * n, 2),
            "tension": round(0.1 + 0.4 * n, 2),
            "calm": round(0.8 - 0.5 * n, 2),
        },
    }


def mood_word(valence: float, energy: float) -> str:
    """One word for a mood: valence from -1 to 1 (how good), energy from 0 to 1 (how awake)."""
    if energy < 0.22:
        return "sleepy"
    if valence > 0.6:
        return "elated" if energy > 0.6 else "blissful"
    if valence > 0.25:
        return "cheerful" if energy > 0.5 else "content"
    if valence > -0.15:
        return "curious" if energy > 0.7 else "calm"
    if valence > -0.5:
        return "restless" if energy > 0.5 else "wistful"
    return "upset" if energy > 0.5 else "heartbroken"


def cultural_leanings(traits: Traits) -> dict[str, Any]:
    """What somebody takes part in and passes on in the villa's small culture."""
    o, c, e, a, _ = (trait(traits, name) for name in NEUTRAL_TRAITS)
    values = {"honesty": c, "adventure": o, "kindness": a, "fun": e, "loyalty": (a + c) / 2}
    return {
        "values": {name: round(level, 2) for name, level in values.items()},
        "customs": [
            "morning coffee on the terrace",
            "no telephones at the fire pit",
            "a toast for each rose",
        ],
        "memes_known": ["the flamingo incident", "coupled up or cooled down"],
        "influence": round(0.1 + 0.5 * e + 0.3 * o, 2),
        "tradition": round(0.5 * c + 0.3 * (1 - o), 2),
    }


def governance_leanings(traits: Traits) -> dict[str, Any]:
    """How somebody takes part in the rules the villa gives itself."""
    _, c, e, a, n = (trait(traits, name) for name in NEUTRAL_TRAITS)
    return {
        "rules_agreed": ["dishes the same day", "quiet after two", "everyone speaks at the fire pit"],
        "rule_adherence": round(0.3 + 0.6 * c, 2),
        "participation": round(0.2 + 0.4 * e + 0.3 * a, 2),
        "leadership": round(0.1 + 0.5 * e + 0.3 * c - 0.2 * n, 2),
        "standing": 0.5,
        "votes": {"cast": 0, "received": 0},
    }


def attraction(mine: Traits, theirs: Traits) -> float:
    """How well two get on by nature, 0 to 1: alike in openness and warmth, unlike in loudness."""
    alike = 1 - abs(trait(mine, "openness") - trait(theirs, "openness"))
    warmth = (trait(mine, "agreeableness") + trait(theirs, "agreeableness")) / 2
    spark = abs(trait(mine, "extraversion") - trait(theirs, "extraversion"))
    calm = 1 - (trait(mine, "neuroticism") + trait(theirs, "neuroticism")) / 2
    return 0.35 * alike + 0.3 * warmth + 0.15 * spark + 0.2 * calm
