"""The staff page: a shell of HTML. What lives on it comes over the admin socket, which asks for itself who is there."""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

from django.conf import global_settings, settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ..routing import admin_socket_path
from .policy import HEADERS, content_security_policy, import_map
from .visitor import visitor_of

TEMPLATE = "django_update_pipeline/dashboard.html"
REFUSED = "403: this page is for staff with the permission to view the pipeline.\n"
ENTRY = "django_update_pipeline/dashboard/main.js"


@login_not_required
@never_cache
@require_safe
async def dashboard(request: HttpRequest) -> HttpResponse:
    """The page. Anonymous visitors are sent to the project's log-in, where it has one; others get 403.

    Nothing here changes anything, so there is no form and no CSRF token: commands go over the admin socket. A browser
    lets any site open a socket and sends our cookies along, but it says truly from where; the socket's door refuses
    every origin but our own, and asks who it is. That does for the socket what the token does for a form.
    """
    visitor = await visitor_of(request)
    if not visitor.may_view:
        login = None if visitor.is_signed_in else login_url()
        if login is None:
            return HttpResponse(REFUSED, status=403, content_type="text/plain; charset=utf-8")
        # Not redirect_to_login: its module needs the user model, and a project may have none.
        mark = "&" if "?" in login else "?"
        return HttpResponseRedirect(f"{login}{mark}{urlencode({'next': request.get_full_path()}, safe='/')}")
    modules = import_map(ENTRY, own_modules())
    policy = content_security_policy(request, static(ENTRY), modules)
    context = {"visitor": visitor, "socket_path": admin_socket_path(request), "import_map": modules}
    # Without the request: a project's context processors may ask the database, which the loop must not.
    page = render_to_string(TEMPLATE, context)
    return HttpResponse(page, headers={**HEADERS, "Content-Security-Policy": policy})


def login_url() -> str | None:
    """Where staff sign in: the admin's log-in, else LOGIN_URL; None if there is neither."""
    with contextlib.suppress(NoReverseMatch):
        return reverse("admin:login")
    if settings.LOGIN_URL != global_settings.LOGIN_URL:
        return resolve_url(settings.LOGIN_URL)
    try:
        resolve(settings.LOGIN_URL)  # Django's default is an address that few projects serve
    except Resolver404:
        return None
    return str(settings.LOGIN_URL)


@cache
def own_modules() -> tuple[str, ...]:
    """The names of the page's modules: what the import map must know."""
    folder = Path(__file__).resolve().parent.parent / "static" / Path(ENTRY).parent
    return tuple(sorted(path.name for path in folder.glob("*.js")))
