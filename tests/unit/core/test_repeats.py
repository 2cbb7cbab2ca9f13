"""core.repeats: what repeats is counted and told less and less often."""

from __future__ import annotations

from django_update_pipeline.core.repeats import OTHERS, Repeats


def test_the_first_second_fourth_and_eighth_are_told() -> None:
    repeats = Repeats()
    assert [n for n in range(1, 20) if repeats.add("a")] == [1, 2, 4, 8, 16]
    assert repeats.add("b") == 1, "each key counts for itself"
    assert (repeats.count("a"), repeats.count("b"), repeats.total) == (19, 1, 20)


def test_what_is_well_again_is_news_the_next_time() -> None:
    repeats = Repeats()
    for _ in range(3):
        repeats.add("a")
    repeats.forget("a")
    assert repeats.add("a") == 1
    assert repeats.total == 4
    repeats.forget("never complained of")


def test_keys_beyond_the_bound_share_one() -> None:
    repeats = Repeats(max_keys=2)
    for key in ("a", "b", "c", "d", "c", "a"):
        repeats.add(key)
    assert repeats.counts() == {"a": 2, "b": 1, OTHERS: 3}
    assert repeats.count("c") == 0


def test_without_a_key_there_is_one_all_the_same() -> None:
    repeats = Repeats()
    assert [repeats.add() for _ in range(3)] == [1, 2, 0]
    assert repeats.counts() == {"": 3}
    assert repeats.count() == 3
    repeats.forget()
    assert repeats.counts() == {}
    assert Repeats().max_keys == 1000
