"""Who goes through a channel slowly, and what it is told by when tombstones it still needs are dropped."""

from __future__ import annotations

from collections.abc import Sequence


class Reader:
    """One pass's hold on a channel: the store tells it which tombstones it drops.

    So that neither a pass has to begin anew because of compaction, nor compaction has to wait for a pass. `lost` has
    the agents that were removed, or lost a field, and whose tombstones are gone: told whole, or as gone, they are
    right again. It has no others than those created up to `reach`, which the client may know: while nothing is told
    their number can't grow, whatever comes and goes.
    """

    __slots__ = ("__weakref__", "is_attached", "lost", "reach")

    def __init__(self) -> None:
        self.is_attached = False  # since when it was, nothing it needs was dropped unseen
        self.reach = 0
        self.lost: dict[str, None] = {}  # in order

    def forget(self, dropped: Sequence[tuple[int, str]]) -> None:
        """Tombstones are dropped: of agents with their offsets of creation, lowest first."""
        for created, agent_id in dropped:
            if created > self.reach:
                return
            self.lost[agent_id] = None
