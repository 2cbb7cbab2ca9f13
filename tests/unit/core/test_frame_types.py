"""core.frame_types: kinds of frames, what answers what, and types that a program may decode with."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from django_update_pipeline.core.frame_types import PROTOCOLS, STREAM, SYNC, kind_of


def test_answers_are_kinds_that_the_server_sends() -> None:
    for protocol in PROTOCOLS:
        assert protocol.answers.keys() == protocol.taken.keys()
        asked_for = {kind for kinds in protocol.answers.values() for kind in kinds}
        assert asked_for <= protocol.sent.keys()
        assert asked_for | set(protocol.unasked) == protocol.sent.keys()
    assert "unsubscription_confirmed" in SYNC.unasked
    assert "pong" not in SYNC.unasked
    assert STREAM.unasked == tuple(STREAM.sent)


def test_the_kind_of_a_frame() -> None:
    assert kind_of({"type": "ack"}) == "ack"
    assert kind_of({"command": "watch"}) == "watch"
    assert kind_of({"type": "health_status"}) == "health_status"
    assert kind_of({"type": "health_status", "live": True}) == "live_health_status"
    assert kind_of({}) == "None"


def test_what_the_server_sends_allows_no_unknown_field_and_what_it_takes_does() -> None:
    for protocol in PROTOCOLS:
        for shape in protocol.sent.values():
            assert shape.__struct_config__.forbid_unknown_fields, shape
        for shape in protocol.taken.values():
            assert not shape.__struct_config__.forbid_unknown_fields, shape


def test_frames_can_be_decoded_with_their_types() -> None:
    text = '{"type":"sync","channel":"villa","epoch":"e","from":1,"to":2,"ts":1.5,"event_count":0}'
    frame: Any = msgspec.json.decode(text, type=SYNC.sent["sync"])
    assert (frame.from_, frame.to, frame.agents) == (1, 2, msgspec.UNSET)
    with pytest.raises(msgspec.ValidationError, match="unknown field `age`"):
        msgspec.json.decode(text[:-1] + ',"age":1}', type=SYNC.sent["sync"])
