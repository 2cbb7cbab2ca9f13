"""The code's docstrings as Sphinx reads them.

They are written for `help()`: plain prose, names in single backticks, indented samples, and Args, Returns and Raises.
Here they become reStructuredText: what has a meaning only there is escaped, and a sample is marked as one.
"""

from __future__ import annotations

import re
from typing import Any

_SECTIONS = {"Args:", "Attributes:", "Raises:", "Returns:", "Yields:"}
_LITERAL = re.compile(r"(``.*?``|`[^`]*`)")
_LAW = re.compile(r"Law [A-Z]\d+\b.*:")
_MARKUP = re.compile(r"([*|]|(?<=\w)_(?!\w))")


def _escaped(line: str) -> str:
    """Outside of backticks, `*`, `|` and a final underscore are characters and nothing else."""
    return "".join(
        part if part.startswith("`") else _MARKUP.sub(r"\\\1", part) for part in _LITERAL.split(line)
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def convert(lines: list[str]) -> list[str]:
    """The same docstring, as reStructuredText that napoleon goes on with.

    A block that stands indented after a blank line is a sample. A law is an item of a list; else a hanging indent
    belongs to the line before it.
    """
    result: list[str] = []
    in_section = in_sample = in_law = False
    for line in lines:
        if not line.strip():
            result.append(line)
            continue
        after_blank = not result or not result[-1].strip()
        if _indent(line) == 0:
            in_sample = False
            in_section = line.strip() in _SECTIONS
            in_law = _LAW.match(line) is not None
        elif not in_section and not in_sample and after_blank:
            in_sample = True
            result += ["::", ""]
        if in_sample or in_section:
            result.append(line if in_sample else _escaped(line))
        elif in_law:
            result.append(("  " if _indent(line) else "- ") + _escaped(line.lstrip()))
        else:
            result.append(_escaped(line.lstrip()))
    return result


def as_restructured_text(app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Connected to `autodoc-process-docstring`."""
    lines[:] = convert(lines)
