"""The sync protocol's one frame to a client, `changes since`, as compact JSON text.

    {"type":"sync","channel":"villa","epoch":"k3f9","from":1041,"to":1044,"ts":1623456789.123,
     "removed":["agent_009"],"agents":{"agent_001":{"set":{"mood":"happy"},"unset":["partner"],"at":1623456789.1}},
     "events":[{"offset":1043,"agent_id":"agent_002","update_type":"dialogue","data":{},"timestamp":1623456789.1}],
     "event_count":87}

A client at position p applies it if `from` <= p: removals, then `set` and `unset`, then events above p; its position
becomes `to` if that is higher. What is empty is left out. Further keys: `view` (its name, if it is not the whole
channel), `reset` (forget everything of this channel first), `more` (catching up: a part, others follow), `urgent` (a
part sent before its turn), `check` (some agents whole, to compare), `ack` (acknowledge once applied). `at` is when the
agent's last change was queued, `ts` when the frame was made, both in Unix seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from .codec import encode_value, join_fields
from .store import AgentState, Event
from .view import View

#: A frame is closed at about so many characters; one agent or event is never split.
PART_CHARS = 32 * 1024

#: What every frame's text may end with in place of its closing brace.
ACK = ',"ack":true}'


class SyncFrame(msgspec.Struct, frozen=True):
    """One frame, made once for all who share it.

    `oldest` is when its first change was queued (Unix seconds, 0 if there is none), `queued` the same for each priority
    that it has. `queued` is empty where it says nothing of how long news takes: nothing in it was queued, or it is a
    snapshot.
    """

    view: View
    text: str
    to: int
    oldest: float = 0.0
    queued: tuple[tuple[int, float], ...] = ()
    is_urgent: bool = False
    is_empty: bool = False  # it says where the view stands, and nothing else

    @property
    def asking(self) -> str:
        """The same frame, asking for an acknowledgement."""
        return self.text[:-1] + ACK


class FrameBuilder:
    """Gathers one frame. `size` is about how many characters it will have."""

    __slots__ = ("agents", "events", "queued", "removed", "size", "view")

    def __init__(self, view: View) -> None:
        self.view = view
        self.begin()

    def begin(self) -> None:
        """Starts with an empty frame."""
        self.removed: list[str] = []
        self.agents: list[str] = []
        self.events: list[str] = []
        self.size = 200
        self.queued: dict[int, float] = {}

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing but where it leads."""
        return not (self.removed or self.agents or self.events)

    def remove(self, agent_ids: Iterable[str]) -> None:
        """Agents that are gone."""
        for agent_id in agent_ids:
            text = encode_value(agent_id).decode()
            self.removed.append(text)
            self.size += len(text) + 1

    def change(self, agent: AgentState, since: int) -> bool:
        """What changed of an agent above an offset; False if that is nothing in this view."""
        text = agent_text(agent, since, self.view.fields)
        if text is None:
            return False
        self.agents.append(text)
        self.size += len(text) + 1
        self._told(agent.priority, agent.timestamp)
        return True

    def event(self, event: Event) -> None:
        """One event."""
        text = event_text(event)
        self.events.append(text)
        self.size += len(text) + 1
        self._told(event.priority, event.timestamp)

    def _told(self, priority: int, timestamp: float) -> None:
        if timestamp < self.queued.get(priority, math.inf):
            self.queued[priority] = timestamp

    def build(
        self,
        epoch: str,
        from_: int,
        to: int,
        now: float,
        event_count: int,
        *,
        reset: bool = False,
        more: bool = False,
        urgent: bool = False,
        check: str = "",
        is_news: bool = True,
    ) -> SyncFrame:
        """The frame; the builder begins anew. `is_news`: its clients hear of its changes for the first time."""
        view = self.view
        parts = [f'{{"type":"sync","channel":"{view.channel}"']  # names of channels need no escapes
        if view.name:
            parts.append(f',"view":{encode_value(view.name).decode()}')
        parts.append(f',"epoch":"{epoch}","from":{from_},"to":{to},"ts":{now:.3f}')
        if reset:
            parts.append(',"reset":true')
        if more:
            parts.append(',"more":true')
        if urgent:
            parts.append(',"urgent":true')
        if self.removed:
            parts.append(f',"removed":[{",".join(self.removed)}]')
        if self.agents:
            parts.append(f',"agents":{{{",".join(self.agents)}}}')
        if self.events:
            parts.append(f',"events":[{",".join(self.events)}]')
        parts.append(f',"event_count":{event_count}{check}}}')
        is_empty = self.is_empty and not check
        queued = tuple(self.queued.items())
        oldest = min(self.queued.values(), default=0.0)
        frame = SyncFrame(view, "".join(parts), to, oldest, queued if is_news else (), urgent, is_empty)
        self.begin()
        return frame


def agent_text(agent: AgentState, since: int, names: tuple[str, ...] | None) -> str | None:
    """`"agent_001":{"set":{...},"unset":[...],"at":...}` with what changed above an offset; None if nothing did.

    An agent that was created above it is told whole, with its tombstones: a client ahead of `since` may know fields
    that are gone. Cost: O(fields of the agent).
    """
    offsets, fields = agent.offsets, agent.fields
    is_new = agent.created > since
    if names is None:
        if is_new and agent.whole is not None:
            text = agent.whole
        else:
            text = join_fields(fields if is_new else {k: v for k, v in fields.items() if offsets[k] > since})
        gone = [k for k, offset in (agent.unset or {}).items() if is_new or offset > since]
    else:
        told = [k for k in names if k in fields and (is_new or offsets[k] > since)]
        text = join_fields({k: fields[k] for k in told}) if told else b"{}"
        gone = [k for k, offset in (agent.unset or {}).items() if k in names and (is_new or offset > since)]
    if not is_new and not gone and text == b"{}":
        return None
    parts = [encode_value(agent.agent_id).decode(), ":{"]
    if text != b"{}":
        parts.append(f'"set":{text.decode()},')
    if gone:
        parts.append(f'"unset":{encode_value(gone).decode()},')
    parts.append(f'"at":{agent.timestamp:.3f}}}')
    return "".join(parts)


def event_text(event: Event) -> str:
    """One event of a frame."""
    return (
        f'{{"offset":{event.offset},"agent_id":{encode_value(event.agent_id).decode()}'
        f',"update_type":{encode_value(event.update_type).decode()},"data":{event.data.decode()}'
        f',"timestamp":{event.timestamp:.3f}}}'
    )


def check_text(agents: Mapping[str, AgentState], ids: Iterable[str], names: tuple[str, ...] | None) -> str:
    """`,"check":{"count":25,"agents":{"agent_001":{...}}}`: how many agents there are, and some of them whole."""
    wholes = []
    for agent_id in ids:
        agent = agents[agent_id]
        whole = (
            agent.text()
            if names is None
            else join_fields({k: agent.fields[k] for k in names if k in agent.fields})
        )
        wholes.append(f"{encode_value(agent_id).decode()}:{whole.decode()}")
    return f',"check":{{"count":{len(agents)},"agents":{{{",".join(wholes)}}}}}'
