"""A real browser for tests: chromium, driven by playwright, one for each module that has windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

#: Of a window that is nobody's in particular.
WIDE = {"width": 1400, "height": 900}
#: No sandbox, which most containers forbid; no graphics card; nothing over the network but the pages of a test.
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def playwright_api() -> Any:
    # Not at the top: the runs that leave the browser out have no playwright, and skip nothing.
    return pytest.importorskip(
        "playwright.sync_api", reason="no playwright: install the e2e dependency group (tox -e e2e)"
    )


@pytest.fixture(scope="module")
def chromium(chromium_path: str, playwright_api: Any) -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=SWITCHES)
        yield chromium
        chromium.close()
