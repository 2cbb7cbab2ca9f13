"""The page and its clicks: who may act, and that nothing inline gets in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from dating_show.producer import USERNAME

from .serving import EXAMPLE

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("example_settings")]

STATIC = EXAMPLE / "dating_show" / "static" / "dating_show"
PAGES = ("/", "/react/")


def own(pattern: str) -> list[Path]:
    """The page's files that were written for it."""
    return [path for path in STATIC.rglob(pattern) if path.parent.name != "vendor"]


def test_the_page_is_there_with_the_map_and_the_socket(client: Client) -> None:
    page = client.get("/")
    assert page.status_code == 200
    text = page.content.decode()
    assert re.search(r'client\.iife\.js" data-update-pipeline-socket="/[a-z_/]+/"', text)
    assert 'data-producer="no"' in text
    assert 'blocking="render"' in text, "what was kept is drawn before anything is painted"
    assert "to the pool" in text
    assert "no-cache" in page.headers["Cache-Control"]


def test_the_policy_allows_only_own_files_and_own_sockets(client: Client) -> None:
    page = client.get("/", headers={"host": "localhost:8001"})
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self' ws://localhost:8001 wss://localhost:8001"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Referrer-Policy"] == "same-origin"


def test_a_refused_host_gets_the_headers_too(client: Client) -> None:
    page = client.get("/", headers={"host": "evil.example"})
    assert page.status_code == 400
    assert "evil.example" not in page.headers["Content-Security-Policy"]


def test_the_page_holds_no_inline_code_or_style(client: Client) -> None:
    for page in PAGES:
        text = client.get(page).content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text)


def test_the_scripts_write_text_and_never_markup() -> None:
    for script in own("*.js"):
        code = script.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|Function\(", code
        ), script


def test_every_file_the_page_names_exists(client: Client) -> None:
    text = "".join(client.get(page).content.decode() for page in PAGES)
    named = {STATIC / name for name in re.findall(r"dating_show/([a-z/]+\.(?:js|css|svg))", text)}
    assert {STATIC / "main.js", STATIC / "react" / "villa.js", STATIC / "rose.svg"} <= named
    for script in own("*.js"):
        for name in re.findall(r'from "(\.{1,2}/[a-z/]+\.js)"', script.read_text(encoding="utf-8")):
            named.add((script.parent / name).resolve())
    assert named == {*(STATIC / "vendor").glob("*.js"), *own("*.*")}


def test_the_map_draws_every_place() -> None:
    from dating_show.villa.grounds import PLACES

    drawing = (EXAMPLE / "dating_show" / "templates" / "dating_show" / "map.svg").read_text(encoding="utf-8")
    assert set(re.findall(r'data-place="([a-z_]+)"', drawing)) == PLACES.keys()


def test_one_click_makes_a_visitor_the_producer(client: Client) -> None:
    answer = client.post("/producer/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert 'data-producer="yes"' in client.get("/").content.decode()
    user = get_user_model().objects.get(username=USERNAME)
    assert not user.has_usable_password()
    assert not user.is_staff
    assert client.session["_auth_user_id"] == str(user.pk)


def test_the_second_producer_is_the_same_user(client: Client) -> None:
    client.post("/producer/")
    Client().post("/producer/")
    assert get_user_model().objects.filter(username=USERNAME).count() == 1


def test_a_script_gets_the_new_token_with_the_answer(client: Client) -> None:
    answer = client.post("/producer/", headers={"accept": "application/json"})
    assert answer.json()["producer"] is True
    assert answer.json()["csrf_token"]
    answer = client.post("/producer/leave/", headers={"accept": "application/json"})
    assert answer.json()["producer"] is False
    assert 'data-producer="no"' in client.get("/").content.decode()


@pytest.mark.parametrize("path", ["/producer/", "/producer/leave/"])
def test_a_click_needs_a_post_with_the_token_of_the_page(path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.get(path).status_code == 405
    assert client.post(path).status_code == 403
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', client.get("/").content.decode())
    assert token is not None
    assert client.post(path, {"csrfmiddlewaretoken": token[1]}).status_code == 302


def test_somebody_elses_session_does_not_survive_becoming_the_producer(
    client: Client, django_user_model: Any
) -> None:
    client.force_login(django_user_model.objects.create_user("staff", is_staff=True))
    old = client.session.session_key
    client.post("/producer/")
    assert client.session.session_key != old
    page = client.get("/")
    assert page.wsgi_request.user.get_username() == USERNAME


@pytest.mark.parametrize("key", ["", "wrong", "ü"])
def test_without_the_key_nobody_becomes_the_operator(client: Client, settings: Any, key: str) -> None:
    for configured in ("", "the key of this run"):
        settings.OPERATOR_KEY = configured
        assert client.get(f"/operator/{key}/").status_code == 404
    assert not get_user_model().objects.filter(username="demo_operator").exists()


def test_the_key_opens_the_staff_page_and_nothing_else(client: Client, settings: Any) -> None:
    settings.OPERATOR_KEY = "the-key"
    assert client.get("/pipeline/dashboard/").status_code == 403
    assert client.get("/operator/the-key/").headers["Location"] == "/pipeline/dashboard/"
    page = client.get("/pipeline/dashboard/")
    assert page.status_code == 200
    assert 'data-operate="yes"' in page.content.decode()
    user = get_user_model().objects.get(username="demo_operator")
    assert user.is_staff
    assert not user.is_superuser
    assert not user.has_usable_password()
    assert {permission.codename for permission in user.user_permissions.all()} == {
        "view_pipeline",
        "operate_pipeline",
    }


def test_the_favicon_is_where_browsers_look(client: Client) -> None:
    assert client.get("/favicon.ico").headers["Location"] == "/static/dating_show/rose.svg"


async def test_the_headers_come_through_an_async_stack_too(async_client: Any, transactional_db: None) -> None:
    page = await async_client.get("/favicon.ico")
    assert "Content-Security-Policy" in page.headers


def test_the_example_has_no_file_from_elsewhere() -> None:
    for path in [*own("*.*"), *Path(EXAMPLE / "dating_show" / "templates").rglob("*.*")]:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
        assert not re.search(r"@import|https?://(?!127\.0\.0\.1|localhost)", text), path
