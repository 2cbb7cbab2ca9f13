"""The test-suite's URLs: none of its own."""

from __future__ import annotations

urlpatterns: list[object] = []
