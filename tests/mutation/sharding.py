"""Which modules of the core are tested together, by which tests, and whose turn it is."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = "django_update_pipeline/core"
#: Lines of one shard: about as much as a minute of one processor is enough for, where mutants are dense too.
SHARD_LINES = 130
#: A module above the limit is split by the last digit of its mutants' numbers.
DIGITS = {
    1: ("",),
    2: ("[02468]", "[13579]"),
    3: ("[0369]", "[147]", "[258]"),
    5: ("[05]", "[16]", "[27]", "[38]", "[49]"),  # and not 4, of which two would be half as large again
}
#: Protocols, values, tables: all of it runs at import, before a mutant can be switched on. Tests enumerate the tables.
LEFT_OUT = {"__init__", "circuit_table", "codes", "part_kinds", "ports", "sync_pass"}
#: What many tests build and few are about: the tests named after it hold it, and the others would only cost time.
BY_THEIR_OWN_TESTS = {"store"}
#: Modules that no shard has yet, each with the reason. The table of docs/explanation/how-it-is-tested.md names them.
NOT_MEASURED = {}


@dataclass(frozen=True, slots=True)
class Shard:
    """Some modules, or a part of one (`digits`: the last digits of its mutants' numbers)."""

    modules: tuple[str, ...]
    digits: str = ""

    def patterns(self) -> list[str]:
        """Names of mutants, as mutmut takes them."""
        return [f"django_update_pipeline.core.{module}.*__mutmut_*{self.digits}" for module in self.modules]

    def has(self, name: str) -> bool:
        """Whether the mutant of this name belongs here."""
        return any(fnmatchcase(name, pattern) for pattern in self.patterns())

    def tests(self) -> list[str]:
        """Test files below `tests/` that name one of the modules, or import a scene beside them that does."""
        if BY_THEIR_OWN_TESTS.issuperset(self.modules):
            own = [
                f"{f}.py" for m in self.modules for f in (f"property/test_{m}_laws", f"unit/core/test_{m}")
            ]
            return [name for name in own if (ROOT / "tests" / name).exists()]
        wanted = re.compile(rf"\bcore(?:\.|\b[^\n]*\bimport\b[^\n]*\b)(?:{'|'.join(self.modules)})\b")
        files = [*(ROOT / "tests/unit/core").glob("test_*.py"), *(ROOT / "tests/property").glob("test_*.py")]
        scenes = [
            re.compile(rf"^from \S*\.{scene.stem} import ", re.MULTILINE)
            for scene in (ROOT / "tests/unit/core").glob("*_scene.py")
            if wanted.search(scene.read_text(encoding="utf-8"))
        ]
        chosen = [
            file
            for file in files
            if any(said.search(file.read_text(encoding="utf-8")) for said in (wanted, *scenes))
        ]
        return sorted(file.relative_to(ROOT / "tests").as_posix() for file in chosen)

    def __str__(self) -> str:
        return f"{' '.join(self.modules)}{f' (numbers ending in {self.digits})' if self.digits else ''}"


def modules() -> dict[str, int]:
    """The core's modules that are measured, each with its lines."""
    return {
        path.stem: len(path.read_text(encoding="utf-8").splitlines())
        for path in sorted((ROOT / CORE).glob("*.py"))
        if path.stem not in LEFT_OUT and path.stem not in NOT_MEASURED
    }


@cache
def shards() -> tuple[Shard, ...]:
    """All shards; together they are the core but for NOT_MEASURED, each mutant in one."""
    made: list[Shard] = []
    gathered: list[str] = []
    lines = 0
    for name, size in sorted(modules().items(), key=lambda item: (item[1], item[0])):
        if size > SHARD_LINES:
            parts = min((count for count in DIGITS if count * SHARD_LINES >= size), default=max(DIGITS))
            made += [Shard((name,), digits) for digits in DIGITS[parts]]
        else:
            if gathered and lines + size > SHARD_LINES:
                made.append(Shard(tuple(gathered)))
                gathered, lines = [], 0
            gathered.append(name)
            lines += size
    return (*made, Shard(tuple(gathered))) if gathered else tuple(made)


def whose_turn() -> int:
    """The shard of this state of the core and its tests: the same for the same files, another after a change."""
    digest = hashlib.sha256()
    for folder in (CORE, "tests/unit/core", "tests/property"):
        for path in sorted((ROOT / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:8], "big") % len(shards())
