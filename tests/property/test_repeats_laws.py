"""Laws V1 and V2: complaints that repeat."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.repeats import OTHERS, Repeats


@given(st.lists(st.sampled_from("abcdef"), max_size=300), st.integers(1, 8))
def test_powers_of_two_are_told_and_keys_are_bounded(keys: list[str], max_keys: int) -> None:
    """Law V1 and Law V2, against a counter."""
    repeats = Repeats(max_keys)
    model: Counter[str] = Counter()
    for key in keys:
        known = key if key in model or len(model) < max_keys else OTHERS
        model[known] += 1
        number = model[known]
        assert repeats.add(key) == (number if number in {2**n for n in range(10)} else 0)
        assert len(repeats.counts()) <= max_keys + 1
    assert repeats.counts() == model
    assert repeats.total == len(keys)
