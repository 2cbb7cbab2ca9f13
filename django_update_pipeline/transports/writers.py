"""Who wrote an agent's state last, where several nodes may write: values only.

Of two states of one agent the one with the higher `(stamp, node id)` wins, on every node. A stamp is the update's
Unix time, or just above the highest stamp its node has seen of that agent: so a clock that is behind, or was set
back, does not make a node's news lose against what it has already replaced (a hybrid logical clock: Kulkarni et al.,
"Logical Physical Clocks", 2014).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum

from ..core.messages import UpdateKind
from ..core.publication import Change

#: Removed agents whose last writer is remembered; beyond it the oldest are forgotten.
REMOVED_KEPT = 10_000

#: Seconds between a stamp and the next above it: more than a double's resolution at today's Unix times.
STEP_S = 1e-6


class Verdict(Enum):
    """What to do with another node's state."""

    APPLY = "it is the newest"
    OLDER = "a newer one is known"
    NEEDS_WHOLE = "a patch of a state that this node does not have"


class Writers:
    """The last writer of each agent in each channel. Memory: one entry an agent and channel, removed ones bounded."""

    def __init__(self, node_id: str, removed_kept: int = REMOVED_KEPT) -> None:
        self.node_id = node_id
        self._removed_kept = removed_kept
        self._last: dict[tuple[str, str], tuple[float, str]] = {}
        self._removed: OrderedDict[tuple[str, str], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._last)

    def own_stamp(self, change: Change) -> float:
        """The stamp of this node's own change: above every one known of its agent."""
        stamp = change.timestamp
        for name in change.channels:
            known = self._last.get((name, change.agent_id))
            if known is not None and known >= (stamp, self.node_id):
                stamp = known[0] + STEP_S
        return stamp

    def wrote_all(self, change: Change, node_id: str) -> bool:
        """Whether a node wrote the state that this change is laid over, in all of its channels."""
        return all(
            self._last.get((name, change.agent_id), (0.0, ""))[1] == node_id for name in change.channels
        )

    def judge(self, change: Change, stamp: float, node_id: str) -> Verdict:
        """What to do with another node's change of a state."""
        for name in change.channels:
            known = self._last.get((name, change.agent_id))
            if known is not None and known > (stamp, node_id):
                return Verdict.OLDER
        if change.kind is UpdateKind.MERGE and not self.wrote_all(change, node_id):
            return Verdict.NEEDS_WHOLE
        return Verdict.APPLY

    def note(self, change: Change, stamp: float, node_id: str) -> None:
        """Notes a change that is applied."""
        for name in change.channels:
            key = (name, change.agent_id)
            self._last[key] = (stamp, node_id)
            if change.kind is not UpdateKind.REMOVE:
                self._removed.pop(key, None)
                continue
            self._removed[key] = None
            self._removed.move_to_end(key)
            if len(self._removed) > self._removed_kept:
                del self._last[self._removed.popitem(last=False)[0]]

    def own(self) -> Iterator[tuple[str, str, float]]:
        """Channel, agent and stamp of what this node wrote last."""
        for (name, agent_id), (stamp, writer) in self._last.items():
            if writer == self.node_id:
                yield name, agent_id, stamp
