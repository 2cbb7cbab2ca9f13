"""A project for the client's tests: an open page with the client on it, things to happen, and an action."""

from __future__ import annotations

import os
from typing import Any

import django
from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import engines
from django.urls import path

from django_update_pipeline import ActionRefused, UpdatePriority, get_update_pipeline, hookimpl
from django_update_pipeline.core.codes import CLOSED_BY_OPERATOR
from tests.docs.markdown import ROOT, blocks

README = ROOT / "README.md"
REACT = ROOT / "docs" / "howto" / "use-react.md"

if not settings.configured:
    settings.configure(
        SECRET_KEY="for tests only",
        DEBUG=True,
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.staticfiles", "django_update_pipeline"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        STATIC_URL="static/",
        STATICFILES_DIRS=[path_ for path_ in [os.environ.get("SITE_STATIC", "")] if path_],
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        UPDATE_PIPELINE={"SOCKET_PATH": "live/villa/", "PLUGINS": [f"{__name__}.HOOKS"]},
        USE_TZ=True,
    )

PAGE = """{% load static update_pipeline %}<!doctype html><html lang="en"><head><title>Villa</title>
{% update_pipeline_js owner="eve" %}
<script src="{% static 'page.js' %}" defer></script></head><body><p id="out"></p></body></html>
"""


class Hooks:
    @hookimpl
    def authorize_subscribe(self, client: Any, channel: str) -> bool:
        return channel in ("updates", "map")

    @hookimpl
    def authorize_action(self, client: Any, agent_id: str, action: str, params: Any) -> bool:
        return action != "forbidden"

    @hookimpl
    def handle_action(self, client: Any, agent_id: str, action: str, params: Any) -> str | None:
        if action == "refuse":
            raise ActionRefused("not today")
        if action != "move":
            return None
        get_update_pipeline().queue_agent_update(agent_id, "state_patch", {"place": params["place"]})
        return "moved"


HOOKS = Hooks()


def page(request: HttpRequest) -> HttpResponse:
    answer = HttpResponse(engines["django"].from_string(PAGE).render({}, request))
    answer["Content-Security-Policy"] = "default-src 'none'; script-src 'self'; connect-src 'self'"
    return answer


def readme(request: HttpRequest) -> HttpResponse:
    """The README's snippet in a page, with a `render` that says what it is given."""
    (snippet,) = [block.code for block in blocks(README, "html")]
    render = "<script>function render(agents, status) { out.textContent = status + agents.size; }</script>"
    text = f'<!doctype html><p id="out"></p>{render}{snippet}'
    return HttpResponse(engines["django"].from_string(text).render({}, request))


def react(request: HttpRequest) -> HttpResponse:
    """The page of docs/howto/use-react.md without a bundler, under a policy by which its import map needs a nonce."""
    (snippet,) = [block.code for block in blocks(REACT, "html")]
    snippet = snippet.replace('"importmap">', '"importmap" nonce="{{ nonce }}">')
    text = f'<!doctype html><html lang="en"><head><title>Orders</title></head><body>{snippet}</body></html>'
    answer = HttpResponse(engines["django"].from_string(text).render({"nonce": "n1"}, request))
    answer["Content-Security-Policy"] = "default-src 'none'; script-src 'self' 'nonce-n1'; connect-src 'self'"
    return answer


async def do(request: HttpRequest, what: str) -> HttpResponse:
    """Has something happen in the server's process."""
    pipeline = get_update_pipeline()
    number = int(request.GET.get("n", "0"))
    if what == "fill":
        for count in range(number):
            data = {"n": count, "mood": "calm", "text": "x" * 900}
            pipeline.queue_agent_update(f"agent_{count:03}", data=data, channels=["updates", "map"])
        await pipeline.publish("agent_000", "state_patch", {"round": number}, channels=["updates", "map"])
    elif what == "patch":
        await pipeline.publish(
            "agent_000", "state_patch", {"mood": f"mood {number}"}, priority=UpdatePriority.HIGH
        )
    elif what == "say":
        await pipeline.publish("agent_000", "said", {"number": number})
    elif what == "remove":
        await pipeline.publish(f"agent_{number:03}", "state_removed", {})
    elif what == "notify":
        pipeline.queue_system_notification(f"notice {number}")
    elif what == "cut":
        for connection in list(pipeline.websocket_manager.connections.values()):
            connection.close(CLOSED_BY_OPERATOR)
    return HttpResponse("ok")


def metrics(request: HttpRequest) -> JsonResponse:
    return JsonResponse(get_update_pipeline().get_performance_metrics())


urlpatterns = [
    path("", page),
    path("readme/", readme),
    path("react/", react),
    path("do/<str:what>/", do),
    path("metrics/", metrics),
]


def application() -> Any:
    """What uvicorn serves (`--factory`)."""
    django.setup()
    from django_update_pipeline.routing import with_update_pipeline

    return with_update_pipeline(ASGIStaticFilesHandler(get_asgi_application()))
