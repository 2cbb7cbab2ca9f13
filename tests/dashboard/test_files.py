"""The page's files: small, plain, inert, complete, and the vendored library as it was published."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders

import django_update_pipeline
from django_update_pipeline.core.health import CLIENT_ALLOWANCE_MS, P99_LIMITS_MS
from django_update_pipeline.views.page import own_modules

PACKAGE = Path(django_update_pipeline.__file__).parent
STATIC = PACKAGE / "static" / "django_update_pipeline"
SCRIPTS = sorted((STATIC / "dashboard").glob("*.js"))
TEMPLATE = PACKAGE / "templates" / "django_update_pipeline" / "dashboard.html"


def test_the_scripts_write_text_and_never_markup() -> None:
    for script in SCRIPTS:
        code = script.read_text(encoding="utf-8")
        found = re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|Function\(|setAttribute\(.style",
            code,
        )
        assert not found, (script.name, found)


def test_the_scripts_are_small_and_need_no_build_and_no_network() -> None:
    for script in SCRIPTS:
        code = script.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert len(code.splitlines()) < 300, script.name
        assert not re.search(r"https?://|\brequire\(|importScripts|import\(", code), script.name


def test_the_page_s_limits_are_the_health_score_s() -> None:
    code = (STATIC / "dashboard" / "clients.js").read_text(encoding="utf-8")
    written = re.findall(r'\["(\w+)", (\d+)\]', code)
    assert {name: float(limit) for name, limit in written} == dict(P99_LIMITS_MS)
    assert f"ALLOWANCE_MS = {CLIENT_ALLOWANCE_MS:.0f};" in code


def test_every_import_leads_to_a_file_and_every_file_is_imported() -> None:
    imported = {"main.js"}
    for script in SCRIPTS:
        imported |= set(re.findall(r'from "\./([a-z]+\.js)"', script.read_text(encoding="utf-8")))
    assert imported == {script.name for script in SCRIPTS} == set(own_modules())


def test_every_file_that_the_page_names_is_found_by_django() -> None:
    named = re.findall(r"{% static '([^']+)' %}", TEMPLATE.read_text(encoding="utf-8"))
    assert len(named) >= 5
    for name in named:
        assert finders.find(name), name


def test_every_part_that_a_script_asks_for_is_in_the_template() -> None:
    """Those an operator only has are asked for with `?.`, or guarded."""
    template = TEMPLATE.read_text(encoding="utf-8")
    there = set(re.findall(r'\bid="([a-z0-9-]+)"', template))
    for script in SCRIPTS:
        asked = set(re.findall(r'\bpart\("([a-z0-9-]+)"\)', script.read_text(encoding="utf-8")))
        assert asked <= there, (script.name, asked - there)


@pytest.mark.parametrize("name", ["uPlot.iife.min.js", "uPlot.min.css"])
def test_the_vendored_library_is_what_was_published(name: str) -> None:
    folder = STATIC / "vendor" / "uplot"
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert f"{digest}  {name}" in (folder / "README.md").read_text(encoding="utf-8")
    assert "MIT License" in (folder / "LICENSE").read_text(encoding="utf-8")
