"""The page of the villa, and how a visitor becomes the producer or the operator."""

from __future__ import annotations

from django.contrib.auth import login, logout
from django.http import Http404, HttpRequest, HttpResponse, HttpResponsePermanentRedirect, JsonResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST, require_safe

from dating_show.operator import demo_operator, knows_the_key
from dating_show.producer import BACKEND, demo_producer, is_producer
from dating_show.villa import grounds
from dating_show.villa.simulation import MOODS


@require_safe
@never_cache
def villa(request: HttpRequest) -> HttpResponse:
    """The page. What lives on it comes over the socket; here are only places and buttons."""
    context = {
        "is_producer": is_producer(request.user),
        "places": list(grounds.PLACES.values()),
        "moods": list(MOODS),
    }
    return render(request, "dating_show/villa.html", context)


@require_safe
@never_cache
def villa_on_react(request: HttpRequest) -> HttpResponse:
    """The same people, drawn by React."""
    return render(request, "dating_show/react.html")


@require_POST
@never_cache
def become_producer(request: HttpRequest) -> HttpResponse:
    """Logs the visitor in as the demo producer."""
    login(request, demo_producer(), backend=BACKEND)
    return _answer(request, producer=True)


@require_POST
@never_cache
def leave(request: HttpRequest) -> HttpResponse:
    """Logs the visitor out."""
    logout(request)
    return _answer(request, producer=False)


@require_GET
@never_cache
def become_operator(request: HttpRequest, key: str) -> HttpResponse:
    """Logs in whoever holds the key that the terminal shows, and leads to the pipeline's page."""
    if not knows_the_key(key):
        raise Http404
    login(request, demo_operator(), backend=BACKEND)
    return redirect("django_update_pipeline:dashboard")


@require_GET
def favicon(request: HttpRequest) -> HttpResponsePermanentRedirect:
    """Browsers ask for it at this address, whatever the page says."""
    return HttpResponsePermanentRedirect(static("dating_show/rose.svg"))


def _answer(request: HttpRequest, *, producer: bool) -> HttpResponse:
    if request.headers.get("Accept") == "application/json":
        # The page stays open: logging in or out has changed the token that its forms must send next.
        return JsonResponse({"producer": producer, "csrf_token": get_token(request)})
    return redirect("villa")
