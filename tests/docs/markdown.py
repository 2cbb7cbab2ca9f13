"""The code blocks of the documents.

What a block is for stands in a comment before its fence:

    <!-- file: mysite/urls.py -->         the text is appended to that file of a project
    <!-- whole file: board/views.py -->   the text is that file of a project
    <!-- sketch -->                       only its syntax is held
    (nothing)                             Python is run, in the order of the page, in one namespace
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

_FENCE = re.compile(
    r"(?:^ *<!-- (?P<note>(?P<whole>whole )?file: (?P<file>[\w./-]+)|sketch) -->\n)?"
    r"^(?P<indent> *)```(?P<language>[^\s`]*)\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block. `file` is the project file it belongs to, if it names one; `is_whole` if it is all of it."""

    page: Path
    line: int
    language: str
    code: str
    file: str | None
    is_sketch: bool
    is_whole: bool = False

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The page's blocks, of one language or all."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        indent = match["indent"]
        code = "".join(line.removeprefix(indent) for line in match["code"].splitlines(keepends=True))
        line = text.count("\n", 0, match.start("code")) + 1
        is_sketch, is_whole = match["note"] == "sketch", match["whole"] is not None
        found.append(Block(page, line, match["language"], code, match["file"], is_sketch, is_whole))
    return [block for block in found if language in (None, block.language)]
