"""The health score by example; laws in tests/property/test_health_laws.py."""

from __future__ import annotations

import json
import math

import pytest

from django_update_pipeline.core import health
from django_update_pipeline.core.health import (
    CLIENT_ALLOWANCE_MS,
    DEDUCTIONS,
    P99_LIMITS_MS,
    UNREADY,
    HealthInput,
    PluginCheck,
    score,
    status_of,
    unready,
)
from django_update_pipeline.core.messages import UpdatePriority

# The row's name, what is measured, and what its sentence must hold: the figure and the mend.
TROUBLES = [
    ("account_divergent", {"account_difference": -2}, ["off by -2", "please report it"]),
    ("not_started", {"is_started": False}, ["await pipeline.start()"]),
    (
        "breaker_open",
        {
            "breaker_state": "open",
            "breaker_failure_count": 7,
            "breaker_retry_after_s": 12.34,
            "transport": "redis",
        },
        ["after 7 failures in a row", "'redis'", "12.3 s", "manage.py pipeline_reset_breaker"],
    ),
    (
        "breaker_open",
        {"breaker_state": "open", "breaker_retry_after_s": None},
        ["held open by an operator", "manage.py pipeline_reset_breaker"],
    ),
    ("breaker_half_open", {"breaker_state": "half_open"}, ["half-open", "nothing needs to be done"]),
    ("loop_stalled", {"loop_stall_s": 5.04}, ["was blocked for 5.0 s:", "PYTHONASYNCIODEBUG=1"]),
    (
        "loop_stalled",
        {"loop_stall_s": 5.04, "loop_stall_is_on": True, "loop_stall_where": "radio.py:3 in tune"},
        ["has been blocked for 5.0 s in radio.py:3 in tune:", "to a thread"],
    ),
    ("success_ratio_low", {"success_ratio": 0.5}, ["50.0 %", "95%", "dead letters"]),
    ("success_ratio_low", {"success_ratio": 0.0}, ["Only 0.0 %"]),
    ("oldest_wait_long", {"oldest_wait_s": 3.5}, ["3.5 s", "limit is 1 s", "breaker"]),
    (
        "queue_nearly_full",
        {"queue_fill_ratio": 0.9, "queue_limit": "max_event_bytes"},
        ["90% full", "QUEUE max_event_bytes", "raise that limit"],
    ),
    ("p99_critical_high", {"p99_latency_ms": {"critical": 51.0}}, ["CRITICAL", "51 ms", "limit is 50 ms"]),
    ("p99_high_high", {"p99_latency_ms": {"high": 51.0}}, ["HIGH", "limit is 50 ms"]),
    ("p99_normal_high", {"p99_latency_ms": {"normal": 101.0}}, ["NORMAL", "101 ms", "limit is 100 ms"]),
    ("p99_low_high", {"p99_latency_ms": {"low": 501.0}}, ["LOW", "limit is 500 ms"]),
    (
        "applied_p95_high",
        {"applied_p95_ms": {"critical": 551.0, "high": 550.0, "low": 1001.0}},
        ["CRITICAL 551 ms (the limit is 550 ms), LOW 1001 ms (the limit is 1000 ms).", "fewer fields"],
    ),
    (
        "divergence_repaired",
        {"divergence_count": 1},
        [
            "Clients' self-checks repaired 1 agents in the last minute, which should never differ from the server's: "
            "the log names the connections. Bring client and server to one version and look for a proxy that changes "
            "frames; if it goes on, report it."
        ],
    ),
    (
        "plugin_check_failed",
        {"plugin_checks": (PluginCheck("disk", False, "The disk is full: delete old recordings."),)},
        ["disk: The disk is full: delete old recordings."],
    ),
    (
        "plugin_check_failed",
        {"plugin_checks": (PluginCheck("disk", False),)},
        ["disk: its health check failed"],
    ),
    ("connections_stuck", {"stuck_count": 1}, ["1 connections were closed", "CONNECTIONS stuck_timeout_s"]),
    ("plugin_blocking", {"parts_blocking": ("load x of plugin shop blocks.",)}, ["load x of plugin shop"]),
    ("plugin_off", {"parts_off": ("router R of plugin shop is off.",)}, ["router R of plugin shop is off."]),
    (
        "plugin_failing",
        {"parts_failing": ("observer o of plugin shop fails.",)},
        ["observer o of plugin shop"],
    ),
    (
        "transport_problem",
        {"transport": "redis", "transport_problem": "no route to host"},
        ["'redis'", "no route to host", "can be reached"],
    ),
    (
        "connections_refused",
        {"refused_count": 12, "refused_limits": ("max_connections", "max_connections_per_user")},
        ["12 connections", "max_connections and max_connections_per_user", "raise that limit"],
    ),
    ("connections_refused", {"refused_count": 1}, ["CONNECTIONS max_connections"]),
    (
        "control_unreachable",
        {"control_problem": "/tmp is full"},
        ["/tmp is full", "UPDATE_PIPELINE_RUNTIME_DIR, or set CONTROL to False."],
    ),
    ("dead_letters", {"dead_letter_count": 3}, ["3 dead letters", "replay or discard"]),
]
POINTS = {row.name: row.points for row in DEDUCTIONS}


def test_a_pipeline_without_trouble_is_healthy():
    report = score(HealthInput())
    assert (report.health_score, report.health_status, report.issues) == (100, "healthy", ())
    assert dict(report.deductions) == {}


def test_what_clients_say_alone_leaves_a_pipeline_healthy():
    """Whoever may connect may be slow on purpose, or lie."""
    said = HealthInput(applied_p95_ms={"critical": 1e6}, divergence_count=1000)
    assert score(HealthInput(applied_p95_ms=said.applied_p95_ms)).health_status == "healthy"
    assert score(HealthInput(divergence_count=1000)).health_status == "healthy"
    assert score(said).health_status == "degraded"


def test_values_at_their_limits_are_no_trouble():
    at_the_limits = HealthInput(
        success_ratio=0.95,
        p99_latency_ms=P99_LIMITS_MS,
        applied_p95_ms={label: limit_ms + CLIENT_ALLOWANCE_MS for label, limit_ms in P99_LIMITS_MS.items()},
        queue_fill_ratio=0.8,
        oldest_wait_s=1.0,
        loop_stall_s=1.0,
        plugin_checks=(PluginCheck("disk", True, "not told"),),
    )
    assert score(at_the_limits).issues == ()


@pytest.mark.parametrize(("name", "measured", "parts"), TROUBLES)
def test_each_trouble_costs_its_points_and_names_figure_and_mend(name, measured, parts):
    report = score(HealthInput(**measured))
    assert dict(report.deductions) == {name: POINTS[name]}
    assert report.health_score == 100 - POINTS[name]
    [issue] = report.issues
    assert all(part in issue for part in parts), issue
    assert issue.endswith(".")


def test_every_row_of_the_table_has_an_example():
    assert {name for name, _, _ in TROUBLES} == set(POINTS)
    assert len(POINTS) == len(DEDUCTIONS)


@pytest.mark.parametrize(
    ("health_score", "status"),
    [
        (100, "healthy"),
        (80, "healthy"),
        (79, "degraded"),
        (50, "degraded"),
        (49, "critical"),
        (0, "critical"),
    ],
)
def test_the_status_follows_from_the_score(health_score, status):
    assert status_of(health_score) == status


def test_alone_an_outage_is_degraded_and_a_lost_update_critical():
    assert score(HealthInput(breaker_state="open")).health_status == "degraded"
    assert score(HealthInput(account_difference=1)).health_status == "critical"
    assert score(HealthInput(dead_letter_count=1)).health_status == "healthy"


def test_each_failing_check_costs_its_points():
    checks = tuple(PluginCheck(f"check {n}", is_ok=n == 1) for n in range(4))
    report = score(HealthInput(plugin_checks=checks))
    assert report.health_score == 100 - 3 * POINTS["plugin_check_failed"]
    assert [issue.partition(":")[0] for issue in report.issues] == ["check 0", "check 2", "check 3"]


def test_the_score_does_not_fall_below_zero():
    everything = HealthInput(
        is_started=False,
        breaker_state="open",
        success_ratio=0.0,
        loop_stall_s=9.0,
        account_difference=1,
        p99_latency_ms=dict.fromkeys(P99_LIMITS_MS, 1e9),
    )
    report = score(everything)
    assert (report.health_score, report.health_status) == (0, "critical")
    assert len(report.issues) == 9


def test_what_was_not_measured_is_no_trouble():
    assert score(HealthInput(p99_latency_ms={"critical": math.nan}, success_ratio=math.nan)).issues == ()


def test_every_priority_has_a_limit():
    assert list(P99_LIMITS_MS) == [priority.label for priority in UpdatePriority]


def test_the_report_is_plain_values_for_json():
    shown = score(HealthInput(dead_letter_count=2)).as_dict()
    assert json.loads(json.dumps(shown)) == shown
    assert shown["health_score"] == 90
    assert shown["health_status"] == "healthy"
    assert shown["deductions"] == {"dead_letters": 10}


@pytest.mark.parametrize(
    ("is_running", "is_stopping", "breaker_state", "reasons"),
    [
        (True, False, "closed", ()),
        (True, False, "half_open", ()),
        (True, False, "open", ("breaker_open",)),
        (False, False, "closed", ("not_running",)),
        (True, True, "closed", ("stopping",)),
        (False, True, "open", ("stopping", "breaker_open")),
    ],
)
def test_a_process_is_ready_while_it_runs_is_not_stopping_and_its_breaker_is_not_open(
    is_running, is_stopping, breaker_state, reasons
):
    found = unready(is_running=is_running, is_stopping=is_stopping, breaker_state=breaker_state)
    assert found == reasons
    assert set(found) <= set(UNREADY)


@pytest.mark.parametrize(
    ("measured", "issue"),
    [
        (
            {"is_started": False},
            "The pipeline is not running, so updates wait: await pipeline.start(), or serve the project with an "
            "ASGI server.",
        ),
        (
            {"success_ratio": 0.5},
            "Only 50.0 % of the updates succeeded (the limit is 95%): read the reasons in the dead letters and in "
            "the log.",
        ),
        (
            {"p99_latency_ms": {"low": 501.4}},
            "LOW updates take 501 ms at p99 (the limit is 500 ms): queue fewer updates, make transformers cheaper, "
            "or spread the connections over more nodes.",
        ),
        (
            {"dead_letter_count": 1},
            "1 dead letters are kept: manage.py pipeline_dead_letters list tells why; then replay or discard them.",
        ),
        (
            {"queue_fill_ratio": 0.85, "queue_limit": "max_events"},
            "The queue is 85% full (QUEUE max_events): mend what delays the delivery, queue less, or raise that "
            "limit.",
        ),
        (
            {"oldest_wait_s": 3.25},
            "The oldest waiting update has waited for 3.2 s (the limit is 1 s): look for an open breaker, a blocked "
            "event loop or an overloaded node.",
        ),
        (
            {"loop_stall_s": 5.04},
            "The event loop was blocked for 5.0 s: find the call that lets no other thread run (PYTHONASYNCIODEBUG=1 "
            "names it) and move it to a process.",
        ),
        (
            {"loop_stall_s": 5.04, "loop_stall_where": "shop/live.py:12 in Prices.transform"},
            "The event loop was blocked for 5.0 s in shop/live.py:12 in Prices.transform: move that call to a thread, "
            "or make it asynchronous.",
        ),
        (
            {"account_difference": 1},
            "The account of updates is off by 1: updates were lost or counted twice; this is a bug, please report "
            "it with the metrics.",
        ),
    ],
)
def test_what_an_operator_reads(measured, issue):
    """Word for word: an issue is read at night, by somebody who did not write it."""
    assert score(HealthInput(**measured)).issues == (issue,)


def test_each_priority_is_judged_by_its_own_figure_and_what_is_missing_is_fine():
    for label, limit_ms in P99_LIMITS_MS.items():
        row = next(row for row in DEDUCTIONS if row.name == f"p99_{label}_high")
        assert row.find(HealthInput(p99_latency_ms={label: limit_ms})) == ()
        assert len(row.find(HealthInput(p99_latency_ms={label: limit_ms + 1}))) == 1
        assert row.find(HealthInput(p99_latency_ms={"another": 1e9})) == ()
        assert row.find(HealthInput(p99_latency_ms={})) == ()


def test_the_report_has_these_keys():
    report = score(HealthInput(dead_letter_count=1)).as_dict()
    assert set(report) >= {"health_score", "health_status", "issues"}
    assert report["issues"] == list(score(HealthInput(dead_letter_count=1)).issues)


@pytest.mark.parametrize("label", P99_LIMITS_MS)
def test_a_priority_s_sentence_is_made_with_its_own_figures(label):
    find = health._p99(label)
    limit_ms = P99_LIMITS_MS[label]
    assert find(HealthInput(p99_latency_ms={label: limit_ms})) == ()
    assert find(HealthInput(p99_latency_ms={other: 1e9 for other in P99_LIMITS_MS if other != label})) == ()
    assert find(HealthInput(p99_latency_ms={label: limit_ms + 1})) == (
        f"{label.upper()} updates take {limit_ms + 1:.0f} ms at p99 (the limit is {limit_ms:.0f} ms): queue fewer "
        "updates, make transformers cheaper, or spread the connections over more nodes.",
    )


def test_a_breaker_that_is_held_is_told_apart_from_one_that_opened():
    held = HealthInput(breaker_state="open", breaker_retry_after_s=None)
    assert score(held).issues == (
        "The circuit breaker is held open by an operator, so updates wait: end it with manage.py "
        "pipeline_reset_breaker.",
    )
    opened = HealthInput(
        breaker_state="open", breaker_failure_count=7, breaker_retry_after_s=12.34, transport="redis"
    )
    assert score(opened).issues == (
        "The circuit breaker is open after 7 failures in a row, so updates wait: check that the transport 'redis' "
        "can be reached; the next try is in 12.3 s, or at once after manage.py pipeline_reset_breaker.",
    )
