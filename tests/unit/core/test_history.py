"""The last minutes: samples as columns, happenings with their numbers, both bounded."""

from __future__ import annotations

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.core.history import COLUMNS, MAX_EVENTS, MAX_SAMPLES, SAMPLE_INTERVAL_S, History
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


def test_each_column_holds_its_own_figure() -> None:
    names = ("p50_latency_ms", "p95_latency_ms", "p99_latency_ms")
    labels = [priority.label for priority in PRIORITIES]
    metrics = {
        "updates_per_second": 7.12345,
        "accepted": 11,
        **{name: 20.00049 + place for place, name in enumerate(names)},
        "by_priority": {
            label: {name: 30.00049 + 10 * row + place for place, name in enumerate(names)}
            for row, label in enumerate(labels)
        },
        "queue_depth": {label: 12 + row for row, label in enumerate(labels)},
        "websocket_connections": 16,
        "dead_letters": 18,
        "circuit_breaker_state": "open",
    }
    history = History()
    history.sample(metrics, behind=17, at=100.00049)
    assert history.as_dict(100.0)["samples"] == {
        "timestamp": [100.0],
        "updates_per_second": [7.12],
        "accepted": [11],
        **{name: [20.0 + place] for place, name in enumerate(names)},
        **{
            f"{label}.{name}": [30.0 + 10 * row + place]
            for row, label in enumerate(labels)
            for place, name in enumerate(names)
        },
        **{f"{label}.queue_depth": [12 + row] for row, label in enumerate(labels)},
        "websocket_connections": [16],
        "behind": [17],
        "dead_letters": [18],
        "circuit_breaker_state": ["open"],
    }


def test_as_much_is_kept_as_it_says() -> None:
    metrics = UpdatePipeline().get_performance_metrics()
    history = History()
    for second in range(MAX_SAMPLES + 1):
        history.sample(metrics, behind=0, at=float(second))
        history.happened("operator_acted", {}, float(second))
    told = history.as_dict(0.0)
    assert told["samples"]["timestamp"][0] == 1.0
    assert len(told["samples"]["timestamp"]) == MAX_SAMPLES == 300
    assert len(told["events"]) == MAX_EVENTS == 200
    assert told["events"][0]["data"]["number"] == MAX_SAMPLES + 2 - MAX_EVENTS


def test_nothing_comes_after_the_last_and_nothing_at_all_after_nothing() -> None:
    history = History()
    assert history.after(0) is None
    first = history.happened("operator_acted", {}, 1.0)
    assert first.number == history.last_number == 1
    assert history.after(0) is first
    assert history.after(-5) is first
    assert history.after(1) is None
    second = history.happened("operator_acted", {}, 2.0)
    assert history.after(1) is second
