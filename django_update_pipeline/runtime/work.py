"""A batch on its way, and what becomes of each update in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.messages import UpdateMessage
from ..core.publication import Publication

#: Of an update that goes back without having failed: where others have the cause of their failure.
HELD_BACK = "held back"


@dataclass(slots=True, eq=False)
class Work:
    """A batch on its way. `published[i]` became the publication's change i.

    `failed` has updates with reason and cause, `held_back` those that go back without having failed, `waiting` those
    that go back and wait for a part that is off, `swallowed` those that a part made disappear. All of it is settled
    at the end, in one step. `left` are those that were left behind and are not back yet.
    """

    batch: list[UpdateMessage]
    publication: Publication | None = None
    published: list[UpdateMessage] = field(default_factory=list)
    failed: list[tuple[UpdateMessage, str, str]] = field(default_factory=list)
    held_back: list[UpdateMessage] = field(default_factory=list)
    waiting: list[UpdateMessage] = field(default_factory=list)
    swallowed: list[UpdateMessage] = field(default_factory=list)
    left: list[UpdateMessage] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)
    """Places that the transport rejected: these were not applied."""
    attempts: int = 0
