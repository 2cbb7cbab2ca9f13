"""docs/reference/protocol-*.md: their frames are those that the code reads and writes."""

from __future__ import annotations

import inspect
import json
from typing import Any

from django_update_pipeline.core import frames
from django_update_pipeline.core.commands import COMMANDS, LIVE_EVENTS
from django_update_pipeline.core.wire import CLASSIC_READERS, AdminCommand, decode_client_frame
from tests.docs.markdown import ROOT, blocks

CLASSIC = ROOT / "docs" / "reference" / "protocol-classic.md"
ADMIN = ROOT / "docs" / "reference" / "protocol-admin.md"


def samples() -> list[str]:
    return [block.code.strip() for page in (CLASSIC, ADMIN) for block in blocks(page, "json")]


def rebuilt(frame: dict[str, Any]) -> str:
    """The frame as the server's own builder makes it from the sample's values."""
    kind = frame["type"]
    if frame.get("live"):
        return frames.live_report(kind, frame["data"], frame["timestamp"])
    if kind in {command.reply for command in COMMANDS.values()}:
        return frames.admin_report(kind, frame["data"], frame["timestamp"], frame.get("id"))
    if kind == "agent_update":
        return frames.agent_update(
            frame["agent_id"],
            frame["update_type"],
            json.dumps(frame["data"], separators=(",", ":")),
            frame["timestamp"],
        )
    if kind == "error":
        return frames.error_frame(frame["message"], frame["code"])
    build = getattr(frames, kind)
    return str(build(*(frame[name] for name in _parameters(build))))


def _parameters(build: Any) -> list[str]:
    names = {"connection": "connection_id"}
    needed = (p for p in inspect.signature(build).parameters.values() if p.default is p.empty)
    return [names.get(one.name, one.name) for one in needed]


def is_from_client(frame: dict[str, Any]) -> bool:
    return "command" in frame or frame["type"] in CLASSIC_READERS


def test_every_client_frame_of_the_pages_is_understood() -> None:
    found = [sample for sample in samples() if is_from_client(json.loads(sample))]
    decoded = [decode_client_frame(sample) for sample in found]
    assert {json.loads(sample).get("type") for sample in found} == {*CLASSIC_READERS, None}
    assert any(isinstance(frame, AdminCommand) for frame in decoded)


def test_every_server_frame_of_the_pages_is_what_the_code_writes() -> None:
    for sample in samples():
        frame = json.loads(sample)
        if not is_from_client(frame):
            assert rebuilt(frame) == sample


def test_the_pages_show_every_kind_of_server_frame() -> None:
    shown = {json.loads(sample)["type"] for sample in samples() if not is_from_client(json.loads(sample))}
    builders = {
        name
        for name, build in vars(frames).items()
        if inspect.isfunction(build) and build.__module__ == frames.__name__ and not name.startswith("_")
    }
    helpers = {"quoted", "timestamp_text", "refused_text", "refused_channels", "error_frame"}
    helpers |= {"admin_reply", "admin_report", "live_report"}
    replies = {command.reply for command in COMMANDS.values()}
    assert shown == (builders - helpers) | {"error"} | replies | set(LIVE_EVENTS)


def test_the_page_has_every_admin_command_with_its_reply() -> None:
    text = ADMIN.read_text(encoding="utf-8")
    for name, command in COMMANDS.items():
        assert f"| `{name}` | `{command.reply}` |" in text
