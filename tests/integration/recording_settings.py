"""The example's settings, and a plugin that plays a recording into its manager."""

from __future__ import annotations

from dating_show.settings import *  # noqa: F403
from dating_show.settings import UPDATE_PIPELINE

UPDATE_PIPELINE = {
    **UPDATE_PIPELINE,
    "PLUGINS": ["dating_show.plugins", "tests.integration.recording_plugin"],
}
