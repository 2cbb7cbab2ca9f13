"""What is true: what the source queued, what each log was given, and what a view may show of it.

Plain dicts and lists, made apart from the package: the log's model numbers what the transport is handed and keeps
every state an agent ever had, so that what a client shows can be looked up: it must be one of those, never an earlier
one than before, never earlier than its position says, never earlier than an event came.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from typing import Any, NamedTuple

from django_update_pipeline.core.publication import Publication, UpdateKind
from django_update_pipeline.core.view import View
from django_update_pipeline.testing.mirror import Mirror

State = dict[str, Any] | None


class LoggedEvent(NamedTuple):
    """One event of a channel."""

    offset: int
    agent_id: str
    number: int


class ChannelLog:
    """What happened in one channel: of each agent every state with its offset, and all events."""

    def __init__(self) -> None:
        self.states: dict[str, list[State]] = {}
        self.offsets: dict[str, list[int]] = {}
        self.events: list[LoggedEvent] = []
        self.by_offset: dict[int, LoggedEvent] = {}

    def now(self, agent_id: str) -> State:
        """An agent's newest state."""
        return self.states.get(agent_id, [None])[-1]

    def place(self, agent_id: str, offset: int) -> int:
        """Which of its states an agent had at an offset."""
        return bisect_right(self.offsets.get(agent_id, [0]), offset) - 1

    def became(self, agent_id: str, offset: int, state: State) -> None:
        """An agent changed."""
        states = self.states.setdefault(agent_id, [None])
        if states[-1] != state:
            states.append(state)
            self.offsets.setdefault(agent_id, [0]).append(offset)

    def newest(self) -> dict[str, Any]:
        """All agents there are."""
        return {one: states[-1] for one, states in self.states.items() if states[-1] is not None}


class Log:
    """The model of one incarnation's log."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.head = 0
        self.channels: dict[str, ChannelLog] = {}
        self._done: dict[str, set[int]] = {}
        self._last_event: dict[str, int] = {}

    def channel(self, name: str) -> ChannelLog:
        """A channel's model."""
        return self.channels.setdefault(name, ChannelLog())

    def apply(self, publication: Publication) -> None:
        """Numbers what was not numbered before."""
        done = self._done.setdefault(publication.id, set())
        for index, change in enumerate(publication.changes):
            number = publication.part if publication.part >= 0 else index
            if number in done:
                continue
            done.add(number)
            self.head += 1
            content = json.loads(change.content)
            for name in change.channels:
                self._change(self.channel(name), change, content)
            if change.kind is UpdateKind.EVENT and change.agent_id:
                self._ordered(change.agent_id, content, change.channels)

    def _change(self, channel: ChannelLog, change: Any, content: dict[str, Any]) -> None:
        before = channel.now(change.agent_id)
        if change.kind is UpdateKind.EVENT:
            event = LoggedEvent(self.head, change.agent_id, content.get("number", -1))
            channel.events.append(event)
            channel.by_offset[self.head] = event
        elif change.kind is UpdateKind.REMOVE:
            channel.became(change.agent_id, self.head, None)
        else:
            after = dict(before or {}) if change.kind is UpdateKind.MERGE else {}
            after.update(content)
            for field in change.unset:
                after.pop(field, None)
            channel.became(change.agent_id, self.head, after)

    def _ordered(self, agent_id: str, content: dict[str, Any], channels: tuple[str, ...]) -> None:
        """Promise 1, in the log: an agent's events once each, in order, each after the state queued before it."""
        number = content["number"]
        assert number > self._last_event.get(agent_id, -1), (
            f"event {number} of {agent_id} is late or came twice"
        )
        self._last_event[agent_id] = number
        for name, version in content["after"].items():
            state = self.channel(name).now(agent_id)
            told = self.source.removed_at(name, agent_id) if state is None else state["v"]
            assert told >= version, f"event {number} of {agent_id} overtook version {version} of its state"


class Source:
    """What was queued: the truth by channel, and how many updates there were."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, dict[str, Any]]] = {}
        self.versions: dict[str, int] = {}
        self._told: dict[tuple[str, str], int] = {}
        self._removed: dict[tuple[str, str], int] = {}
        self.numbers = 0

    def replace(self, channels: tuple[str, ...], agent_id: str, state: dict[str, Any]) -> None:
        """A full state was queued; it carries its version."""
        for name in channels:
            self.states.setdefault(name, {})[agent_id] = dict(state)
            self._told[name, agent_id] = state["v"]

    def merge(self, channels: tuple[str, ...], agent_id: str, fields: dict[str, Any], gone: set[str]) -> None:
        """A patch was queued."""
        for name in channels:
            state = self.states.setdefault(name, {}).setdefault(agent_id, {})
            state.update(fields)
            for field in gone:
                state.pop(field, None)
            self._told[name, agent_id] = fields["v"]

    def remove(self, channels: tuple[str, ...], agent_id: str, version: int) -> None:
        """A removal was queued."""
        for name in channels:
            self.states.setdefault(name, {}).pop(agent_id, None)
            self._told[name, agent_id] = self._removed[name, agent_id] = version

    def version(self, agent_id: str) -> int:
        """The next version of an agent's state."""
        self.versions[agent_id] = self.versions.get(agent_id, 0) + 1
        return self.versions[agent_id]

    def removed_at(self, channel: str, agent_id: str) -> int:
        """The version of its last removal."""
        return self._removed.get((channel, agent_id), 0)

    def event(self, agent_id: str, channels: tuple[str, ...]) -> dict[str, Any]:
        """The data of an event: its number, and which state was queued before it."""
        self.numbers += 1
        after = {c: self._told[c, agent_id] for c in channels if (c, agent_id) in self._told}
        return {"number": self.numbers, "after": after}


def projected(state: State, view: View) -> State:
    """A state as a view shows it."""
    if state is None or view.fields is None:
        return state
    return {name: state[name] for name in view.fields if name in state}


class Judge:
    """One view of one client, held against the log it came from."""

    def __init__(self, view: View, logs: dict[str, Log]) -> None:
        self.view = view
        self.mirror = Mirror()
        self._logs = logs
        self._shown: dict[str, int] = {}
        self._delivered: dict[int, None] = {}
        self._last_of: dict[str, int] = {}
        self._base: int | None = None
        self._missed_before = 0
        self._urgent: set[int] = set()
        self._epoch = ""
        self.is_told = False  # something came since it was subscribed to

    @property
    def log(self) -> ChannelLog:
        """What happened in its channel."""
        return self._logs[self._epoch].channel(self.view.channel)

    def apply(self, frame: dict[str, Any]) -> list[dict[str, Any]]:
        """Applies a frame; the events that were new with it."""
        mirror = self.mirror
        before, had, repaired = mirror.position, len(mirror.events), mirror.repaired
        if frame.get("reset"):
            self._base, self._missed_before = None, mirror.missed
            if frame["epoch"] != self._epoch:
                self._epoch = frame["epoch"]
                self._urgent.clear()
                self._shown.clear()
                self._delivered.clear()
                self._last_of.clear()
            before = 0
        assert frame["epoch"] in self._logs, "a frame of an epoch that never was"
        assert mirror.apply(frame), f"{self}: a frame from {frame['from']} for a client at {mirror.position}"
        assert mirror.position >= before, f"{self}: the position went back"
        assert mirror.position <= self._logs[self._epoch].head, f"{self}: a position above the head"
        assert mirror.repaired == repaired, f"{self}: the self-check found a difference"
        self.is_told = True
        fresh = mirror.events[had:]
        touched = [*frame.get("removed", ()), *frame.get("agents", ())]
        for agent_id in touched:
            if agent_id in mirror.agents or mirror.position:
                self._show(agent_id, 0)
        for event in fresh:
            self._event(event, urgent=bool(frame.get("urgent")))
        self._promised(before)
        return fresh

    def __str__(self) -> str:
        return f"{self.view.channel}/{self.view.name}"

    def _show(self, agent_id: str, at_least: int) -> None:
        """What is shown of an agent is one of its states, none before what was shown, none before `at_least`."""
        log, shown = self.log, projected(self.mirror.agents.get(agent_id), self.view)
        assert self.mirror.agents.get(agent_id) == shown, f"{self}: fields that are not of this view"
        states = log.states.get(agent_id, [None])
        for place in range(max(self._shown.get(agent_id, 0), at_least), len(states)):
            if projected(states[place], self.view) == shown:
                self._shown[agent_id] = place
                return
        raise AssertionError(
            f"{self} at {self.mirror.position}: {agent_id} is shown as {shown!r:.200}, "
            f"which it was not at or after state {max(self._shown.get(agent_id, 0), at_least)} of {len(states) - 1}"
        )

    def _event(self, event: dict[str, Any], *, urgent: bool) -> None:
        offset, agent_id = event["offset"], event["agent_id"]
        logged = self.log.by_offset.get(offset)
        assert logged is not None, f"{self}: an event that never was: {event}"
        assert logged.agent_id == agent_id, f"{self}: an event that never was: {event}"
        assert logged.number == event["data"].get("number", -1), f"{self}: an event that was another: {event}"
        assert offset not in self._delivered, f"{self}: event {offset} came twice"
        assert offset > self._last_of.get(agent_id, 0), (
            f"{self}: event {offset} of {agent_id} is out of order"
        )
        self._delivered[offset] = None
        self._last_of[agent_id] = offset
        if urgent:
            self._urgent.add(offset)
        self.comes_after(agent_id, offset)

    def comes_after(self, agent_id: str, offset: int) -> None:
        """The state that an event of this offset came after is shown."""
        self._show(agent_id, self.log.place(agent_id, offset))

    def _promised(self, before: int) -> None:
        """What the position says: all state up to it is shown, all events since the start delivered or counted."""
        mirror, log = self.mirror, self.log
        if mirror._event_count is None:
            return
        if self._base is None:
            self._base = mirror.position
        elif mirror.position == before:
            return
        for agent_id, states in log.states.items():
            place = log.place(agent_id, mirror.position)
            if (
                None not in states[place + 1 :]
            ):  # else its removal is still to be told, and may be all that is
                self._show(agent_id, place)
        due = [e.offset for e in log.events if self._base < e.offset <= mirror.position]
        unseen = sum(1 for offset in due if offset not in self._delivered)
        missed = mirror.missed - self._missed_before
        # One that came before its turn, and left the ring before its turn, is counted as missed, too: never too few.
        early = sum(1 for offset in due if offset in self._urgent)
        assert unseen <= missed <= unseen + early, (
            f"{self}: {unseen} events did not come, {missed} are counted"
        )
