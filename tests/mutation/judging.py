"""What became of each mutant, and whether a survivor is explained."""

from __future__ import annotations

import ast
import difflib
import json
import re
import tomllib
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

#: mutmut's codes of mutants that no test minded: all passed, or none calls the function.
ALIVE = {0, 33}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change. `code` is what mutmut says of it; `change` its removed and added lines, without indentation."""

    module: str
    function: str
    name: str
    code: int | None
    change: tuple[str, ...]

    @property
    def is_killed(self) -> bool:
        """Whether a test failed, or never ended, because of it."""
        return self.code not in ALIVE

    def __str__(self) -> str:
        lines = "\n    ".join(self.change)
        why = " (no test calls it)" if self.code == 33 else ""
        return f"{self.module}.{self.function}{why}\n    {lines}"


def mutants_of(place: Path, module: str) -> Iterator[Mutant]:
    """A module's mutants as mutmut left them."""
    path = place / "mutants/django_update_pipeline/core" / f"{module}.py"
    meta = path.with_name(f"{module}.py.meta")
    if not meta.exists():
        return
    functions = _functions(path)
    for name, code in json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"].items():
        mangled = name.rpartition(".")[2]
        base = mangled.rpartition("__mutmut_")[0]
        function = base.removeprefix("x_").removeprefix("x\u01c1").replace("\u01c1", ".")
        change = _change(functions, base, mangled) if code in ALIVE else ()
        yield Mutant(module, function, name, code, change)


def _functions(path: Path) -> dict[str, list[str]]:
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    return {
        node.name: lines[node.lineno - 1 : node.end_lineno]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def _change(functions: dict[str, list[str]], base: str, mangled: str) -> tuple[str, ...]:
    original = f"{base}__mutmut_orig"
    before = [line.replace(original, base).strip() for line in functions[original]]
    after = [line.replace(mangled, base).strip() for line in functions[mangled]]
    lines = difflib.unified_diff(before, after, n=0, lineterm="")
    return tuple(f"{line[0]} {line[1:]}" for line in lines if not line.startswith(("---", "+++", "@@")))


@dataclass
class Survivors:
    """The explained survivors: each entry of the file is a reason and what it covers.

    `module` and `function` are regular expressions (any, if left out); `change` is one for the change's lines,
    joined by newlines and looked for anywhere in them.
    """

    entries: list[dict[str, Any]]
    used: set[int] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> Survivors:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["explained"]
        for entry in entries:
            assert set(entry) <= {"module", "function", "change", "reason"}, entry
            assert len(entry["reason"]) > 15, f"a reason says why: {entry}"
            assert "change" in entry or "function" in entry, f"too much at once: {entry}"
        return cls(entries)

    def explain(self, mutant: Mutant) -> str | None:
        """The reason for which a mutant may live."""
        for number, entry in enumerate(self.entries):
            if (
                _matches(entry.get("module"), mutant.module)
                and _matches(entry.get("function"), mutant.function)
                and ("change" not in entry or _pattern(entry["change"]).search("\n".join(mutant.change)))
            ):
                self.used.add(number)
                return str(entry["reason"])
        return None

    def unused(self, unasked: Container[str] = ()) -> list[str]:
        """Entries that explained nothing, but for those of modules that nobody asked for."""
        return [
            str(entry)
            for number, entry in enumerate(self.entries)
            if number not in self.used and entry.get("module") not in unasked
        ]


def _matches(pattern: str | None, text: str) -> bool:
    return pattern is None or _pattern(pattern).fullmatch(text) is not None


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.MULTILINE)
