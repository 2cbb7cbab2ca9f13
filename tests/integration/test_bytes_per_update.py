"""The bytes for each update that docs/reference/benchmarks.md tells, on the recording they were taken from."""

from __future__ import annotations

import importlib.util
import re
import sys
from typing import Any

import pytest

from django_update_pipeline.core.recording import AgentMovement, RecordedStep, Recording
from django_update_pipeline.plugins.sources import read_recording
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
MEND = "run benchmarks/bytes_per_update.py and write its figures into docs/reference/benchmarks.md"


@pytest.fixture(scope="module")
def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location(
        "bytes_per_update", ROOT / "benchmarks" / "bytes_per_update.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bytes_per_update"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def told() -> dict[str, list[float]]:
    """By client, the ratios of the page's table, one for each kind of state."""
    rows = re.findall(r"^\| ((?:full|classic|sync)[^|]*?) \|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.M)
    return {name: [float(cell) for cell in cells.split("|")[1::2]] for name, cells in rows}


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", [pytest.param(0, id="as recorded", marks=pytest.mark.long), pytest.param(1, id="villa")]
)
def test_the_page_tells_the_ratios_that_are_measured(benchmark: Any, place: int) -> None:
    path = benchmark.default_recording()
    if not path.exists():
        pytest.skip(f"no recording at {path}: set UPDATE_PIPELINE_DATA to its folder")
    kind = list(benchmark.KINDS)[place]
    rows = benchmark.measure(read_recording(path), kind, 2.0)
    assert {row.name for row in rows} == set(told())
    for row in rows:
        assert row.ratio == pytest.approx(told()[row.name][place], rel=0.05), f"{row.name}: {MEND}"


def test_any_recording_is_measured_and_the_same_bytes_each_time(benchmark: Any) -> None:
    steps = [
        RecordedStep(n, {name: AgentMovement((n + k, k), "x", "walking")})
        for n in range(300)
        for k, name in enumerate(("eva", "adam"))
        if n % 2 == k
    ]
    first, second = (benchmark.measure(Recording(tuple(steps)), "as recorded", 2.0) for _ in range(2))
    assert [row.cells() for row in first] == [row.cells() for row in second]
    by_name = {row.name: row for row in first}
    assert by_name["full state for each update"].updates == 300
    assert by_name["sync protocol, keeps up"].line.messages > 250
    slow = by_name["sync protocol, a message takes 10 s"]
    assert slow.line.messages < 40
    assert slow.line.bytes < by_name["sync protocol, keeps up"].line.bytes
    assert slow.up < by_name["sync protocol, keeps up"].up
