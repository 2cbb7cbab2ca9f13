"""The views: who gets what, what is never told, and that a probe costs neither a thread nor a query."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asgiref.sync
import pytest
from django.contrib.auth.models import Permission
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import override_script_prefix

from django_update_pipeline import get_update_pipeline
from django_update_pipeline.routing import admin_socket_path, with_update_pipeline
from django_update_pipeline.service import reset_update_pipeline
from django_update_pipeline.views import live, policy, ready

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.urls("tests.dashboard.urls")

ROLES = {
    # role: (is_staff, permissions, is_superuser, is_active) -> may view, may operate
    "user": ((False, ("view_pipeline", "operate_pipeline"), False, True), False, False),
    "staff": ((True, (), False, True), False, False),
    "viewer": ((True, ("view_pipeline",), False, True), True, False),
    "operator": ((True, ("operate_pipeline",), False, True), True, True),
    "superuser": ((True, (), True, True), True, True),
    "superuser who is no staff": ((False, (), True, True), False, False),
    "left": ((True, ("view_pipeline",), False, False), False, False),
}
NO_STORE = "max-age=0, no-cache, no-store, must-revalidate, private"


@pytest.fixture(autouse=True)
def _fresh_pipeline() -> Iterator[None]:
    reset_update_pipeline()
    yield
    reset_update_pipeline()


@pytest.fixture
def sign_in(db: None, client: Client, django_user_model: Any) -> Any:
    def one(role: str) -> Client:
        is_staff, permissions, is_superuser, is_active = ROLES[role][0]
        user = django_user_model.objects.create_user(
            "<b>somebody</b>", is_staff=is_staff, is_superuser=is_superuser
        )
        user.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        if not is_active:
            django_user_model.objects.update(is_active=False)
        return client

    return one


# the probes: no test here may ask the database, and pytest-django sees to it


def test_live_says_one_word_and_is_not_kept(client: Client) -> None:
    answer = client.get("/pipeline/live/")
    assert (answer.status_code, answer.content) == (200, b'{"status":"ok"}')
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == NO_STORE


@pytest.mark.parametrize("path", ["live", "ready", "health", "dashboard"])
def test_only_get_and_head_are_answered(client: Client, path: str) -> None:
    for method in (client.post, client.put, client.delete, client.patch, client.options):
        assert method(f"/pipeline/{path}/").status_code == 405
    assert client.head("/pipeline/live/").status_code == 200


def test_a_process_without_a_running_pipeline_is_not_ready(client: Client) -> None:
    """So it is under WSGI, where nothing runs the pipeline."""
    answer = client.get("/pipeline/ready/")
    assert (answer.status_code, answer.content) == (503, b'{"status":"not ready"}')
    assert answer.headers["Cache-Control"] == NO_STORE


async def test_ready_is_true_while_the_pipeline_delivers(async_client: AsyncClient) -> None:
    pipeline = get_update_pipeline()
    async with pipeline:
        answer = await async_client.get("/pipeline/ready/")
        assert (answer.status_code, answer.content) == (200, b'{"status":"ok"}')
        pipeline.circuit_breaker.force_open("by a test")
        assert (await async_client.get("/pipeline/ready/")).status_code == 503
        pipeline.reset_circuit_breaker()
        assert (await async_client.get("/pipeline/ready/")).status_code == 200
    assert (await async_client.get("/pipeline/ready/")).status_code == 503


def test_wrong_settings_are_not_ready_and_are_not_told(client: Client, settings: Any) -> None:
    settings.UPDATE_PIPELINE = {"TRANSPROT": "secret-name"}
    answer = client.get("/pipeline/ready/")
    assert (answer.status_code, answer.content) == (503, b'{"status":"not ready"}')
    assert client.get("/pipeline/live/").status_code == 200


async def test_the_probes_hop_into_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def hop(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a thread for a probe")

    get_update_pipeline()
    monkeypatch.setattr(asgiref.sync.SyncToAsync, "__call__", hop)
    request = RequestFactory().get("/")
    assert (await live(request)).status_code == 200
    assert (await ready(request)).status_code == 503


def test_the_probes_are_public_where_a_project_asks_everybody_to_sign_in(
    client: Client, settings: Any
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert client.get("/pipeline/live/").status_code == 200
    assert client.get("/pipeline/ready/").status_code == 503


# the report


@pytest.mark.parametrize("role", ROLES)
def test_the_report_is_for_staff_with_the_permission(sign_in: Any, role: str) -> None:
    answer = sign_in(role).get("/pipeline/health/")
    assert answer.headers["Cache-Control"] == NO_STORE
    if ROLES[role][1]:
        assert answer.status_code == 200
        assert set(answer.json()) == {"readiness", "health", "metrics"}
        assert answer.json()["metrics"]["conservation"]["total"]["accepted"] == 0
        assert answer.json()["readiness"] == {"is_ready": False, "reasons": ["not_running"]}
    else:
        assert (answer.status_code, answer.content) == (403, b'{"status":"forbidden"}')


@pytest.mark.django_db
def test_an_anonymous_visitor_learns_nothing_from_the_report(client: Client) -> None:
    answer = client.get("/pipeline/health/")
    assert (answer.status_code, answer.content) == (403, b'{"status":"forbidden"}')
    assert set(answer.headers) <= {
        "Content-Type", "X-Content-Type-Options", "Expires", "Cache-Control", "Content-Length", "Vary",
    }  # fmt: skip


def test_who_may_see_the_report_is_told_what_is_wrong_with_the_settings(sign_in: Any, settings: Any) -> None:
    client = sign_in("viewer")
    settings.UPDATE_PIPELINE = {"TRANSPROT": "memory"}
    answer = client.get("/pipeline/health/")
    assert answer.status_code == 503
    assert "transprot" in answer.json()["cause"].lower()


BARE = """
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["django_update_pipeline"], ROOT_URLCONF="django_update_pipeline.urls", ALLOWED_HOSTS=["testserver"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
)
django.setup()
from django.test import Client
client = Client()
print([client.get(path).status_code for path in ("/live/", "/ready/", "/health/", "/dashboard/")])
"""


def test_a_project_without_users_sessions_and_admin_has_its_probes_and_no_page() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BARE], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.stdout.strip() == "[200, 503, 403, 403]", done.stderr


def test_without_users_nobody_may(client: Client, settings: Any) -> None:
    settings.MIDDLEWARE = []
    assert client.get("/pipeline/health/").status_code == 403
    assert client.get("/pipeline/dashboard/").status_code == 302


# the page


@pytest.mark.parametrize("role", ROLES)
def test_the_page_is_for_staff_with_the_permission(sign_in: Any, role: str) -> None:
    answer = sign_in(role).get("/pipeline/dashboard/")
    text = answer.content.decode()
    assert answer.headers["Cache-Control"] == NO_STORE
    if not ROLES[role][1]:
        # An inactive user is none to Django, and may sign in as another.
        assert answer.status_code == (302 if role == "left" else 403)
        assert "ws/" not in text
        assert "Update pipeline" not in text
        return
    assert answer.status_code == 200
    assert f'data-operate="{"yes" if ROLES[role][2] else "no"}"' in text
    assert ('id="reset"' in text) is ROLES[role][2]
    assert ('id="replay"' in text) is ROLES[role][2]
    assert "&lt;b&gt;somebody&lt;/b&gt;" in text
    assert "<b>somebody" not in text


@pytest.mark.django_db
def test_anonymous_visitors_are_sent_to_the_admins_log_in(client: Client) -> None:
    answer = client.get("/pipeline/dashboard/?x=1")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/staff/login/?next=/pipeline/dashboard/%3Fx%3D1"
    assert answer.headers["Cache-Control"] == NO_STORE


@pytest.mark.django_db
@pytest.mark.urls("tests.dashboard.urls_without_login")
def test_without_a_log_in_they_are_refused(client: Client, settings: Any) -> None:
    answer = client.get("/pipeline/dashboard/")
    assert answer.status_code == 403
    assert b"ws/" not in answer.content
    settings.LOGIN_URL = "https://login.example/?realm=staff"
    location = client.get("/pipeline/dashboard/").headers["Location"]
    assert location == "https://login.example/?realm=staff&next=/pipeline/dashboard/"


def test_the_page_holds_no_inline_code_or_style_and_nothing_from_elsewhere(sign_in: Any) -> None:
    text = sign_in("operator").get("/pipeline/dashboard/").content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text)


def test_the_page_asks_no_context_processor(sign_in: Any, settings: Any) -> None:
    """They may ask the database, which the event loop must not."""
    client = sign_in("viewer")
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": ["tests.dashboard.test_views.no_processor"]},
        }
    ]
    assert client.get("/pipeline/dashboard/").status_code == 200


def no_processor(request: Any) -> dict[str, Any]:
    raise AssertionError("a context processor was asked")


# its policy


def directives(header: str) -> dict[str, list[str]]:
    return {part.split()[0]: part.split()[1:] for part in header.split(";")}


def test_the_policy_allows_own_files_and_own_sockets_only(sign_in: Any) -> None:
    answer = sign_in("viewer").get("/pipeline/dashboard/", headers={"host": "localhost:8001"})
    found = directives(answer.headers["Content-Security-Policy"])
    assert found["default-src"] == ["'none'"]
    assert found["script-src"] == found["style-src"] == found["img-src"] == ["'self'"]
    assert found["connect-src"] == ["'self'", "ws://localhost:8001", "wss://localhost:8001"]
    assert found["frame-ancestors"] == found["base-uri"] == found["form-action"] == ["'none'"]
    assert found["require-trusted-types-for"] == ["'script'"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_foreign_host_gets_no_page(sign_in: Any) -> None:
    assert sign_in("viewer").get("/pipeline/dashboard/", headers={"host": "evil.example"}).status_code == 400


def test_static_files_on_another_host_are_allowed_by_their_origin(rf: RequestFactory) -> None:
    found = directives(
        policy.content_security_policy(rf.get("/"), "https://files.example/a/main.js?signed=1")
    )
    assert found["script-src"] == found["style-src"] == ["https://files.example"]
    found = directives(policy.content_security_policy(rf.get("/", secure=True), "//files.example/main.js"))
    assert found["script-src"] == ["https://files.example"]
    assert "'self'" in found["connect-src"]


def test_the_one_inline_script_is_named_by_its_hash(rf: RequestFactory) -> None:
    digest = b64encode(hashlib.sha256(b'{"imports":{}}').digest()).decode()
    header = policy.content_security_policy(rf.get("/"), "/static/main.js", '{"imports":{}}')
    assert directives(header)["script-src"] == ["'self'", f"'sha256-{digest}'"]


def test_the_import_map_leads_to_the_names_that_the_storage_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    assert policy.import_map("app/main.js", ["main.js", "a.js"]) == ""
    monkeypatch.setattr(
        policy, "static", lambda name: f"https://cdn.example/{name.replace('.js', '.0f.js')}?<sig>"
    )
    assert policy.import_map("app/main.js", ["a.js"]) == (
        '{"imports":{"https://cdn.example/app/a.js":"https://cdn.example/app/a.0f.js?\\u003csig>"}}'
    )


# where the page connects to


def test_without_our_application_the_settings_say_where_the_socket_is(sign_in: Any, settings: Any) -> None:
    client = sign_in("viewer")
    assert 'data-socket="/ws/updates/admin/"' in client.get("/pipeline/dashboard/").content.decode()
    settings.UPDATE_PIPELINE = {"SOCKET_PATH": "/live/"}
    assert 'data-socket="/live/admin/"' in client.get("/pipeline/dashboard/").content.decode()
    with override_script_prefix("/app/"):  # the test client sets none
        assert admin_socket_path(RequestFactory().get("/")) == "/app/live/admin/"


@pytest.mark.parametrize(("root_path", "expected"), [("", "/ws/show/"), ("/app", "/app/ws/show/")])
async def test_our_application_tells_its_pages_where_its_sockets_are(root_path: str, expected: str) -> None:
    seen: list[dict[str, Any]] = []

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope)

    scope = {"type": "http", "path": f"{root_path}/x", "root_path": root_path, "headers": []}
    wrapped = with_update_pipeline(application, path="ws/show/")
    await wrapped(scope, None, None)
    await get_update_pipeline().stop()
    assert seen[0]["update_pipeline.path"] == expected
    assert "update_pipeline.path" not in scope


async def test_the_door_is_where_the_settings_say(settings: Any) -> None:
    settings.UPDATE_PIPELINE = {"SOCKET_PATH": "live/agents"}
    application = with_update_pipeline(lambda scope, receive, send: None)
    assert set(application.doors) == {"/live/agents/", "/live/agents/admin/"}
    settings.UPDATE_PIPELINE = {"SOCKET_PATH": "//evil"}
    assert set(with_update_pipeline(lambda scope, receive, send: None).doors) == {
        "/ws/updates/",
        "/ws/updates/admin/",
    }


async def test_the_page_is_served_on_the_loop_too(
    async_client: AsyncClient, transactional_db: None, django_user_model: Any
) -> None:
    user = await django_user_model.objects.acreate(username="chief", is_staff=True, is_superuser=True)
    await async_client.aforce_login(user)
    answer = await async_client.get("/pipeline/dashboard/")
    assert answer.status_code == 200
    assert b'data-operate="yes"' in answer.content
