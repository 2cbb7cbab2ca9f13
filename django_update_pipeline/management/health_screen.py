"""One server's health on one screen, from its answer to `get_status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..core.account import TERMS
from ..core.health import CLIENT_ALLOWANCE_MS, P99_LIMITS_MS
from .servers import Server
from .terminal import Cell, Column, Terminal, Tone, duration, milliseconds, number

STATUS_TONES: Final[Mapping[str, Tone]] = {
    "healthy": "good",
    "degraded": "warning",
    "critical": "bad",
    "unreachable": "bad",
}
BREAKER_TONES: Final[Mapping[str, Tone]] = {"closed": "good", "half_open": "warning", "open": "bad"}

INDENT: Final = 14
BUILT_IN: Final = "django_update_pipeline.plugins.defaults"


def status_of(server: Server) -> str:
    """`healthy`, `degraded`, `critical`, or `unreachable` for one that gave no answer."""
    return "unreachable" if server.answer is None else str(server.answer["health"]["health_status"])


def show_server(page: Terminal, server: Server) -> None:
    """The whole screen of one server."""
    status = status_of(server)
    if server.answer is None:
        page.line(Cell(f"pid {server.pid}: ", "heading"), Cell(status, STATUS_TONES[status]))
        page.paragraph(server.problem, indent=2)
        return
    answer = server.answer
    process, health, metrics = answer["process"], answer["health"], answer["metrics"]
    page.line(
        Cell(f"pid {server.pid}", "heading"),
        f"  version {process['version']}, Python {process['python']}, answered in "
        f"{milliseconds(1000 * server.took_s)}",
    )
    score = int(health["health_score"])
    page.line(
        Cell(f"{score:3d} {status:<10}", STATUS_TONES.get(status, "plain")),
        page.bar(score / 100, min(50, page.width - 15)),
    )
    for issue in health["issues"]:
        page.paragraph(issue, first="  *", indent=4, tone=STATUS_TONES.get(status, "plain"))
    page.blank()
    page.pairs(
        [
            ("breaker", _breaker(answer["circuit_breaker"])),
            ("transport", str(metrics["transport"])),
            ("updates", _updates(metrics)),
            ("waiting", _waiting(metrics)),
            ("connections", _connections(answer["connections"])),
            ("clients", _clients(metrics)),
            ("dead letters", _dead_letters(metrics)),
        ],
        INDENT,
    )
    page.blank()
    _priorities(page, metrics)
    page.blank()
    page.pairs(
        [
            ("account", _account(metrics)),
            ("plugins", _plugins(answer)),
            ("control", server.path),
        ],
        INDENT,
    )


def summary_line(server: Server) -> str:
    """One server in one line: for a log, or a terminal that can't be drawn over."""
    if server.answer is None:
        return f"pid {server.pid}  unreachable: {server.problem}"
    health, metrics = server.answer["health"], server.answer["metrics"]
    return (
        f"pid {server.pid}  {health['health_status']} {health['health_score']}  "
        f"breaker {metrics['circuit_breaker_state']}  {number(metrics['updates_per_second'], 1)}/s  "
        f"waiting {number(metrics['pending'])}  p99 {milliseconds(metrics['p99_latency_ms'] or None)}  "
        f"connections {number(metrics['websocket_connections'])}  dead {number(metrics['dead_letters'])}"
    )


def _breaker(state: Mapping[str, Any]) -> Cell:
    name = str(state["state"])
    text = name.replace("_", "-")
    if state.get("is_held_open"):
        text += ", held by an operator: manage.py pipeline_reset_breaker ends it"
    elif name == "open" and state.get("retry_after_s") is not None:
        text += f", the next try in {state['retry_after_s']:.1f} s"
    elif state.get("failure_threshold") is not None:
        text += f", {state.get('failure_count', 0)} of {state['failure_threshold']} failures in a row"
    return Cell(text, BREAKER_TONES.get(name, "plain"))


def _updates(metrics: Mapping[str, Any]) -> str:
    settled = metrics["successful_updates"] + metrics["failed_updates"]
    succeed = f"{100 * metrics['success_rate']:.2f} % succeed" if settled else "none settled yet"
    return (
        f"{number(metrics['updates_per_second'], 1)} a second, {succeed}, "
        f"last batch {number(metrics['last_batch_size'])} in {milliseconds(metrics['last_batch_duration_ms'])}"
    )


def _waiting(metrics: Mapping[str, Any]) -> Cell:
    oldest = metrics.get("oldest_wait_s")
    if not metrics["pending"]:
        return Cell("nothing")
    text = number(metrics["pending"])
    if oldest is not None:
        text += f", the oldest for {duration(oldest)}"
    return Cell(text, "warning" if (oldest or 0) > 1 else "plain")


def _connections(connections: Mapping[str, Any]) -> Cell:
    kinds = ", ".join(f"{number(count)} {kind}" for kind, count in connections["by_kind"].items() if count)
    text = number(connections["count"]) + (f" ({kinds})" if kinds else "")
    behind = connections["behind"]
    return Cell(text + (f", {number(behind)} behind" if behind else ""))


def _clients(metrics: Mapping[str, Any]) -> Cell:
    """What clients' acknowledgements say."""
    applied, acknowledged, repaired = (
        metrics["applied"],
        metrics["acknowledged"],
        metrics["divergence_repaired"],
    )
    if applied["count"]:
        told = ", ".join(
            f"{name} {milliseconds(applied[f'{name}_latency_ms'])}" for name in ("p50", "p95", "p99")
        )
        text = f"applied {told} after queueing"
    elif acknowledged["count"]:
        text = f"acknowledged p99 {milliseconds(acknowledged['p99_latency_ms'])} after queueing"
    else:
        text = "no acknowledgements of late"
    if not repaired:
        return Cell(text)
    return Cell(f"{text}; {number(repaired)} agents repaired: the log names the connections", "bad")


def _dead_letters(metrics: Mapping[str, Any]) -> Cell:
    kept = metrics["dead_letters"]
    if not kept:
        return Cell("none")
    return Cell(f"{number(kept)}: manage.py pipeline_dead_letters list", "warning")


def _priorities(page: Terminal, metrics: Mapping[str, Any]) -> None:
    rows = []
    for label, latency in metrics["by_priority"].items():
        waiting, limit = metrics["queue_depth"][label], P99_LIMITS_MS.get(label)
        if not latency["count"]:
            times: list[Cell | str] = ["-", "-", "-"]
        else:
            times = [Cell(milliseconds(latency[f"{name}_latency_ms"])) for name in ("p50", "p95", "p99")]
            if limit is not None and latency["p99_latency_ms"] > limit:
                times[2] = Cell(milliseconds(latency["p99_latency_ms"]), "bad")
        applied = metrics["applied"]["by_priority"][label]
        p95_ms = applied["p95_latency_ms"]
        is_late = limit is not None and p95_ms > limit + CLIENT_ALLOWANCE_MS
        times.append(Cell(milliseconds(p95_ms), "bad" if is_late else "plain") if applied["count"] else "-")
        rows.append([label, number(waiting), *times, "-" if limit is None else f"{limit:.0f} ms"])
    heads = ("waiting", "p50", "p95", "p99", "applied p95", "promised")
    right = [Column(name, is_right=True) for name in heads]
    page.table([Column("priority"), *right], rows)


def _account(metrics: Mapping[str, Any]) -> Cell:
    wrong = [
        label
        for label, row in metrics["conservation"].items()
        if row["accepted"] != sum(row[term] for term in TERMS if term != "accepted")
    ]
    total = metrics["conservation"]["total"]
    rest = " + ".join(
        f"{term.replace('_', '-')} {number(total[term])}" for term in TERMS if term != "accepted"
    )
    text = f"accepted {number(total['accepted'])} = {rest}"
    if wrong:
        return Cell(f"{text}: DOES NOT ADD UP for {', '.join(wrong)}", "bad")
    return Cell(text)


def _plugins(answer: Mapping[str, Any]) -> Cell:
    own = [name for name in answer["plugins"] if name != BUILT_IN]
    off = [f"{part['kind']} {part['name']} of {part['plugin']}" for part in answer["parts"] if part["is_off"]]
    text = ", ".join([*own, "the built-in ones"])
    return Cell(f"{text}; switched off: {', '.join(off)}", "bad") if off else Cell(text)
