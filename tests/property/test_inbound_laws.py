"""Laws I1 and I2 of what a client may send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.codes import RATE_LIMITED
from django_update_pipeline.core.config import ConnectionConfig
from django_update_pipeline.core.inbound import Ignored, Inbound, frame_size

steps = st.lists(st.tuples(st.floats(0, 5), st.integers(0, 3000)), max_size=80)


@given(
    rate=st.floats(0.1, 50),
    burst=st.integers(1, 20),
    bytes_rate=st.floats(1, 2000),
    burst_bytes=st.integers(1, 2000),
    steps=steps,
)
def test_law_i1_what_is_let_in_obeys_both_buckets(
    rate: float, burst: int, bytes_rate: float, burst_bytes: int, steps: list[tuple[float, int]]
) -> None:
    """Law I1: in frames and in bytes, for every pair of moments."""
    now = [0.0]
    config = ConnectionConfig(
        messages_per_s=rate,
        burst=burst,
        bytes_per_s=bytes_rate,
        burst_bytes=burst_bytes,
        max_rate_limited=10_000,
    )
    inbound = Inbound(config, lambda: now[0])
    let_in: list[tuple[float, int]] = []
    for wait_s, size in steps:
        now[0] += wait_s
        if inbound.judge(size) is None:
            let_in.append((now[0], min(max(size, 1), burst_bytes)))
    for first, (begin, _) in enumerate(let_in):
        total = 0
        for n, (end, size) in enumerate(let_in[first:], 1):
            total += size
            assert n <= burst + rate * (end - begin) + 0.01
            assert total <= burst_bytes + bytes_rate * (end - begin) + 0.01


@given(limit=st.integers(1, 20), more=st.integers(1, 5))
def test_law_i2_after_so_many_ignored_frames_the_next_closes(limit: int, more: int) -> None:
    """Law I2: not one earlier, and from then on always."""
    inbound = Inbound(ConnectionConfig(messages_per_s=1.0, burst=1, max_rate_limited=limit), lambda: 0.0)
    assert inbound.judge(1) is None
    assert all(isinstance(inbound.judge(1), Ignored) for _ in range(limit))
    assert [inbound.judge(1) for _ in range(more)] == [RATE_LIMITED] * more


@given(st.text(max_size=50), st.integers(1, 60))
def test_a_frames_size_is_that_of_its_utf_8_or_an_upper_bound(text: str, max_bytes: int) -> None:
    real = len(text.encode("utf-8", "surrogatepass"))
    assert frame_size(text.encode("utf-8", "surrogatepass"), max_bytes) == real
    assert real <= frame_size(text, max_bytes) <= max(real, 4 * len(text))
    if len(text) <= max_bytes:
        assert frame_size(text, max_bytes) == real
