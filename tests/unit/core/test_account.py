"""The account: five terms a priority, and what is left is pending."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.account import (
    ACCEPTED,
    CLEARED,
    CONFLATED,
    DEAD_LETTERED,
    DELIVERED,
    TERMS,
    Account,
)
from django_update_pipeline.core.messages import PRIORITIES, UpdatePriority


def test_an_account_starts_with_nothing_and_has_every_priority_and_a_total():
    shown = Account().snapshot()
    assert list(shown) == ["critical", "high", "normal", "low", "total"]
    assert all(row == dict.fromkeys(TERMS, 0) for row in shown.values())


@given(st.lists(st.tuples(st.sampled_from(PRIORITIES), st.integers(ACCEPTED, CLEARED), st.integers(0, 5))))
def test_law_q5_the_terms_add_up_to_what_was_accepted(moves):
    """Law Q5: pending is what is left, by priority and in all."""
    account = Account()
    for priority, term, count in moves:
        account.add(priority, term, count)
    shown = account.snapshot()
    for row in shown.values():
        gone = row["delivered"] + row["conflated"] + row["dead_lettered"] + row["cleared"]
        assert row["accepted"] == gone + row["pending"]
    for number, term in enumerate(TERMS[:-1]):
        expected = sum(count for _, t, count in moves if t == number)
        assert account.total(number) == shown["total"][term] == expected
        assert shown["low"][term] == sum(
            count for priority, t, count in moves if (priority, t) == (UpdatePriority.LOW, number)
        )


def test_a_snapshot_does_not_follow_later_moves():
    account = Account()
    account.add(UpdatePriority.HIGH, ACCEPTED, 2)
    account.add(UpdatePriority.HIGH, DELIVERED)
    before = account.snapshot()
    account.add(UpdatePriority.HIGH, CONFLATED)
    account.add(UpdatePriority.HIGH, DEAD_LETTERED)
    assert before["high"]["pending"] == 1
    assert account.snapshot()["high"] == {
        "accepted": 2,
        "delivered": 1,
        "conflated": 1,
        "dead_lettered": 1,
        "cleared": 0,
        "pending": -1,
    }
