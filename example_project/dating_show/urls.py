"""The page with its clicks, and the pipeline's own pages."""

from __future__ import annotations

from django.urls import include, path

from dating_show import views

urlpatterns = [
    path("", views.villa, name="villa"),
    path("react/", views.villa_on_react, name="villa_on_react"),
    path("producer/", views.become_producer, name="become_producer"),
    path("producer/leave/", views.leave, name="leave"),
    path("operator/<str:key>/", views.become_operator, name="become_operator"),
    path("pipeline/", include("django_update_pipeline.urls")),
    path("favicon.ico", views.favicon),
]
