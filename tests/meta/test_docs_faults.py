"""docs/reference/faults.md is drawn from marks in the tests: the marks are found, and name faults that exist."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT

sys.path.insert(0, str(ROOT / "docs"))
from drawing import faults

MARKED = """
import pytest
pytestmark = [pytest.mark.fault("F2", "the whole module"), pytest.mark.slow]

@pytest.mark.fault("F10", "one sentence, "
    "over two lines")
def test_plain(): ...

class TestOne:
    @pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.fault("F2", "one parameter"))])
    async def test_inner(self, n): ...

def test_without(): ...
"""


def test_marks_are_found_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "tests" / "deep").mkdir(parents=True)
    (tmp_path / "tests" / "deep" / "test_it.py").write_text(MARKED)
    (tmp_path / "tests" / "helper.py").write_text("pytest.mark.fault('F1', 'no test')")
    assert faults.held(tmp_path / "tests") == [
        faults.Held("F2", "tests/deep/test_it.py", "the whole module"),
        faults.Held("F2", "tests/deep/test_it.py::TestOne::test_inner", "one parameter"),
        faults.Held("F10", "tests/deep/test_it.py::test_plain", "one sentence, over two lines"),
    ]


@pytest.mark.parametrize("mark", ["fault('F1')", "fault('F1', SENTENCE)", "fault(id='F1', promise='x')"])
def test_a_mark_that_can_not_be_read_is_named(tmp_path: Path, mark: str) -> None:
    (tmp_path / "test_it.py").write_text(f"import pytest\n@pytest.mark.{mark}\ndef test_this(): ...\n")
    with pytest.raises(ValueError, match="test_this"):
        faults.held(tmp_path)


def test_the_faults_are_numbered_without_a_gap() -> None:
    numbers = [fault for names in faults.FAULTS.values() for fault in names]
    assert numbers == [f"F{n}" for n in range(1, 51)]


def test_every_mark_names_a_fault_that_exists_and_a_promise() -> None:
    known = {fault for names in faults.FAULTS.values() for fault in names}
    for one in faults.held():
        assert one.fault in known, one
        assert len(one.promise) > 10, one
