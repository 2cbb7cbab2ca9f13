"""Keeps the account of one conversation: a frame said is owed one answer, a frame heard must be the protocol's.

A protocol is a class: what a frame is owed, and which frames there are. `Classic` and `Admin` are here, `Sync` beside
its frames; each wire protocol shares the generator, the drivers and this ledger.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable
from typing import Any

from django_update_pipeline.core.codes import CLOSE_CODES, CODES
from django_update_pipeline.core.commands import COMMANDS, LIVE_EVENTS, LIVE_REPORTS

from . import oracle
from .frames import Data
from .oracle import Limits, Verdict

#: How long an answer may take, in seconds, before it counts as none. Where it comes, nothing waits for it.
PATIENCE_S = 20.0
TABLE = frozenset(code.code for code in CLOSE_CODES)
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f<>]")
AFTER_CONFIRMED = frozenset({"channel_refused", "too_many_subscriptions"})


class Find(Exception):
    """Something a hostile client should not have been able to bring about."""


def is_number(value: Any) -> bool:
    """A field's check: a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_text(value: Any) -> bool:
    """A field's check: a string."""
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _any(value: Any) -> bool:
    return True


def _object(value: Any) -> bool:
    return isinstance(value, dict)


Fields = dict[str, Callable[[Any], bool]]
ANSWERS: dict[str, Fields] = {
    "subscription_confirmed": {"channels": _texts},
    "unsubscription_confirmed": {"channels": _texts},
    "pong": {"timestamp": _any, "server_time": is_number},
    "action_queued": {"agent_id": is_text, "action": is_text},
    "error": {"message": is_text, "code": is_text},
}
NEWS: dict[str, Fields] = {
    "connection_established": {"connection_id": is_text, "timestamp": is_number},
    "agent_update": {"agent_id": is_text, "update_type": is_text, "data": _object, "timestamp": is_number},
    "system_notification": {"level": is_text, "message": is_text, "timestamp": is_number},
}


class Classic:
    """The classic protocol."""

    first = "connection_established"
    answers = ANSWERS
    news = NEWS
    live: dict[str, Fields] = {}

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def owed(self, data: Data) -> Verdict:
        """What answers this frame."""
        return oracle.read(data, self.limits)


REPORT: Fields = {"data": _object, "timestamp": is_number}


class Admin(Classic):
    """The admin socket: commands and pings; what `watch` asked for comes by itself and says so (`live`)."""

    first = "admin_connected"
    answers = {
        "pong": ANSWERS["pong"],
        "error": ANSWERS["error"],
        **{command.reply: REPORT for command in COMMANDS.values()},
    }
    news: dict[str, Fields] = {"admin_connected": {"connection_id": is_text}}
    live: dict[str, Fields] = dict.fromkeys((*LIVE_REPORTS, *LIVE_EVENTS), REPORT)

    def owed(self, data: Data) -> Verdict:
        verdict = super().owed(data)
        frame = verdict.value if isinstance(verdict.value, dict) else {}
        if frame.get("type") is None:
            command = frame.get("command")
            known = COMMANDS.get(command) if isinstance(command, str) else None
            # Its parameters may be wrong, or what it is about not there: any code of the table is an answer.
            return Verdict(frozenset({known.reply, "error"}), None, frame) if known else verdict
        if "pong" in verdict.types or verdict.types == {"error"}:
            return verdict
        # Read as a classic frame first: what is wrong with it there may be said here.
        return Verdict(frozenset({"error"}), frozenset({"unknown_type"} | (verdict.codes or set())), frame)


class Ledger:
    """One conversation's account. Drivers tell it what they said and what came; it raises a `Find`."""

    def __init__(self, protocol: Classic, server_codes: frozenset[int] = frozenset()) -> None:
        self.protocol = protocol
        self.owed: deque[tuple[Data, Verdict]] = deque()
        self.closed: int | None = None
        self.is_greeted = False
        self._may_follow: set[str] = set()  # codes of the errors that may follow a confirmed subscription
        self._server_codes = server_codes  # what the server itself may close with

    def said(self, data: Data) -> None:
        """A frame was sent."""
        if self.closed is None and (verdict := self.protocol.owed(data)).types:
            self.owed.append((data, verdict))

    @property
    def is_settled(self) -> bool:
        """Whether everything is answered, or nothing more will come."""
        return self.closed is not None or (self.is_greeted and not self.owed)

    def heard(self, text: str) -> None:
        """A frame came."""
        if self.closed is not None:
            raise Find(f"a frame after the close {self.closed}: {text[:200]}")
        try:
            frame = json.loads(text, parse_constant=_refuse)
            kind = frame["type"]
        except (ValueError, TypeError, KeyError) as error:
            raise Find(f"not a frame of the protocol: {text[:200]!r}") from error
        fields = (self.protocol.live if frame.get("live") is True else self.protocol.news).get(kind)
        if fields is not None and (kind != self.protocol.first or not self.is_greeted):
            self._check(frame, fields)
            if not self.is_greeted and kind != self.protocol.first:
                raise Find(f"{kind} before {self.protocol.first}")
            self.is_greeted = True
            return
        fields = self.protocol.answers.get(kind)
        if fields is None or not self.is_greeted:
            raise Find(f"{kind} is not expected here: {text[:200]}")
        self._check(frame, fields)
        if kind == "error" and frame["code"] in self._may_follow:
            self._may_follow.discard(frame["code"])
            return
        self._may_follow = set(AFTER_CONFIRMED) if kind == "subscription_confirmed" else set()
        self._settle(frame, text)

    def _settle(self, frame: dict[str, Any], text: str) -> None:
        if not self.owed:
            raise Find(f"an answer to nothing: {text[:200]}")
        data, verdict = self.owed.popleft()
        kind = frame["type"]
        if kind == "error" and frame["code"] == "rate_limited":
            return
        if kind not in verdict.types:
            raise Find(f"{data!r:.300} is owed {sorted(verdict.types)}, got {text[:200]}")
        if kind == "error" and verdict.codes is not None and frame["code"] not in verdict.codes:
            raise Find(f"{data!r:.300} is owed one of {sorted(verdict.codes)}, got {text[:200]}")
        if kind == "pong":
            sent = verdict.value.get("timestamp")
            if (type(frame["timestamp"]), frame["timestamp"]) != (type(sent), sent):
                raise Find(f"the ping of {sent!r:.200} came back as {frame['timestamp']!r:.200}")

    def _check(self, frame: dict[str, Any], fields: Fields) -> None:
        for name, is_right in fields.items():
            if name not in frame or not is_right(frame[name]):
                raise Find(f"{frame['type']} has a wrong {name}: {json.dumps(frame)[:300]}")
        if frame["type"] == "error":
            if frame["code"] not in CODES:
                raise Find(f"code {frame['code']!r} is in no table")
            if frame["code"] == "internal_error":
                raise Find("the server failed on a frame (internal_error)")
            if (
                UNSAFE.search(frame["message"])
                or not frame["message"].isascii()
                or len(frame["message"]) > 600
            ):
                raise Find(f"an error that shows too much of what was sent: {frame['message'][:300]!r}")

    def shut(self, code: int) -> None:
        """The application or the server closed the socket."""
        if self.closed is not None:
            raise Find(f"closed twice: {self.closed}, then {code}")
        if code not in TABLE and code not in self._server_codes:
            raise Find(f"closed with {code}, which is in no table")
        if code == 4011:
            raise Find("closed for an internal error (4011)")
        self.closed = code


def _refuse(constant: str) -> None:
    raise ValueError(constant)
