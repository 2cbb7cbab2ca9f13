"""core.frame_types describes what the code reads and writes, field by field: a new field is described at once."""

from __future__ import annotations

import inspect
import json
import re
import typing
from typing import Any

import msgspec
import pytest

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.core import frames, wire
from django_update_pipeline.core.account import TERMS
from django_update_pipeline.core.circuit_breaker import CircuitBreaker
from django_update_pipeline.core.commands import COMMANDS, LIVE_EVENTS, LIVE_REPORTS
from django_update_pipeline.core.frame_types import ADMIN, CLASSIC, PROTOCOLS, STREAM, SYNC, reports, viewers
from django_update_pipeline.core.frame_types.operators import ANSWER_DATA
from django_update_pipeline.core.frame_types.viewers import Position
from django_update_pipeline.core.health import HealthReportDict
from django_update_pipeline.core.histogram import LatencySummary
from django_update_pipeline.core.history import COLUMNS
from django_update_pipeline.core.messages import PRIORITIES
from django_update_pipeline.core.sync_wire import SUBPROTOCOL, SYNC_READERS
from django_update_pipeline.core.wire import CLASSIC_READERS, FrameError, FrameLimits, decode_client_frame
from django_update_pipeline.runtime.connection import KINDS
from tests.docs.markdown import ROOT

MEND = "describe it in core/frame_types, then run: python docs/tables.py --write"

#: A frame of each kind that a client sends, with every field that is described.
FULL: dict[str, dict[str, Any]] = {
    "subscribe": {
        "channels": ["villa"],
        "since": {"villa": {"epoch": "k3f9", "offset": 7, "view": ""}},
        "fields": {"villa": ["x"]},
    },
    "unsubscribe": {"channels": ["villa"]},
    "ping": {"timestamp": 1.5},
    "agent_action": {"agent_id": "eva", "action": "move", "params": {"to": "pool"}, "id": 7},
    "ack": {"channel": "villa", "offset": 7, "age_ms": 1.5, "repaired": 0},
}


class Noting(dict[str, Any]):
    """A frame that notes which of its fields are asked for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)


def names(shape: Any) -> set[str]:
    """A type's fields as they are called in a frame, the tag left out."""
    return set(shape.__struct_encode_fields__)


READ = [(CLASSIC, CLASSIC_READERS, kind) for kind in CLASSIC_READERS]
READ += [(SYNC, SYNC_READERS, kind) for kind in SYNC_READERS]


@pytest.mark.parametrize(
    ("protocol", "readers", "kind"), READ, ids=[f"{protocol.name}-{kind}" for protocol, _, kind in READ]
)
def test_each_decoder_reads_the_fields_that_are_described_and_no_other(
    protocol: Any, readers: Any, kind: str
) -> None:
    described = names(protocol.taken[kind])
    frame = Noting({name: one for name, one in FULL[kind].items() if name in described})
    assert set(frame) == described, f"FULL has no example of all fields of {kind}"
    readers[kind](frame, FrameLimits())
    assert frame.asked == described, f"the decoder of {protocol.name} {kind} reads other fields: {MEND}"


def test_every_decoder_is_described() -> None:
    assert CLASSIC.taken.keys() == CLASSIC_READERS.keys(), MEND
    assert SYNC.taken.keys() == SYNC_READERS.keys(), MEND
    assert ADMIN.taken.keys() == {*COMMANDS, "ping"}, MEND
    assert STREAM.taken == {}
    assert SYNC.subprotocol == SUBPROTOCOL


def test_a_position_is_described_as_it_is_read() -> None:
    assert names(Position) == names(wire.Position), MEND


def test_each_command_is_read_as_described() -> None:
    frame = Noting({"command": "get_health", "params": {}, "id": 7})
    wire._admin_command(frame)
    for name, command in COMMANDS.items():
        shape = ADMIN.taken[name]
        assert {*names(shape), "command"} == frame.asked, MEND
        (params,) = [one for one in msgspec.structs.fields(shape) if one.name == "params"]
        assert command.params in (params.type, *typing.get_args(params.type))


def test_every_answer_and_report_is_described() -> None:
    assert ANSWER_DATA.keys() == {command.reply for command in COMMANDS.values()}, MEND
    assert tuple(reports.LIVE_REPORT_DATA) == LIVE_REPORTS, MEND
    assert reports.LIVE_EVENT_DATA.keys() == LIVE_EVENTS.keys(), MEND


def test_connections_are_counted_by_the_protocols_that_are_described() -> None:
    assert tuple(protocol.name for protocol in PROTOCOLS) == KINDS, MEND
    assert names(reports.ConnectionKinds) == set(KINDS), MEND


def test_every_builder_of_a_frame_is_described() -> None:
    builders = {
        name
        for name, build in vars(frames).items()
        if inspect.isfunction(build) and build.__module__ == frames.__name__ and not name.startswith("_")
    }
    several = {
        "quoted",
        "timestamp_text",
        "refused_text",
        "refused_channels",
        "admin_reply",
        "admin_report",
        "live_report",
    }
    described = {kind for protocol in PROTOCOLS for kind in protocol.sent}
    assert {name.removesuffix("_frame") for name in builders - several} <= described, MEND


def test_figures_are_described_as_they_are_counted() -> None:
    labels = {priority.label for priority in PRIORITIES}
    assert names(reports.Latency) == LatencySummary.__required_keys__, MEND
    assert names(reports.Health) == {*HealthReportDict.__required_keys__, "is_running"}, MEND
    assert names(reports.Terms) == set(TERMS), MEND
    metrics = UpdatePipeline().get_performance_metrics()
    assert names(reports.Metrics) == metrics.keys(), MEND
    assert names(reports.Ages) == metrics["applied"].keys() == metrics["acknowledged"].keys(), MEND
    assert names(reports.Priorities) == names(reports.Latencies) == labels, MEND
    assert names(reports.Conservation) == {*labels, "total"}, MEND
    assert names(reports.Samples) == set(COLUMNS), MEND
    assert (
        names(reports.BreakerState)
        == CircuitBreaker(monotonic=lambda: 0.0, random=lambda: 0.0).get_state().keys()
    ), MEND


BEYOND = 2**53 + 2

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, BEYOND, "", "x", "a,b", "no name!", "__proto__", "\x00", "x" * 91, "x" * 201,
    [], ["x"], [""], [7], ["no name!"], ["a,b"], ["x"] * 101, {}, {"x": 1}, {"villa": None}, {"villa": 7},
    {"villa": []}, {"villa": ["x"]}, {"villa": ["a,b"]}, {"villa": {"epoch": "e", "offset": -1}},
    {"villa": {"epoch": "e", "offset": 1}}, {"villa": {"epoch": 1, "offset": 1}}, {"villa": {"offset": 1}},
    {"villa": {"epoch": "e", "offset": 1, "view": None}}, {"villa": {"epoch": "e", "offset": 1, "view": 1}},
)  # fmt: skip


def accepted(frame: dict[str, Any], readers: Any) -> bool:
    """Whether the decoder takes a frame, and finds no name in it that can't be one."""
    try:
        decoded = decode_client_frame(json.dumps(frame), readers=readers)
    except FrameError:
        return False
    return not getattr(decoded, "malformed", ())


def allowed(frame: dict[str, Any], shape: Any) -> bool:
    """Whether the described type has a place for it."""
    try:
        msgspec.json.decode(json.dumps(frame), type=shape)
    except msgspec.ValidationError:
        return False
    return True


def variants(kind: str, described: set[str]) -> list[dict[str, Any]]:
    """A frame of a kind, whole, without each field, and with odd values in each.

    Left out is what no type can say: of channels that are not asked for nothing is looked at, and an integer beyond
    2**53 is refused wherever it stands.
    """
    fields = {name: one for name, one in FULL[kind].items() if name in described}
    whole = {"type": kind, **fields}
    less = [{name: one for name, one in whole.items() if name != key} for key in fields]
    odd = [
        {**whole, key: value}
        for key in fields
        for value in ODD
        if not (key in ("since", "fields") and isinstance(value, dict) and value and "villa" not in value)
        and not (key in ("timestamp", "age_ms") and value == BEYOND)
    ]
    return [whole, *less, *odd]


@pytest.mark.parametrize(
    ("protocol", "readers", "kind"), READ, ids=[f"{protocol.name}-{kind}" for protocol, _, kind in READ]
)
def test_what_is_described_is_what_the_decoder_takes(protocol: Any, readers: Any, kind: str) -> None:
    shape = protocol.taken[kind]
    frames_tried = variants(kind, names(shape))
    taken = [accepted(frame, readers) for frame in frames_tried]
    assert any(taken)
    assert not all(taken) or kind == "ping"
    for frame, is_taken in zip(frames_tried, taken, strict=True):
        assert allowed(frame, shape) == is_taken, f"{frame}: the decoder says {is_taken}; {MEND}"


FRAMES_TS = (ROOT / "js" / "src" / "frames.ts").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("interface", "shape"),
    [
        ("SyncFrame", viewers.Sync),
        ("Change", viewers.AgentChange),
        ("Check", viewers.Check),
        ("PipelineEvent", viewers.Event),
        ("Position", viewers.Position),
    ],
)
def test_the_browser_client_has_the_same_types(interface: str, shape: Any) -> None:
    found = re.search(rf"^export interface {interface} \{{\n(.*?)^\}}", FRAMES_TS, re.MULTILINE | re.DOTALL)
    assert found is not None, interface
    members = re.findall(r"^  (?:readonly )?(\w+)(\??):", found[1], re.MULTILINE)
    assert {name for name, _ in members} - {"type"} == names(shape), f"js/src/frames.ts {interface}"
    if shape is not viewers.Position:  # which the client always says in full
        required = {one.encode_name for one in msgspec.structs.fields(shape) if one.required}
        assert {name for name, optional in members if not optional} - {"type"} == required, interface
