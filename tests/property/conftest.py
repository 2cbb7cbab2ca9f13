"""Hypothesis profiles: `ci` (the default, under a minute for the folder), `long` (HYPOTHESIS_PROFILE=long), and
`mutation`, for `python -m tests.mutation`.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

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
# The same few examples each time: whether a mutant lives must not be a matter of luck, nor of patience.
settings.register_profile(
    "mutation",
    settings.get_profile("ci"),
    max_examples=15,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For a mutant the examples of the unit tests go first: most are noticed by those, in a fraction of the time."""
    if os.environ.get("HYPOTHESIS_PROFILE") == "mutation":
        items.sort(key=lambda item: "property" in item.path.parts)
