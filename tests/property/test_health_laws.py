"""Laws D1 to D3 of the health score."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.health import DEDUCTIONS, HealthInput, PluginCheck, score

inputs = st.builds(
    HealthInput,
    is_started=st.booleans(),
    breaker_state=st.sampled_from(["closed", "open", "half_open"]),
    breaker_failure_count=st.integers(0, 99),
    breaker_retry_after_s=st.one_of(st.none(), st.floats(0, 300)),
    success_ratio=st.one_of(st.none(), st.floats(0, 1)),
    p99_latency_ms=st.dictionaries(
        st.sampled_from(["critical", "high", "normal", "low"]), st.floats(0, 2000)
    ),
    queue_fill_ratio=st.floats(0, 1),
    dead_letter_count=st.integers(0, 5),
    oldest_wait_s=st.floats(0, 10),
    loop_stall_s=st.floats(0, 10),
    loop_stall_is_on=st.booleans(),
    loop_stall_where=st.sampled_from(["", "radio.py:3 in tune"]),
    stuck_count=st.integers(0, 3),
    applied_p95_ms=st.dictionaries(
        st.sampled_from(["critical", "high", "normal", "low"]), st.floats(0, 2000)
    ),
    divergence_count=st.integers(0, 3),
    account_difference=st.integers(-2, 2),
    parts_blocking=st.lists(st.just("a part blocks."), max_size=2).map(tuple),
    parts_off=st.lists(st.just("a part is off."), max_size=2).map(tuple),
    parts_failing=st.lists(st.just("a part fails."), max_size=2).map(tuple),
    refused_count=st.integers(0, 3),
    refused_limits=st.lists(st.just("max_connections"), max_size=2).map(tuple),
    transport_problem=st.sampled_from(["", "no route to host"]),
    control_problem=st.sampled_from(["", "/tmp is full"]),
    plugin_checks=st.lists(st.builds(PluginCheck, st.just("a"), st.booleans()), max_size=4).map(tuple),
)
WORSE = [
    {"is_started": False},
    {"success_ratio": 0.1},
    {"p99_latency_ms": dict.fromkeys(["critical", "high", "normal", "low"], 5000.0)},
    {"queue_fill_ratio": 1.0},
    {"dead_letter_count": 9},
    {"oldest_wait_s": 99.0},
    {"loop_stall_s": 99.0},
    {"account_difference": 5},
    {"refused_count": 99},
    {"applied_p95_ms": dict.fromkeys(["critical", "high", "normal", "low"], 5000.0)},
    {"divergence_count": 99},
    {"transport_problem": "gone"},
    {"control_problem": "gone"},
]


@given(health=inputs)
def test_law_d1_the_score_is_the_sum_of_the_table(health: HealthInput) -> None:
    """Law D1: 100 less the points of every issue, never below 0."""
    report = score(health)
    lost = sum(row.points * len(row.find(health)) for row in DEDUCTIONS)
    assert report.health_score == max(0, 100 - lost)
    assert sum(report.deductions.values()) == lost


@given(health=inputs)
def test_law_d2_only_issues_cost_points(health: HealthInput) -> None:
    """Law D2: below 100 exactly when something is told."""
    report = score(health)
    assert (report.health_score < 100) is bool(report.issues)
    assert all(issue.strip() and issue.endswith(".") for issue in report.issues)


@given(health=inputs, worse=st.sampled_from(WORSE))
def test_law_d3_one_more_trouble_never_raises_the_score(
    health: HealthInput, worse: dict[str, object]
) -> None:
    """Law D3: and never hides another trouble."""
    before, after = score(health), score(dataclasses.replace(health, **worse))  # type: ignore[arg-type]
    assert after.health_score <= before.health_score
    assert set(before.deductions) <= set(after.deductions)
