"""The process's pipeline for one test, made from the test's own settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from django_update_pipeline import service


@pytest.fixture
async def pipeline(settings: Any) -> AsyncIterator[Any]:
    """Called with UPDATE_PIPELINE's content it returns the pipeline of these settings; stopped afterwards."""
    made: list[Any] = []

    def make(**values: Any) -> Any:
        settings.UPDATE_PIPELINE = {"TRANSPORT": "memory", "CONTROL": False, "ON_COMMIT": False, **values}
        made.append(service.get_update_pipeline())
        return made[-1]

    yield make
    for one in made:
        await one.stop()
    service.reset_update_pipeline()
