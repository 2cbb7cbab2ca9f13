"""Hypothesis profiles: `ci` (the default, under a minute for the folder) and `long` (HYPOTHESIS_PROFILE=long)."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]

# One failure at a time: shrinking several at once takes minutes.
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    stateful_step_count=40,
    suppress_health_check=_SLOW,
    report_multiple_bugs=False,
)
settings.register_profile("long", settings.get_profile("ci"), max_examples=5_000, stateful_step_count=80)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
