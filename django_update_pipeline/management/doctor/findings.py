"""What an examination finds: one fact each, and its mend where something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["good", "note", "warning", "error"]

LEVELS: tuple[Level, ...] = ("good", "note", "warning", "error")


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about this deployment. `mend` says what to do, and is empty where nothing needs to be done."""

    level: Level
    text: str
    mend: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Examination:
    """One part of the visit. `look` yields findings; what it raises becomes one."""

    name: str
    look: Callable[[], Iterable[Finding]]

    def findings(self) -> Iterator[Finding]:
        """What it finds, a failure of its own included."""
        try:
            yield from self.look()
        except Exception as error:  # the examination's boundary: the others still look
            yield Finding(
                "error",
                f"this could not be examined: {type(error).__name__}: {str(error)[:300]}",
                "Mend what it names; if it names nothing of yours, report it.",
            )


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level of all; `good` where there is none."""
    return max((finding.level for finding in findings), key=LEVELS.index, default="good")
