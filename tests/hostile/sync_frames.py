"""Frames of the sync protocol that a client might send, and what each deserves.

Acknowledgements are of offsets that are surely behind the log or surely beyond it, so that their fate is known.
"""

from __future__ import annotations

import json
import random
from typing import Any

from .frames import ACTIONS, AGENTS, CHANNELS, IDS, ODD_NAMES, Data, valid
from .ledger import ANSWERS, Classic, Fields, is_number, is_text
from .oracle import CONTROL, NAME, OBJECT_NAMES, Verdict

FAR = 10**12
_INVALID = Verdict(frozenset({"error"}), frozenset({"invalid_field"}))
_FIELDS = ("n", "text", "nothing", "a" * 100)
_ODD_FIELDS = ("", "a,b", "a" * 101, "__proto__", "n\x00", "\ud800", 7, None, [], {})


def frame(rng: random.Random) -> str:
    """One frame: a subscription with positions and projections, an acknowledgement, an action with an id, or plain."""
    make = rng.choice((_subscribe, _subscribe, _ack, _action))
    return valid(rng) if rng.random() < 0.2 else json.dumps(make(rng))


def _subscribe(rng: random.Random) -> dict[str, Any]:
    names = [
        rng.choice(CHANNELS if rng.random() < 0.8 else ODD_NAMES) for _ in range(rng.choice((1, 1, 2, 5)))
    ]
    wanted: dict[str, Any] = {"type": "subscribe", "channels": names}
    if rng.random() < 0.5:
        wanted["since"] = {
            name: {
                "epoch": rng.choice(("", "e", "x" * 300)),
                "offset": rng.choice((0, 1, 2**53)),
                "view": rng.choice((None, "", "n", "n,text", "x" * 1000)),
            }
            for name in names[:2]
        }
    if rng.random() < 0.7:
        wanted["fields"] = {name: _projection(rng) for name in names}
    elif rng.random() < 0.1:
        wanted["fields"] = rng.choice((None, [], "n", 7, {"": ["n"]}))
    return wanted


def _projection(rng: random.Random) -> object:
    if rng.random() < 0.8:
        return rng.sample(_FIELDS, rng.randrange(1, 4))
    return rng.choice(
        (
            None,
            [],
            "n",
            7,
            {},
            ["n", "n"],
            [f"f{n}" for n in range(100)],
            [f"f{n}" for n in range(101)],
            *tuple([name] for name in _ODD_FIELDS),
        )
    )


def _ack(rng: random.Random) -> dict[str, Any]:
    ack: dict[str, Any] = {
        "type": "ack",
        "channel": rng.choice(("updates", "news", "secret", "update_pipeline.system", "", "a b", None, 7)),
        "offset": rng.choice((0, 0, 0, FAR, -1, 1.5, True, None, "0", [], 2**53)),
    }
    if rng.random() < 0.5:
        ack["age_ms"] = rng.choice((0, 12.5, 1e308, -1, True, "1", None, {}))
    if rng.random() < 0.5:
        ack["repaired"] = rng.choice((0, 7, 10**6, 10**6 + 1, -1, 1.5, None, True))
    return ack


def _action(rng: random.Random) -> dict[str, Any]:
    return {
        "type": "agent_action",
        "agent_id": rng.choice(("agent_001", "agent_001", *AGENTS)),
        "action": rng.choice(ACTIONS),
        "params": {},
        "id": rng.choice(IDS),
    }


class Sync(Classic):
    """The sync protocol: an acknowledgement that is right is owed nothing."""

    answers = ANSWERS
    news: dict[str, Fields] = {
        "connection_established": Classic.news["connection_established"],
        "sync": {
            "channel": is_text,
            "epoch": is_text,
            "from": is_number,
            "to": is_number,
            "ts": is_number,
            "event_count": is_number,
        },
    }

    def owed(self, data: Data) -> Verdict:
        verdict = super().owed(data)
        frame = verdict.value
        if not isinstance(frame, dict):
            return verdict
        match frame.get("type"):
            case "ack":
                return Verdict(frozenset(), value=frame) if _is_ack(frame) else _INVALID
            case "subscribe" if "subscription_confirmed" in verdict.types and not _has_fields(frame):
                return _INVALID
            case "agent_action" if not _is_id(frame.get("id")):
                return _INVALID
        return verdict


def _is_ack(frame: dict[str, Any]) -> bool:
    channel, offset, age, repaired = (
        frame.get("channel"),
        frame.get("offset"),
        frame.get("age_ms"),
        frame.get("repaired", 0),
    )
    return (
        isinstance(channel, str)
        and NAME.fullmatch(channel) is not None
        and type(offset) is int
        and offset == 0
        and (age is None or type(age) in (int, float))
        and type(repaired) is int
        and 0 <= repaired <= 10**6
    )


def _has_fields(frame: dict[str, Any]) -> bool:
    fields = frame.get("fields", {})
    if not isinstance(fields, dict):
        return False
    for name in frame["channels"]:
        names = fields.get(name) if NAME.fullmatch(name) else None
        if names is None:
            continue
        if not isinstance(names, list) or not 0 < len(names) <= 100:
            return False
        for one in names:
            if not isinstance(one, str) or not 0 < len(one) <= 100 or "," in one:
                return False
            if CONTROL.search(one) or one in OBJECT_NAMES:
                return False
    return True


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= 80
    return value is None or type(value) is int
