"""Live frames of the sync protocol: what brings connections from the same positions to the head, made once for all.

Law C6 (sharing): connections of the same views share a frame if it reaches the head and starts at or before their
positions, and at or above the floor. Where one says that more follows, they all start at the same positions: who has
the rest already would not be told it. Of many events they share the first ones, which reach less than the head, if they
start at the same positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from .store import ChannelStore, Event, Store
from .sync_frames import PART_CHARS, FrameBuilder, SyncFrame, check_text
from .view import View

#: A frame from an older position serves a newer one, too, if it has at most so many characters.
SHARED_CHARS = 8 * 1024

#: More than this at once is not shared but sent in parts.
MAX_LIVE_CHARS = 256 * 1024

#: Of a backlog of events about so many characters are made at once: who reads slowly takes a part or two, and where it
#: goes on from is often nobody else's place.
MAX_EVENT_CHARS = 2 * PART_CHARS

#: An event takes at least so many characters beside its data.
MIN_EVENT_CHARS = 60

#: Frames of so many characters are kept for others while the log stands still, whatever places there are.
MAX_KEPT_CHARS = 16 * 1024 * 1024

#: Up to so many changed agents are listed; for more, all agents are looked through.
MAX_LISTED_AGENTS = 1024

#: Every so many seconds a live frame of a channel carries some agents whole.
CHECK_EVERY_S = 10.0

#: At most about so many characters of them.
CHECK_CHARS = 4096

#: Before the next check so many times its characters are told of the view: who reads slowly is not kept busy with it.
CHECK_SHARE = 20

#: Of so many views it is known where that stands. Clients make up views, and each may be some kilobytes.
MAX_CHECKED_VIEWS = 1000

#: What was told of each view, in the order of the views.
Positions = tuple[int, ...]


class SyncLive(msgspec.Struct, frozen=True):
    """What brings connections from the same positions to the head: frames, and the positions after each.

    State parts come first and move nothing (Law C4), so an interruption costs a repetition and no more. Of many events
    without any state it is the first ones, which bring it to an offset below the head; frames of such a backlog say
    `more` while a view's last event is yet to come (Law C2). `reached` is, after each frame, the offset up to which all
    views were told everything, 0 where only the last frame says so.
    """

    views: tuple[View, ...]
    to: int
    head: int  # of the log, when it was made
    frames: list[SyncFrame]
    after: list[Positions]
    reached: list[int]
    base: Positions  # where they start: to who was further, some of it is no news
    size: int  # characters of all texts
    has_parts: bool = False  # some say that more follows, and who was told that has to be told the rest

    @property
    def count(self) -> int:
        """How many frames."""
        return len(self.frames)

    def form(self, asks: bool) -> list[str]:
        """All texts; the last one asks for an acknowledgement if `asks`."""
        texts = [frame.text for frame in self.frames]
        if asks and texts:
            texts[-1] = self.frames[-1].asking
        return texts


class SyncRenderer:
    """Makes live frames from the store, each once for all connections that are at the same positions."""

    def __init__(self, store: Store, time: Callable[[], float]) -> None:
        self.store = store
        self.time = time
        self._live: dict[tuple[View, ...], list[tuple[Positions, SyncLive | None]]] = {}
        self._kept_chars = 0
        self._head = -1
        # When a view was checked, where the rotation stands, and how much is to be told before the next check.
        self._checked: dict[View, tuple[float, int, int]] = {}

    def live(self, views: tuple[View, ...], position: int, positions: Positions) -> SyncLive | None:
        """The shared frames from a global position to the head; None if they are too much to share.

        `positions` are what the connection was told of each view, `position` is where nothing was left to tell.
        """
        if self._head != self.store.head or self._kept_chars > MAX_KEPT_CHARS:
            self._head = self.store.head
            self._live.clear()
            self._kept_chars = 0
        made = self._live.setdefault(views, [])
        for base, live in reversed(made):
            if base == positions or (
                live is not None
                and live.to == live.head
                and not live.has_parts
                and live.size <= SHARED_CHARS
                and all(mine >= theirs for mine, theirs in zip(positions, base, strict=True))
            ):
                return live
        live = self._render(views, position, positions)
        self._kept_chars += live.size if live is not None else 0
        made.append((positions, live))
        return live

    def _render(self, views: tuple[View, ...], position: int, positions: Positions) -> SyncLive | None:
        store, now = self.store, self.time()
        head = store.head
        builders: dict[int, FrameBuilder] = {}
        recent: dict[int, list[Event]] = {}
        size = 0
        for place, view in enumerate(views):
            channel = store.channel(view.channel)
            if channel.changed_at <= position:
                continue
            since = positions[place]
            if since < channel.floor or position < view.last_evicted(channel):
                return None
            builder = builders[place] = FrameBuilder(view)
            builder.remove(channel.removed_since(since))
            changed = channel.agents_changed_since(since, MAX_LISTED_AGENTS)
            if changed is None:
                return None
            for agent in changed:
                builder.change(agent, since)
                if builder.size > MAX_LIVE_CHARS:
                    return None
            if events := view.events_between(channel, since, head):
                recent[place] = events
            size += builder.size
        has_states = any(not builder.is_empty for builder in builders.values())
        if has_states:
            size += sum(len(event.data) for events in recent.values() for event in events)
            if size > MAX_LIVE_CHARS:
                return None
        # A few frames follow each other at once, and nobody is catching up.
        left = MAX_EVENT_CHARS
        event_chars = sum(MIN_EVENT_CHARS + len(event.data) for events in recent.values() for event in events)
        is_backlog = event_chars > left
        frames: list[SyncFrame] = []
        after: list[Positions] = []
        reached: list[int] = []
        current = list(positions)
        has_parts = is_backlog

        def tell(frame: SyncFrame, place: int, upto: int = 0) -> None:
            current[place] = frame.to
            frames.append(frame)
            after.append(tuple(current))
            reached.append(upto)

        def live(to: int) -> SyncLive:
            size = sum(len(frame.text) for frame in frames)
            return SyncLive(views, to, head, frames, after, reached, positions, size, has_parts)

        for place, builder in builders.items():
            channel = store.channel(views[place].channel)
            if place not in recent:
                if not builder.is_empty:
                    check = self._check(views[place], channel, builder.size, now)
                    tell(self._built(builder, current[place], channel.changed_at, channel, now, check), place)
            elif len(recent) > 1 and not builder.is_empty:
                part = builder.build(
                    store.epoch,
                    current[place],
                    current[place],
                    now,
                    views[place].events_until(channel, current[place]),
                    more=True,
                )
                tell(part, place)
                has_parts = True
        runs = [*in_order(recent)]
        for number, (place, events) in enumerate(runs, 1):
            # An event may be in several channels: it was told everywhere only with the last of them.
            before = runs[number][1][0].offset - 1 if number < len(runs) else head
            channel = store.channel(views[place].channel)
            builder = builders[place]
            for event in events:
                builder.event(event)
                left -= MIN_EVENT_CHARS + len(event.data)
                if builder.size <= PART_CHARS and event is not events[-1]:
                    continue
                is_last = event is recent[place][-1]
                more = is_backlog and not is_last
                to = channel.changed_at if is_last else event.offset
                # All states were told, also here.
                check = "" if more else self._check(views[place], channel, builder.size, now)
                frame = self._built(builder, current[place], to, channel, now, check, more=more)
                upto = min(event.offset, before)
                tell(frame, place, 0 if has_states else upto)
                if left < 0 and not has_states:  # enough for now
                    return live(upto)
        return live(head)

    def _built(
        self,
        builder: FrameBuilder,
        from_: int,
        to: int,
        channel: ChannelStore,
        now: float,
        check: str,
        *,
        more: bool = False,
    ) -> SyncFrame:
        count = builder.view.events_until(channel, to)
        return builder.build(self.store.epoch, from_, to, now, count, more=more, check=check)

    def _check(self, view: View, channel: ChannelStore, told: int, now: float) -> str:
        """Some agents whole, now and then, in rotation by creation. `told` is the size of the frame it may go with."""
        checked_at, cursor, left = self._checked.get(view, (0.0, 0, 0))
        if not channel.agents:
            return ""
        if left > told or 0.0 <= now - checked_at < CHECK_EVERY_S:
            if view in self._checked:
                self._checked[view] = (checked_at, cursor, left - told)
            return ""
        chosen: list[str] = []
        size = 0
        for agent in channel.scan(cursor, self.store.head):
            size += len(agent.text())
            if chosen and size > CHECK_CHARS:
                break
            chosen.append(agent.agent_id)
            cursor = agent.created
        else:
            cursor = 0
        text = check_text(channel.agents, chosen, view.fields)
        self._checked.pop(view, None)
        self._checked[view] = (now, cursor, CHECK_SHARE * len(text))
        if len(self._checked) > MAX_CHECKED_VIEWS:  # the one checked longest ago, perhaps nobody's any more
            del self._checked[next(iter(self._checked))]
        return text


def in_order(recent: Mapping[int, list[Event]]) -> Iterable[tuple[int, list[Event]]]:
    """Events of several channels in one order, as runs of one channel each."""
    if len(recent) == 1:
        yield from recent.items()
        return
    merged = sorted((event.offset, place, event) for place, events in recent.items() for event in events)
    run: list[Event] = []
    for index, (_, place, event) in enumerate(merged):
        run.append(event)
        if index + 1 == len(merged) or merged[index + 1][1] != place:
            yield place, run
            run = []
