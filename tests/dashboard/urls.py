"""URLs of a project that has our views and a log-in of the admin's name."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def login(request: HttpRequest) -> HttpResponse:
    return HttpResponse("sign in")


urlpatterns = [
    path("pipeline/", include("django_update_pipeline.urls")),
    path("staff/", include(([path("login/", login, name="login")], "admin"))),
]
