"""What a channel and an agent may be called, and how others' texts are shown: a client's, and an error's."""

from __future__ import annotations

import re
from typing import Final

AGENT_ID_MAX_CHARS: Final = 200
REFLECTED_MAX_CHARS: Final = 80
LOGGED_MAX_CHARS: Final = 300

_CHANNEL = re.compile(r"[A-Za-z0-9._-]+")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LINE_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
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


def one_line(text: str, limit: int = LOGGED_MAX_CHARS) -> str:
    """A text as part of one line of a log: control characters and line breaks escaped, at most `limit` characters."""
    line = _LINE_BREAKS.sub(lambda found: ascii(found[0])[1:-1], text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 3] + "..."


def error_text(error: BaseException, limit: int = LOGGED_MAX_CHARS) -> str:
    """`ValueError: what it says` in one line; also where the error's own `__str__` fails."""
    try:
        text = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:  # it is a plugin's class: how it fails to say what it is, is no news
        text = "its text can't be shown"
    kind = type(error).__name__
    return one_line(f"{kind}: {text}" if text else kind, limit)
