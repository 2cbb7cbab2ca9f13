"""The store: per channel the newest state of each agent, field by field, and what changed since any offset.

It belongs to one loop; it takes no locks. A publication is applied as a whole, between two turns of the loop.

Laws (design, section 6):

- Law S1 (log): one writer numbers a log's updates 1, 2, 3 ..., one counter for all its channels; `epoch`
  names its incarnation. A publication applied before changes nothing.
- Law S2 (content): for each channel and agent each field's bytes with the offset that last changed them
  (equal bytes keep theirs), tombstones of unset fields, the offsets of creation and of the last removal;
  the last events with their offsets, and how many there ever were. Compaction drops old tombstones and
  raises the floor.
- Law S3 (answer): `changes_since(n)` is all with an offset above n, each once, newest, at a cost that grows
  with the answer only; n below the floor, above the head or of another epoch is answered by a `reset`
  snapshot: all state, no events.
- Law S4 (frame): a client anywhere between an answer's `from_` and `to` is right at `to` once it has applied
  it, so answers may repeat and overlap; it skips events it has had, and knows by `event_count` what it missed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from weakref import WeakSet

import msgspec

from ..exceptions import UpdatesRejected
from .codec import join_fields, split_object
from .config import StoreConfig
from .messages import FULL_STATE, UpdatePriority
from .publication import Change, Publication, UpdateKind
from .reader import Reader

_APPLIED_IDS = 1024

#: So many of a channel's latest CRITICAL changes are known by their agents; a pass looks for those in between.
URGENT_KEPT = 256
_ALL = frozenset((-1,))

_EVENT, _MERGE, _REMOVE = UpdateKind.EVENT, UpdateKind.MERGE, UpdateKind.REMOVE
_CRITICAL, _NORMAL = UpdatePriority.CRITICAL, UpdatePriority.NORMAL


class AgentState:
    """One agent in one channel: parallel dicts, so that the garbage collector has little to walk."""

    __slots__ = (
        "agent_id",
        "changed",
        "created",
        "fields",
        "offsets",
        "priority",
        "rendered",
        "timestamp",
        "unset",
        "update_type",
        "whole",
    )

    def __init__(self, agent_id: str, created: int) -> None:
        self.agent_id = agent_id
        self.created = created
        self.changed = created  # the offset of its last change
        self.fields: dict[str, bytes] = {}
        self.offsets: dict[str, int] = {}
        self.unset: dict[str, int] | None = None  # tombstones: field to the offset of its removal
        self.whole: bytes | None = None  # the whole state's text, when at hand
        self.rendered: tuple[int, str] | None = None  # a protocol's frame for `changed`, kept by `session`
        self.update_type = FULL_STATE
        self.timestamp = 0.0
        self.priority = _NORMAL  # of its last change

    def text(self) -> bytes:
        """The whole state as compact JSON."""
        if self.whole is None:
            self.whole = join_fields(self.fields)
        return self.whole


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a channel's ring. `data` is its JSON text, `timestamp` Unix seconds."""

    offset: int
    agent_id: str
    update_type: str
    data: bytes
    timestamp: float
    priority: UpdatePriority = UpdatePriority.NORMAL


@dataclass(frozen=True, slots=True)
class AgentChanges:
    """What changed of one agent: fields to set, with their JSON texts, and fields to unset."""

    set: dict[str, bytes]
    unset: list[str]


@dataclass(frozen=True, slots=True)
class Changes:
    """The answer to *changes since*: apply removals, then `agents`, then `events`.

    `agents` is in order of last change, `removed` of removal. `event_count` is how many events the channel
    ever had up to `to`, so that a client can tell whether it missed some.
    """

    epoch: str
    from_: int
    to: int
    reset: bool
    agents: dict[str, AgentChanges] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    event_count: int = 0


class Totals:
    """What all channels of a store hold together: kept, so that a bound can be asked for at each call."""

    __slots__ = ("agents", "size_bytes")

    def __init__(self) -> None:
        self.agents: dict[str, int] = {}  # agent id to the number of channels that have it
        self.size_bytes = 0  # of state and events

    def entered(self, agent_id: str) -> None:
        """A channel has an agent it had not."""
        self.agents[agent_id] = self.agents.get(agent_id, 0) + 1

    def left(self, agent_id: str) -> None:
        """A channel has an agent no more."""
        if self.agents[agent_id] == 1:
            del self.agents[agent_id]
        else:
            self.agents[agent_id] -= 1


class ChannelStore:
    """One channel's newest state and recent events."""

    def __init__(self, name: str, config: StoreConfig, totals: Totals | None = None) -> None:
        self.name = name
        self.totals = totals or Totals()
        self.config = config
        self.floor = 0  # positions below it can't be answered exactly
        self.event_count = 0
        self.state_bytes = 0
        self.event_bytes = 0
        self.tombstones = 0
        self.changed_at = 0  # the offset of the channel's last change
        self.last_evicted = 0  # the offset of the last event the ring let go of
        self._urgent: deque[tuple[int, str]] = deque(maxlen=URGENT_KEPT)
        # In order of last change; an agent that changes moves to the end.
        self.agents: OrderedDict[str, AgentState] = OrderedDict()
        self.removed: OrderedDict[str, int] = OrderedDict()  # in order of removal; outlives a return
        self._removed_at: dict[str, float] = {}  # the Unix time of each of those
        self._removed_created: dict[str, int] = {}  # and when the first that it stands for was created
        self.readers: WeakSet[Reader] = WeakSet()  # who is told which tombstones are dropped
        # In order of creation, with holes where an agent was removed: what a scan in parts walks along.
        self._created: list[int] = []
        self._created_agents: list[AgentState | None] = []
        self._created_at: dict[str, int] = {}
        # The ring: a window into two lists, cut back when half of it has been passed.
        self._events: list[Event] = []
        self._event_offsets: list[int] = []
        self._first = 0

    # writing

    def apply(self, offset: int, change: Change) -> None:
        """Applies one change; `offset` is above every earlier one. What changes nothing leaves no trace."""
        if change.kind is _EVENT:
            self._append_event(
                Event(
                    offset,
                    change.agent_id,
                    change.update_type,
                    change.content,
                    change.timestamp,
                    change.priority,
                )
            )
        elif change.kind is _REMOVE:
            if not self._remove(offset, change.agent_id, change.timestamp):
                return
        elif not self._set(offset, change):
            return
        self.changed_at = offset
        if change.priority is _CRITICAL:
            self._urgent.append((offset, change.agent_id))

    def _set(self, offset: int, change: Change) -> bool:
        agent_id = change.agent_id
        agent = self.agents.get(agent_id)
        new = agent is None
        if agent is None:
            agent = AgentState(agent_id, offset)
        merge = change.kind is _MERGE
        if not new and not merge and agent.whole == change.content:
            return False  # equal bytes keep their offsets
        incoming = split_object(change.content)
        fields, offsets = agent.fields, agent.offsets
        touched = new
        for key, text in incoming.items():
            if fields.get(key) != text:
                self._grew(len(text) - len(fields.get(key, b"")))
                fields[key] = text
                offsets[key] = offset
                touched = True
                if agent.unset and agent.unset.pop(key, None) is not None:
                    self.tombstones -= 1
        gone: Sequence[str]
        if merge:
            gone = [key for key in change.unset if key in fields]
        else:
            gone = [key for key in fields if key not in incoming] if len(fields) > len(incoming) else ()
        for key in gone:
            self._grew(-len(fields.pop(key)))
            del offsets[key]
            if agent.unset is None:
                agent.unset = {}
            agent.unset[key] = offset
            self.tombstones += 1
            touched = True
        if not touched:
            return False
        agent.whole = None if merge else change.content
        agent.changed = offset
        if not merge:  # a patched agent is told whole, and what is whole must not look like a patch
            agent.update_type = change.update_type
        agent.timestamp = change.timestamp
        agent.priority = change.priority
        if new:
            self.agents[agent_id] = agent
            self.totals.entered(agent_id)
            self._created_at[agent_id] = len(self._created)
            self._created.append(offset)
            self._created_agents.append(agent)
        else:
            self.agents.move_to_end(agent_id)
        if self.tombstones + len(self.removed) > self.config.max_tombstones:
            self.compact()
        return True

    def _grew(self, size: int) -> None:
        self.state_bytes += size
        self.totals.size_bytes += size

    def _remove(self, offset: int, agent_id: str, timestamp: float) -> bool:
        agent = self.agents.pop(agent_id, None)
        if agent is None:
            return False
        self._grew(-sum(map(len, agent.fields.values())))
        self.totals.left(agent_id)
        self.tombstones -= len(agent.unset or ())
        self._created_agents[self._created_at.pop(agent_id)] = None
        if len(self._created) > 2 * len(self.agents) + 64:
            kept = [(o, a) for o, a in zip(self._created, self._created_agents, strict=True) if a is not None]
            self._created = [o for o, _ in kept]
            self._created_agents = [a for _, a in kept]
            self._created_at = {a.agent_id: place for place, (_, a) in enumerate(kept)}
        self.removed[agent_id] = offset
        self.removed.move_to_end(agent_id)
        self._removed_at[agent_id] = timestamp
        self._removed_created.setdefault(agent_id, agent.created)
        if self.tombstones + len(self.removed) > self.config.max_tombstones:
            self.compact()
        return True

    def compact(self) -> None:
        """Drops the older half of the tombstones and raises the floor to the last one dropped; tells the readers."""
        stones = sorted(
            [offset for agent in self.agents.values() if agent.unset for offset in agent.unset.values()]
            + list(self.removed.values())
        )
        if not stones:
            return
        floor = stones[len(stones) // 2]
        dropped: list[tuple[int, str]] = []
        for agent in self.agents.values():
            if agent.unset:
                kept = {key: offset for key, offset in agent.unset.items() if offset > floor}
                if len(kept) < len(agent.unset):
                    dropped.append((agent.created, agent.agent_id))
                    agent.unset = kept or None
        while self.removed and next(iter(self.removed.values())) <= floor:
            agent_id = self.removed.popitem(last=False)[0]
            del self._removed_at[agent_id]
            dropped.append((self._removed_created.pop(agent_id), agent_id))
        dropped.sort()
        for reader in self.readers:
            reader.forget(dropped)
        self.tombstones = sum(len(agent.unset) for agent in self.agents.values() if agent.unset)
        self.floor = max(self.floor, floor)

    def _append_event(self, event: Event) -> None:
        self._events.append(event)
        self._event_offsets.append(event.offset)
        self.event_count += 1
        self.event_bytes += len(event.data)
        self.totals.size_bytes += len(event.data)
        config = self.config
        while len(self._events) - self._first > config.max_events or (
            self.event_bytes > config.max_event_bytes and len(self._events) - self._first > 1
        ):
            passed = len(self._events[self._first].data)
            self.event_bytes -= passed
            self.totals.size_bytes -= passed
            self.last_evicted = self._event_offsets[self._first]
            self._first += 1
        # Passed events are let go of in blocks, so that an append stays O(1); at most as many as are kept.
        if self._first > 256 and self._first * 2 > len(self._events):
            del self._events[: self._first]
            del self._event_offsets[: self._first]
            self._first = 0

    # reading

    def changes_since(self, position: int, head: int, epoch: str, *, exact: bool = True) -> Changes:
        """All with an offset above `position`, each once and newest; `exact=False` asks for a snapshot."""
        if not exact or position < self.floor or position > head:
            agents = {a.agent_id: AgentChanges(dict(a.fields), []) for a in self.agents.values()}
            return Changes(epoch, 0, head, True, agents, [], [], self.event_count)
        changed: dict[str, AgentChanges] = {}
        for agent in reversed(self.agents.values()):
            if agent.changed <= position:
                break
            if agent.created > position:
                # Its tombstones too: a client ahead of `position` may take this answer, and may know the fields.
                changed[agent.agent_id] = AgentChanges(dict(agent.fields), list(agent.unset or ()))
            else:
                offsets = agent.offsets
                changed[agent.agent_id] = AgentChanges(
                    {key: text for key, text in agent.fields.items() if offsets[key] > position},
                    [key for key, offset in (agent.unset or {}).items() if offset > position],
                )
        return Changes(
            epoch,
            position,
            head,
            False,
            dict(reversed(changed.items())),
            self.removed_since(position),
            self.events_between(position, head),
            self.event_count,
        )

    def agents_changed_since(self, position: int, limit: int) -> list[AgentState] | None:
        """Agents whose last change is above `position`, in order of last change; cost O(answer).

        None: they are more than `limit`.
        """
        changed: list[AgentState] = []
        for agent in reversed(self.agents.values()):
            if agent.changed <= position:
                break
            if len(changed) == limit:
                return None
            changed.append(agent)
        changed.reverse()
        return changed

    def removed_since(self, position: int) -> list[str]:
        """Agents removed above `position`, in order of removal, those that came back included."""
        removed = []
        for agent_id, offset in reversed(self.removed.items()):
            if offset <= position:
                break
            removed.append(agent_id)
        removed.reverse()
        return removed

    def removals_since(self, position: int) -> list[tuple[str, float]]:
        """Agents removed above `position`, in order, with the Unix time of their last removal."""
        return [(agent_id, self._removed_at[agent_id]) for agent_id in self.removed_since(position)]

    def gone_since(self, position: int) -> list[tuple[str, float]]:
        """Those of `removals_since` that are not back."""
        return [removal for removal in self.removals_since(position) if removal[0] not in self.agents]

    def urgent_since(self, position: int) -> list[tuple[int, str]]:
        """CRITICAL changes above `position`, each with its agent, in order; of the latest `URGENT_KEPT` ones."""
        found: list[tuple[int, str]] = []
        for change in reversed(self._urgent):
            if change[0] <= position:
                break
            found.append(change)
        found.reverse()
        return found

    def scan(self, cursor: int, limit: int) -> Iterator[AgentState]:
        """Agents in order of creation, created above `cursor` and up to `limit`: each once, whatever changes."""
        place = bisect_right(self._created, cursor)
        while place < len(self._created) and self._created[place] <= limit:
            agent = self._created_agents[place]
            if agent is not None:
                yield agent
            place += 1

    def events_between(self, position: int, to: int) -> list[Event]:
        """The ring's events above `position` and up to `to`, in order."""
        offsets = self._event_offsets
        return self._events[bisect_right(offsets, position, self._first) : bisect_right(offsets, to)]

    def next_event(self, position: int) -> Event | None:
        """The first event of the ring above `position`."""
        place = bisect_right(self._event_offsets, position, self._first)
        return self._events[place] if place < len(self._events) else None

    def events_until(self, position: int) -> int:
        """How many events there ever were up to `position`, as far as the ring can tell."""
        after = len(self._events) - bisect_right(self._event_offsets, position, self._first)
        return self.event_count - after


class Store:
    """A node's log and its channels."""

    def __init__(self, epoch: str, config: StoreConfig | None = None) -> None:
        self.epoch = epoch
        self.config = config or StoreConfig()
        self.head = 0
        self.totals = Totals()
        self.channels: dict[str, ChannelStore] = {}
        self._applied: OrderedDict[str, frozenset[int]] = OrderedDict()  # publication id to its applied parts

    def channel(self, name: str) -> ChannelStore:
        """The channel's store: an empty one, which is not kept, where nothing was ever applied.

        Clients name channels, so reading one must not make it.
        """
        channel = self.channels.get(name)
        return ChannelStore(name, self.config) if channel is None else channel

    def apply(self, publication: Publication) -> bool:
        """Numbers and applies a publication's changes. False: it was applied before and changes nothing.

        Raises:
            UpdatesRejected: the content of some is no JSON object; they change nothing, the others are applied.
        """
        done = self._applied.get(publication.id)
        if done is _ALL or (done is not None and publication.part in done):
            return False
        if publication.part < 0:
            self._applied[publication.id] = _ALL
        elif done is None:
            self._applied[publication.id] = frozenset((publication.part,))
        else:
            self._applied[publication.id] = done | {publication.part}
        if len(self._applied) > _APPLIED_IDS:
            self._applied.popitem(last=False)
        parts_done = done if done and publication.part < 0 else ()
        rejected: dict[int, str] = {}
        for index, change in enumerate(publication.changes):
            if index in parts_done:
                continue
            self.head += 1
            try:
                for name in change.channels:
                    channel = self.channels.get(name)
                    if channel is None:
                        channel = self.channels[name] = ChannelStore(name, self.config, self.totals)
                    channel.apply(self.head, change)
            except (msgspec.DecodeError, RecursionError) as error:
                rejected[index] = f"{type(error).__name__}: {error}"
        if rejected:
            raise UpdatesRejected(rejected)
        return True

    def changes_since(self, channel: str, epoch: str | None, position: int) -> Changes:
        """What a client of a channel at `(epoch, position)` lacks; another epoch gets a snapshot."""
        store = self.channel(channel)
        return store.changes_since(position, self.head, self.epoch, exact=epoch == self.epoch)

    def agent_count(self) -> int:
        """Agents with state; one that is in several channels is one."""
        return len(self.totals.agents)

    def size_bytes(self) -> int:
        """Bytes of state and events kept."""
        return self.totals.size_bytes

    def states(self, channel: str) -> dict[str, bytes]:
        """Each agent's whole state in a channel, as JSON text."""
        return {agent_id: agent.text() for agent_id, agent in self.channel(channel).agents.items()}
