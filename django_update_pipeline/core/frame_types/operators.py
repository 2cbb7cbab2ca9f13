"""The admin protocol's frames: a command for each of `core.commands`, an answer for each, and what comes live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from ..commands import COMMANDS, LIVE_EVENTS, LIVE_REPORTS
from .base import RequestId, Sent, Taken, UnixSeconds, made_struct
from .reports import (
    LIVE_EVENT_DATA,
    LIVE_REPORT_DATA,
    BreakerMoved,
    ConnectionClosed,
    Discarded,
    Health,
    History,
    Letters,
    ListedConnections,
    Metrics,
    PluginEnabled,
    Plugins,
    Replayed,
    ShownLetter,
    Status,
    Watching,
    camel,
    live_kind,
)

#: The data of each answer.
ANSWER_DATA: Final[Mapping[str, type[msgspec.Struct]]] = {
    "health_status": Health,
    "performance_metrics": Metrics,
    "status": Status,
    "connection_info": ListedConnections,
    "history": History,
    "plugin_info": Plugins,
    "dead_letters": Letters,
    "dead_letter": ShownLetter,
    "circuit_breaker_reset": BreakerMoved,
    "circuit_breaker_held": BreakerMoved,
    "connection_closed": ConnectionClosed,
    "dead_letters_replayed": Replayed,
    "dead_letters_discarded": Discarded,
    "plugin_enabled": PluginEnabled,
    "watching": Watching,
}


class AdminConnected(Sent, frozen=True, tag="admin_connected", tag_field="type"):
    """The first frame of the admin socket: its commands."""

    connection_id: str
    commands: list[str]
    timestamp: UnixSeconds


def _answers() -> dict[str, type[msgspec.Struct]]:
    asked_by: dict[str, list[str]] = {}
    for name, command in COMMANDS.items():
        asked_by.setdefault(command.reply, []).append(f"`{name}`")
    return {
        reply: made_struct(
            f"{camel(reply)}Answer",
            f"Answers {' and '.join(names)}; `id` is the command's own.",
            [("data", ANSWER_DATA[reply]), ("timestamp", UnixSeconds), ("id", RequestId | UnsetType, UNSET)],
            tag=reply,
            tag_field="type",
        )
        for reply, names in asked_by.items()
    }


def _live() -> dict[str, type[msgspec.Struct]]:
    meanings = dict.fromkeys(LIVE_REPORTS, "Sent at each interval of `watch`.") | dict(LIVE_EVENTS)
    data = {**LIVE_REPORT_DATA, **LIVE_EVENT_DATA}
    return {
        live_kind(kind): made_struct(
            f"Live{camel(kind)}",
            meaning,
            [("data", data[kind]), ("timestamp", UnixSeconds), ("live", bool)],
            tag=kind,
            tag_field="type",
        )
        for kind, meaning in meanings.items()
    }


def _commands() -> dict[str, type[msgspec.Struct]]:
    made = {}
    for name, command in COMMANDS.items():
        params: tuple[Any, ...] = ("params", command.params | None, None)
        if any(field.required for field in msgspec.structs.fields(command.params)):
            params = ("params", command.params)
        fields = [params, ("id", RequestId | None, None)]
        made[name] = made_struct(
            f"{camel(name)}Command", command.meaning, fields, Taken, tag=name, tag_field="command"
        )
    return made


TAKEN: Final[Mapping[str, type[msgspec.Struct]]] = _commands()
SENT: Final[Mapping[str, type[msgspec.Struct]]] = {
    "admin_connected": AdminConnected,
    **_answers(),
    **_live(),
}
