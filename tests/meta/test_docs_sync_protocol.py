"""docs/reference/protocol-sync.md: its frames are those that the code reads and writes."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from django_update_pipeline.core.frame_types.viewers import Sync
from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.store import Store
from django_update_pipeline.core.sync_frames import FrameBuilder
from django_update_pipeline.core.sync_wire import SUBPROTOCOL, SYNC_READERS, Ack, SyncAction, SyncSubscribe
from django_update_pipeline.core.view import View
from django_update_pipeline.core.wire import Position, decode_client_frame
from tests.docs.markdown import ROOT, blocks

PAGE = ROOT / "docs" / "reference" / "protocol-sync.md"


def samples() -> list[dict[str, Any]]:
    return [json.loads(block.code) for block in blocks(PAGE, "json")]


def test_the_page_names_the_subprotocol() -> None:
    assert SUBPROTOCOL in PAGE.read_text(encoding="utf-8")


def test_every_client_frame_of_the_page_is_understood() -> None:
    found = [frame for frame in samples() if frame["type"] in SYNC_READERS]
    kinds = {type(decode_client_frame(json.dumps(frame), readers=SYNC_READERS)) for frame in found}
    assert kinds == {SyncSubscribe, Ack, SyncAction}
    (subscribe,) = [frame for frame in found if frame["type"] == "subscribe"]
    decoded = decode_client_frame(json.dumps(subscribe), readers=SYNC_READERS)
    assert decoded.since == {View("villa"): Position("k3f9", 1041, ""), View("map", ("x", "y")): None}


def put(
    store: Store, kind: UpdateKind, agent_id: str, content: str, at: float, unset: tuple[str, ...] = ()
) -> None:
    update_type = "dialogue" if kind is UpdateKind.EVENT else "state_change"
    change = Change(
        kind, agent_id, ("villa",), update_type, content.encode(), unset, at, UpdatePriority.NORMAL
    )
    store.apply(Publication(str(store.head), (change,)))


def test_the_servers_frame_of_the_page_is_what_the_code_writes() -> None:
    (sample,) = [block.code.strip() for block in blocks(PAGE, "json") if '"type":"sync"' in block.code]
    store = Store("k3f9")
    store.head = 1039
    put(store, UpdateKind.REPLACE, "agent_009", '{"a":1}', 1.0)
    put(store, UpdateKind.REPLACE, "agent_001", '{"current_location":"bed","partner":"x"}', 1.0)
    channel = store.channel("villa")
    assert store.head == 1041
    put(store, UpdateKind.REMOVE, "agent_009", "{}", 2.0)
    put(store, UpdateKind.EVENT, "agent_002", '{"text":"hi"}', 1623456789.11)
    put(store, UpdateKind.MERGE, "agent_001", '{"current_location":"pool"}', 1623456789.1, ("partner",))
    builder = FrameBuilder(View("villa"))
    builder.remove(channel.removed_since(1041))
    for agent in channel.agents.values():
        builder.change(agent, 1041)
    for event in channel.events_between(1041, 1044):
        builder.event(event)
    assert builder.build("k3f9", 1041, 1044, 1623456789.123, 87).text == sample


def test_the_page_explains_every_key_of_a_frame() -> None:
    text = PAGE.read_text(encoding="utf-8")
    store = Store("e")
    put(store, UpdateKind.REPLACE, "x", '{"a":1}', 1.0)
    builder = FrameBuilder(View("villa", ("a",)))
    builder.remove(["y"])
    builder.change(store.channel("villa").agents["x"], 0)
    check = ',"check":{"count":1,"agents":{}}'
    frame = builder.build("e", 0, 1, 1.0, 0, reset=True, more=True, urgent=True, check=check)
    keys = json.loads(frame.asking).keys() | {"events"}
    msgspec.json.decode(frame.asking, type=Sync)
    assert keys - {"type"} == set(Sync.__struct_encode_fields__), "describe it in core/frame_types/viewers.py"
    table = text[text.index("| key | meaning |") : text.index("What is empty is left out")]
    assert {key for key in keys if f"`{key}`" not in table} == {"type"}
