"""mutmut as it is configured here: what passes for killed was noticed by a test, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import mutmut  # noqa: F401  (where it is not installed, this module is left out)
import pytest

from .__main__ import run_mutmut
from .judging import mutants_of
from .sharding import CORE

CODE = """
patched = []

def is_above_zero(number):
    return number > 0
"""
#: One that is failed on purpose, as mutmut fails one to see whether it can, leaves its patch behind.
TESTS = """
from django_update_pipeline.core import numbers

def test_a_patched():
    numbers.patched.append(True)
    assert numbers.is_above_zero(5)
    numbers.patched.clear()

def test_b():
    assert not numbers.patched
    assert not numbers.is_above_zero(-5)
"""


def test_what_a_test_leaves_behind_kills_no_mutant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong: every mutant that any test called was killed, by a patch that an earlier run had left."""
    (tmp_path / CORE).mkdir(parents=True)
    (tmp_path / CORE / "numbers.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_numbers.py").write_text(TESTS, encoding="utf-8")
    for folder in ("django_update_pipeline", CORE):
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "setup.cfg").touch()
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    done = run_mutmut(tmp_path, [f"{CORE}/numbers.py"], ["tests/test_numbers.py"], [], jobs=1)
    mutants = list(mutants_of(tmp_path, "numbers"))
    assert [mutant.code for mutant in mutants] == [0, 0], done.stdout + done.stderr  # 5 > 1, and 5 >= 0
