"""The kinds of parts that plugins provide, and what it means that one is off (ADR 12).

Nothing is ever sent past a part that is off: what would go through it waits, or dies where it can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class PartKind:
    """One kind of part: what it means that it is off, and which misbehaviour switches it off."""

    name: str
    off_means: str
    by_failures: bool = True
    by_blocking: bool = True


_BUILT_IN = "the built-in one takes over"

KINDS: Final = {
    kind.name: kind
    for kind in (
        PartKind("source", "it is stopped"),
        PartKind(
            "router",
            "updates that name no channels go to the dead letters, never to the default channel",
            by_failures=False,
        ),
        PartKind("batching policy", _BUILT_IN),
        PartKind("load", "the updates it makes wait, state conflated"),
        PartKind("transformer", "every update it would see waits, state conflated; nothing is sent past it"),
        PartKind("circuit breaker", _BUILT_IN),
        PartKind("retry policy", _BUILT_IN),
        PartKind(
            "transport",
            "never off: the circuit breaker says when it is tried",
            by_failures=False,
            by_blocking=False,
        ),
        PartKind(
            "access hook",
            "never off: each answer it fails to give is a no",
            by_failures=False,
            by_blocking=False,
        ),
        PartKind("observer", "it is told no more"),
        PartKind("health check", "it is asked no more"),
    )
}
"""Every kind of part, in flow order. The documents' table is drawn from it."""
