"""One page, to see that pages are served beside the sockets; it tells which process served it."""

from __future__ import annotations

import os

from django.http import HttpRequest, HttpResponse
from django.urls import path


async def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"served by {os.getpid()}")


urlpatterns = [path("", page)]
