"""What a pass is told of tombstones that are dropped."""

from __future__ import annotations

from django_update_pipeline.core.reader import Reader


def test_a_reader_hears_of_the_agents_that_its_client_may_know() -> None:
    reader = Reader()
    assert not reader.is_attached
    reader.reach = 5
    reader.forget([(1, "a"), (5, "e"), (6, "f")])
    reader.forget([(2, "b"), (5, "e")])
    reader.forget([(7, "g")])
    assert list(reader.lost) == ["a", "e", "b"]


def test_what_was_told_in_frames_that_are_not_sent_is_still_to_be_told() -> None:
    reader = Reader(reach=5)
    reader.forget([(1, "a"), (2, "b"), (3, "c")])
    reader.take("a")
    reader.take("never lost")
    assert (list(reader.lost), reader.in_frames) == (["b", "c"], ["a"])
    reader.take("c")
    reader.put_back()
    assert (list(reader.lost), reader.in_frames) == (["b", "a", "c"], [])
