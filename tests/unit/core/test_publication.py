"""What a transport is handed: frozen, and the same when it is decoded elsewhere."""

from __future__ import annotations

import msgspec
import pytest

from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication


def change(agent_id: str) -> Change:
    return Change(
        UpdateKind.MERGE, agent_id, ("a", "b"), "state_patch", b'{"f":1}', ("g",), 12.5, UpdatePriority.HIGH
    )


def test_law_q4_a_publication_cannot_be_changed():
    """Law Q4: what is retried under an id is what was sent under it."""
    publication = Publication("p1", (change("x"),))
    with pytest.raises(AttributeError):
        publication.id = "p2"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        publication.changes[0].content = b"{}"  # type: ignore[misc]


def test_its_parts_are_its_changes_one_by_one_under_the_same_id():
    publication = Publication("p1", (change("x"), change("y")))
    assert publication.part == -1
    assert publication.parts() == [
        Publication("p1", (change("x"),), 0),
        Publication("p1", (change("y"),), 1),
    ]


def test_a_part_is_its_own_only_part():
    part = Publication("p1", (change("x"), change("y"))).parts()[1]
    assert part.parts() == [part]


@pytest.mark.parametrize("codec", [msgspec.json, msgspec.msgpack])
def test_it_survives_the_wire(codec):
    publication = Publication("p1", (change("x"),), 3)
    assert codec.decode(codec.encode(publication), type=Publication) == publication


def test_the_first_part_is_its_own_only_part_too():
    part = Publication("p1", (change("x"),)).parts()[0]
    assert part.part == 0
    assert part.parts()[0] is part
