"""One page, to see that pages are served beside the sockets; it tells which process served it, to viewers too."""

from __future__ import annotations

import os

from django.http import HttpRequest, HttpResponse
from django.urls import path

from django_update_pipeline import get_update_pipeline

PIPELINE = get_update_pipeline()  # at import, as many projects do: before the fork of a preloading server


async def page(request: HttpRequest) -> HttpResponse:
    PIPELINE.queue_agent_update("page", "served", {"by": os.getpid()})
    return HttpResponse(f"served by {os.getpid()}")


urlpatterns = [path("", page)]
