"""The pictures of the one mechanism. A real store answers in them, and a real session tells a snapshot in parts."""

from __future__ import annotations

import json
from typing import Any

from django_update_pipeline.core.config import ConnectionConfig
from django_update_pipeline.core.credit import ASK_EVERY_S
from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.store import Store
from django_update_pipeline.core.sync_frames import FrameBuilder, SyncFrame
from django_update_pipeline.core.sync_live import SyncRenderer
from django_update_pipeline.core.sync_session import SyncSession
from django_update_pipeline.core.view import View

from .shapes import Drawing

CHANNEL = "updates"
NOW = 1623456789.5

#: What is queued, in order: agent, kind, content.
LOG = (
    ("lamp", UpdateKind.REPLACE, {"on": True, "hue": 3}),
    ("fan", UpdateKind.REPLACE, {"speed": 1}),
    ("door", UpdateKind.REPLACE, {"open": False}),
    ("lamp", UpdateKind.REPLACE, {"on": False, "hue": 3}),
    ("bell", UpdateKind.EVENT, {"rings": 2}),
    ("fan", UpdateKind.REMOVE, {}),
)

#: Who asks: a letter, the position, who it is, and how the answer is coloured.
READERS = (
    ("A", 0, "joins late: it has nothing", "late"),
    ("B", 2, "comes back after a cut", "late"),
    ("C", 3, "reads slowly, and is stuck here", "late"),
    ("D", 5, "another process that missed a message", "late"),
    ("E", 6, "keeps up", "live"),
)


def _put(
    store: Store,
    agent_id: str,
    kind: UpdateKind,
    data: dict[str, Any],
    priority: UpdatePriority = UpdatePriority.NORMAL,
) -> None:
    update_type = "ring" if kind is UpdateKind.EVENT else "state_change"
    content = json.dumps(data, separators=(",", ":")).encode()
    change = Change(kind, agent_id, (CHANNEL,), update_type, content, (), NOW - 0.2, priority)
    store.apply(Publication(str(store.head), (change,)))


def _store() -> Store:
    store = Store("k3f9")
    for agent_id, kind, data in LOG:
        _put(store, agent_id, kind, data)
    return store


def _frame(store: Store, since: int) -> SyncFrame:
    """The frame that leads from a position to the head."""
    channel = store.channel(CHANNEL)
    builder = FrameBuilder(View(CHANNEL))
    if since:
        builder.remove(channel.removed_since(since))
    for agent in channel.agents.values():
        builder.change(agent, since)
    for event in channel.events_between(since, store.head) if since else ():
        builder.event(event)
    return builder.build(store.epoch, since, store.head, NOW, channel.event_count, reset=not since)


def _short(data: dict[str, Any]) -> str:
    return ", ".join(f"{name} {str(value).lower()}" for name, value in data.items())


def _said(frame: SyncFrame) -> str:
    """A frame in words."""
    told = json.loads(frame.text)
    parts = [f"{agent_id} gone" for agent_id in told.get("removed", ())]
    parts += [f"{agent_id}: {_short(one['set'])}" for agent_id, one in told.get("agents", {}).items()]
    parts += [f"{event['agent_id']}: {_short(event['data'])}" for event in told.get("events", ())]
    return " · ".join(parts) or "nothing"


def timeline() -> str:
    """Six updates on a line with five readers at their positions; what the store keeps; what each reader is told."""
    store = _store()
    channel = store.channel(CHANNEL)
    drawing = Drawing(760, 596, "A log, the store, and what each reader is told")
    left, wide = 40, 116

    drawing.text(24, 32, "1  The log: each update gets the next number, its offset", "title")
    for row, (agent_id, kind, data) in enumerate(LOG):
        x = left + wide * row
        drawing.box(x + 6, 48, wide - 12, 62, "late" if kind is UpdateKind.EVENT else "box")
        drawing.text(x + 16, 68, str(row + 1), "quiet mono")
        drawing.text(x + 34, 68, agent_id, "mono strong")
        words = "is removed" if kind is UpdateKind.REMOVE else _short(data)
        for line, word in enumerate(words.split(", ")):
            drawing.text(x + 16, 86 + 16 * line, word, "mono")
    drawing.line(f"M{left} 126H{left + wide * len(LOG) + 14}")
    for name, position, _, kind in READERS:
        x = left + wide * position
        drawing.line(f"M{x} 120V132", "plain")
        drawing.pin(x, 148, name, kind)
    drawing.text(left + 16, 153, "positions of five readers", "quiet")

    drawing.text(
        24, 204, "2  The store: the newest value of each field, and the offset that changed it last", "title"
    )
    x = 40
    for agent in channel.agents.values():
        for name, value in agent.fields.items():
            x = _cell(
                drawing, x, f"{agent.agent_id}.{name} {value.decode()}", f"@{agent.offsets[name]}", "box"
            )
    for event in channel.events_between(0, store.head):
        said = f"{event.agent_id} {_short(json.loads(event.data))}"
        x = _cell(drawing, x, said, f"@{event.offset}", "late")
    for agent_id, offset in channel.removed.items():
        x = _cell(drawing, x, f"{agent_id} gone", f"@{offset}", "bad")
    again = channel.agents["lamp"].offsets["hue"]
    drawing.text(
        40,
        276,
        f"hue came again with offset 4, and equal: it keeps {again}. Nobody is told what they know.",
        "quiet",
    )

    drawing.text(24, 324, "3  One question: what changed since N?", "title")
    for row, (name, position, who, kind) in enumerate(READERS):
        y = 340 + 48 * row
        drawing.box(40, y, 696, 40, kind)
        drawing.pin(62, y + 20, name, kind)
        drawing.text(86, y + 17, f"{who}: since {position}")
        drawing.text(86, y + 34, _said(_frame(store, position)), "mono")
    return str(drawing)


def _cell(drawing: Drawing, x: int, words: str, offset: str, kind: str) -> int:
    """One thing the store keeps; returns where the next one begins."""
    width = 8 * (len(words) + len(offset)) + 26
    drawing.box(x, 220, width, 34, kind)
    drawing.text(x + 10, 242, words, "mono")
    drawing.text(x + width - 10, 242, offset, "mono quiet end")
    return x + width + 8


def frame() -> str:
    """The frame that B is told, key by key."""
    told = json.loads(_frame(_store(), 2).asking)

    def piece(*names: str) -> str:
        return ",".join(f'"{name}":{json.dumps(told[name], separators=(",", ":"))}' for name in names)

    agents = [f'"{name}":{json.dumps(one, separators=(",", ":"))}' for name, one in told["agents"].items()]
    (event,) = [json.dumps(one, separators=(",", ":")) for one in told["events"]]
    cut = event.index('"data"')
    # How far to the right a line begins, the line, and what it is for.
    rows = (
        (0, "{" + piece("type", "channel") + ",", "whose it is"),
        (1, piece("epoch") + ",", "the log; after a restart it is another one"),
        (1, piece("from", "to") + ",", "apply it at 2 or later; then be at 6"),
        (1, piece("ts") + ",", "when it was made"),
        (1, piece("removed") + ",", "1  drop these"),
        (1, '"agents":{', "2  drop what is unset, then put what is set"),
        *((3, text, "") for text in (agents[0] + ",", agents[1] + "},")),
        (1, '"events":[', "3  take those above your position"),
        *((3, text, "") for text in (event[:cut], event[cut:] + "],")),
        (1, piece("event_count") + ",", "how many there ever were: one missing?"),
        (1, piece("ack") + "}", "4  say that you have applied it"),
    )
    shown = {name for name in told if any(f'"{name}":' in text for _, text, _ in rows)}
    assert shown == set(told), "a key of the frame is not in the picture"
    drawing = Drawing(760, 56 + 26 * len(rows), "What a frame holds")
    drawing.text(24, 32, "The frame that leads B from 2 to 6", "title")
    for row, (indent, text, note) in enumerate(rows):
        y = 62 + 26 * row
        drawing.text(24 + 9 * indent, y, text, "mono")
        drawing.text(458, y, note, "quiet")
    return str(drawing)


def credit() -> str:
    """A window of frames in flight, and what happens when it is full."""
    limits = ConnectionConfig()
    drawing = Drawing(760, 364, "Credit: a window of frames in flight")
    drawing.text(24, 32, "There is room", "title")
    _lane(drawing, 48, 1044, (1038, 1041, 1044), 1035, is_full=False)
    drawing.text(
        24, 176, "The window is full: nothing is sent, and what changes meanwhile costs nothing", "title"
    )
    _lane(drawing, 192, 4810, (1047, 1050, 1053, 1056, 1059), 1044, is_full=True)
    window = f"{limits.window_bytes // 1024} KiB or {limits.window_frames} frames"
    lines = (
        f"The window is at most {window}, and follows the client's pace. An acknowledgement is",
        f"asked for about once in half of it, or in {ASK_EVERY_S:g} s. When it comes, the next frame leads from 1059",
        "to the head of that moment: each field once, as it is then.",
    )
    for row, words in enumerate(lines):
        drawing.text(24, 312 + 20 * row, words, "quiet")
    return str(drawing)


def _lane(
    drawing: Drawing, y: int, head: int, in_flight: tuple[int, ...], applied: int, *, is_full: bool
) -> None:
    drawing.box(24, y, 132, 56)
    drawing.text(90, y + 24, "store", "mid")
    drawing.text(90, y + 44, f"head {head}", "mono mid")
    drawing.box(196, y, 352, 56, "bad" if is_full else "window")
    for place, to in enumerate(reversed(in_flight)):
        drawing.box(206 + 68 * place + (0 if is_full else 68), y + 12, 60, 32, "late" if is_full else "live")
        drawing.text(236 + 68 * place + (0 if is_full else 68), y + 33, f"→{to}", "mono mid")
    if not is_full:
        drawing.line(f"M158 {y + 28}H262")
    else:
        drawing.line(f"M158 {y + 28}H192", "stopped")
        drawing.line(f"M175 {y + 16}V{y + 40}", "stopped")
    drawing.line(f"M550 {y + 28}H600")
    drawing.box(604, y, 132, 56)
    drawing.text(670, y + 24, "client", "mid")
    drawing.text(670, y + 44, f"applied {applied}", "mono mid")
    drawing.line(f"M670 {y + 58}V{y + 72}H90V{y + 60}")
    drawing.text(372, y + 88, f"ack {applied}", "mono mid")


def told_in_parts() -> list[dict[str, Any]]:
    """The frames by which a session tells a new client a large view, while something CRITICAL happens."""
    store = Store("k3f9")
    for name in ("ann", "ben", "cem", "dea"):
        _put(store, name, UpdateKind.REPLACE, {"mood": "calm", "album": "x" * 33_000})
    session = SyncSession(SyncRenderer(store, lambda: NOW))
    session.subscribe({View(CHANNEL): None})
    told: list[dict[str, Any]] = []
    while (frame := session.next_frame()) is not None:
        told.append(json.loads(frame.text))
        if len(told) == 1:
            _put(store, "dea", UpdateKind.MERGE, {"mood": "alarmed"}, UpdatePriority.CRITICAL)
            _put(store, "bell", UpdateKind.EVENT, {"rings": 2})
    live = session.live()
    assert live is not None
    return told + [json.loads(frame.text) for frame in live.frames]


def lanes() -> str:
    """A snapshot in parts: what is urgent overtakes, positions move at the end, events come in their order."""
    frames = told_in_parts()
    drawing = Drawing(760, 306, "Lanes: a snapshot in parts, overtaken by what is urgent")
    drawing.text(24, 32, "A large snapshot, and one frame after the other on the wire", "title")
    drawing.text(
        24, 56, "dea is alarmed, with priority CRITICAL, when the first part is on its way.", "quiet"
    )
    wide = (712 - 8 * (len(frames) - 1)) // len(frames)
    for place, told in enumerate(frames):
        x = 24 + (wide + 8) * place
        kind = "bad" if told.get("urgent") else "late" if told.get("more") else "live"
        drawing.box(x, 76, wide, 118, kind)
        title = "urgent" if told.get("urgent") else "part" if told.get("more") else "last part"
        if "events" in told:
            title = "changes"
        drawing.text(x + 10, 98, title, "strong")
        lines = [*told.get("agents", {})]
        if told.get("urgent"):
            lines = [f"{name}, whole" for name in told["agents"]]
        lines += [f"{event['agent_id']} event" for event in told.get("events", ())]
        for line, words in enumerate(lines):
            drawing.text(x + 10, 120 + 18 * line, words, "mono")
        drawing.text(x + 10, 182, f"to {told['to']}", "mono quiet")
    assert [bool(told.get("urgent")) for told in frames].index(True) == 1
    drawing.line("M24 214H736")
    drawing.text(
        24,
        242,
        "Parts move no position (to 0): a cut between two of them repeats them, and loses nothing.",
        "quiet",
    )
    drawing.text(
        24,
        262,
        "With the last one the view is complete and live. dea comes again in its turn, as it is then: parts",
        "quiet",
    )
    drawing.text(
        24, 282, "are read from the store when they are written, so no field ever goes back.", "quiet"
    )
    return str(drawing)
