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
    their number can't grow, whatever comes and goes. Those in frames that are made but not sent yet are `in_frames`:
    a pass that is begun anew drops such frames.
    """

    is_attached: bool = False  # since when it was, nothing it needs was dropped unseen
    reach: int = 0
    lost: dict[str, None] = field(default_factory=dict)  # in order
    in_frames: list[str] = field(default_factory=list)

    def forget(self, dropped: Sequence[tuple[int, str]]) -> None:
        """Tombstones are dropped: of agents with their offsets of creation, lowest first."""
        for created, agent_id in dropped:
            if created > self.reach:
                return
            self.lost.setdefault(agent_id)

    def take(self, agent_id: str) -> None:
        """A frame is made that tells an agent whole, or as gone."""
        if agent_id in self.lost:
            del self.lost[agent_id]
            self.in_frames.append(agent_id)

    def put_back(self) -> None:
        """Frames that were made are not sent: what they told of agents is still to be told."""
        self.lost.update(dict.fromkeys(self.in_frames))
        self.in_frames.clear()
