"""The classic protocol's frames to a client, as compact JSON text, keys in the order the protocol lists them.

Timestamps are Unix seconds. A text that holds half of a surrogate pair can't be sent: every builder raises
UnicodeEncodeError (a ValueError) for one, and ValueError for a timestamp that is not finite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .codec import encode_value
from .commands import COMMANDS
from .names import REFLECTED_MAX_CHARS, reflected


def quoted(value: str) -> str:
    """A JSON string, quotes included."""
    return encode_value(value).decode()


def timestamp_text(seconds: float) -> str:
    """Unix seconds as a JSON number with six decimals."""
    if not -1e15 < seconds < 1e15:  # also true for NaN
        raise ValueError(f"{seconds!r} is not a time in Unix seconds")
    return f"{seconds:.6f}"


def agent_update(agent_id: str, update_type: str, data_json: str, timestamp: float) -> str:
    """The frame of the hot path: `data_json` is an encoded JSON object and is not looked at again."""
    return (
        f'{{"type":"agent_update","agent_id":{quoted(agent_id)},"update_type":{quoted(update_type)}'
        f',"data":{data_json},"timestamp":{timestamp_text(timestamp)}}}'
    )


def system_notification(level: str, message: str, timestamp: float) -> str:
    """News for every connection; `level` is `info`, `warning` or `error`."""
    return (
        f'{{"type":"system_notification","level":{quoted(level)},"message":{quoted(message)}'
        f',"timestamp":{timestamp_text(timestamp)}}}'
    )


def connection_established(connection_id: str, timestamp: float) -> str:
    """The first frame of a classic socket."""
    return (
        f'{{"type":"connection_established","connection_id":{quoted(connection_id)}'
        f',"timestamp":{timestamp_text(timestamp)}}}'
    )


def subscription_confirmed(channels: Iterable[str]) -> str:
    """Answers `subscribe` with the names that are allowed; `refused_channels` tells of the others."""
    return f'{{"type":"subscription_confirmed","channels":{encode_value(list(channels)).decode()}}}'


def unsubscription_confirmed(channels: Iterable[str]) -> str:
    """Answers `unsubscribe` with the names the connection is no longer on."""
    return f'{{"type":"unsubscription_confirmed","channels":{encode_value(list(channels)).decode()}}}'


def pong(timestamp: str | int | float | bool | None, server_time: float) -> str:
    """Answers `ping`: its timestamp as it came, and the server's time."""
    return (
        f'{{"type":"pong","timestamp":{encode_value(timestamp).decode()}'
        f',"server_time":{timestamp_text(server_time)}}}'
    )


def action_queued(agent_id: str, action: str, request_id: str | int | None = None) -> str:
    """Answers `agent_action` once the action has been taken."""
    return (
        f'{{"type":"action_queued","agent_id":{quoted(agent_id)},"action":{quoted(action)}{_id(request_id)}}}'
    )


def error_frame(message: str, code: str, request_id: str | int | None = None) -> str:
    """Says what went wrong with a frame; `code` is one of CODES, or an application's own."""
    return f'{{"type":"error","message":{quoted(message)},"code":{quoted(code)}{_id(request_id)}}}'


def refused_text(names: Sequence[str]) -> str:
    """What a client is told of channels that are refused: how many, and what it called them."""
    shown = reflected(", ".join(names[:REFLECTED_MAX_CHARS]))
    return f"{len(names)} channel(s) refused: {shown}; ask for channels you may see"


def refused_channels(names: Iterable[str]) -> str:
    """The one `error` frame for all names of a `subscribe` that were refused."""
    return error_frame(refused_text(list(names)), "channel_refused")


def admin_connected(connection_id: str, timestamp: float) -> str:
    """The first frame of the admin socket: its commands are those of `core.commands`."""
    return (
        f'{{"type":"admin_connected","connection_id":{quoted(connection_id)}'
        f',"commands":{encode_value(list(COMMANDS)).decode()},"timestamp":{timestamp_text(timestamp)}}}'
    )


def admin_reply(
    command: str, data: Mapping[str, Any], timestamp: float, request_id: str | int | None = None
) -> str:
    """Answers an admin command: `{"type": "health_status", "data": {...}, "timestamp": ..., "id": 7}`.

    `id` is the request's own, left out where it had none.

    Raises:
        KeyError: no such command (the decoder lets none through).
    """
    return admin_report(COMMANDS[command].reply, data, timestamp, request_id)


def admin_report(
    kind: str, data: Mapping[str, Any], timestamp: float, request_id: str | int | None = None
) -> str:
    """An answer on the admin socket, by the type of its frame."""
    return (
        f'{{"type":{quoted(kind)},"data":{encode_value(data).decode()}'
        f',"timestamp":{timestamp_text(timestamp)}{_id(request_id)}}}'
    )


def live_report(kind: str, data: Mapping[str, Any], timestamp: float) -> str:
    """What `watch` has sent by itself: a frame as an answer has it, marked `"live": true`."""
    return (
        f'{{"type":{quoted(kind)},"data":{encode_value(data).decode()}'
        f',"timestamp":{timestamp_text(timestamp)},"live":true}}'
    )


def _id(request_id: str | int | None) -> str:
    return "" if request_id is None else f',"id":{encode_value(request_id).decode()}'
