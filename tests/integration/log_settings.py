"""The tests' settings with the log filter as the how-to has it."""

from __future__ import annotations

from tests.settings import *  # noqa: F403

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"frames": {"()": "django_update_pipeline.log_filters.InvalidFrames"}},
    "loggers": {"uvicorn.error": {"level": "INFO", "filters": ["frames"]}},
}
