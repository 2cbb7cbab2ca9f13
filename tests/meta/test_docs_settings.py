"""docs/reference/settings.md has every setting of core/config.py, with its default and range."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

from django_update_pipeline.core.config import PipelineConfig
from tests.docs.markdown import ROOT

PAGE = ROOT / "docs" / "reference" / "settings.md"
SECTIONS = {
    name.upper(): type(getattr(PipelineConfig(), name))
    for name in PipelineConfig.__struct_fields__
    if isinstance(getattr(PipelineConfig(), name), msgspec.Struct)
}


def documented() -> dict[str, dict[str, dict[str, str]]]:
    """Heading to setting to column to text."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines()
            if line[:1] == "|"
        ]
        head, *body = [row for row in rows if set("".join(row)) != {"-"}]
        assert all(len(row) == len(head) for row in body), title
        found[title.strip()] = {row[0].strip("`"): dict(zip(head, row, strict=True)) for row in body}
    return found


def expected_range(hint: Any) -> str:
    """The beginning of the range's cell: a bound, or a list of choices; empty where the type says no more."""
    if get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(hint))
    if get_origin(hint) is not Annotated:
        return "boolean" if hint is bool else ""
    meta = hint.__metadata__[0]
    if meta.le is not None:
        return f"{meta.ge} to {meta.le}"
    if meta.ge is not None:
        return f"≥ {meta.ge}"
    return f"> {meta.gt}" if meta.gt is not None else ""


def test_the_page_has_every_section_and_no_other() -> None:
    assert set(documented()) == {"The top", *SECTIONS}


@pytest.mark.parametrize(("title", "kind"), [("The top", PipelineConfig), *SECTIONS.items()])
def test_every_setting_is_there_with_its_default_and_range(title: str, kind: type[msgspec.Struct]) -> None:
    rows = documented()[title]
    defaults: Any = kind()
    hints = get_type_hints(kind, include_extras=True)
    names = [
        name for name in kind.__struct_fields__ if not isinstance(getattr(defaults, name), msgspec.Struct)
    ]
    assert list(rows) == names
    for name, row in rows.items():
        shown = row["default"].strip("`")
        assert eval(shown, {}) == getattr(defaults, name), name
        assert row["range"].startswith(expected_range(hints[name])), f"{name}: {row['range']}"
        missing = [column for column, text in row.items() if not text]
        assert not missing, f"{name}: say its {' and '.join(missing)}, too"


@pytest.mark.parametrize(("title", "kind"), [("The top", PipelineConfig), *SECTIONS.items()])
def test_every_duration_and_size_says_its_unit(title: str, kind: type[msgspec.Struct]) -> None:
    units = {"_s": " s", "_ms": " ms", "_bytes": " bytes"}
    for name, row in documented()[title].items():
        for ending, unit in units.items():
            if name.endswith(ending) and not name.endswith("_per_s"):
                assert unit in row["range"] or name == "max_delay_s", name
