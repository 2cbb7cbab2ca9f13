"""A ready ASGI application: `ASGI_APPLICATION = "django_update_pipeline.asgi.application"`."""

from __future__ import annotations

from django.core.asgi import get_asgi_application

from .routing import with_update_pipeline

application = with_update_pipeline(get_asgi_application())
