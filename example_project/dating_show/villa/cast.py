"""The cast: ten islanders, each with a personality. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Persona:
    """Who somebody is when the show begins.

    `colour` is the colour of the figure on the map, chosen to be told apart on light and dark ground;
    `look` is skin, hair and the name of a hair style that the page can draw.
    """

    agent_id: str
    name: str
    age: int
    occupation: str
    hometown: str
    bio: str
    colour: str
    favourite_places: tuple[str, ...]
    look: tuple[str, str, str]
    traits: dict[str, float]

    @property
    def first_name(self) -> str:
        """What the others call them."""
        return self.name.partition(" ")[0]


def _traits(o: float, c: float, e: float, a: float, n: float, **others: float) -> dict[str, float]:
    return {
        "openness": o,
        "conscientiousness": c,
        "extraversion": e,
        "agreeableness": a,
        "neuroticism": n,
        **others,
    }


CAST: tuple[Persona, ...] = (
    Persona(
        "agent_001",
        "Amara Okafor",
        27,
        "marine biologist",
        "Lagos",
        "Talks to crabs and means it. Believes that first dates belong on the water.",
        "#c8553d",
        ("beach", "pool"),
        ("#7a4a30", "#221a18", "curls"),
        _traits(0.9, 0.6, 0.7, 0.8, 0.3, romance=0.7),
    ),
    Persona(
        "agent_002",
        "Luca Moretti",
        29,
        "pastry chef",
        "Naples",
        "Apologises with cake. Has never lost an argument about coffee.",
        "#3d7ea6",
        ("kitchen", "terrace"),
        ("#e6b892", "#3a2a20", "short"),
        _traits(0.6, 0.8, 0.6, 0.7, 0.5, romance=0.9),
    ),
    Persona(
        "agent_003",
        "Freya Lindqvist",
        31,
        "furniture maker",
        "Gothenburg",
        "Says little, sees everything, and repaired the hammock on the first day.",
        "#5b8c5a",
        ("garden", "hideaway"),
        ("#f5d3b8", "#d9b678", "long"),
        _traits(0.7, 0.9, 0.2, 0.6, 0.2, patience=0.9),
    ),
    Persona(
        "agent_004",
        "Mateo Rivera",
        26,
        "salsa teacher",
        "Cali",
        "Can't stand still. Falls in love on Mondays, usually for good.",
        "#e0952f",
        ("pool", "bar"),
        ("#b67f55", "#33241c", "wave"),
        _traits(0.8, 0.3, 0.95, 0.7, 0.4, romance=0.95),
    ),
    Persona(
        "agent_005",
        "Priya Raman",
        28,
        "puzzle designer",
        "Chennai",
        "Keeps a list of everyone's tells. Wins at cards and hates being asked how.",
        "#8e5ba6",
        ("lounge", "garden"),
        ("#a8714a", "#1f1a1c", "long"),
        _traits(0.85, 0.7, 0.4, 0.45, 0.55, strategy=0.9),
    ),
    Persona(
        "agent_006",
        "Jonas Weber",
        33,
        "mountain guide",
        "Innsbruck",
        "Up before everybody. Measures friendship in shared silences.",
        "#4a6670",
        ("gym", "beach"),
        ("#efc3a0", "#8a5f3c", "short"),
        _traits(0.5, 0.85, 0.35, 0.65, 0.15, courage=0.9),
    ),
    Persona(
        "agent_007",
        "Chloe Martin",
        25,
        "radio host",
        "Marseille",
        "Knows a story about anyone after five minutes. Half of them are true.",
        "#d1618a",
        ("bar", "pool"),
        ("#f0c8aa", "#a34e2c", "bob"),
        _traits(0.65, 0.35, 0.9, 0.4, 0.6, mischief=0.8),
    ),
    Persona(
        "agent_008",
        "Kenji Sato",
        30,
        "jazz pianist",
        "Yokohama",
        "Plays at three in the morning if nobody stops him. Nobody does.",
        "#2f8f83",
        ("lounge", "fire_pit"),
        ("#efcfae", "#201c20", "wave"),
        _traits(0.95, 0.5, 0.3, 0.75, 0.45, romance=0.6),
    ),
    Persona(
        "agent_009",
        "Zara Haddad",
        32,
        "trial lawyer",
        "Beirut",
        "Asks one question too many, and is usually right to.",
        "#a23b4b",
        ("terrace", "bar"),
        ("#d09c70", "#2a1f1d", "bob"),
        _traits(0.55, 0.8, 0.75, 0.3, 0.5, strategy=0.8),
    ),
    Persona(
        "agent_010",
        "Tom Bailey",
        28,
        "primary school teacher",
        "Leeds",
        "Remembers every birthday. Cries at rose ceremonies, also at other people's.",
        "#b08a2e",
        ("kitchen", "garden"),
        ("#f4cdb0", "#b9743c", "curls"),
        _traits(0.5, 0.6, 0.55, 0.95, 0.7, patience=0.8),
    ),
)
"""The islanders in the order in which they arrived."""
