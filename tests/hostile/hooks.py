"""The application behind the campaign's sockets: rooms for everybody, and actions that go wrong."""

from __future__ import annotations

from typing import Any

from django_update_pipeline import hookimpl
from django_update_pipeline.exceptions import ActionRefused


class MeantToFail(Exception):
    """What the hooks raise on purpose: its traceback in the log is no find."""


@hookimpl
def authorize_subscribe(client: Any, channel: str) -> bool | None:
    return True if channel.startswith("room") else None


@hookimpl
async def authorize_action(client: Any, agent_id: str, action: str, params: Any) -> bool | None:
    return True if action in ("move", "refuse", "explode") else None


@hookimpl
async def handle_action(client: Any, agent_id: str, action: str, params: Any) -> Any:
    if action == "move":
        return str(params.get("to", ""))
    if action == "refuse":
        raise ActionRefused("the villa is closed")
    if action == "explode":
        raise MeantToFail
    return None
