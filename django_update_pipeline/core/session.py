"""A classic connection's position: what it has been told, and what comes next.

A connection that keeps up shares its frames with all others of the same channels (`ClassicRenderer.live`);
one that fell behind, or is new, goes through the store at its own pace (`CatchUp`). Either way its backlog is
a few integers, never a queue, and each frame is read from the store at the moment it is written.

Laws (design, section 6):

- Law C1 (fresh): what is written is the agent as it is now, whole; no field ever goes back.
- Law C2 (parts): fix the target, the head; send every agent changed up to it, as it is now; then the events
  up to it, in order; and with them the position. Only the target, a cursor, a count for each channel and a
  bounded list of agents are remembered. A pass ends after a number of frames that its start and target bound.
- Law C4 (turn): for all channels of a socket, state first, then events.
- Law C7 (classic): each changed agent's full state, then each event; missed events are told by a
  `system_notification` of level `warning`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from . import frames
from .store import AgentState, ChannelStore, Event, Store

#: Every connection is on this channel; clients can't name it.
SYSTEM_CHANNEL = "update_pipeline.system"
SYSTEM_EVENT = "system_notification"

#: More frames than this are not shared but read one by one, so that no writer holds the loop for long.
MAX_LIVE_FRAMES = 256

#: Up to so many changed agents are listed for a pass; for more, all agents are looked through.
MAX_LISTED_AGENTS = 1024


class LiveFrames(msgspec.Struct, frozen=True):
    """What brings a connection from one position to the head: state frames, then event frames.

    `events` has each event frame's offset and the channels it is in, `counts` how many events each channel
    ever had at `to`.
    """

    to: int
    texts: list[str]
    state_count: int
    events: list[tuple[int, tuple[str, ...]]]
    counts: dict[str, int]
    size: int  # characters of all texts

    @property
    def count(self) -> int:
        """How many frames."""
        return len(self.texts)

    def form(self, asks: bool) -> list[str]:
        """All texts; there is one form."""
        return self.texts


class TooFarBehind(Exception):
    """The store has forgotten removals this position has not seen: the client must start afresh."""


class ClassicRenderer:
    """Makes classic frames from the store; each agent's and event's text is made once per change."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._live: dict[tuple[tuple[str, ...], int], LiveFrames | None] = {}
        self._events: dict[int, str] = {}
        self._head = -1

    def state(self, agent: AgentState) -> str:
        """An agent's full state, as it is now."""
        rendered = agent.rendered
        if rendered is None or rendered[0] != agent.changed:
            data = agent.text().decode()
            text = frames.agent_update(agent.agent_id, agent.update_type, data, agent.timestamp)
            agent.rendered = rendered = (agent.changed, text)
        return rendered[1]

    def removal(self, agent_id: str, timestamp: float) -> str:
        """An agent's removal: `data` is empty."""
        return frames.agent_update(agent_id, "state_removed", "{}", timestamp)

    def event(self, event: Event) -> str:
        """An event's frame."""
        data = event.data.decode()
        if event.update_type == SYSTEM_EVENT:
            return f'{{"type":"system_notification",{data[1:-1]},"timestamp":{frames.timestamp_text(event.timestamp)}}}'
        return frames.agent_update(event.agent_id, event.update_type, data, event.timestamp)

    def newest(self, agent_id: str, channels: tuple[str, ...]) -> tuple[AgentState | None, str]:
        """An agent's newest state in these channels, and the first of them that has it.

        Classic frames do not name their channel, so of an agent that is in several the newest state is the truth.
        """
        newest, holder = None, ""
        for name in channels:
            channel = self.store.channels.get(name)
            agent = channel.agents.get(agent_id) if channel is not None else None
            if agent is not None and (newest is None or agent.changed > newest.changed):
                newest, holder = agent, name
        return newest, holder

    def gone(self, agent_id: str, timestamp: float, channels: tuple[str, ...]) -> str:
        """An agent removed from one of these channels: its newest state in the others, or that it is gone."""
        newest, _ = self.newest(agent_id, channels)
        return self.removal(agent_id, timestamp) if newest is None else self.state(newest)

    def live(self, channels: tuple[str, ...], position: int) -> LiveFrames | None:
        """The shared frames from a position to the head; None if they are too many to share.

        Cost: O(answer) for the first connection of these channels and position, a look-up for the others.
        """
        if self._head != self.store.head:
            self._head = self.store.head
            self._live.clear()
            self._events.clear()
        key = (channels, position)
        try:
            return self._live[key]
        except KeyError:
            result = self._live[key] = self._render(channels, position)
            return result

    def _render(self, channels: tuple[str, ...], position: int) -> LiveFrames | None:
        store = self.store
        texts: list[str] = []
        events: dict[int, Event] = {}
        holders: dict[int, tuple[str, ...]] = {}
        counts: dict[str, int] = {}
        for name in channels:
            channel = store.channel(name)
            counts[name] = channel.event_count
            if channel.changed_at <= position:
                continue
            if position < channel.floor or position < channel.last_evicted:
                return None  # something is gone: the slow path says what
            gone = channel.gone_since(position)
            changed = channel.agents_changed_since(position, MAX_LIVE_FRAMES)
            for event in channel.events_between(position, store.head):
                events[event.offset] = event
                holders[event.offset] = (*holders.get(event.offset, ()), name)
            # Counted before anything is rendered: that may be megabytes.
            if changed is None or len(texts) + len(gone) + len(changed) + len(events) > MAX_LIVE_FRAMES:
                return None
            texts += [self.gone(agent_id, removed_at, channels) for agent_id, removed_at in gone]
            texts += [
                self.state(agent) for agent in changed if self.newest(agent.agent_id, channels)[0] is agent
            ]
        state_count = len(texts)
        offsets = sorted(events)
        for offset in offsets:
            text = self._events.get(offset)
            if text is None:
                text = self._events[offset] = self.event(events[offset])
            texts.append(text)
        told = [(offset, holders[offset]) for offset in offsets]
        return LiveFrames(store.head, texts, state_count, told, counts, sum(map(len, texts)))


class CatchUp:
    """One pass through the store for a connection that is behind (Law C2)."""

    __slots__ = (
        "counted",
        "cursor",
        "few",
        "gone",
        "index",
        "joined",
        "late",
        "seen",
        "target",
    )

    def __init__(self, seen: dict[str, int]) -> None:
        self.seen = seen  # by channel: how many of its events were told or are not due
        self.joined: dict[str, int] = {}  # channels subscribed to in this pass: their events begin here

    def begin(self, target: int) -> None:
        """Starts from the first channel, with a new target."""
        self.target = target
        self.index = 0  # which channel's states are being sent; past the last one: events
        self.late: list[tuple[str, float]] | None = None  # removals past the target, last first
        self.counted = False  # the events missed up to the target have been told
        self.begin_channel()

    def begin_channel(self) -> None:
        """Starts with a channel's first state."""
        self.cursor = 0  # the creation offset of the agent sent last
        self.gone: list[tuple[str, float]] | None = None  # removals still to be told, last first
        self.few: list[AgentState] | None = None  # agents still to be told, last first, where they are few


class ClassicSession:
    """Where one classic connection stands. Belongs to the pipeline's loop.

    `position` is valid for all its channels while `catch_up` is None.
    """

    __slots__ = ("catch_up", "channels", "counts", "event_offset", "position", "renderer", "store", "time")

    def __init__(
        self, renderer: ClassicRenderer, channels: tuple[str, ...], time: Callable[[], float]
    ) -> None:
        self.renderer = renderer
        self.store = renderer.store
        self.time = time
        self.channels: tuple[str, ...] = ()
        self.position = self.event_offset = self.store.head
        self.counts: dict[str, int] = {}  # how many events each channel ever had at `position`; may be shared
        self.catch_up: CatchUp | None = None
        self.subscribe(channels)

    def subscribe(self, channels: tuple[str, ...]) -> None:
        """Adds channels: each begins with every agent's newest state, and with the events from now on."""
        new = [name for name in channels if name not in self.channels]
        if not new:
            return
        self.fall_behind()
        catch_up = self.catch_up
        assert catch_up is not None
        self.channels = tuple(sorted((*self.channels, *new)))
        for name in new:
            catch_up.joined[name] = self.store.head
            catch_up.seen[name] = self.store.channel(name).event_count

    def unsubscribe(self, channels: tuple[str, ...]) -> None:
        """Takes channels off: from the next frame on nothing of them is sent."""
        self.channels = tuple(name for name in self.channels if name not in channels)
        if self.catch_up is not None:
            for name in channels:
                self.catch_up.joined.pop(name, None)
                self.catch_up.seen.pop(name, None)
            self.catch_up.begin(self.catch_up.target)

    # what a writer asks of any session

    protocol = "classic"

    def begin(self, channel: str) -> None:
        """Puts the connection on a channel."""
        self.subscribe((channel,))

    @property
    def place(self) -> object:
        """What connections must have in common to share frames."""
        return self.position

    @property
    def key(self) -> tuple[str, ...]:
        """What connections that wait for the same news have in common."""
        return self.channels

    def live(self) -> LiveFrames | None:
        """The shared frames to the head; None: go through the store."""
        return self.renderer.live(self.channels, self.position)

    def has_room(self) -> bool:
        """Whether the client may be sent more: a classic one always may."""
        return True

    def at_once(self, live: LiveFrames) -> bool | None:
        """Whether all of these frames may be written in one piece, and in which form: there is one."""
        return False

    def texts(self, live: LiveFrames) -> Iterator[str]:
        """The frames one by one, each to be written at once."""
        return iter(live.texts)

    def has_news(self) -> bool:
        """Whether there is something to send."""
        if self.catch_up is not None:
            return True
        get = self.store.channels.get
        position = self.position
        for name in self.channels:
            channel = get(name)
            if channel is not None and channel.changed_at > position:
                return True
        return False

    def sent(self, live: LiveFrames, count: int) -> None:
        """Notes how many of the shared frames were written, also if a pass began meanwhile."""
        if count == len(live.texts) and self.catch_up is None:
            self.position = self.event_offset = live.to
            self.counts = live.counts
            return
        told = live.events[: max(0, count - live.state_count)]
        if told:
            self.event_offset = told[-1][0]
        if self.catch_up is None:
            self.fall_behind()
        catch_up = self.catch_up
        assert catch_up is not None
        for _, names in told:
            for name in names:
                if name in catch_up.seen and name not in catch_up.joined:
                    catch_up.seen[name] += 1

    def fall_behind(self) -> None:
        """Begins a pass through the store up to the head (or begins it again)."""
        head = self.store.head
        catch_up = self.catch_up
        if catch_up is None:
            # Of these channels only: a client that comes and goes must leave nothing of those it left.
            catch_up = self.catch_up = CatchUp({name: self.counts[name] for name in self.channels})
        catch_up.begin(head)

    def next_text(self) -> str | None:
        """The next frame of the pass; None ends it."""
        return self.next_frame()

    def next_frame(self) -> str | None:
        """The next frame of the pass, read from the store now; None ends the pass.

        Raises:
            TooFarBehind: the channel's tombstones were compacted past this position.
        """
        catch_up = self.catch_up
        assert catch_up is not None
        while catch_up.index < len(self.channels):
            frame = self._next_state(catch_up, self.store.channel(self.channels[catch_up.index]))
            if frame is not None:
                return frame
            catch_up.index += 1
            catch_up.begin_channel()
        frame = self._next_late(catch_up) or self._next_event(catch_up)
        if frame is None:
            self.position = self.event_offset = catch_up.target
            self.counts = catch_up.seen
            self.catch_up = None
        return frame

    def _next_state(self, catch_up: CatchUp, channel: ChannelStore) -> str | None:
        position, is_new = self.position, channel.name in catch_up.joined
        if catch_up.gone is None:
            # A channel just joined may have lost an agent that is known from one just left.
            if position < channel.floor:
                raise TooFarBehind
            catch_up.gone = channel.removals_since(position)[::-1]
            if not is_new:
                catch_up.few = channel.agents_changed_since(position, MAX_LISTED_AGENTS)
                if catch_up.few is not None:
                    catch_up.few.reverse()
        while catch_up.gone:
            agent_id, timestamp = catch_up.gone.pop()
            back = channel.agents.get(agent_id)
            if back is None or back.created > catch_up.target:  # else it is met below
                return self.renderer.gone(agent_id, timestamp, self.channels)
        if catch_up.few is not None:
            while catch_up.few:
                agent = catch_up.few.pop()
                if channel.agents.get(agent.agent_id) is agent:
                    frame = self._newest_state(catch_up, agent, channel)
                    if frame is not None:
                        return frame
            return None
        for agent in channel.scan(catch_up.cursor, catch_up.target):
            catch_up.cursor = agent.created
            if is_new or agent.changed > position:
                frame = self._newest_state(catch_up, agent, channel)
                if frame is not None:
                    return frame
        return None

    def _newest_state(self, catch_up: CatchUp, agent: AgentState, channel: ChannelStore) -> str | None:
        """What to tell of an agent that changed in a channel; None if another channel's turn tells it."""
        newest, holder = self.renderer.newest(agent.agent_id, self.channels)
        if newest is None or newest is agent:
            return self.renderer.state(agent)
        is_to_come = holder > channel.name  # channels have their turns in order of their names
        if (newest.created if is_to_come else newest.changed) <= catch_up.target:
            return None
        return self.renderer.state(newest)

    def _next_late(self, catch_up: CatchUp) -> str | None:
        """Agents that were removed while states were being sent, and so may have been passed by.

        Their events up to the target follow, so what they are now (gone, or back) has to be told before.
        """
        if catch_up.late is None:
            catch_up.late = []
            for name in self.channels:
                channel = self.store.channel(name)
                if catch_up.target < channel.floor:
                    raise TooFarBehind
                catch_up.late += channel.removals_since(catch_up.target)
            catch_up.late.reverse()
        if catch_up.late:
            agent_id, timestamp = catch_up.late.pop()
            return self.renderer.gone(agent_id, timestamp, self.channels)
        return None

    def _told_until(self, catch_up: CatchUp, name: str) -> int:
        """Up to where a channel's events were told or are not due."""
        return max(self.event_offset, catch_up.joined.get(name, 0))

    def _next_event(self, catch_up: CatchUp) -> str | None:
        found: Event | None = None
        missed = 0
        holders: list[str] = []
        for name in self.channels:
            channel = self.store.channel(name)
            after = self._told_until(catch_up, name)
            missed += channel.events_until(after) - catch_up.seen[name]
            event = channel.next_event(after)
            if event is None or event.offset > catch_up.target:
                continue
            if found is None or event.offset < found.offset:
                found, holders = event, [name]
            elif event.offset == found.offset:
                holders.append(name)
        # At the target once: what is lost later lies beyond it, and a pass has to end while the ring turns.
        if missed > 0 and (found is not None or not catch_up.counted):
            catch_up.counted = found is None
            for name in self.channels:
                after = self._told_until(catch_up, name)
                catch_up.seen[name] = self.store.channel(name).events_until(after)
            return frames.system_notification(
                "warning",
                f"{missed} event(s) were missed: this connection was slower than the server's "
                "bounded history",
                self.time(),
            )
        if found is None:
            return None
        self.event_offset = found.offset
        for name in holders:
            catch_up.seen[name] += 1
        return self.renderer.event(found)
