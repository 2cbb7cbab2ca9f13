"""Settings of the example: everything works from a fresh clone, nothing needs setting up.

Environment:
    DATING_SHOW_DEBUG: "0" turns DEBUG off.
    DATING_SHOW_SECRET_KEY: the key to sign with; the one below is for the demo only.
    DATING_SHOW_HOSTS: more host names, separated by commas, under which the example may be asked.
    DATING_SHOW_DATABASE: another SQLite file.
    DATING_SHOW_OPERATOR_KEY: whoever opens /operator/KEY/ becomes the demo operator, who sees /pipeline/dashboard/.
    DATING_SHOW_SIMULATION: "off" keeps the villa empty.
    DATING_SHOW_REDIS_URL: a channel layer on Redis (needs channels-redis), for more than one process.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# The example is no installed package: whoever names these settings must be able to import what they name,
# also when the command was started in another folder. In a clone the package lies one folder above.
for _folder in (BASE_DIR, *(() if find_spec("django_update_pipeline") else (BASE_DIR.parent,))):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))

DEBUG = os.environ.get("DATING_SHOW_DEBUG", "1").lower() not in ("0", "false", "off", "no", "")
SECRET_KEY = os.environ.get(
    "DATING_SHOW_SECRET_KEY", "demo-only-this-key-is-public-and-protects-nothing-of-yours"
)
OPERATOR_KEY = os.environ.get("DATING_SHOW_OPERATOR_KEY", "")
ALLOWED_HOSTS = [
    "127.0.0.1",
    "localhost",
    "[::1]",
    *filter(None, os.environ.get("DATING_SHOW_HOSTS", "").split(",")),
]

INSTALLED_APPS = [
    # daphne gives `runserver` its ASGI server and has to come before staticfiles. Both are optional: the
    # example is served by any ASGI server, and the package's own door needs no Channels.
    *(["daphne"] if find_spec("daphne") else []),
    "django.contrib.staticfiles",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    *(["channels"] if find_spec("channels") else []),
    "django_update_pipeline",
    "dating_show",
]

MIDDLEWARE = [
    "dating_show.middleware.SecurityHeadersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "dating_show.urls"
ASGI_APPLICATION = "dating_show.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATING_SHOW_DATABASE", str(BASE_DIR / "db.sqlite3")),
        # A writer that finds the file locked waits instead of failing.
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"

SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

UPDATE_PIPELINE = {
    "TRANSPORT": "auto",
    "PLUGINS": ["dating_show.plugins"],
    "DEFAULT_CHANNEL": "dating_show_updates",
    "OPEN_CHANNELS": ["agent_notifications"],
    "BATCHING": {"max_batch_size": 50, "batch_timeout_ms": 20},
    "CIRCUIT_BREAKER": {"failure_threshold": 5, "recovery_timeout": 30.0, "half_open_max_calls": 3},
    "CONNECTIONS": {
        "max_connections_per_user": 0,  # any number of visitors may be the one demo producer
        # Small, so that a visitor whose page reads nothing soon sees what a slow reader costs: one position, no queue.
        "window_bytes": 4 * 1024,
    },
}

if _redis_url := os.environ.get("DATING_SHOW_REDIS_URL"):
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [_redis_url], "capacity": 1500, "expiry": 60},
        }
    }
