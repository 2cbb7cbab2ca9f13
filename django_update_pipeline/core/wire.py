"""The classic protocol's strict decoder: text from a client into values.

What the server sends is built in `frames`, the tables of error and close codes are in `codes`, the rules for names in
`names`. Who may do what, and what is sent when, is the connection's business.

    text of a client ─▶ decode_client_frame ─▶ Subscribe | Unsubscribe | Ping | AgentAction | AdminCommand

Frames are JSON objects (RFC 8259) in UTF-8. Unknown fields are ignored, so an older server understands a
newer client. What a client sends is only ever compared with names or handed on as data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ..exceptions import UpdatePipelineError
from .commands import CommandError, NoParams, Params, checked_params
from .names import (
    AGENT_ID_MAX_CHARS,
    REFLECTED_MAX_CHARS,
    reflected,
    unsafe_text,
    valid_agent_id,
    valid_channel_name,
)

SAFE_INTEGER: Final = 2**53


class FrameError(UpdatePipelineError):
    """A client's frame is not valid; sending the same again does not help. `code` is one of CODES.

    `request_id` is the frame's own `id`, where it had one.
    """

    def __init__(self, code: str, message: str, request_id: str | int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = request_id


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """Bounds of one client frame: UTF-8 bytes, nesting (the frame itself is 1), names and their length."""

    max_frame_bytes: int = 64 * 1024
    max_depth: int = 32
    max_channels_per_frame: int = 100
    max_name_length: int = 90


class Position(msgspec.Struct, frozen=True):
    """Where a client says it is in a channel's log. It grants nothing; `view` may be absent."""

    epoch: str
    offset: int
    view: str | None = None


class Subscribe(msgspec.Struct, frozen=True):
    """Wants channels: names as sent, each once, in order.

    `malformed` holds strings that can't be a channel's name; they are refused like any unknown name.
    `since` has the positions a returning client claims, for valid names only.
    """

    channels: tuple[str, ...]
    malformed: tuple[str, ...] = ()
    since: Mapping[str, Position] | None = None


class Unsubscribe(msgspec.Struct, frozen=True):
    """Wants no more of these channels: names as sent, each once, in order."""

    channels: tuple[str, ...]
    malformed: tuple[str, ...] = ()


class Ping(msgspec.Struct, frozen=True):
    """Asks for a `pong` with the same `timestamp`: any JSON scalar, None if absent."""

    timestamp: str | int | float | bool | None = None


class AgentAction(msgspec.Struct, frozen=True):
    """Wants an action done; `params` is an object of the client's, not trusted beyond its JSON form."""

    agent_id: str
    action: str
    params: dict[str, Any]


class AdminCommand(msgspec.Struct, frozen=True):
    """A command of the admin socket with its checked parameters; `request_id` comes back in the answer."""

    command: str
    params: Params = NoParams()
    request_id: str | int | None = None


#: By a frame's `type`, what reads it.
Readers = Mapping[str, Callable[[dict[str, Any], "FrameLimits"], Any]]

ClientFrame = Subscribe | Unsubscribe | Ping | AgentAction | AdminCommand

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SIXTEEN_DIGITS = re.compile(rb"[0-9]{16}")
_DEFAULT_LIMITS = FrameLimits()
_decode = msgspec.json.Decoder().decode


def decode_client_frame(
    text: str | bytes, limits: FrameLimits = _DEFAULT_LIMITS, readers: Readers | None = None
) -> Any:
    """Reads one frame of a client, strictly; cost is linear in its size.

    `readers` are those of another protocol; without them a `ClientFrame` of the classic one is returned.

    Raises:
        FrameError: the frame is not valid; no other exception, whatever the text.
    """
    readers = CLASSIC_READERS if readers is None else readers
    frame = _decode_object(_utf8(text, limits.max_frame_bytes), limits.max_depth)
    kind = frame.get("type")
    if kind is None and "command" in frame:
        return _admin_command(frame)
    if not isinstance(kind, str):
        raise FrameError(
            "invalid_frame",
            f"the frame's type is {_what(kind)}: send one of {', '.join(readers)} as a string",
        )
    reader = readers.get(kind)
    if reader is None:
        raise FrameError(
            "unknown_type", f"type {reflected(kind)} is not known: send one of {', '.join(readers)}"
        )
    return reader(frame, limits)


def _utf8(text: str | bytes, max_bytes: int) -> bytes:
    if len(text) <= max_bytes:
        try:
            if isinstance(text, str):
                raw = text.encode()
            else:
                raw = text
                text.decode()
        except UnicodeError as error:
            raise FrameError(
                "invalid_utf8", "the frame is not valid UTF-8: encode its text as UTF-8"
            ) from error
        if len(raw) <= max_bytes:
            return raw
        size = f"{len(raw)} bytes"
    else:
        size = f"{len(text)} bytes" if isinstance(text, bytes) else f"more than {max_bytes} bytes"
    raise FrameError(
        "frame_too_large", f"the frame has {size}, the limit is {max_bytes}: send less at a time"
    )


def _decode_object(raw: bytes, max_depth: int) -> dict[str, Any]:
    objects = raw.count(b"{")
    if objects + raw.count(b"[") > max_depth:
        _check_depth(raw, max_depth)
    try:
        frame = _decode(raw)
    except msgspec.ValidationError as error:  # what msgspec says of a float or integer it can't hold
        raise FrameError(
            "number_out_of_range", "a number is too large for a double: send it as a string"
        ) from error
    except RecursionError as error:  # only where `max_depth` was set beyond what Python's stack holds
        raise FrameError("too_deep", "the frame is nested deeper than the parser goes: flatten it") from error
    except msgspec.DecodeError as error:
        hint = (
            "the frame begins with a byte order mark: leave it out"
            if raw[:3] == b"\xef\xbb\xbf"
            else str(error)
        )
        raise FrameError("invalid_json", f"the frame is not JSON: {hint}") from error
    if not isinstance(frame, dict):
        raise FrameError(
            "invalid_frame", f'the frame is {_what(frame)}: send an object such as {{"type": "ping"}}'
        )
    # Each key of the tree stands before a colon of its own. As many keys as colons: no key was given twice.
    keys = len(frame) if objects == 1 else _count_keys(frame)
    if raw.count(b":") != keys and _STRING.sub(b"", raw).count(b":") != keys:
        raise FrameError("duplicate_key", f"an object names the key {_twice(raw)} twice: send it once")
    if _SIXTEEN_DIGITS.search(raw) is not None:
        _check_integers(frame)
    return frame


def _check_depth(raw: bytes, max_depth: int) -> None:
    """Refuses nesting beyond the limit before a recursive parser sees it. Needs no valid JSON."""
    depth = 0
    for bracket in _STRING.sub(b"", raw).translate(None, _NOT_BRACKETS):
        if bracket in b"[{":
            depth += 1
            if depth > max_depth:
                raise FrameError(
                    "too_deep", f"the frame is nested deeper than {max_depth} levels: flatten it"
                )
        else:
            depth -= 1


def _count_keys(frame: dict[str, Any]) -> int:
    """Counts the keys of all objects in the tree."""
    count = 0
    waiting: list[Any] = [frame]
    for value in waiting:  # grows while it is read: no recursion, each container once
        if isinstance(value, dict):
            count += len(value)
            waiting.extend([item for item in value.values() if isinstance(item, (dict, list))])
        else:
            waiting.extend([item for item in value if isinstance(item, (dict, list))])
    return count


def _check_integers(frame: dict[str, Any]) -> None:
    waiting: list[Any] = [frame]
    for value in waiting:
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, (dict, list)):
                waiting.append(item)
            elif type(item) is int and not -SAFE_INTEGER <= item <= SAFE_INTEGER:
                shown = str(item) if abs(item) < 10**30 else f"of {abs(item).bit_length()} bits"
                raise FrameError(
                    "number_out_of_range",
                    f"the integer {shown} is beyond 2**53, where JavaScript rounds: send it as a string",
                )


def _twice(raw: bytes) -> str:
    """The first key some object of this valid JSON text names twice, quoted."""
    found: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                found.append(key)
            seen.add(key)

    json.loads(raw, object_pairs_hook=look, parse_int=len, parse_float=len)
    return reflected(found[0]) if found else "''"


def _what(value: Any) -> str:
    if value is None:
        return "missing or null"
    if isinstance(value, bool):
        return "a boolean"
    return {dict: "an object", list: "an array", str: "a string", int: "a number", float: "a number"}[
        type(value)
    ]


def _string(frame: dict[str, Any], field: str) -> str:
    value = frame.get(field)
    if not isinstance(value, str):
        raise FrameError("invalid_field", f"{field} is {_what(value)}: send a string")
    return value


def _channels(frame: dict[str, Any], limits: FrameLimits) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = frame.get("channels")
    if not isinstance(names, list):
        raise FrameError("invalid_field", f'channels is {_what(names)}: send an array such as ["news"]')
    if len(names) > limits.max_channels_per_frame:
        raise FrameError(
            "too_many_channels",
            f"channels has {len(names)} names, the limit is {limits.max_channels_per_frame}: split it",
        )
    allowed: dict[str, None] = {}
    malformed: dict[str, None] = {}
    for index, name in enumerate(names):
        if not isinstance(name, str):
            raise FrameError("invalid_field", f"channels[{index}] is {_what(name)}: send the channel's name")
        known = allowed if valid_channel_name(name, limits.max_name_length) else malformed
        known[name] = None
    return tuple(allowed), tuple(malformed)


def _since(frame: dict[str, Any], channels: tuple[str, ...]) -> dict[str, Position] | None:
    since = frame.get("since")
    if since is None:
        return None
    if not isinstance(since, dict):
        raise FrameError(
            "invalid_field", f'since is {_what(since)}: send {{"channel": {{"epoch", "offset"}}}}'
        )
    positions: dict[str, Position] = {}
    for name in channels:
        if name in since:
            try:
                position = msgspec.convert(since[name], Position, strict=True)
            except msgspec.ValidationError as error:
                raise FrameError(
                    "invalid_field", f"since of {reflected(name)} is not a position: {reflected(str(error))}"
                ) from error
            if position.offset < 0:
                raise FrameError("invalid_field", f"since of {reflected(name)} has a negative offset: send 0")
            positions[name] = position
    return positions


def _subscribe(frame: dict[str, Any], limits: FrameLimits) -> Subscribe:
    channels, malformed = _channels(frame, limits)
    return Subscribe(channels, malformed, _since(frame, channels))


def _unsubscribe(frame: dict[str, Any], limits: FrameLimits) -> Unsubscribe:
    return Unsubscribe(*_channels(frame, limits))


def _ping(frame: dict[str, Any], limits: FrameLimits) -> Ping:
    timestamp = frame.get("timestamp")
    if isinstance(timestamp, (dict, list)):
        raise FrameError("invalid_field", f"timestamp is {_what(timestamp)}: send a number or a string")
    return Ping(timestamp)


def _agent_action(frame: dict[str, Any], limits: FrameLimits) -> AgentAction:
    agent_id, action, params = _string(frame, "agent_id"), _string(frame, "action"), frame.get("params", {})
    if not valid_agent_id(agent_id):
        raise FrameError(
            "invalid_field",
            f"agent_id {reflected(agent_id)} is not allowed: send 1 to {AGENT_ID_MAX_CHARS} characters, "
            "no control characters, no name such as __proto__",
        )
    if not 0 < len(action) <= limits.max_name_length or unsafe_text(action):
        raise FrameError(
            "invalid_field",
            f"action {reflected(action)} is not allowed: send 1 to {limits.max_name_length} characters, "
            "no control characters",
        )
    if not isinstance(params, dict):
        raise FrameError("invalid_field", f"params is {_what(params)}: send an object, or leave it out")
    return AgentAction(agent_id, action, params)


def _admin_command(frame: dict[str, Any]) -> AdminCommand:
    command, request_id = _string(frame, "command"), frame.get("id")
    if not isinstance(request_id, (str, int, type(None))) or isinstance(request_id, bool):
        raise FrameError("invalid_field", f"id is {_what(request_id)}: send a string or an integer, or none")
    if isinstance(request_id, str) and len(request_id) > REFLECTED_MAX_CHARS:
        raise FrameError("invalid_field", f"id has more than {REFLECTED_MAX_CHARS} characters: send fewer")
    try:
        return AdminCommand(command, checked_params(command, frame.get("params")), request_id)
    except CommandError as error:
        raise FrameError(error.code, error.message, request_id) from error


CLASSIC_READERS: Final[Readers] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "ping": _ping,
    "agent_action": _agent_action,
}
