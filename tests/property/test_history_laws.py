"""The laws of what operators are told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.history import History


@given(count=st.integers(0, 40), kept=st.integers(1, 10), asked=st.integers(0, 45))
def test_l1_numbers_and_what_comes_after(count: int, kept: int, asked: int) -> None:
    """Law L1: numbered 1, 2, 3 ...; after(n) is the oldest kept one with a number above n."""
    history = History(max_events=kept)
    made = [history.happened("operator_acted", {"n": n}, float(n)).number for n in range(count)]
    assert made == list(range(1, count + 1))
    later = [number for number in made[-kept:] if number > asked]
    found = history.after(asked)
    assert (None if found is None else found.number) == (later[0] if later else None)


@given(count=st.integers(0, 40), kept=st.integers(1, 10))
def test_l1_a_reader_that_follows_misses_nothing_that_is_kept(count: int, kept: int) -> None:
    """Law L1, as a watcher uses it: from number to number it sees each kept one once, in order."""
    history = History(max_events=kept)
    for n in range(count):
        history.happened("operator_acted", {}, float(n))
    position, seen = 0, []
    while (event := history.after(position)) is not None:
        position = event.number
        seen.append(position)
    assert seen == list(range(max(1, count - kept + 1), count + 1))
