"""The rules of our log, held over the source: lines without tracebacks, arguments not f-strings, no configuring."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.docs.markdown import ROOT

PACKAGE = ROOT / "django_update_pipeline"
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    """Every call of a method of something named `logger`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "logger"
            ):
                yield path, node, node.func.attr


def test_calls_are_found() -> None:
    assert len(list(calls())) > 40


def test_no_line_above_debug_has_a_traceback() -> None:
    for path, node, method in calls():
        assert method in LEVELS, f"{path}:{node.lineno} configures a logger"
        has_traceback = method == "exception" or any(
            keyword.arg in {"exc_info", "stack_info"} for keyword in node.keywords
        )
        assert not has_traceback or method == "debug", (
            f"{path}:{node.lineno}: use runtime.complaints.complain"
        )


def test_messages_are_constants_and_their_values_arguments() -> None:
    """An f-string would be made also where nobody reads it, and would hide from aggregators that lines are alike."""
    home = PACKAGE / "runtime" / "complaints.py"  # it puts its callers' constants together
    for path, node, method in calls():
        message = node.args[1 if method == "log" else 0]
        is_constant = isinstance(message, ast.Constant) and isinstance(message.value, str)
        assert is_constant or path == home, f"{path}:{node.lineno}"
        if is_constant:
            assert "\n" not in message.value  # type: ignore[attr-defined, operator]


def test_nothing_configures_logging_or_prints() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        if "management" in path.parts:
            continue  # commands write to their own output
        text = path.read_text(encoding="utf-8")
        for forbidden in ("basicConfig", "dictConfig", "addHandler", "setLevel(", "print("):
            assert forbidden not in text, f"{path}: {forbidden}"
