"""Laws K1 to K4 of a socket's credit, beside a client that acknowledges what it is asked for, sooner or later."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.credit import FIRST_SHARE, PACE_S, SILENT_AFTER_S, Asked, Credit

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 400)),
        st.tuples(st.just("answer"), st.just(0)),
        st.tuples(st.just("lie"), st.integers(0, 50)),
        st.tuples(st.just("wait"), st.integers(0, 40)),
    ),
    max_size=80,
)


def send(credit: Credit, size: int, offset: int, now: float) -> bool:
    """Sends a frame if there is room; whether it went."""
    if not credit.has_room(size):
        return False
    asked = Asked("a", offset, now) if credit.must_ask(size, now) else None
    credit.sent(size, asked)
    return True


@given(steps=STEPS, window=st.integers(100, 1000), frames=st.integers(2, 10))
def test_laws_k1_and_k2(steps: list[tuple[str, int]], window: int, frames: int) -> None:
    """Laws K1 and K2, and by them Law C5."""
    credit = Credit(window, frames)
    now, offset, unacknowledged = 0.0, 0, 0
    since_ask = 0
    for what, size in steps:
        if what == "send":
            before = credit.asked
            if send(credit, size, offset + 1, now):
                offset += 1
                unacknowledged += size
                since_ask = since_ask + size if before is not None else 0
                assert unacknowledged <= window + size
                assert before is None or credit.asked is before, "one ask at a time"
                assert credit.asked is not None or 2 * unacknowledged < window
                assert credit.frames_in_flight <= frames + 1
        elif what == "answer" and credit.asked is not None:
            assert credit.acknowledged("a", credit.asked.offset, now) is not None
            unacknowledged = since_ask
        elif what == "lie":
            awaited = credit.asked
            if awaited is None or awaited.offset != size:
                assert credit.acknowledged("a", size, now) is None
            assert credit.acknowledged("b", awaited.offset if awaited else 0, now) is None
            if credit.asked is not awaited:
                unacknowledged = since_ask
        else:
            now += size / 10
        assert credit.bytes_in_flight == unacknowledged


@given(sizes=st.lists(st.integers(1, 2000), min_size=1, max_size=40), window=st.integers(100, 1000))
def test_law_k3(sizes: list[int], window: int) -> None:
    """Law K3: whatever the sizes, answering each ask lets everything through."""
    credit = Credit(window, 4)
    for offset, size in enumerate(sizes):
        if not send(credit, size, offset, 0.0):
            assert credit.asked is not None
            assert credit.acknowledged("a", credit.asked.offset, 0.0) is not None
            if not send(credit, size, offset, 0.0):  # what followed the ask is still on its way, and asks now
                raise AssertionError("answering did not help")


def test_law_k2_an_answer_that_does_not_come_is_overdue() -> None:
    credit = Credit(100, 4)
    assert send(credit, 60, 1, 0.0)
    assert not credit.is_overdue(SILENT_AFTER_S)
    assert credit.is_overdue(SILENT_AFTER_S + 0.1)
    assert credit.acknowledged("a", 1, 0.0) is not None
    assert not credit.is_overdue(1e9)


def test_law_k1_a_quiet_client_is_asked_again_after_a_while() -> None:
    credit = Credit(100_000, 100)
    assert credit.must_ask(10, 0.0), "the first frame asks"
    credit.sent(10, Asked("a", 1, 0.0))
    credit.acknowledged("a", 1, 0.0)
    assert not credit.must_ask(10, 0.1)
    assert credit.must_ask(10, 0.3)


@given(
    frames_per_s=st.floats(2, 40),
    size=st.integers(50, 8000),
    line_s=st.floats(0, 0.3),
    every_s=st.sampled_from((0.02, 0.05, 0.1)),
)
def test_law_k4(frames_per_s: float, size: int, line_s: float, every_s: float) -> None:
    """Law K4: a client slower than what is made for it soon has few frames before it, and a quick one all it may."""
    credit = Credit(128 * 1024, 64, FIRST_SHARE)
    now = free_at = 0.0
    on_their_way: list[
        tuple[float, int | None]
    ] = []  # when applied, and known here; the offset where one asked
    offset, longest = 0, 0.0
    while now < 60:
        now += every_s
        while on_their_way and on_their_way[0][0] <= now:
            known_at, asked = on_their_way.pop(0)
            if asked is not None:
                credit.acknowledged("a", asked, known_at)
        if credit.has_room(size):
            offset += 1
            asks = credit.must_ask(size, now)
            credit.sent(size, Asked("a", offset, now) if asks else None)
            free_at = max(free_at, now + line_s / 2) + 1 / frames_per_s
            on_their_way.append((free_at + line_s / 2, offset if asks else None))
            if now > 30:
                longest = max(longest, free_at - now)
    one = 1 / frames_per_s
    if one <= every_s:
        assert (credit.window_bytes, credit.window_frames) == (128 * 1024, 64)
    assert longest <= 2 * PACE_S + 4 * one + 2 * line_s
