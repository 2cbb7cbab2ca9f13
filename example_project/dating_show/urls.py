"""The page and its two clicks."""

from __future__ import annotations

from django.urls import path

from dating_show import views

urlpatterns = [
    path("", views.villa, name="villa"),
    path("producer/", views.become_producer, name="become_producer"),
    path("producer/leave/", views.leave, name="leave"),
    path("favicon.ico", views.favicon),
]
