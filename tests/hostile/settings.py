"""Django settings of the campaign: the suite's, a database file of its own, small limits, hooks that misbehave."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403

HOST_NAME = "127.0.0.1"
ALLOWED_HOSTS = [HOST_NAME]
# Small enough that frames at the limit cost the campaign little; what is checked does not depend on the numbers.
MAX_FRAME_BYTES = 8 * 1024
MAX_DEPTH = 32
MAX_SUBSCRIPTIONS = 100

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("HOSTILE_DATABASE", ":memory:"),
        "OPTIONS": {"timeout": 20},
    }
}
LOGGING_CONFIG = None
UPDATE_PIPELINE: dict[str, object] = {
    "TRANSPORT": "memory",
    "CONTROL": False,
    "ON_COMMIT": False,
    "PLUGINS": ["tests.hostile.hooks"],
    "OPEN_CHANNELS": ["news", "agent.agent_001"],
    # Full after a few thousand inputs, so that memory is flat from then on.
    "STORE": {"max_events": 500},
    "CONNECTIONS": {
        "max_frame_bytes": MAX_FRAME_BYTES,
        "max_depth": MAX_DEPTH,
        "max_subscriptions": MAX_SUBSCRIPTIONS,
        # Floods are refused and closed; the rest of a conversation stays below.
        "messages_per_s": 2000.0,
        "burst": 400,
        "max_rate_limited": 100,
    },
}
