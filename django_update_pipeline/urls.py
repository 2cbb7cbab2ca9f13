"""Where the HTTP views are: `path("pipeline/", include("django_update_pipeline.urls"))`."""

from __future__ import annotations

from django.urls import path

from .views import dashboard, health, live, ready

app_name = "django_update_pipeline"

urlpatterns = [
    path("live/", live, name="live"),
    path("ready/", ready, name="ready"),
    path("health/", health, name="health"),
    path("dashboard/", dashboard, name="dashboard"),
]
