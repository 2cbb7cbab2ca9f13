"""A sync connection's positions: what it has been told of each view, and what comes next.

One that keeps up shares its frames with all others at the same positions (`SyncRenderer.live`); one that is new, comes
back, or fell behind goes through the store at its own pace (`Pass`). Its backlog is one offset a view, never a queue.

Laws (design, section 6). Laws C1, C2 and C4 of `session` hold here too, in this protocol's words: a pass fixes its
target, the head; sends every agent changed up to it, as it is now, in parts that move no position; then the events up
to it, in one order across channels, and with them the positions.

Law C3 (urgent): between parts, agents touched by CRITICAL go first, with all their changes and events since the
client's position, in parts as large as any other, which take turns with them; also those that were touched before it
fell behind, if they are few. Before their events each view that begins afresh has said so: what it showed is older.

Law C8 (progress): a pass ends after a number of frames that its start bounds, whatever comes and goes meanwhile, and
no compaction begins it anew: its readers are told which tombstones are dropped, and remember it until a frame that says
so is sent. Where compaction went past the position at which it ended, another pass goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .store import AgentState, ChannelStore, Event
from .sync_frames import PART_CHARS, FrameBuilder, SyncFrame
from .sync_live import MAX_LISTED_AGENTS, Positions, SyncLive, SyncRenderer, in_order
from .sync_pass import Overtaking, Pass, Told, Turn
from .view import View

#: Of so many agents what was urgent when a pass began goes first.
MAX_FIRST_AGENTS = 16

#: A part is closed, however little is in it, when so many agents were looked at: a projection may show nothing of them.
MAX_LOOKED_AT_AGENTS = 256


class SyncSession:
    """Where one sync connection stands. Belongs to the pipeline's loop.

    `position` is the log's offset up to which nothing is left to tell while `catch_up` is None; `positions` what was
    told of each of `views`, whose order they share.
    """

    __slots__ = ("catch_up", "position", "positions", "renderer", "store", "told_until", "views")

    def __init__(self, renderer: SyncRenderer) -> None:
        self.renderer = renderer
        self.store = renderer.store
        self.views: tuple[View, ...] = ()
        self.positions: Positions = ()
        self.position = self.store.head
        self.told_until = 0  # up to here some may have been told that lies above the positions
        self.catch_up: Pass | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels it is on."""
        return tuple(view.channel for view in self.views)

    # subscriptions

    def subscribe(self, wanted: Mapping[View, tuple[str, int] | None]) -> None:
        """Adds views, each from `(epoch, offset)` or from nothing. One of the same channel takes another's place.

        A position of another epoch, above the log's head or below the channel's floor leads to a reset. One of 0 is a
        position, too: that of a client which was told that nothing had happened yet.
        """
        turns = {turn.view: turn for turn in self._turns()}
        for view in [view for view in turns if view.channel in {new.channel for new in wanted}]:
            del turns[view]
        for view, since in wanted.items():
            channel = self.store.channel(view.channel)
            if (
                since is not None
                and since[0] == self.store.epoch
                and channel.floor <= since[1] <= self.store.head
            ):
                turns[view] = Turn(view, min(since[1], channel.changed_at), False, True)
            else:
                turns[view] = Turn(view, 0, True, True)
        self._begin(turns.values())

    def unsubscribe(self, channels: Iterable[str]) -> None:
        """Takes channels off: from the next frame on nothing of them is sent."""
        gone = set(channels)
        if gone.isdisjoint(self.channels):
            return
        if self.catch_up is not None:
            self._begin(turn for turn in self._turns() if turn.view.channel not in gone)
            return
        kept = [pair for pair in zip(self.views, self.positions, strict=True) if pair[0].channel not in gone]
        self.views = tuple(view for view, _ in kept)
        self.positions = tuple(position for _, position in kept)

    def fall_behind(self) -> None:
        """Begins a pass through the store up to the head (or begins it again).

        What became urgent since its position goes first where that is of few agents. Of many it is told in its turn,
        since what goes first is told once more there, and only what becomes urgent from now on overtakes.
        """
        since = self.position
        channels = [self.store.channel(name) for name in self.channels]
        urgent = {agent_id for channel in channels for _, agent_id in channel.urgent_since(since)}
        catch_up = self._begin(self._turns())
        if 0 < len(urgent) <= MAX_FIRST_AGENTS:
            catch_up.urgent, catch_up.may_overtake = since, True

    def _turns(self) -> list[Turn]:
        """Each view as it stands now: what a new pass has to begin with."""
        if self.catch_up is None:
            return [Turn(v, at, False, False) for v, at in zip(self.views, self.positions, strict=True)]
        turns = []
        for turn, at in zip(self.catch_up.turns, self.positions, strict=True):
            if turn.is_snapshot and not turn.is_done:
                turns.append(Turn(turn.view, 0, True, True))
            else:
                turn.reader.put_back()
                turns.append(Turn(turn.view, at, False, not turn.is_done or turn.is_open, turn.reader))
        return turns

    def _begin(self, turns: Iterable[Turn]) -> Pass:
        ordered = sorted(turns, key=lambda turn: turn.view.channel)
        head = self.store.head
        for turn in ordered:
            if turn.since < self.store.channel(turn.view.channel).floor and not turn.reader.is_attached:
                # Tombstones that this position needs are gone: the view starts afresh.
                turn.since, turn.is_snapshot, turn.is_owed = 0, True, True
            self._channel(turn)
        self.views = tuple(turn.view for turn in ordered)
        self.positions = tuple(turn.since for turn in ordered)
        if self.catch_up is not None:
            self.told_until = head
        for turn in ordered:
            turn.event_count = turn.view.event_count(self.store.channel(turn.view.channel))
        self.catch_up = Pass(head, ordered, urgent=head, is_news=self.position >= self.told_until)
        return self.catch_up

    def _channel(self, turn: Turn) -> ChannelStore:
        """The channel of a turn, about to be read: from now on its reader hears of tombstones that are dropped."""
        channel = self.store.channel(turn.view.channel)
        channel.readers.add(turn.reader)
        turn.reader.is_attached = True
        turn.reader.reach = self.store.head
        return channel

    # telling

    def has_news(self) -> bool:
        """Whether there may be something to send."""
        if self.catch_up is not None:
            return True
        get, position = self.store.channels.get, self.position
        for view in self.views:
            channel = get(view.channel)
            if channel is not None and channel.changed_at > position:
                return True
        return False

    def live(self) -> SyncLive | None:
        """The shared frames to the head; None: they are too much, go through the store."""
        return self.renderer.live(self.views, self.position, self.positions)

    def sent(self, live: SyncLive, count: int) -> None:
        """Notes how many of the shared frames were written, also if a pass began meanwhile."""
        if self.catch_up is not None:
            if count:
                self.catch_up.is_news = False
            return  # frames repeat harmlessly: the pass tells from its own positions
        if count:
            told = live.after[count - 1]
            if live.views != self.views:  # some were taken off meanwhile
                of = dict(zip(live.views, told, strict=True))
                told = tuple(of[view] for view in self.views)
            if self.positions == live.base:
                self.positions = told
            else:
                self.positions = tuple(map(max, self.positions, told))
        if count == len(live.frames) and live.to == live.head:
            self.position = live.to
            return
        if count:
            self.told_until = live.head
        reached = live.reached[count - 1] if count else 0
        if reached <= self.position:
            self.fall_behind()  # what was not written is told anew, newest
            return
        self.position = reached  # only events are left: the next of them go on from there
        if any(self.store.channel(name).urgent_since(reached) for name in self.channels):
            self.fall_behind()  # unless something may not wait behind them

    def next_frame(self) -> SyncFrame | None:
        """The next frame of the pass, read from the store now; None ends the pass."""
        catch_up = self.catch_up
        assert catch_up is not None
        has_more = not all(turn.is_done for turn in catch_up.turns)  # else there is nothing left to overtake
        if not catch_up.pending and catch_up.may_overtake and has_more:
            self._gather_urgent(catch_up)
        while not catch_up.pending and catch_up.index < len(catch_up.turns):
            self._tell_states(catch_up, catch_up.index)
        if not catch_up.pending:
            self._tell_late(catch_up)
        if not catch_up.pending:
            self._tell_events(catch_up)
        if not catch_up.pending:
            self.position = catch_up.target
            self.told_until = self.store.head
            if any(self.store.channel(view.channel).floor > catch_up.target for view in self.views):
                self.fall_behind()  # its readers know what nobody can be told from this position any more
                return self.next_frame()
            self.catch_up = None
            return None
        frame, place, is_last = catch_up.pending.popleft()
        catch_up.turns[place].reader.in_frames.clear()  # a view's first frame of several has them
        if frame.to > self.positions[place]:
            self.positions = (*self.positions[:place], frame.to, *self.positions[place + 1 :])
        if is_last:
            catch_up.turns[place].is_done = True
        catch_up.may_overtake = not frame.is_urgent
        return frame

    # states

    def _tell_states(self, catch_up: Pass, place: int) -> None:
        """Makes one part of a view's states, or ends its states."""
        turn = catch_up.turns[place]
        channel = self._channel(turn)
        builder = FrameBuilder(turn.view)
        if not turn.removals_told:
            turn.removals_told = True
            turn.limit = self.store.head
            if not turn.is_snapshot:
                # One that is back is told with its state, in one frame: what was shown of it already must not go away.
                gone = channel.removed_since(turn.since)
                builder.remove(agent_id for agent_id in gone if agent_id not in channel.agents)
                few = channel.agents_changed_since(turn.since, MAX_LISTED_AGENTS)
                turn.few = None if few is None else few[::-1]
        for looked_at, agent in enumerate(self._rest(turn, channel), 1):
            if agent.agent_id in turn.reader.lost:
                self._anew(turn, channel, agent.agent_id, builder)
            elif agent.changed > turn.since:
                # In a snapshot the client may know some of it from an urgent part.
                known = catch_up.target if turn.is_snapshot else turn.since
                if channel.removed.get(agent.agent_id, 0) > known:
                    builder.remove((agent.agent_id,))
                builder.change(agent, turn.since)
            if builder.size > PART_CHARS or looked_at >= MAX_LOOKED_AT_AGENTS:
                self._part(catch_up, place, builder)
                return
        if turn.anew is None:
            turn.anew = list(turn.reader.lost)
        if turn.anew:
            if builder.is_empty:
                self._tell_anew(catch_up, place)
            else:
                self._part(catch_up, place, builder)
            return
        catch_up.index += 1
        at, to = self.positions[place], self._end(place, catch_up.target, channel)
        events = [] if turn.is_snapshot else turn.view.events_between(channel, at, to)
        if not events:
            if turn.is_owed or turn.is_open or not builder.is_empty or turn.view.last_evicted(channel) > at:
                self._last(catch_up, place, builder)
            else:
                turn.is_done = True  # nothing changed: nothing to say, and the position stays
        elif not turn.is_open and self._is_alone(catch_up, turn) and self.store.head == catch_up.target:
            if builder.size + sum(len(event.data) + 100 for event in events) <= PART_CHARS:
                for event in events:  # all there is to tell, in one frame
                    builder.event(event)
                self._last(catch_up, place, builder)
            elif not builder.is_empty:
                self._part(catch_up, place, builder)
        elif not builder.is_empty:
            self._part(catch_up, place, builder)

    def _is_alone(self, catch_up: Pass, turn: Turn) -> bool:
        """Whether no other view has anything to tell in this pass."""
        return all(
            other is turn
            or other.is_done
            or not (other.is_owed or self.store.channel(other.view.channel).changed_at > other.since)
            for other in catch_up.turns
        )

    @staticmethod
    def _rest(turn: Turn, channel: ChannelStore) -> Iterator[AgentState]:
        """Agents of a view that are still to be looked at, each as it is when its turn comes."""
        if turn.few is not None:
            while turn.few:
                agent = turn.few.pop()
                if channel.agents.get(agent.agent_id) is agent:
                    yield agent
            return
        for agent in channel.scan(turn.cursor, turn.limit):
            turn.cursor = agent.created
            yield agent

    def _tell_anew(self, catch_up: Pass, place: int) -> None:
        """Makes a part of agents that are told whole, or as gone, since nothing else tells what left them."""
        turn = catch_up.turns[place]
        channel = self._channel(turn)
        builder = FrameBuilder(turn.view)
        while turn.anew and (builder.is_empty or builder.size <= PART_CHARS):
            self._anew(turn, channel, turn.anew.pop(), builder)
        self._part(catch_up, place, builder)

    @staticmethod
    def _anew(turn: Turn, channel: ChannelStore, agent_id: str, builder: FrameBuilder) -> None:
        """An agent whole, whatever the client knows of it, or as gone."""
        turn.reader.take(agent_id)
        builder.remove((agent_id,))
        if (agent := channel.agents.get(agent_id)) is not None:
            builder.change(agent, 0)

    def _tell_late(self, catch_up: Pass) -> None:
        """Agents removed while states were being sent, and so perhaps passed by: told before any event, in parts."""
        turns = catch_up.turns
        if not catch_up.late_told:
            catch_up.late_told = True
            if all(turn.is_done for turn in turns):
                return  # there is no event to come
            for turn in turns:
                late = dict.fromkeys(self.store.channel(turn.view.channel).removed_since(catch_up.target))
                turn.anew = list(late | turn.reader.lost)[::-1]
        for place, turn in enumerate(turns):
            if turn.anew:
                self._tell_anew(catch_up, place)
                return

    # what overtakes

    def _gather_urgent(self, catch_up: Pass) -> None:
        """Agents that a CRITICAL change touched since: their changes and events, before their turn (Law C3)."""
        builders = {place: FrameBuilder(turn.view) for place, turn in enumerate(catch_up.turns)}
        overtaking = catch_up.overtaking
        if overtaking is None:
            overtaking = self._next_urgent(catch_up, builders)
            if overtaking is None:
                return
            catch_up.is_news = False  # its agents had their turn, or have it yet: some is told twice
        recent = self._urgent_events(catch_up, overtaking)
        for place, builder in builders.items():
            turn = catch_up.turns[place]
            # What a client shows of a view that begins afresh is older than these events: it hears so before them.
            is_stale = bool(recent) and turn.is_snapshot and not turn.reset_told
            if (is_stale or not builder.is_empty) and (place not in recent or len(recent) > 1):
                self._part(catch_up, place, builder, is_urgent=True)
        catch_up.overtaking = None
        began_at, size = overtaking.at, 0
        for place, events in in_order(recent):
            builder = builders[place]
            for event in events:
                if size + builder.size > PART_CHARS and event.offset > overtaking.at > began_at:
                    catch_up.overtaking = overtaking  # the rest in its next turn
                    break
                builder.event(event)
                overtaking.at = event.offset
            size += builder.size
            if not builder.is_empty:
                self._part(catch_up, place, builder, is_urgent=True)
            if catch_up.overtaking is not None:
                return

    def _next_urgent(self, catch_up: Pass, builders: Mapping[int, FrameBuilder]) -> Overtaking | None:
        """Some agents that became urgent, the first ones: as many as make a part, with what changed of them."""
        channels = [self._channel(turn) for turn in catch_up.turns]
        changes = {change for channel in channels for change in channel.urgent_since(catch_up.urgent)}
        wanted: dict[str, None] = {}
        for offset, agent_id in sorted(changes):
            if agent_id not in wanted:
                if sum(builder.size for builder in builders.values() if not builder.is_empty) > PART_CHARS:
                    break
                wanted[agent_id] = None
                for place, turn in enumerate(catch_up.turns):
                    self._tell_urgent(catch_up, place, turn, channels[place], agent_id, builders[place])
            catch_up.urgent = offset
        else:
            catch_up.urgent = self.store.head
        return Overtaking(frozenset(wanted), 0, self.store.head) if wanted else None

    def _tell_urgent(
        self,
        catch_up: Pass,
        place: int,
        turn: Turn,
        channel: ChannelStore,
        agent_id: str,
        builder: FrameBuilder,
    ) -> None:
        if agent_id in turn.reader.lost:
            self._anew(turn, channel, agent_id, builder)
            return
        builder.remove(
            [one for one in (agent_id,) if channel.removed.get(one, 0) > self._events_after(catch_up, place)]
        )
        if (agent := channel.agents.get(agent_id)) is not None:
            builder.change(agent, self.positions[place])

    def _events_after(self, catch_up: Pass, place: int) -> int:
        """Where the events of a view begin that its client has not had: a snapshot has none."""
        return catch_up.target if catch_up.turns[place].is_snapshot else self.positions[place]

    def _urgent_events(self, catch_up: Pass, overtaking: Overtaking) -> dict[int, list[Event]]:
        """By place the events that are still to overtake."""
        recent: dict[int, list[Event]] = {}
        for place, turn in enumerate(catch_up.turns):
            after = max(overtaking.at, self._events_after(catch_up, place))
            channel = self.store.channel(turn.view.channel)
            events = [
                event
                for event in turn.view.events_between(channel, after, overtaking.until)
                if event.agent_id in overtaking.agents
            ]
            if events:
                recent[place] = events
        return recent

    # events

    def _tell_events(self, catch_up: Pass) -> None:
        """Makes the next run of events of one view; at the end, what says that the others are up to date."""
        target = catch_up.target
        following = sorted(self._next_events(catch_up))
        if not following:
            for place, turn in enumerate(catch_up.turns):
                if not turn.is_done or turn.is_open:
                    self._last(catch_up, place, FrameBuilder(turn.view))
            return
        at, place = following[0]
        until = min(target, following[1][0]) if len(following) > 1 else target
        view = catch_up.turns[place].view
        channel = self.store.channel(view.channel)
        builder = FrameBuilder(view)
        for event in view.events_between(channel, self.positions[place], until):
            if builder.size > PART_CHARS:
                break
            builder.event(event)
            at = event.offset
        rest = view.next_event(channel, at)
        if rest is not None and rest.offset <= target:
            self._tell(catch_up, place, builder, at, more=True)
        else:
            self._last(catch_up, place, builder)

    def _next_events(self, catch_up: Pass) -> Iterator[tuple[int, int]]:
        """Offset and place of each view's next event up to the target, of those that have one."""
        for place, turn in enumerate(catch_up.turns):
            if not turn.is_done:
                channel = self.store.channel(turn.view.channel)
                event = turn.view.next_event(channel, self.positions[place])
                if event is not None and event.offset <= catch_up.target:
                    yield event.offset, place

    # frames

    def _end(self, place: int, target: int, channel: ChannelStore) -> int:
        """The position of a view that was told everything up to the target: that of its last change, as shared."""
        return max(self.positions[place], min(channel.changed_at, target))

    def _part(self, catch_up: Pass, place: int, builder: FrameBuilder, *, is_urgent: bool = False) -> None:
        """A frame that moves no position."""
        self._tell(catch_up, place, builder, self.positions[place], more=True, is_urgent=is_urgent)

    def _last(self, catch_up: Pass, place: int, builder: FrameBuilder) -> None:
        """The frame with which a view is up to date."""
        channel = self.store.channel(catch_up.turns[place].view.channel)
        self._tell(catch_up, place, builder, self._end(place, catch_up.target, channel), is_last=True)

    def _tell(
        self,
        catch_up: Pass,
        place: int,
        builder: FrameBuilder,
        to: int,
        *,
        more: bool = False,
        is_urgent: bool = False,
        is_last: bool = False,
    ) -> None:
        turn = catch_up.turns[place]
        is_reset = turn.is_snapshot and not turn.reset_told and not turn.is_done
        turn.reset_told |= is_reset
        turn.is_open = more
        channel = self.store.channel(turn.view.channel)
        frame = builder.build(
            self.store.epoch,
            self.positions[place],
            to,
            self.renderer.time(),
            turn.event_count if is_last else turn.view.events_until(channel, to),
            reset=is_reset,
            more=more,
            urgent=is_urgent,
            is_news=catch_up.is_news and not turn.is_owed,
        )
        catch_up.pending.append(Told(frame, place, is_last))
