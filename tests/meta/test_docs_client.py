"""docs/reference/client-js.md and howto/use-react.md have all that the npm package exports, and nothing else."""

from __future__ import annotations

import re

import pytest

from tests.docs.markdown import ROOT

SOURCES = ROOT / "js" / "src"
PAGE = (ROOT / "docs" / "reference" / "client-js.md").read_text(encoding="utf-8")
REACT = (ROOT / "docs" / "howto" / "use-react.md").read_text(encoding="utf-8")


def exports(file: str) -> set[str]:
    """What a module exports, types included."""
    text = (SOURCES / file).read_text(encoding="utf-8")
    found = set(re.findall(r"^export (?:async )?(?:function|const|class|interface|type) (\w+)", text, re.M))
    for names in re.findall(r"^export (?:type )?\{([^}]*)\}", text, re.M):
        found |= {name.strip().removeprefix("type ").strip() for name in names.split(",")}
    return found - {""}


def table(before: str, after: str) -> set[str]:
    """The names in the first column of a table of the page."""
    part = PAGE.split(before)[1].split(after)[0] if after else PAGE.split(before)[1]
    rows = re.findall(r"^\| (`[^|]+) \|", part, re.M)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_every_export_is_documented_and_nothing_else() -> None:
    assert table("Of `django-update-pipeline`:", "Of `django-update-pipeline/react`") == exports("index.ts")


def test_every_export_of_the_react_part_is_documented_and_nothing_else() -> None:
    assert table("Of `django-update-pipeline/react`", "") == exports("react.ts")


def test_the_page_about_react_shows_every_hook() -> None:
    for name in exports("react.ts"):
        if name.startswith("use") or name.endswith("Provider"):
            assert f"{name}(" in REACT or f"<{name}" in REACT, name


MEMBER = re.compile(r"^  (?:readonly |get |async )?(\w+)(?:<[^>]*>)?\??(?:\(|:| =)", re.M)


def members(file: str, kind: str) -> set[str]:
    """The public members of a class or interface."""
    text = (SOURCES / file).read_text(encoding="utf-8")
    found = re.search(rf"^export (?:class|interface) {kind}\b[^{{]*\{{\n(.*?)^\}}", text, re.M | re.S)
    assert found is not None, kind
    return set(MEMBER.findall(found[1])) - {"constructor", "if", "for", "return", "while"}


@pytest.mark.parametrize(
    ("file", "kind", "heading"),
    [
        ("client.ts", "Client", "### `Client`"),
        ("view.ts", "View", "### `View`"),
        ("client.ts", "ClientOptions", "### `connect(url?, options?)`"),
        ("line.ts", "LineOptions", "### `connect(url?, options?)`"),
        ("channel.ts", "CatchUp", "### `View`"),
        ("channel.ts", "ReceivedFrame", "### `View`"),
        ("line.ts", "LineStatus", "### `Client`"),
    ],
)
def test_every_public_member_is_documented(file: str, kind: str, heading: str) -> None:
    part = PAGE.split(heading)[1].split("\n### ")[0]
    told = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", part))))
    found = members(file, kind)
    assert found, kind
    assert found - told == set(), f"{kind} in docs/reference/client-js.md"
