"""The frames of the classic and the sync protocol, both ways, and what a stream of events adds."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .base import (
    ActionName,
    AgentId,
    ChannelName,
    ChannelNames,
    Count,
    JSONObject,
    Offset,
    Projection,
    RequestId,
    Sent,
    Taken,
    UnixSeconds,
)

# What a client sends


class Position(Taken, frozen=True):
    """Where a client is in a view. Plain, and it grants nothing; `view` is empty or left out for a whole channel."""

    epoch: str
    offset: Offset
    view: str | None = None


class Subscribe(Taken, frozen=True, tag="subscribe", tag_field="type"):
    """Wants channels. `since` is checked, and not used: this protocol has no resume."""

    channels: ChannelNames
    since: dict[str, Position] | None = None


class SyncSubscribe(Subscribe, frozen=True, tag="subscribe", tag_field="type"):
    """Wants views, each from where the client is (`since`), or from nothing; `fields` has the projections."""

    fields: dict[str, Projection | None] | UnsetType = UNSET


class Unsubscribe(Taken, frozen=True, tag="unsubscribe", tag_field="type"):
    """Wants no more of these channels."""

    channels: ChannelNames


class Ping(Taken, frozen=True, tag="ping", tag_field="type"):
    """Asks for a `pong` with the same `timestamp`, which is any scalar."""

    timestamp: str | float | bool | None = None


class AgentAction(Taken, frozen=True, tag="agent_action", tag_field="type"):
    """Asks for an action of the application's."""

    agent_id: AgentId
    action: ActionName
    params: JSONObject | UnsetType = UNSET


class SyncAgentAction(AgentAction, frozen=True, tag="agent_action", tag_field="type"):
    """Asks for an action of the application's; `id` comes back in the answer."""

    id: RequestId | None = None


class Ack(Taken, frozen=True, tag="ack", tag_field="type"):
    """A frame that asked for it was applied. `offset` is the frame's `to`.

    `age_ms` is how old the frame's oldest change was by then, by the client's estimate of the server's clock;
    `repaired` how many agents its self-check had to repair.
    """

    channel: ChannelName
    offset: Offset
    age_ms: float | None = None
    repaired: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


# What the server sends


class ConnectionEstablished(Sent, frozen=True, tag="connection_established", tag_field="type"):
    """The first frame."""

    connection_id: str
    timestamp: UnixSeconds


class SubscriptionConfirmed(Sent, frozen=True, tag="subscription_confirmed", tag_field="type"):
    """Answers `subscribe` with the names that are allowed; one `error` follows for those that were refused."""

    channels: list[ChannelName]


class UnsubscriptionConfirmed(Sent, frozen=True, tag="unsubscription_confirmed", tag_field="type"):
    """Answers `unsubscribe`. Unasked, with an `error` of `channel_withdrawn`: these channels were taken away."""

    channels: list[ChannelName]


class Pong(Sent, frozen=True, tag="pong", tag_field="type"):
    """Answers `ping`: its `timestamp` as it came, and the server's time."""

    timestamp: str | float | bool | None
    server_time: UnixSeconds


class ActionQueued(Sent, frozen=True, tag="action_queued", tag_field="type"):
    """The action was taken."""

    agent_id: AgentId
    action: ActionName


class SyncActionQueued(ActionQueued, frozen=True, tag="action_queued", tag_field="type"):
    """The action was taken; `id` is the asker's own."""

    id: RequestId | UnsetType = UNSET


class Error(Sent, frozen=True, tag="error", tag_field="type"):
    """What went wrong: `code` is for programs (see `x-error-codes`; an application may add its own), `message` for
    people.
    """

    message: str
    code: str


class SyncError(Error, frozen=True, tag="error", tag_field="type"):
    """What went wrong: `code` is for programs (see `x-error-codes`; an application may add its own), `message` for
    people. `id` is that of the frame it answers, where it had one.
    """

    id: RequestId | UnsetType = UNSET


class AgentUpdate(Sent, frozen=True, tag="agent_update", tag_field="type"):
    """An agent's full state, its removal (`update_type` is `state_removed`, `data` empty), or an event of its."""

    agent_id: AgentId
    update_type: str
    data: JSONObject
    timestamp: UnixSeconds


class SystemNotification(Sent, frozen=True, tag="system_notification", tag_field="type"):
    """News for every connection. A `warning` of the server's own tells how many events this one missed."""

    level: Literal["info", "warning", "error"]
    message: str
    timestamp: UnixSeconds


class AgentChange(Sent, frozen=True):
    """What changed of one agent: first drop `unset`, then put `set`. `at` is when its last change was queued."""

    at: UnixSeconds
    set: JSONObject | UnsetType = UNSET
    unset: Annotated[list[str], Meta(min_length=1)] | UnsetType = UNSET


class Event(Sent, frozen=True):
    """Something that happened, known by its `offset`. `agent_id` is empty for a system notification."""

    offset: Offset
    agent_id: AgentId | Literal[""]
    update_type: str
    data: JSONObject
    timestamp: UnixSeconds


class Check(Sent, frozen=True):
    """For the self-check: how many agents the view has, and some of them whole."""

    count: Count
    agents: dict[AgentId, JSONObject]


class _Sync(Sent, frozen=True):
    channel: ChannelName
    epoch: Annotated[str, Meta(min_length=1, description="The log's incarnation.")]
    from_: Offset = msgspec.field(name="from")
    to: Offset
    ts: UnixSeconds
    event_count: Count
    view: str | UnsetType = UNSET
    reset: bool | UnsetType = UNSET
    more: bool | UnsetType = UNSET
    urgent: bool | UnsetType = UNSET
    removed: Annotated[list[AgentId], Meta(min_length=1)] | UnsetType = UNSET
    agents: Annotated[dict[AgentId, AgentChange], Meta(min_length=1)] | UnsetType = UNSET
    events: Annotated[list[Event], Meta(min_length=1)] | UnsetType = UNSET
    check: Check | UnsetType = UNSET


class Sync(_Sync, frozen=True, tag="sync", tag_field="type"):
    """Changes since: apply it at any position from `from` on, then be at `to`, if that is higher.

    In this order: with `reset` forget the view; drop `removed`; for each of `agents` drop `unset` and put `set`; take
    the `events` above the position; compare `check`; with `ack`, acknowledge. `event_count` tells how many events the
    channel ever had up to `to`, so that missed ones are seen. `more` marks a part (others follow), `urgent` a part that
    comes before its turn. `view` names a projection. What is empty is left out.
    """

    ack: bool | UnsetType = UNSET


class StreamSync(_Sync, frozen=True, tag="sync", tag_field="type"):
    """Changes since, as in the sync protocol; it asks for no acknowledgement."""


class StreamClose(Sent, frozen=True):
    """The data of the event named `close`, the last one: a close code, its reason, and whether to come back."""

    code: Annotated[int, Meta(ge=4000, le=4999)]
    reason: str
    reconnect: bool
