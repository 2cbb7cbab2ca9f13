"""JSON in and out: one encoder, one meaning.

Data is encoded before the queueing call returns, so a caller can change its dict afterwards. msgspec
writes NaN and Infinity as `null`; browsers would show nothing where a number was meant, so they are
refused. Looking for `null` in the text is the cheap half of that check, a walk through the data the
costly one, made only then. Integers beyond 2**53 are sent as they are: finding them would cost more than
encoding, and `JSON.parse` rounds them, so an id of that size belongs in a string.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

import msgspec

from ..exceptions import InvalidUpdate


def _plain(value: Any) -> Any:
    """Turns str, float and int subclasses (Django's SafeString, numpy scalars) into plain values."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, Mapping):
        return dict(value)
    tolist = getattr(value, "tolist", None)
    if tolist is not None:
        return tolist()
    raise NotImplementedError(f"objects of type {type(value).__name__} can't be encoded as JSON")


#: Searches a text for `null`, which NaN and Infinity become; a compiled pattern is the fastest way there is.
NULL = re.compile(b"null").search

_encode = msgspec.json.Encoder(enc_hook=_plain).encode
_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def encode_object(data: Any, agent_id: object) -> bytes:
    """Encodes one update's data as compact JSON.

    Args:
        data: a dict with string keys; nested dicts, lists, str, bool, None, finite floats, integers, and
            what msgspec encodes as a string (datetime, UUID, Decimal, Enum).
        agent_id: named in the error.

    Raises:
        InvalidUpdate: the data is no dict, or some value can't be encoded; the text names its path.
    """
    if type(data) is not dict and not isinstance(data, Mapping):
        raise InvalidUpdate(
            f"data of agent {agent_id!r} is {type(data).__name__}, not a dict: give a JSON object such as "
            '{"mood": "happy"}',
            agent_id=agent_id,
            path="data",
        )
    try:
        text = _encode(data)
    except Exception as error:  # whatever the data's own objects raise is the caller's, with its path
        path = _find(data, "data")
        raise InvalidUpdate(
            f"data of agent {agent_id!r} can't be encoded as JSON at {path}: {error}",
            agent_id=agent_id,
            path=path,
        ) from error
    if NULL(text) is not None:
        try:
            found = _not_finite(data, "data")
        except RecursionError as error:
            raise InvalidUpdate(
                f"data of agent {agent_id!r} is nested too deeply: lay it out flatter",
                agent_id=agent_id,
                path="data",
            ) from error
        if found is not None:
            path, value = found
            raise InvalidUpdate(
                f"data of agent {agent_id!r} holds {value!r} at {path}: browsers can't parse it, "
                "send None or leave it out",
                agent_id=agent_id,
                path=path,
            )
    return text


def split_object(text: bytes) -> dict[str, bytes]:
    """Splits a JSON object's text into its top-level fields' texts, in order; copies, not views."""
    return {key: bytes(raw) for key, raw in _split(text).items()}


def join_fields(fields: Mapping[str, bytes]) -> bytes:
    """The inverse of `split_object`: one object's compact text."""
    return b"{" + b",".join([_encode(key) + b":" + value for key, value in fields.items()]) + b"}"


def encode_value(value: Any) -> bytes:
    """Encodes any JSON value we made ourselves."""
    return _encode(value)


def _not_finite(value: Any, path: str) -> tuple[str, float] | None:
    """Finds the first NaN or Infinity below `value`: its path and the number. The data has been encoded."""
    if isinstance(value, float):
        return None if math.isfinite(value) else (path, value)
    if value is None or isinstance(value, (str, int, bytes)):
        return None
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(key, float) and not math.isfinite(key):
                return f"{path} (a key)", key
            if (found := _not_finite(item, f"{path}.{key}")) is not None:
                return found
        return None
    if isinstance(value, (list, tuple, set, frozenset)):
        for index, item in enumerate(value):
            if (found := _not_finite(item, f"{path}[{index}]")) is not None:
                return found
        return None
    tolist = getattr(value, "tolist", None)
    if tolist is not None:
        return _not_finite(tolist(), path)
    if isinstance(value, Enum):
        return _not_finite(value.value, path)
    if isinstance(value, msgspec.Struct) or hasattr(value, "__dataclass_fields__"):
        # msgspec keeps the floats of a Struct or dataclass as they are here, so the walk can go on.
        return _not_finite(msgspec.to_builtins(value, enc_hook=_plain), path)
    return None


def _find(value: Any, path: str, depth: int = 0) -> str:
    """The path of the innermost value that fails to encode by itself."""
    if depth > 40:
        return path
    items: list[tuple[str, Any]] = []
    try:
        if isinstance(value, Mapping):
            for key, item in value.items():
                try:
                    _encode({key: None})
                except Exception:  # the key itself is what can't be encoded
                    return f"{path} (key {key!r:.80})"
                items.append((f"{path}.{key}", item))
        elif isinstance(value, (list, tuple, set, frozenset)):
            items = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    except Exception:  # the container is the caller's own, and fails to list what it holds
        return path
    for name, item in items:
        try:
            _encode(item)
        except RecursionError:
            return name
        except Exception:  # look further inside
            return _find(item, name, depth + 1)
    return path
