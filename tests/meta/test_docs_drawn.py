"""What the documents repeat of the code is what the code says now, and their links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT

_spec = importlib.util.spec_from_file_location("docs_tables", ROOT / "docs" / "tables.py")
assert _spec is not None
assert _spec.loader is not None
tables = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tables)

_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)|(?:src)=\"([^\"]+)\"")
_TEST = re.compile(r"`(tests/[\w/]+\.py)`(?:(?:::|<br>)`?(?:\w+::)?(\w+)`?)?")


@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_drawn_parts_are_up_to_date(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert text == tables.drawn(text), "run: python docs/tables.py --write"


@pytest.mark.parametrize("name", tables.PICTURES)
def test_pictures_are_up_to_date_and_shown_with_words(name: str) -> None:
    path = ROOT / "docs" / "images" / f"{name}.svg"
    assert path.read_text(encoding="utf-8") == tables.PICTURES[name](), "run: python docs/tables.py --write"
    shown = re.compile(rf"!\[[^\]]{{20,}}\]\([./]*images/{name}\.svg\)")
    assert any(shown.search(page.read_text(encoding="utf-8")) for page in PAGES)


@pytest.mark.parametrize(
    "name", sorted(tables.FILES.keys() - {f"images/{one}.svg" for one in tables.PICTURES})
)
def test_generated_files_are_up_to_date(name: str) -> None:
    held = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert held == tables.FILES[name](), "run: python docs/tables.py --write"


def test_every_table_is_drawn_somewhere() -> None:
    drawn = {
        match["name"] for page in PAGES for match in tables.PART.finditer(page.read_text(encoding="utf-8"))
    }
    assert drawn == set(tables.DRAWN)


def anchors(document: Path) -> set[str]:
    """The anchors GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    for match in _LINK.finditer(
        re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    ):
        path, anchor = match[1] or match[3] or "", match[2]
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), match[0]
        if anchor:
            assert anchor in anchors(target), match[0]


@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_a_page_names_exists(document: Path) -> None:
    for path, name in _TEST.findall(document.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path
        if name:
            assert re.search(rf"\b{name}\b", (ROOT / path).read_text(encoding="utf-8")), f"{path}::{name}"


def test_contributors_are_told_what_each_folder_of_tests_holds() -> None:
    told = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = {path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").glob("*/**/test_*.py")}
    assert {name for name in folders if f"`tests/{name}/`" not in told} == set()


def test_every_page_is_reached_from_the_index() -> None:
    """A page nobody links to is not read."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    left_out = {"index.md", "README.md"}
    for page in sorted((ROOT / "docs").rglob("*.md")):
        if page.name not in left_out and page.parent.name != "changelog.d":
            assert str(page.relative_to(ROOT / "docs")) in index, page


@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_headings_step_down_one_level_at_a_time(document: Path) -> None:
    """The site's build ends with an error otherwise, and so does a reader's way through the page."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
    is_fragment = document.parent.name == "changelog.d"
    assert is_fragment or levels[:1] == [1]
    assert all(after <= before + 1 for before, after in pairwise(levels))
