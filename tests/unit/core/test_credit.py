"""One client's window by example; its laws are in tests/property/test_credit_laws.py."""

from __future__ import annotations

import pytest

from django_update_pipeline.core.credit import (
    ASK_EVERY_S,
    FIRST_SHARE,
    PACE_S,
    QUICK_S,
    SILENT_AFTER_S,
    Asked,
    Credit,
)

ASKED = Asked("a", 7, 100.0, 99.5, ((2, 99.5),))


def busy(window_bytes: int = 100, window_frames: int = 10, size: int = 20) -> Credit:
    """A window with one frame in it, whose acknowledgement is awaited."""
    credit = Credit(window_bytes, window_frames)
    credit.sent(size, ASKED)
    return credit


def test_a_new_window_has_room_and_the_first_frame_asks() -> None:
    credit = Credit(100, 10)
    assert (credit.asked, credit.bytes_in_flight, credit.frames_in_flight) == (None, 0, 0)
    assert credit.has_room(10**9)
    assert credit.must_ask(1, 0.0)
    assert not credit.is_overdue(1e9)


def test_what_is_sent_is_in_flight() -> None:
    credit = busy()
    assert credit.asked is ASKED
    credit.sent(30, None)
    assert (credit.bytes_in_flight, credit.frames_in_flight) == (50, 2)


def test_the_window_may_be_filled_to_the_last_byte() -> None:
    credit = busy()
    assert credit.has_room(80)
    assert not credit.has_room(81)
    credit = busy(size=99)
    assert credit.has_room()
    credit.sent(1, None)
    assert not credit.has_room()


def test_the_window_holds_so_many_frames_and_no_more() -> None:
    credit = busy(window_frames=2, size=1)
    assert credit.has_room()
    credit.sent(1, None)
    assert not credit.has_room()


def test_an_acknowledgement_frees_what_was_sent_up_to_the_frame_that_asked() -> None:
    credit = Credit(100, 10)
    credit.sent(5, None)
    credit.sent(20, ASKED)
    credit.sent(7, None)
    credit.sent(3, None)
    assert credit.acknowledged("a", 7, 100.0) is ASKED
    assert (credit.asked, credit.bytes_in_flight, credit.frames_in_flight) == (None, 10, 2)
    credit.sent(1, Asked("a", 9, 101.0))
    credit.sent(2, None)
    credit.acknowledged("a", 9, 100.0)
    assert (credit.bytes_in_flight, credit.frames_in_flight) == (2, 1), (
        "what went before is not counted again"
    )


@pytest.mark.parametrize(("channel", "offset"), [("b", 7), ("a", 6), ("a", 8)])
def test_what_is_not_awaited_acknowledges_nothing(channel: str, offset: int) -> None:
    credit = busy()
    assert credit.acknowledged(channel, offset, 100.0) is None
    assert (credit.asked, credit.bytes_in_flight, credit.frames_in_flight) == (ASKED, 20, 1)
    assert credit.acknowledged("a", 7, 100.0) is ASKED
    assert credit.acknowledged("a", 7, 100.0) is None


def test_half_a_window_or_a_quarter_of_a_second_makes_a_frame_ask() -> None:
    credit = busy(window_bytes=100, window_frames=10, size=0)
    credit.acknowledged("a", 7, 100.0)
    soon = 100.0 + ASK_EVERY_S / 2
    assert not credit.must_ask(49, soon)
    assert credit.must_ask(50, soon)
    assert credit.must_ask(1, 100.0 + ASK_EVERY_S)
    for sent in range(10):
        assert credit.must_ask(0, soon) is (2 * (sent + 1) >= 10)
        credit.sent(0, None)
    assert credit.frames_in_flight == 10
    credit = busy(window_bytes=100, size=0)
    credit.acknowledged("a", 7, 100.0)
    credit.sent(30, None)
    assert not credit.must_ask(19, soon)
    assert credit.must_ask(20, soon)


def test_while_one_is_awaited_no_other_is_asked_for() -> None:
    assert not busy().must_ask(10**9, 1e9)


def test_who_does_not_answer_for_long_is_overdue() -> None:
    credit = busy()
    assert not credit.is_overdue(100.0 + SILENT_AFTER_S)
    assert credit.is_overdue(100.0 + SILENT_AFTER_S + 0.001)
    credit.acknowledged("a", 7, 100.0)
    assert not credit.is_overdue(1e9)


def test_a_frame_that_says_nothing_asks_for_the_sake_of_the_whole_window_only() -> None:
    credit = Credit(400, 16, 4)
    credit.sent(10, None)
    assert credit.must_ask(10, 0.0)
    assert not credit.must_ask(10, 0.0, is_empty=True), "neither by time nor by number"
    assert credit.must_ask(40, 0.0, is_empty=True)
    for _ in range(6):
        credit.sent(0, None)
    assert credit.must_ask(0, 0.0, is_empty=True)
    credit = Credit(400, 16, 4)
    credit.sent(0, Asked("a", 1, 0.0))
    credit.asked = None
    assert credit.must_ask(0, 0.0), "half of the frames that there may be for a start"
    assert not credit.must_ask(0, 0.0, is_empty=True)


def answered(credit: Credit, took_s: float, frames: int = 1, size: int = 10) -> None:
    """So many frames are sent and applied; the last one asks, and its answer takes so long."""
    for _ in range(frames - 1):
        credit.sent(size, None)
    credit.sent(size, Asked("a", 7, 100.0))
    credit.acknowledged("a", 7, 100.0 + took_s)


def test_a_new_clients_window_is_a_share_until_it_has_shown_its_pace() -> None:
    credit = Credit(16_000, 64, FIRST_SHARE)
    assert (credit.window_bytes, credit.window_frames) == (1000, 4)
    answered(credit, 0.01)
    assert (credit.window_bytes, credit.window_frames) == (2000, 8)
    credit = Credit(1000, 40, 4)
    answered(credit, 0.01)
    assert (credit.window_bytes, credit.window_frames) == (500, 20)
    answered(credit, 0.01 + QUICK_S)
    answered(credit, 0.01)
    assert (credit.window_bytes, credit.window_frames) == (1000, 40), "never more than it was made with"
    assert (Credit(3, 2, 4).window_bytes, Credit(3, 2, 4).window_frames) == (1, 2)


def test_a_slow_clients_window_is_what_it_takes_in_a_moment() -> None:
    credit = Credit(1000, 40)
    answered(credit, 0.1)
    answered(credit, 0.1 + 3.99 * PACE_S, frames=20)
    assert (credit.window_bytes, credit.window_frames) == (50, 5)
    answered(credit, 0.1)
    assert (credit.window_bytes, credit.window_frames) == (56, 6), "it grows again, but slowly"
    answered(credit, 0.1 + 1.99 * PACE_S, frames=10)
    assert (credit.window_bytes, credit.window_frames) == (50, 5)
    answered(credit, 0.1 + PACE_S - 0.01)
    assert (credit.window_bytes, credit.window_frames) == (50, 5), "in between it stays as it is"
    answered(credit, 0.1 + 100 * PACE_S)
    assert (credit.window_bytes, credit.window_frames) == (1, 2), "two frames at least"
    answered(credit, 0.1 + 2 * PACE_S, frames=40, size=100)
    assert (credit.window_bytes, credit.window_frames) == (1, 2), "a slow answer widens nothing"


def test_what_was_sent_after_the_ask_says_nothing_of_the_pace() -> None:
    credit = Credit(1000, 40)
    answered(credit, 0.0)
    credit.sent(100, Asked("a", 7, 100.0))
    for _ in range(10):
        credit.sent(50, None)
    credit.acknowledged("a", 7, 100.0 + 1.99 * PACE_S)
    assert (credit.window_bytes, credit.window_frames) == (50, 2)


def test_a_long_line_is_no_slow_client() -> None:
    """What counts is how much longer an answer takes than the quickest did."""
    credit = Credit(1000, 40)
    for _ in range(5):
        answered(credit, 3.0, frames=10)
    assert (credit.window_bytes, credit.window_frames) == (1000, 40)
    credit = Credit(1000, 40, 4)
    answered(credit, 3.0)
    assert (credit.window_bytes, credit.window_frames) == (281, 11), (
        "though it may be one, so it grows slowly"
    )


def window_after(*took_s: float, frames: int = 1) -> tuple[int, int]:
    """What a window of 250 bytes and 25 frames, a quarter of what it may be, has become after these answers."""
    credit = Credit(1000, 100, share=4)
    for took in took_s:
        for _ in range(frames - 1):
            credit.sent(10, None)
        credit.sent(10, Asked("a", 1, 0.0))
        credit.acknowledged("a", 1, took)
    return credit.window_bytes, credit.window_frames


def test_at_the_limits_of_quick_and_of_late_a_window_is_still_what_it_was() -> None:
    """Up to `QUICK_S` an answer is quick; from there to `PACE_S`, itself included, nothing changes."""
    assert window_after(0.0, frames=50) == (500, 50)
    assert window_after(0.0, 0.05, frames=50) == (1000, 100)
    assert window_after(0.0, QUICK_S + 0.001, frames=50) == (500, 50)
    assert window_after(0.0, PACE_S, frames=50) == (500, 50)


def test_a_window_grows_to_what_its_client_takes_in_a_moment_and_no_further() -> None:
    """Two thirds of `PACE_S` for half of a window: with more in flight what comes next would be too old."""
    assert (QUICK_S, PACE_S) == (0.2, 0.3)
    assert window_after(0.0, QUICK_S, frames=50) == (749, 74)
    assert window_after(0.0, QUICK_S, frames=10) == (500, 50), (
        "and it is not taken back for having little to apply"
    )


def test_the_smallest_window_grows_by_one_at_a_time() -> None:
    late = 10 * PACE_S
    assert window_after(0.0, late) == (1, 2)
    assert window_after(0.0, late, 0.0) == (2, 3)


def test_a_share_of_a_window_is_whole_bytes_and_frames() -> None:
    credit = Credit(1000, 10, share=3)
    assert (credit.window_bytes, credit.window_frames) == (333, 3)
