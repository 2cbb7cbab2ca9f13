"""The test-suite's URLs: the exporter's, where it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.urls import include, path

urlpatterns: list[Any] = []
if find_spec("django_prometheus") is not None:
    urlpatterns.append(path("", include("django_prometheus.urls")))
