"""The alert rules and the dashboard ask for metrics and labels that are exported, and are well-formed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from django_update_pipeline.metrics.families import FAMILIES, LABELS
from tests.docs.markdown import ROOT

FOLDER = ROOT / "docs" / "monitoring"
HOW_TO = ROOT / "docs" / "howto" / "monitor.md"

#: Labels that Prometheus or an exposition adds.
ADDED = {"instance", "le", "job"}

_METRIC = re.compile(r"\b(update_pipeline_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(=~|!~|!=|=)\s*\"([^\"]*)\"")
_BY = re.compile(r"\b(?:by|without)\s*\(([^)]*)\)")


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))
    assert list(document) == ["groups"]
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8"))
    return found


def expressions() -> Iterator[Any]:
    for rule in rules():
        yield pytest.param(rule["expr"], id=rule["alert"])
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield pytest.param(variable["query"]["query"], id=f"variable {variable['name']}")


def family_of(series: str) -> Any:
    """The family that a series belongs to; a histogram's are its three."""
    name = series.removeprefix("update_pipeline_")
    if name in FAMILIES and FAMILIES[name].kind != "histogram":
        return FAMILIES[name]
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    if base != name and base in FAMILIES and FAMILIES[base].kind == "histogram":
        return FAMILIES[base]
    raise AssertionError(f"{series} is not exported; there are {sorted(FAMILIES)}")


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_asks_for_what_is_exported(expression: str) -> None:
    asked = _METRIC.findall(expression)
    assert asked
    known: set[str] = set(ADDED)
    for series, matchers in asked:
        family = family_of(series)
        known |= set(family.labels)
        for label, operator, wanted in _MATCHER.findall(matchers):
            assert label in set(family.labels) | ADDED, f"{series} has no label {label}"
            if label in LABELS:
                values = wanted.split("|") if "~" in operator else [wanted]
                assert set(values) <= set(LABELS[label]), f"{label} is never {wanted}"
    for labels in _BY.findall(expression):
        assert {label.strip() for label in labels.split(",")} <= known, expression
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize("expression", list(expressions()))
def test_a_counter_is_asked_for_its_growth(expression: str) -> None:
    """A counter's value says nothing: it begins anew with each process."""
    for series, _ in _METRIC.findall(expression):
        is_growth = re.search(rf"\b(?:rate|increase)\(\s*{series}\b", expression)
        assert (family_of(series).kind == "gauge") == (is_growth is None), expression


def test_every_alert_has_what_its_reader_needs() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(rule["annotations"]) == {"summary", "description"}
        for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
            kept = _BY.findall(rule["expr"])
            plain = set().union(*(family_of(series).labels for series, _ in _METRIC.findall(rule["expr"])))
            assert label in ({one.strip() for by in kept for one in by.split(",")} if kept else plain | ADDED)


def test_the_how_to_tells_of_every_alert_and_no_other() -> None:
    page = HOW_TO.read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(UpdatePipeline\w+)` \|", page, re.MULTILINE))
    assert told == {rule["alert"] for rule in rules()}


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board = dashboard()
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(board)
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    used: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & used, f"{panel['title']} lies over another panel"
        used |= cells


def test_every_metric_is_shown_or_alerted_on() -> None:
    """What nobody looks at need not be exported; these are for those who look closer."""
    left_out = {"updates_queued_total", "loop_stalls_total"}
    asked = {series for parameter in expressions() for series, _ in _METRIC.findall(str(parameter.values[0]))}
    names = {family_of(series).name.removeprefix("update_pipeline_") for series in asked}
    assert set(FAMILIES) - names <= left_out
