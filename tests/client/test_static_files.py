"""The committed files of the browser are what the sources make, and the tag puts them on a page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.template import Context, Engine
from django.test import RequestFactory, override_settings

import django_update_pipeline
from django_update_pipeline.routing import PATH_KEY

from .conftest import Node

STATIC = Path(django_update_pipeline.__file__).parent / "static" / "django_update_pipeline"
VENDOR = Path(__file__).resolve().parents[2] / "example_project/dating_show/static/dating_show/vendor"
BUILT = ("client.js", "client.iife.js", "react.js")


def test_the_committed_files_are_what_the_sources_make(node: Node, tmp_path: Path) -> None:
    node("build.mjs", str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(BUILT)
    for name in BUILT:
        made, committed = (tmp_path / name).read_text(), (STATIC / name).read_text()
        assert made == committed, f"{name} is not what js/src makes: cd js && npm ci && npm run static"


def test_what_the_page_on_react_imports_is_what_the_sources_make(node: Node, tmp_path: Path) -> None:
    node("example.mjs", str(tmp_path))
    for made in tmp_path.iterdir():
        assert made.read_bytes() == (VENDOR / made.name).read_bytes(), (
            f"{made.name} is not what js/example.mjs makes: cd js && npm ci && npm run static"
        )
    assert "@license React" in (VENDOR / "react.js").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hooks.js", "react.LICENSE", "react.js"]
    assert "MIT License" in (VENDOR / "react.LICENSE").read_text()


@pytest.mark.parametrize("name", BUILT)
def test_they_put_nothing_on_a_page_and_evaluate_nothing(name: str) -> None:
    text = (STATIC / name).read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text
    )
    assert not re.search(r"https?://", text)


def rendered(source: str, request: Any = None, **variables: Any) -> str:
    engine = Engine(libraries={"update_pipeline": "django_update_pipeline.templatetags.update_pipeline"})
    context = Context({"request": request, **variables} if request else variables)
    return engine.from_string("{% load update_pipeline %}" + source).render(context)


TAG = '<script src="/static/django_update_pipeline/client.iife.js" data-update-pipeline-socket="{}" defer></script>'


def test_the_tag_names_the_file_and_the_socket() -> None:
    assert finders.find("django_update_pipeline/client.iife.js")
    assert rendered("{% update_pipeline_js %}") == TAG.format("/ws/updates/")
    with override_settings(UPDATE_PIPELINE={"SOCKET_PATH": "live/villa/"}):
        assert rendered("{% update_pipeline_js %}", RequestFactory().get("/")) == TAG.format("/live/villa/")


def test_the_tag_believes_the_application_that_the_request_came_through() -> None:
    request = RequestFactory().get("/")
    request.scope = {PATH_KEY: '/app/a"b/'}  # type: ignore[attr-defined]
    assert 'data-update-pipeline-socket="/app/a&quot;b/"' in rendered("{% update_pipeline_js %}", request)


def test_a_nonce_is_passed_on() -> None:
    assert ' nonce="n&quot;1" defer' in rendered("{% update_pipeline_js nonce=csp_nonce %}", csp_nonce='n"1')
    assert "nonce" not in rendered("{% update_pipeline_js nonce=csp_nonce %}")


def test_the_owner_is_told_as_a_digest() -> None:
    tags = [rendered("{% update_pipeline_js owner=pk %}", pk=pk) for pk in (4711, 4711, 4712, 0)]
    owners = [re.findall(r' data-update-pipeline-owner="([0-9a-f]{16})"', tag) for tag in tags]
    assert owners[0] == owners[1]
    assert len({tuple(one) for one in owners}) == 3
    assert "4711" not in tags[0]
    for nobody in (None, ""):
        assert "owner" not in rendered("{% update_pipeline_js owner=pk %}", pk=nobody)
