"""docs/reference/metrics.md has every key of the two reports, and no other."""

from __future__ import annotations

import re

from django_update_pipeline import UpdatePipeline
from django_update_pipeline.core.account import TERMS
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "reference" / "metrics.md"


def keys(title: str) -> set[str]:
    """The first column of the first table under a heading."""
    part = PAGE.read_text(encoding="utf-8").split(f"## {title}\n")[1]
    table = re.search(r"^\| key .*?\n\n", part, re.MULTILINE | re.DOTALL)
    assert table is not None
    return set(re.findall(r"^\| `(\w+)`", table[0], re.MULTILINE))


def test_the_performance_metrics_are_those_of_the_page() -> None:
    metrics = UpdatePipeline().get_performance_metrics()
    assert keys("Performance metrics") == set(metrics)


def test_the_health_report_is_that_of_the_page() -> None:
    assert keys("Health") == set(UpdatePipeline().get_health_status())


def test_what_the_page_says_of_nested_keys_holds() -> None:
    metrics = UpdatePipeline().get_performance_metrics()
    latencies = {key for key in metrics if key.endswith("_latency_ms")} | {"count"}
    assert len(latencies) == 6
    for label in ("critical", "high", "normal", "low"):
        assert set(metrics["by_priority"][label]) == latencies
        assert set(metrics["conservation"][label]) == set(TERMS)
    assert len(TERMS) == 6
    assert set(metrics["conservation"]) == {"critical", "high", "normal", "low", "total"}
    assert set(metrics["queue_depth"]) == {"critical", "high", "normal", "low"}
