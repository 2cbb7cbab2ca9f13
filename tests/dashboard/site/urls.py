"""The pipeline's views, the hashed files, and by `do/...` what a test wants to happen in this process."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.contrib.auth.models import Permission
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.static import serve

from django_update_pipeline import UpdatePriority, get_update_pipeline
from django_update_pipeline.core.credit import Asked
from django_update_pipeline.service import reset_update_pipeline
from tests.dashboard.site.plugin import TRANSPORT

HOSTILE = '<img src=x onerror="window.hurt=1"></script><script>window.hurt=2</script>'


def sign_in(request: HttpRequest, name: str) -> HttpResponse:
    login(request, get_user_model().objects.get(username=name))
    return HttpResponse("ok")


def grant(request: HttpRequest, name: str, permission: str) -> HttpResponse:
    get_user_model().objects.get(username=name).user_permissions.add(
        Permission.objects.get(codename=permission)
    )
    return HttpResponse("ok")


def withdraw(request: HttpRequest, name: str) -> HttpResponse:
    get_user_model().objects.get(username=name).user_permissions.clear()
    return HttpResponse("ok")


def queue(request: HttpRequest) -> HttpResponse:
    """`?count=3&type=state_change&agent=a&priority=NORMAL`; `agent=` counts up where there is none."""
    pipeline = get_update_pipeline()
    asked: Any = request.GET
    for number in range(int(asked.get("count", "1"))):
        pipeline.queue_agent_update(
            asked.get("agent", f"agent_{number:03}"),
            asked.get("type", "state_change"),
            {"number": number, "text": asked.get("text", "")},
            priority=UpdatePriority[asked.get("priority", "NORMAL")],
        )
    return HttpResponse("ok")


def hostile(request: HttpRequest) -> HttpResponse:
    """Everything a stranger may choose is hostile: agent, type, keys and values of the data, reason and cause."""
    data = {"__proto__": {"hurt": 3}, "constructor": {"prototype": {"hurt": 4}}, HOSTILE: HOSTILE}
    get_update_pipeline().queue_agent_update(HOSTILE[:100], f"event {HOSTILE[:60]}", data)
    return HttpResponse("ok")


def transport(request: HttpRequest, what: str) -> HttpResponse:
    match what:
        case "down":
            TRANSPORT.begin_outage()
        case "up":
            TRANSPORT.end_outage()
        case "rejects":
            TRANSPORT.reject(lambda change: True, f"refused: {HOSTILE}")
        case "takes":
            TRANSPORT.reject(lambda change: False)
    return HttpResponse("ok")


async def fresh(request: HttpRequest) -> HttpResponse:
    """As after a restart: the next request starts a pipeline that has seen nothing."""
    await get_update_pipeline().stop()
    reset_update_pipeline()
    return HttpResponse("ok")


def heard(request: HttpRequest) -> HttpResponse:
    """A CRITICAL update was applied 0.9 s after it was queued, and acknowledged after 1 s: 200 samples, 3 repairs."""
    ages = get_update_pipeline().websocket_manager.ages
    for _ in range(200):
        ages.heard(Asked("updates", 1, 9.5, 50.0, ((0, 50.0),)), 900.0, 10.0, 51.0)
    ages.repaired(3)
    return HttpResponse("ok")


def reset(request: HttpRequest) -> HttpResponse:
    get_update_pipeline().reset_circuit_breaker()
    return HttpResponse("ok")


urlpatterns = [
    path("pipeline/", include("django_update_pipeline.urls")),
    path("files/<path:path>", serve, {"document_root": settings.STATIC_ROOT}),
    path("do/sign-in/<str:name>/", sign_in),
    path("do/grant/<str:name>/<str:permission>/", grant),
    path("do/withdraw/<str:name>/", withdraw),
    path("do/queue/", queue),
    path("do/fresh/", fresh),
    path("do/reset/", reset),
    path("do/heard/", heard),
    path("do/hostile/", hostile),
    path("do/transport/<str:what>/", transport),
]
