"""The ASGI application: the page, its static files, and the pipeline's sockets in front of them.

uvicorn dating_show.asgi:application --port 8001
python manage.py runserver 8001
"""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dating_show.settings")
django_application = get_asgi_application()

# These read settings and models: they come after Django is set up.
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402

from dating_show.database import prepare_database  # noqa: E402
from dating_show.villa.source import enable_simulation  # noqa: E402
from django_update_pipeline.routing import with_update_pipeline  # noqa: E402

prepare_database()
enable_simulation()

application = with_update_pipeline(ASGIStaticFilesHandler(django_application), path="ws/dating_show/")
