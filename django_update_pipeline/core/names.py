"""What a channel and an agent may be called, and how a client's text is shown in a message."""

from __future__ import annotations

import re
from typing import Final

AGENT_ID_MAX_CHARS: Final = 200
REFLECTED_MAX_CHARS: Final = 80

_CHANNEL = re.compile(r"[A-Za-z0-9._-]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_OBJECT_NAMES = frozenset({"__proto__", "constructor", "prototype"})


def valid_channel_name(name: object, max_length: int = 90) -> bool:
    """True for 1 to `max_length` ASCII letters, digits, `.`, `_` and `-`: what a channel may be called."""
    return isinstance(name, str) and len(name) <= max_length and _CHANNEL.fullmatch(name) is not None


def valid_agent_id(agent_id: object) -> bool:
    """True for a string of 1 to 200 characters that is safe as a key and in a log.

    Control characters and half surrogates are refused, and so are the names by which a JavaScript object
    reaches its prototype.
    """
    return isinstance(agent_id, str) and 0 < len(agent_id) <= AGENT_ID_MAX_CHARS and not unsafe_text(agent_id)


def unsafe_text(text: str) -> bool:
    """True for a text with control characters or half surrogates, and for a JavaScript prototype's name."""
    return _CONTROL.search(text) is not None or text in _OBJECT_NAMES


def reflected(value: str) -> str:
    """A client's text, quoted for a message: ASCII, escaped (also for HTML), at most 80 characters inside."""
    text = ascii(value[:REFLECTED_MAX_CHARS])[1:-1]
    text = text.replace("<", "\\x3c").replace(">", "\\x3e").replace("&", "\\x26")
    if len(value) > REFLECTED_MAX_CHARS or len(text) > REFLECTED_MAX_CHARS:
        text = text[: REFLECTED_MAX_CHARS - 3] + "..."
    return f"'{text}'"
