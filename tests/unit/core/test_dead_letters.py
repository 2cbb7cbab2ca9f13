"""Dead letters: what is kept of an update that died, how many, and which go first."""

from __future__ import annotations

from typing import Any

import pytest

from django_update_pipeline.core.config import DeadLetterConfig
from django_update_pipeline.core.dead_letters import DeadLetter, DeadLetters
from django_update_pipeline.core.messages import UpdateKind, UpdateMessage, UpdatePriority


def update(
    payload: bytes | None = b'{"n":1}', kind: UpdateKind = UpdateKind.EVENT, **fields: Any
) -> UpdateMessage:
    made = UpdateMessage.of("agent_001", "said", {}, UpdatePriority.HIGH, timestamp=100.5)
    made.payload, made.kind, made.channels = payload, kind, ("news",)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def kept(letters: DeadLetters) -> list[int]:
    return [letter.number for letter in letters.list()]


def bound(entries: int = 100, size: int = 10_000) -> DeadLetters:
    return DeadLetters(DeadLetterConfig(max_entries=entries, max_bytes=size))


def test_a_letter_says_all_that_is_known_of_the_update():
    letters = DeadLetters()
    letter = letters.add(update(), "rejected", "ValueError: no", 101.25)
    assert letter == DeadLetter(
        1,
        "agent_001",
        "said",
        UpdateKind.EVENT,
        UpdatePriority.HIGH,
        ("news",),
        b'{"n":1}',
        "rejected",
        "ValueError: no",
        100.5,
        101.25,
    )
    assert letters.list() == [letter]
    assert letters.get(1) is letter
    assert letters.get(2) is None
    assert (len(letters), letters.total, letters.let_go) == (1, 1, 0)


def test_an_update_without_a_payload_is_kept_as_an_empty_object():
    assert DeadLetters().add(update(None), "failed", "", 0.0).payload == b"{}"


def test_a_long_cause_is_cut():
    assert DeadLetters().add(update(), "failed", "x" * 501, 0.0).cause == "x" * 500


@pytest.mark.parametrize("kind", UpdateKind)
def test_only_events_are_replayable(kind):
    assert DeadLetters().add(update(kind=kind), "failed", "", 0.0).is_replayable is (kind is UpdateKind.EVENT)


def test_numbers_go_up_by_one_and_are_not_given_again():
    letters = DeadLetters()
    for _ in range(3):
        letters.add(update(), "failed", "", 0.0)
    assert kept(letters) == [1, 2, 3]
    assert letters.discard(3) is not None
    letters.add(update(), "failed", "", 0.0)
    assert kept(letters) == [1, 2, 4]
    assert letters.total == 4


def test_beyond_the_number_allowed_the_oldest_go():
    letters = bound(entries=2)
    for _ in range(2):
        letters.add(update(), "failed", "", 0.0)
    assert (kept(letters), letters.let_go) == ([1, 2], 0)
    for _ in range(3):
        letters.add(update(), "failed", "", 0.0)
    assert (kept(letters), letters.let_go, letters.total) == ([4, 5], 3, 5)


def test_beyond_the_bytes_allowed_the_oldest_go_but_never_the_newest():
    letters = bound(size=10)
    for _ in range(2):
        letters.add(update(b"x" * 5), "failed", "", 0.0)
    assert kept(letters) == [1, 2], "as much as allowed may stay"
    letters.add(update(b"x"), "failed", "", 0.0)
    assert kept(letters) == [2, 3]
    letters.add(update(b"x" * 99), "failed", "", 0.0)
    assert kept(letters) == [4], "one that is too large by itself can still be looked at"
    letters.add(update(b"x" * 10), "failed", "", 0.0)
    assert (kept(letters), letters.let_go) == ([5], 4)
    letters.add(update(b""), "failed", "", 0.0)
    assert kept(letters) == [5, 6], "what was let go takes up no room"


def test_what_was_discarded_makes_room():
    letters = bound(size=10)
    for size in (4, 2, 4):
        letters.add(update(b"x" * size), "failed", "", 0.0)
    first = letters.list()[0]
    assert letters.discard(1) is first
    assert letters.discard(1) is None
    assert letters.discard(99) is None
    letters.add(update(b"x" * 4), "failed", "", 0.0)
    assert (kept(letters), letters.let_go) == ([2, 3, 4], 0)
    letters.add(update(b"x"), "failed", "", 0.0)
    assert kept(letters) == [3, 4, 5]


def test_the_newest_is_the_one_that_died_last():
    letters = DeadLetters()
    assert letters.newest() is None
    for _ in range(2):
        letters.add(update(), "failed", "", 0.0)
    assert letters.newest() is letters.get(2)
    letters.discard(2)
    assert letters.newest() is letters.get(1)


def test_without_a_configuration_the_defaults_hold():
    letters = DeadLetters()
    for _ in range(DeadLetterConfig().max_entries + 1):
        letters.add(update(b""), "failed", "", 0.0)
    assert (len(letters), letters.let_go) == (DeadLetterConfig().max_entries, 1)


def test_one_discarded_in_the_middle_of_an_addition_is_taken_off_the_sum():
    """Another thread discards just between reading the sum and writing it."""
    letters = bound(size=100)
    letters.add(update(b"x" * 90), "failed", "", 0.0)

    class Interrupted(bytes):
        def __len__(self) -> int:
            letters.discard(1)
            return 5

    letters.add(update(Interrupted(b"12345")), "failed", "", 0.0)
    letters.add(update(b"x" * 90), "failed", "", 0.0)
    assert kept(letters) == [2, 3]
