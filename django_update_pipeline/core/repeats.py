"""Complaints that repeat: how often there was one, and whether this one is worth a line in the log.

Lives here: the counting. Not here: logging. A plugin that fails for each of ten thousand updates is told of
fourteen times, with the count, and floods no log.
"""

from __future__ import annotations

from typing import Final

OTHERS: Final = "others"
"""The key that all keys beyond the bound share."""


class Repeats:
    """Counts complaints by key. The 1st, 2nd, 4th, 8th ... of a key are worth a line.

        if count := repeats.add("overflow"):
            logger.warning("... (%d so far)", count)

    Law V1: of n complaints with one key exactly those whose number is a power of two are told, with their number.
    Law V2: at most `max_keys` keys are kept, and the one that all further keys share; the total counts every complaint.

    Any thread may add; two at once may count as one.
    """

    __slots__ = ("_counts", "max_keys", "total")

    def __init__(self, max_keys: int = 1000) -> None:
        self.max_keys = max_keys
        self.total = 0
        self._counts: dict[str, int] = {}

    def add(self, key: str = "") -> int:
        """Counts one more; how many there were with this key, if that is worth a line, else 0."""
        counts = self._counts
        if key not in counts and len(counts) >= self.max_keys:
            key = OTHERS
        self.total += 1
        count = counts[key] = counts.get(key, 0) + 1
        return 0 if count & (count - 1) else count

    def count(self, key: str = "") -> int:
        """How many there were with this key."""
        return self._counts.get(key, 0)

    def counts(self) -> dict[str, int]:
        """Every key that is kept, with its count."""
        return dict(self._counts)

    def forget(self, key: str = "") -> None:
        """What was complained of is well again: the next complaint is the first."""
        self._counts.pop(key, None)
