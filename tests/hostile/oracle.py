"""What a frame deserves, read the slow and plain way: Python's `json`, character by character.

Shares no code with `core.wire`. Where a frame is wrong in several ways, any of the codes for them is right.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from .frames import Data

SAFE_INTEGER = 2**53
NAME = re.compile(r"[A-Za-z0-9._-]{1,90}")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
OBJECT_NAMES = {"__proto__", "constructor", "prototype"}
#: Beyond this depth nothing is parsed: it is too deep for any limit the campaign sets.
PARSER_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the door the frame goes to."""

    max_bytes: int
    max_depth: int
    max_channels: int = 100


@dataclass(frozen=True, slots=True)
class Verdict:
    """Types of the one frame that answers, and codes where it is an `error`; `value` is the frame as read.

    `codes` None: any code.
    """

    types: frozenset[str]
    codes: frozenset[str] | None = frozenset()
    value: Any = None


def _error(*codes: str, value: Any = None) -> Verdict:
    return Verdict(frozenset({"error"}), frozenset(codes), value)


def depth_of(text: str) -> int:
    """The deepest nesting of brackets outside of strings; needs no valid JSON."""
    depth = deepest = 0
    in_string = escaped = False
    for char in text:
        if in_string:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                in_string = False
        elif char == '"':
            in_string = True
        elif char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


def read_json(text: str) -> tuple[Any, set[str]]:
    """The value (None if there is none) and the codes of what is wrong with it as JSON."""
    problems: set[str] = set()

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in items}) != len(items):
            problems.add("duplicate_key")
        return dict(items)

    def constant(name: str) -> None:
        raise ValueError(name)

    def integer(digits: str) -> int | str:
        if len(digits) > 30 or abs(int(digits)) > SAFE_INTEGER:
            problems.add("number_out_of_range")
            return 2**60
        return int(digits)

    def number(digits: str) -> float:
        value = float(digits)
        if value in (float("inf"), float("-inf")):
            problems.add("number_out_of_range")
        return value

    try:
        value = json.loads(
            text, object_pairs_hook=pairs, parse_constant=constant, parse_int=integer, parse_float=number
        )
    except ValueError:
        problems.add("invalid_json")
        return None, problems
    if _has_half(value):
        problems.add("invalid_json")
    return value, problems


def _has_half(value: Any) -> bool:
    """Whether a string or key in the value holds half of a surrogate pair, which no UTF-8 can carry on."""
    if isinstance(value, str):
        return any(0xD800 <= ord(char) <= 0xDFFF for char in value) if not value.isascii() else False
    if isinstance(value, dict):
        return any(_has_half(key) or _has_half(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_half(item) for item in value)


def read(data: Data, limits: Limits) -> Verdict:
    """The verdict on one frame for the classic socket; `admin` turns it into the admin socket's."""
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    problems: set[str] = set()
    if len(raw) > limits.max_bytes:
        problems.add("frame_too_large")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return _error(*problems, "invalid_utf8")
    if problems:
        return _error(*problems)
    depth = depth_of(text)
    if depth > limits.max_depth:
        problems.add("too_deep")
    if depth > PARSER_DEPTH:
        return _error("too_deep")
    value, found = read_json(text)
    problems |= found
    if "invalid_json" not in problems and not isinstance(value, dict):
        problems.add("invalid_frame")
    if problems:
        return _error(*problems)
    return _meaning(value, limits)


def _meaning(frame: dict[str, Any], limits: Limits) -> Verdict:
    kind = frame.get("type")
    if kind is None and "command" in frame:
        # Its parameters are the operator's affair; `Admin` knows which commands there are.
        return _error("unknown_command", "unknown_type", "invalid_field", value=frame)
    if not isinstance(kind, str):
        return _error("invalid_frame")
    if kind == "ping":
        wrong = isinstance(frame.get("timestamp"), (dict, list))
        return _error("invalid_field") if wrong else Verdict(frozenset({"pong"}), value=frame)
    if kind in ("subscribe", "unsubscribe"):
        return _channels(frame, kind, limits)
    if kind == "agent_action":
        names = [frame.get("agent_id"), frame.get("action")]
        if not all(isinstance(name, str) for name in names) or not isinstance(frame.get("params", {}), dict):
            return _error("invalid_field")
        longest = (200, 90)
        if any(
            not 0 < len(name) <= most or CONTROL.search(name) or name in OBJECT_NAMES
            for name, most in zip(names, longest, strict=True)
        ):
            return _error("invalid_field")
        return Verdict(frozenset({"action_queued", "error"}), None, frame)
    return _error("unknown_type", value=frame)


def _channels(frame: dict[str, Any], kind: str, limits: Limits) -> Verdict:
    names = frame.get("channels")
    if not isinstance(names, list):
        return _error("invalid_field")
    if len(names) > limits.max_channels:
        return _error("too_many_channels", "invalid_field")
    if not all(isinstance(name, str) for name in names):
        return _error("invalid_field")
    confirmed = Verdict(
        frozenset({"subscription_confirmed" if kind == "subscribe" else "unsubscription_confirmed"}),
        value=frame,
    )
    if kind == "unsubscribe" or frame.get("since") is None:
        return confirmed
    since = frame["since"]
    if not isinstance(since, dict):
        return _error("invalid_field")
    wanted = [since[name] for name in names if name in since and NAME.fullmatch(name)]
    if not all(_is_position(position) for position in wanted):
        return _error("invalid_field")
    if any(isinstance(position["offset"], float) for position in wanted):
        # 1e3 is an integer to JSON, which knows one kind of number only; to refuse it is right as well.
        return Verdict(confirmed.types | {"error"}, frozenset({"invalid_field"}), frame)
    return confirmed


def _is_position(position: Any) -> bool:
    """`{"epoch", "offset"}`, perhaps with a `view`."""
    if not isinstance(position, dict) or not isinstance(position.get("epoch"), str):
        return False
    offset = position.get("offset")
    if (
        isinstance(offset, bool)
        or not isinstance(offset, (int, float))
        or offset < 0
        or offset != int(offset)
    ):
        return False
    return position.get("view") is None or isinstance(position["view"], str)
