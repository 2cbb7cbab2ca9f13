"""Each law that a docstring of the core states has a property test that names it, and the other way round."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "django_update_pipeline" / "core"
PROPERTIES = ROOT / "tests" / "property"

# "Law Q1", "Laws W1, W2 and W3", "law_q1", "laws_w1_w2_and_w3"; a range such as "Q1 to Q5" names its ends only.
_MENTION = re.compile(r"\blaws?[ _](?:[a-z]\d+(?:, | and |_and_|_)?)+", re.IGNORECASE)
_ID = re.compile(r"[a-z]\d+", re.IGNORECASE)


def _ids(text: str) -> set[str]:
    return {name.upper() for mention in _MENTION.findall(text) for name in _ID.findall(mention)}


def _docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield ast.get_docstring(node) or ""


@functools.cache
def laws_stated() -> dict[str, set[str]]:
    """Law ids to the modules of the core whose docstrings state them: `Law Q1 (chain): ...`."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(CORE.glob("*.py")):
        for text in _docstrings(path):
            for name in re.findall(r"\bLaw ([A-Z]\d+)(?: \([a-z]+\))?:", text):
                found[name].add(path.name)
    return found


@functools.cache
def laws_tested() -> dict[str, set[str]]:
    """Law ids to the property tests that name them, in the name or docstring of a test, or of a rule that asserts."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(PROPERTIES.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                asserts = any(isinstance(inner, ast.Assert) for inner in ast.walk(node))
                if not asserts and not node.name.startswith("test_"):
                    continue
                for name in _ids(node.name) | _ids(ast.get_docstring(node) or ""):
                    found[name].add(f"{path.name}::{node.name}")
    return found


def test_laws_are_found() -> None:
    assert {"Q1", "Q5", "S1", "S3", "W1", "C1", "C7", "B1"} <= set(laws_stated())
    assert _ids("Laws W1, W2 and W3: law_q1 laws_b2_and_b3 Law C1. Law of Q7") == {
        "W1", "W2", "W3", "Q1", "B2", "B3", "C1",
    }  # fmt: skip


def test_every_law_of_the_core_has_a_property_test() -> None:
    missing = {name: modules for name, modules in laws_stated().items() if name not in laws_tested()}
    assert not missing, "state no law without a property test that names it"


def test_every_law_a_property_test_names_is_stated() -> None:
    unknown = {name: tests for name, tests in laws_tested().items() if name not in laws_stated()}
    assert not unknown, "a test of a law that no docstring of the core states"


def test_a_law_has_one_home() -> None:
    """One home for every fact: a law stated twice comes to say two things."""
    twice = {name: modules for name, modules in laws_stated().items() if len(modules) > 1}
    assert not twice
