"""The adaptive batching policy, value by value; its laws are in tests/property/test_batching_laws.py."""

from __future__ import annotations

from django_update_pipeline.core.batching import AdaptiveBatching
from django_update_pipeline.core.config import BatchingConfig


def test_a_flush_that_leaves_something_behind_stretches_the_next_ones() -> None:
    """At saturation larger turns serve everybody sooner; once nothing is left behind, the target is the target."""
    policy = AdaptiveBatching(BatchingConfig(target_flush_ms=10.0))
    for size in (1, 2, 3, 4) * 20:
        policy.measured(size, size * 0.005)
    calm = policy.limit()
    for size in (1, 2, 3, 4) * 20:
        policy.measured(size, size * 0.005, True)
    behind = policy.limit()
    for size in (1, 2, 3, 4) * 20:
        policy.measured(size, size * 0.005, False)
    assert calm == 2
    assert behind > 2 * calm
    assert policy.limit() == calm
