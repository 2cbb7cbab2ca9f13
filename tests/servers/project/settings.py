"""Settings of the small project that every server serves in these tests; what differs comes by the environment."""

from __future__ import annotations

import json
import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent
SECRET_KEY = "of the served tests only"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_update_pipeline",
]
if os.environ.get("SERVED_BY_DAPHNES_RUNSERVER"):
    INSTALLED_APPS.insert(0, "daphne")
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SERVED_DATABASE", ":memory:"),
        "OPTIONS": {"timeout": 20},
    }
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.servers.project.urls"
ASGI_APPLICATION = "tests.servers.project.asgi.application"
STATIC_URL = "/static/"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"django_update_pipeline": {"handlers": ["stderr"], "level": "INFO"}},
}

UPDATE_PIPELINE = {
    "TRANSPORT": "memory",
    "PLUGINS": ["tests.servers.project.plugin"],
    "ENTRY_POINTS": False,
    "OPEN_CHANNELS": ["news"],
    **json.loads(os.environ.get("SERVED_PIPELINE", "{}")),
}
