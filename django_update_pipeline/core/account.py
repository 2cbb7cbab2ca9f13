"""The account: where every accepted update is, by the priority it was accepted with.

Law Q5 (account): at every instant each accepted update is exactly one of pending, delivered, conflated,
dead-lettered, cleared. Each transition out of *pending* is one store into one cell, and *pending* is what
is left, so a snapshot of the cells (one copy of a flat list, atomic in CPython) is always consistent. That
the rest equals what really waits is what `Queue.pending_by_priority` is for, and what the tests compare.
"""

from __future__ import annotations

from .messages import PRIORITIES

ACCEPTED, DELIVERED, CONFLATED, DEAD_LETTERED, CLEARED = range(5)
TERMS = ("accepted", "delivered", "conflated", "dead_lettered", "cleared", "pending")
_WIDTH = 5


class Account:
    """Counters by priority. Written under the door's lock only; read from any thread."""

    __slots__ = ("cells",)

    def __init__(self) -> None:
        self.cells = [0] * (_WIDTH * len(PRIORITIES))

    def add(self, priority: int, term: int, count: int = 1) -> None:
        """Moves `count` updates of a priority to a term (for ACCEPTED: from outside into pending)."""
        self.cells[priority * _WIDTH + term] += count

    def snapshot(self) -> dict[str, dict[str, int]]:
        """`{"critical": {"accepted": 3, ..., "pending": 1}, ..., "total": {...}}`, of one instant."""
        cells = self.cells[:]
        result: dict[str, dict[str, int]] = {}
        total = dict.fromkeys(TERMS, 0)
        for priority in PRIORITIES:
            row = cells[priority * _WIDTH : (priority + 1) * _WIDTH]
            row.append(row[ACCEPTED] - row[DELIVERED] - row[CONFLATED] - row[DEAD_LETTERED] - row[CLEARED])
            result[priority.label] = dict(zip(TERMS, row, strict=True))
            for term, count in zip(TERMS, row, strict=True):
                total[term] += count
        result["total"] = total
        return result

    def total(self, term: int) -> int:
        """One term over all priorities."""
        return sum(self.cells[:][term::_WIDTH])
