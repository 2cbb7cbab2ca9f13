"""Who goes through a channel slowly, and what it is told by when tombstones it still needs are dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False, weakref_slot=True)
class Reader:
    """One pass's hold on a channel: the store tells it which tombstones it drops.

    So that neither a pass has to begin anew because of compaction, nor compaction has to wait for a pass. `lost` has
    the agents that were removed, or lost a field, and whose tombstones are gone: told whole, or as gone, they are
    right again. It has no others than those created up to `reach`, which the client may know: while nothing is told
    their number can't grow, whatever comes and goes.
    """

    is_attached: bool = False  # since when it was, nothing it needs was dropped unseen
    reach: int = 0
    lost: dict[str, None] = field(default_factory=dict)  # in order

    def forget(self, dropped: Sequence[tuple[int, str]]) -> None:
        """Tombstones are dropped: of agents with their offsets of creation, lowest first."""
        for created, agent_id in dropped:
            if created > self.reach:
                return
            self.lost.setdefault(agent_id)
