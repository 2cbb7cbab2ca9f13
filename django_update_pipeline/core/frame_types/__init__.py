"""What each frame holds, as types: the one description that the AsyncAPI document's schemas are generated from.

Nothing that runs imports this. The frames are written by `core.frames` and `core.sync_frames`, and read by `core.wire`
and `core.sync_wire`, which are quicker and stricter than a generated decoder; tests hold that both say the same:
`tests/integration/test_spoken_frames.py` validates what a real server sends, in every kind, with nothing unknown
allowed, and `tests/meta/test_frames_described.py` holds that each decoder reads the fields described here, no other.

A program in Python may decode with them: `msgspec.json.decode(text, type=Sync)`.

    Protocol.taken   what a client sends, by kind
    Protocol.sent    what the server sends, by kind
    kind_of(frame)   a frame's kind
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ..commands import COMMANDS
from ..sync_wire import SUBPROTOCOL
from . import operators, viewers
from .reports import live_kind

#: Kinds of frames, by their names.
Kinds = Mapping[str, type[msgspec.Struct]]


@dataclass(frozen=True, slots=True)
class Protocol:
    """One protocol: where it is spoken, and all kinds of frames in both directions.

    `below` is its path below `SOCKET_PATH`; `answers` names for each kind of `taken` the kinds that answer it (an
    `error` may answer anything). Kinds of `sent` that answer nothing come by themselves.
    """

    name: str
    title: str
    below: str
    taken: Kinds
    sent: Kinds
    answers: Mapping[str, tuple[str, ...]]
    subprotocol: str | None = None
    is_stream: bool = False

    @property
    def unasked(self) -> tuple[str, ...]:
        """Kinds that come without a frame that asks for them."""
        asked_for = {kind for kinds in self.answers.values() for kind in kinds} - {"error"}
        return tuple(kind for kind in self.sent if kind not in asked_for or kind in _ALSO_UNASKED)


#: Told also when a permission is withdrawn.
_ALSO_UNASKED: Final = frozenset({"unsubscription_confirmed"})

_ANSWERS: Final[Mapping[str, tuple[str, ...]]] = {
    "subscribe": ("subscription_confirmed", "error"),
    "unsubscribe": ("unsubscription_confirmed",),
    "ping": ("pong",),
    "agent_action": ("action_queued", "error"),
}

_BOTH: Final[Kinds] = {
    "connection_established": viewers.ConnectionEstablished,
    "subscription_confirmed": viewers.SubscriptionConfirmed,
    "unsubscription_confirmed": viewers.UnsubscriptionConfirmed,
    "pong": viewers.Pong,
}

CLASSIC: Final = Protocol(
    "classic",
    "Full states, for clients that keep no positions",
    "",
    taken={
        "subscribe": viewers.Subscribe,
        "unsubscribe": viewers.Unsubscribe,
        "ping": viewers.Ping,
        "agent_action": viewers.AgentAction,
    },
    sent={
        **_BOTH,
        "action_queued": viewers.ActionQueued,
        "error": viewers.Error,
        "agent_update": viewers.AgentUpdate,
        "system_notification": viewers.SystemNotification,
    },
    answers=_ANSWERS,
)

SYNC: Final = Protocol(
    "sync",
    "Changes since a position, with acknowledgements",
    "",
    taken={
        "subscribe": viewers.SyncSubscribe,
        "unsubscribe": viewers.Unsubscribe,
        "ping": viewers.Ping,
        "agent_action": viewers.SyncAgentAction,
        "ack": viewers.Ack,
    },
    sent={
        **_BOTH,
        "action_queued": viewers.SyncActionQueued,
        "error": viewers.SyncError,
        "sync": viewers.Sync,
    },
    answers={**_ANSWERS, "ack": ()},
    subprotocol=SUBPROTOCOL,
)

STREAM: Final = Protocol(
    "stream",
    "The sync protocol's frames as server-sent events",
    "stream/",
    taken={},
    sent={
        "connection_established": viewers.ConnectionEstablished,
        "error": viewers.Error,
        "sync": viewers.StreamSync,
        "close": viewers.StreamClose,
    },
    answers={},
    is_stream=True,
)

ADMIN: Final = Protocol(
    "admin",
    "Operators' commands, and reports that come by themselves",
    "admin/",
    taken={**operators.TAKEN, "ping": viewers.Ping},
    sent={**operators.SENT, "pong": viewers.Pong, "error": viewers.SyncError},
    answers={
        **{name: (command.reply, "error") for name, command in COMMANDS.items()},
        "ping": ("pong",),
    },
)

PROTOCOLS: Final = (CLASSIC, SYNC, STREAM, ADMIN)


def kind_of(frame: Mapping[str, Any]) -> str:
    """A frame's kind, in either direction: its `command` or `type`; of what `watch` has sent, `live_` before it."""
    if "command" in frame:
        return str(frame["command"])
    kind = str(frame.get("type"))
    return live_kind(kind) if frame.get("live") else kind
