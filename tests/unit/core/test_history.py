"""The last minutes: samples as columns, happenings with their numbers, both bounded."""

from __future__ import annotations

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.core.history import COLUMNS, SAMPLE_INTERVAL_S, History
from django_update_pipeline.core.messages import PRIORITIES


def test_samples_are_columns_of_equal_length_and_end() -> None:
    metrics = UpdatePipeline().get_performance_metrics()
    history = History(max_samples=3)
    assert history.as_dict(0.0)["samples"] == {name: [] for name in COLUMNS}
    for second in range(5):
        metrics["updates_per_second"] = second + 0.123
        history.sample(metrics, behind=second, at=100.0 + second)
    told = history.as_dict(0.0)["samples"]
    assert tuple(told) == COLUMNS
    assert {len(column) for column in told.values()} == {3}
    assert told["timestamp"] == [102.0, 103.0, 104.0]
    assert told["updates_per_second"] == [2.12, 3.12, 4.12]
    assert told["behind"] == [2, 3, 4]
    assert told["circuit_breaker_state"] == ["closed"] * 3
    assert history.as_dict(103.5)["samples"]["timestamp"] == [104.0]
    assert history.as_dict(105.0)["samples"]["timestamp"] == []


def test_every_priority_has_its_columns() -> None:
    for priority in PRIORITIES:
        assert f"{priority.label}.p99_latency_ms" in COLUMNS
        assert f"{priority.label}.queue_depth" in COLUMNS


def test_happenings_are_told_with_their_numbers() -> None:
    history = History(max_events=2)
    for n in range(3):
        history.happened("operator_acted", {"command": f"c{n}"}, 100.0 + n)
    told = history.as_dict(0.0)
    assert told["last_event"] == 3
    assert told["events"] == [
        {"type": "operator_acted", "data": {"number": 2, "command": "c1"}, "timestamp": 101.0},
        {"type": "operator_acted", "data": {"number": 3, "command": "c2"}, "timestamp": 102.0},
    ]
    assert [event["data"]["number"] for event in history.as_dict(101.5)["events"]] == [3]


def test_times_and_latencies_are_rounded_for_the_wire() -> None:
    metrics = UpdatePipeline().get_performance_metrics()
    for place, name in enumerate(
        ("average_latency_ms", "p50_latency_ms", "p95_latency_ms", "p99_latency_ms")
    ):
        metrics[name] = 1.23456 + place
        for label in metrics["by_priority"]:
            metrics["by_priority"][label][name] = 2.34567 + place
    history = History()
    history.sample(metrics, behind=0, at=100.123456)
    history.happened("operator_acted", {}, 100.12345678)
    told = history.as_dict(0.0)
    assert told["samples"]["timestamp"] == [100.123]
    assert told["samples"]["p99_latency_ms"] == [4.235]
    assert told["samples"]["critical.p99_latency_ms"] == [5.346]
    assert told["events"][0]["timestamp"] == 100.123457


def test_what_lies_exactly_there_is_told_too() -> None:
    history = History()
    for second in range(3):
        history.sample(UpdatePipeline().get_performance_metrics(), behind=0, at=100.0 + second)
        history.happened("operator_acted", {}, 100.0 + second)
    told = history.as_dict(101.0)
    assert told["samples"]["timestamp"] == [101.0, 102.0]
    assert [event["timestamp"] for event in told["events"]] == [101.0, 102.0]
    assert told["interval_s"] == SAMPLE_INTERVAL_S
