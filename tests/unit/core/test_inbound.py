"""Frames and bytes a client may send, by example; its laws are in tests/property/test_inbound_laws.py."""

from __future__ import annotations

import pytest

from django_update_pipeline.core.codes import RATE_LIMITED
from django_update_pipeline.core.config import ConnectionConfig, config_from_mapping
from django_update_pipeline.core.inbound import Ignored, Inbound, frame_size


def inbound(**limits: float) -> Inbound:
    """Limits of one socket, with a clock that stands still."""
    quiet = {"messages_per_s": 0.0, "bytes_per_s": 0.0, **limits}
    return Inbound(config_from_mapping(quiet, ConnectionConfig), lambda: 5.0)


def test_too_many_frames_are_told_so_and_then_closed() -> None:
    judge = inbound(messages_per_s=2.5, burst=2, max_rate_limited=2).judge
    assert [judge(1), judge(1)] == [None, None]
    ignored = Ignored("more than 2.5 frames a second: this one was ignored")
    assert [judge(1), judge(1), judge(1)] == [ignored, ignored, RATE_LIMITED]


def test_too_many_bytes_are_told_so_and_then_closed() -> None:
    judge = inbound(bytes_per_s=1000.0, burst_bytes=10, max_rate_limited=1).judge
    assert [judge(4), judge(6)] == [None, None]
    ignored = Ignored("more than 1000 bytes a second: this frame was ignored")
    assert [judge(1), judge(1)] == [ignored, RATE_LIMITED]


def test_an_empty_frame_counts_as_one_byte_and_a_huge_one_as_the_burst() -> None:
    judge = inbound(bytes_per_s=1.0, burst_bytes=3).judge
    assert [judge(0), judge(0), judge(0)] == [None] * 3
    assert isinstance(judge(0), Ignored)
    judge = inbound(bytes_per_s=1.0, burst_bytes=3).judge
    assert judge(10**9) is None
    assert isinstance(judge(1), Ignored)


def test_a_limit_of_nothing_is_no_limit() -> None:
    judge = inbound().judge
    assert {judge(10**9) for _ in range(5000)} == {None}


@pytest.mark.parametrize(
    ("frame", "size"),
    [
        ("abc", 3),
        (b"\xff\xff", 2),
        ("é" * 10, 20),
        ("é" * 11, 44),
        ("\ud800", 3),
        ("x" * 1000, 1000),
        ("", 0),
    ],
)
def test_a_frame_s_size_is_its_bytes(frame: str | bytes, size: int) -> None:
    """Of more characters than allowed it is a bound: they are refused, and need not be encoded."""
    assert frame_size(frame, 10) == size
