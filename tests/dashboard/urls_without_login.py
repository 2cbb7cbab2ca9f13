"""URLs of a project that has our views only."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("pipeline/", include("django_update_pipeline.urls"))]
