"""One way of a sync connection through the store: which views have their turn, and how far each is.

Values without decisions: `sync_session` goes the way.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from .reader import Reader
from .store import AgentState
from .sync_frames import SyncFrame
from .view import View


@dataclass(slots=True)
class Turn:
    """One view in a pass."""

    view: View
    since: int  # parts tell what changed above it
    is_snapshot: bool  # from nothing: all state, no events
    is_owed: bool  # it ends with a frame that moves the position, if only to say that nothing is left
    reader: Reader = field(default_factory=Reader)  # hears which tombstones are dropped meanwhile
    event_count: int = 0  # how many events the channel ever had at the pass's target: the ring forgets
    reset_told: bool = False
    removals_told: bool = False
    is_open: bool = False  # the last frame it was told was a part: one that is none has to follow
    is_done: bool = False  # its position has reached the target
    cursor: int = 0  # the creation offset of the agent sent last
    limit: int = 0  # agents created up to here have a turn: those that were there when removals were told
    few: list[AgentState] | None = None  # agents still to be told, last first, where they are few
    anew: list[str] | None = None  # agents still to be told whole, or as gone, last first


class Told(NamedTuple):
    """A frame of a pass, whose it is, and whether the view is up to date with it."""

    frame: SyncFrame
    place: int
    is_last: bool


@dataclass(slots=True)
class Overtaking:
    """Agents that something CRITICAL touched: their events above `at` and up to `until` are told before their turn."""

    agents: frozenset[str]
    at: int
    until: int


@dataclass(slots=True)
class Pass:
    """One way through the store, up to `target`. Everything in it is bounded by the number of views and agents."""

    target: int
    turns: list[Turn]
    index: int = 0  # whose states are being sent; past the last: events
    urgent: int = 0  # CRITICAL changes up to here were sent, or belong to the pass
    overtaking: Overtaking | None = None
    may_overtake: bool = False  # urgent parts and others take turns, so that both get on
    late_told: bool = False
    is_news: bool = True  # nothing of it is told twice
    pending: deque[Told] = field(default_factory=deque)
