"""Fixtures of several files here."""

from __future__ import annotations

import pytest

from django_update_pipeline.core import sync_live, sync_session


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each agent and event is a part of its own, and nothing is shared."""
    monkeypatch.setattr(sync_session, "PART_CHARS", 201)
    monkeypatch.setattr(sync_live, "MAX_LIVE_CHARS", 10)
