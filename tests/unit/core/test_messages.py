"""Updates as they wait: their priority, content and size."""

from __future__ import annotations

import pytest

from django_update_pipeline.core.messages import (
    PRIORITIES,
    UNSET,
    UpdateKind,
    UpdateMessage,
    UpdatePriority,
)
from django_update_pipeline.exceptions import InvalidUpdate


def test_priorities_are_ordered_by_urgency_and_named_in_lower_case():
    assert sorted(UpdatePriority, reverse=True)[-1] is UpdatePriority.CRITICAL
    assert [p.label for p in PRIORITIES] == ["critical", "high", "normal", "low"]
    assert [int(p) for p in PRIORITIES] == [0, 1, 2, 3]


def test_unset_is_not_none():
    assert UNSET is not None


def test_an_update_starts_without_retries_and_with_three_to_go():
    update = UpdateMessage("agent_001")
    assert (update.retry_count, update.max_retries) == (0, 3)
    assert update.priority is UpdatePriority.NORMAL
    assert update.kind is UpdateKind.EVENT


def test_of_encodes_plain_data_and_data_decodes_it_afresh():
    """Promise 4: neither the caller's dict nor what `data` returned is the content."""
    given = {"mood": ["happy"]}
    update = UpdateMessage.of("agent_001", "said", given, UpdatePriority.HIGH, 12.5, max_retries=1)
    given["mood"].append("late")
    update.data["mood"].append("later")
    assert update.payload == b'{"mood":["happy"]}'
    assert update.data == {"mood": ["happy"]}
    assert (update.priority, update.timestamp, update.max_retries) == (UpdatePriority.HIGH, 12.5, 1)


def test_of_refuses_what_is_no_object():
    with pytest.raises(InvalidUpdate, match="agent_001"):
        UpdateMessage.of("agent_001", "said", ["no object"])  # type: ignore[arg-type]


def test_the_data_of_a_patch_leaves_out_what_it_removes():
    update = UpdateMessage("a", kind=UpdateKind.MERGE, fields={"set": b"[1]", "gone": None, "null": b"null"})
    assert update.data == {"set": [1], "null": None}


def test_a_state_to_be_loaded_has_no_data_and_no_size():
    update = UpdateMessage("a", kind=UpdateKind.REPLACE, load=lambda agent_id: {"id": agent_id})
    assert update.data == {}
    assert update.size_bytes() == 0


def test_the_size_counts_names_and_values():
    assert UpdateMessage("a", payload=b'{"f":1}').size_bytes() == 7
    assert UpdateMessage("a", fields={"ab": b"12345", "c": None}).size_bytes() == 8


def test_updates_are_told_apart_by_identity():
    """Queues keep them in sets and find them in deques: equal content must not be confused."""
    one, other = UpdateMessage("a"), UpdateMessage("a")
    assert one != other
    assert len({one, other}) == 2


def test_the_text_of_an_update_holds_no_content():
    text = repr(UpdateMessage("a", payload=b'{"secret":1}', kind=UpdateKind.REPLACE))
    assert text == "UpdateMessage('a', 'state_change', normal, replace, 12 bytes)"


def test_of_gives_everything_its_place():
    update = UpdateMessage.of("agent_001", "said", {})
    assert (update.agent_id, update.update_type, update.payload) == ("agent_001", "said", b"{}")
    assert (update.priority, update.timestamp) == (UpdatePriority.NORMAL, 0.0)
    assert (update.retry_count, update.max_retries) == (0, 3)
    update = UpdateMessage.of("agent_001", "said", {}, retry_count=2, max_retries=7)
    assert (update.retry_count, update.max_retries) == (2, 7)


def test_what_is_laid_over_a_text_counts_beside_it():
    assert UpdateMessage("a", payload=b"1234567", fields={"ab": b"345"}).size_bytes() == 12
