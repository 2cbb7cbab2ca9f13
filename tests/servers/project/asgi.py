"""As a user's project has it."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from django_update_pipeline.routing import with_update_pipeline

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.servers.project.settings")

application = with_update_pipeline(get_asgi_application())
