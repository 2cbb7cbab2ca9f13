"""What a client of the sync protocol sends: the classic frames with more to say, and acknowledgements.

{"type":"subscribe","channels":["villa"],"since":{"villa":{"epoch":"k3f9","offset":1041,"view":""}},
"fields":{"map":["x","y"]}}
{"type":"ack","channel":"villa","offset":1044,"age_ms":12.5,"repaired":0}
{"type":"agent_action","agent_id":"agent_001","action":"move","params":{},"id":7}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from .names import REFLECTED_MAX_CHARS, valid_channel_name
from .view import MAX_FIELD_CHARS, View, valid_field_name
from .wire import CLASSIC_READERS, AgentAction, FrameError, FrameLimits, Position, Readers, Subscribe

SUBPROTOCOL: Final = "update-pipeline.sync.v1"

#: A projection has at most so many fields.
MAX_FIELDS: Final = 100


class SyncSubscribe(msgspec.Struct, frozen=True):
    """Wants views, each from where the client says it is; `malformed` as in `Subscribe`.

    A position is valid for one view: for which, is known once it is known what of the view may be seen.
    """

    since: Mapping[View, Position | None]
    malformed: tuple[str, ...] = ()


class Ack(msgspec.Struct, frozen=True):
    """A frame was applied. `age_ms` is how old its oldest change was by then, as the client measured it.

    A little below 0 is what an estimate of the server's clock may come to, so no number costs the acknowledgement.
    """

    channel: str
    offset: int
    age_ms: float | None = None
    repaired: int = 0


class SyncAction(msgspec.Struct, frozen=True):
    """An action, and the client's own `id`, which comes back in the answer."""

    action: AgentAction
    request_id: str | int | None


def _subscribe(frame: dict[str, Any], limits: FrameLimits) -> SyncSubscribe:
    plain: Subscribe = CLASSIC_READERS["subscribe"](frame, limits)
    fields = frame.get("fields", {})
    if not isinstance(fields, dict):
        raise FrameError(
            "invalid_field", 'fields is no object: send {"channel": ["field", ...]}, or leave it out'
        )
    since = plain.since or {}
    wanted = {View(name, projection(name, fields.get(name))): since.get(name) for name in plain.channels}
    return SyncSubscribe(wanted, plain.malformed)


def starting_at(view: View, at: Position | None) -> tuple[str, int] | None:
    """Where a client begins that asked for a view and says it is there; None: from nothing."""
    return (at.epoch, at.offset) if at is not None and (at.view or "") == view.name else None


def projection(channel: str, names: object) -> tuple[str, ...] | None:
    """The fields of a view that a client names; None is all of them.

    Raises:
        FrameError: they are none.
    """
    if names is None:
        return None
    if not isinstance(names, list) or not 0 < len(names) <= MAX_FIELDS:
        raise FrameError("invalid_field", f"fields of {channel} must be an array of 1 to {MAX_FIELDS} names")
    for name in names:
        if not valid_field_name(name):
            raise FrameError(
                "invalid_field",
                f"fields of {channel} has a name that no field has: send 1 to {MAX_FIELD_CHARS} characters",
            )
    return tuple(sorted(set(names)))


def _ack(frame: dict[str, Any], limits: FrameLimits) -> Ack:
    channel, offset = frame.get("channel"), frame.get("offset")
    if not valid_channel_name(channel):
        raise FrameError("invalid_field", "channel of an ack must be a channel's name")
    if type(offset) is not int or offset < 0:
        raise FrameError("invalid_field", "offset of an ack must be the frame's `to`, an integer")
    age_ms, repaired = frame.get("age_ms"), frame.get("repaired", 0)
    if age_ms is not None and (type(age_ms) not in (int, float) or not abs(age_ms) < math.inf):
        raise FrameError("invalid_field", "age_ms of an ack must be milliseconds, a finite number")
    if type(repaired) is not int or not 0 <= repaired <= 1_000_000:
        raise FrameError("invalid_field", "repaired of an ack must be a count")
    return Ack(str(channel), offset, None if age_ms is None else float(age_ms), repaired)


def _action(frame: dict[str, Any], limits: FrameLimits) -> SyncAction:
    request_id = frame.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, (str, int, type(None))):
        raise FrameError("invalid_field", "id of an action must be a string or an integer, or be left out")
    if isinstance(request_id, str) and len(request_id) > REFLECTED_MAX_CHARS:
        raise FrameError("invalid_field", f"id has more than {REFLECTED_MAX_CHARS} characters: send fewer")
    try:
        return SyncAction(CLASSIC_READERS["agent_action"](frame, limits), request_id)
    except FrameError as error:
        raise FrameError(error.code, error.message, request_id) from error


SYNC_READERS: Final[Readers] = {
    **CLASSIC_READERS,
    "subscribe": _subscribe,
    "agent_action": _action,
    "ack": _ack,
}
