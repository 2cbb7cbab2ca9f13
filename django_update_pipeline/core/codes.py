"""The numbers and words by which the server says what went wrong: error codes and close codes.

One home for each: the documents' tables are generated from these, and nothing else invents a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "frame_too_large": "The frame has more bytes than a frame may have; send less at a time.",
        "invalid_utf8": "The frame is not UTF-8, or holds half of a surrogate pair.",
        "invalid_json": "The frame is not one JSON value as RFC 8259 has it (no BOM, NaN or Infinity).",
        "too_deep": "Arrays and objects are nested deeper than allowed; flatten the frame.",
        "duplicate_key": "An object names a key twice, so its meaning would depend on the parser.",
        "number_out_of_range": "A number can't be read the same everywhere; send it as a string.",
        "invalid_frame": "The frame is JSON but not an object with a `type` (or an admin `command`).",
        "unknown_type": "No frame of this `type` is understood here.",
        "unknown_command": "No admin command of this name exists.",
        "not_found": "What the frame names is not there, or not any more.",
        "invalid_field": "A field of the frame is missing, of the wrong type, or not an allowed value.",
        "too_many_channels": "One frame names more channels than allowed; send several frames.",
        "channel_refused": "This connection may not subscribe to some of the channels; it has the others.",
        "channel_withdrawn": "This connection may no longer be on these channels: nothing more of them is sent.",
        "too_many_subscriptions": "The socket is on as many channels as allowed; unsubscribe from some.",
        "rate_limited": "Frames come too fast; this one was ignored. If that goes on, the socket is closed.",
        "forbidden": "This connection may not do this; sign in, or ask for the permission.",
        "action_refused": "The application refused the action; the message says why.",
        "action_unhandled": "No part of the application handles this action.",
        "action_failed": "The application failed while it handled the action; a retry may help.",
        "timeout": "No answer came in time, which counts as a no; a retry may help.",
        "internal_error": "The server failed on this frame; it is logged there. A retry may help.",
    }
)
"""Codes of `error` frames, each with its meaning. Codes may be added; none changes its meaning."""


@dataclass(frozen=True, slots=True)
class CloseCode:
    """Why the server closes a socket. `reason` goes into the close frame (at most 123 bytes of UTF-8)."""

    code: int
    name: str
    reason: str
    reconnect: bool
    """True if a client should come back (after a pause with jitter), False if it must change first."""


SESSION_ENDED: Final = CloseCode(
    4001, "session_ended", "the log-in ended or a permission was withdrawn", False
)
CLOSED_BY_OPERATOR: Final = CloseCode(
    4002, "closed_by_operator", "an operator closed this connection; come back later", True
)
RATE_LIMITED: Final = CloseCode(4008, "rate_limited", "too many frames; come back slower", True)
CLIENT_SILENT: Final = CloseCode(4009, "client_silent", "nothing was acknowledged in time", True)
SERVER_STOPPING: Final = CloseCode(4010, "server_stopping", "the server is stopping; come back soon", True)
INTERNAL_ERROR: Final = CloseCode(4011, "internal_error", "the server failed; come back later", True)
TOO_SLOW: Final = CloseCode(4012, "too_slow", "a frame could not be written in time", True)
BAD_REQUEST: Final = CloseCode(4400, "bad_request", "the handshake is not valid", False)
LOGIN_REQUIRED: Final = CloseCode(4401, "login_required", "sign in first", False)
FORBIDDEN: Final = CloseCode(4403, "forbidden", "this origin, host or user is not allowed here", False)
UNKNOWN_PATH: Final = CloseCode(4404, "unknown_path", "no socket is served at this path", False)
TOO_MANY_CONNECTIONS: Final = CloseCode(
    4429, "too_many_connections", "the server is full; come back later", True
)

TOO_MANY_OF_USER: Final = CloseCode(
    4430, "too_many_of_user", "this user has as many connections as allowed; close some", True
)
TOO_MANY_FROM_ADDRESS: Final = CloseCode(
    4431, "too_many_from_address", "as many connections as allowed come from this address", True
)

CLOSE_CODES: Final[tuple[CloseCode, ...]] = (
    SESSION_ENDED,
    CLOSED_BY_OPERATOR,
    RATE_LIMITED,
    CLIENT_SILENT,
    SERVER_STOPPING,
    INTERNAL_ERROR,
    TOO_SLOW,
    BAD_REQUEST,
    LOGIN_REQUIRED,
    FORBIDDEN,
    UNKNOWN_PATH,
    TOO_MANY_CONNECTIONS,
    TOO_MANY_OF_USER,
    TOO_MANY_FROM_ADDRESS,
)
"""All close codes: 40xx end a socket that was served, 44xx refuse one (up to 4429 they repeat HTTP's 4xx)."""
