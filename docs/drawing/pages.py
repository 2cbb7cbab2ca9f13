"""Which pages there are, in which order: the map in docs/index.md and the site's navigation come from here.

A page that is not named below is found in its folder and comes last there, so a new one needs no entry.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent

#: Never a page of their own: the map itself, and what is gathered into another file.
LEFT_OUT = {"index"}


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the documents. `names` come first, as they are written; then what `folder` holds besides."""

    title: str
    folder: str | None
    names: tuple[str, ...] = ()


SECTIONS = (
    Section("Start", "tutorial", ("quickstart", "tutorial/two-browsers", "tutorial/a-plugin")),
    Section(
        "How to",
        "howto",
        (
            "howto/deploy",
            "howto/staff-page",
            "howto/use-with-channels",
            "howto/queue-from-anywhere",
            "howto/use-react",
            "howto/write-a-plugin",
            "howto/write-a-client",
            "howto/test-your-project",
            "howto/control-access",
            "howto/operate",
            "howto/monitor",
            "howto/find-what-is-wrong",
            "howto/troubleshoot",
        ),
    ),
    Section(
        "Reference",
        "reference",
        (
            "reference/settings",
            "reference/hooks",
            "reference/plugins",
            "reference/client-js",
            "reference/protocol-classic",
            "reference/protocol-sync",
            "reference/protocol-admin",
            "reference/asyncapi",
            "reference/commands",
            "reference/metrics",
            "reference/errors",
            "reference/checks",
            "reference/api",
            "reference/faults",
        ),
    ),
    Section(
        "Explanation",
        "explanation",
        (
            "explanation/one-mechanism",
            "guarantees",
            "explanation/slow-consumers",
            "explanation/circuit-breaker",
            "explanation/degradation",
            "explanation/security",
            "explanation/coming-from",
        ),
    ),
    Section("Decisions", "adr"),
    Section("Project", None, ("glossary", "versioning", "changelog", "contributing")),
)


def pages() -> set[str]:
    """Every page's name: its path below docs/, without the ending."""
    found = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")}
    return {name for name in found - LEFT_OUT if not name.startswith(("_", "changelog.d/"))}


def sections() -> list[tuple[str, list[str]]]:
    """The sections' titles with their pages; a page without a section is in the last one."""
    left = pages()
    result: list[tuple[str, list[str]]] = []
    for section in SECTIONS:
        named = [name for name in dict.fromkeys(section.names) if name in left]
        left -= set(named)
        found = sorted(name for name in left if section.folder and name.startswith(f"{section.folder}/"))
        left -= set(found)
        result.append((section.title, named + found))
    result[-1][1].extend(sorted(left))
    return [(title, names) for title, names in result if names]


def title(name: str) -> str:
    """A page's first heading."""
    heading = re.search(r"^# (.+)$", (DOCS / f"{name}.md").read_text(encoding="utf-8"), re.MULTILINE)
    if heading is None:
        raise ValueError(f"docs/{name}.md has no heading: begin it with '# Title'")
    return heading[1].strip()
