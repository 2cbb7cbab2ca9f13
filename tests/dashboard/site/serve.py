"""Prepares the project in its folder and serves it: `python -m tests.dashboard.site.serve PORT`."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.dashboard.site.settings"

import django
import uvicorn
from django.core.asgi import get_asgi_application
from django.core.management import call_command

HASHED = re.compile(r"\.[0-9a-f]{12}\.\w+$")


def prepare() -> None:
    """Tables, people, and the static files under their hashed names only: an import by another name must fail."""
    from django.conf import settings
    from django.contrib.auth import get_user_model

    call_command("migrate", verbosity=0)
    users = get_user_model().objects
    for name in ("operator", "watcher", "leaver"):
        users.create_user(name, is_staff=True)
    users.create_user("stranger")
    call_command("collectstatic", interactive=False, verbosity=0)
    for file in Path(settings.STATIC_ROOT).rglob("*.*"):
        if file.is_file() and not HASHED.search(file.name) and file.name != "staticfiles.json":
            file.unlink()


if __name__ == "__main__":
    django.setup()
    prepare()
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Permission

    for name, codename in (
        ("operator", "operate_pipeline"),
        ("watcher", "view_pipeline"),
        ("leaver", "view_pipeline"),
    ):
        get_user_model().objects.get(username=name).user_permissions.add(
            Permission.objects.get(codename=codename)
        )
    from django_update_pipeline.routing import with_update_pipeline

    uvicorn.run(
        with_update_pipeline(get_asgi_application(), path="live/agents/"),
        port=int(sys.argv[1]),
        log_level="warning",
        timeout_graceful_shutdown=2,
    )
