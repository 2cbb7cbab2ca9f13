"""The tutorial's page in two windows of a real browser; with UPDATE_PIPELINE_PICTURES=1 it draws the picture."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from tests.browser import SWITCHES
from tests.docs.markdown import ROOT
from tests.docs.project import RUNSERVER, served

pytestmark = [pytest.mark.e2e, pytest.mark.channels, pytest.mark.timeout(180)]

SIZE = {"width": 460, "height": 370}
DRINKS = ["Espresso", "Flat white", "Mocha", "<img src=x onerror=alert(1)>"]


def test_two_windows_show_each_others_orders_and_come_back(first_part: Path, chromium_path: str) -> None:
    api = pytest.importorskip(
        "playwright.sync_api", reason="no playwright: install the e2e dependency group (tox -e e2e)"
    )
    with api.sync_playwright() as playwright, served(first_part, RUNSERVER) as host:
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=SWITCHES)
        one, two = (chromium.new_page(viewport=SIZE) for _ in range(2))
        complaints: list[str] = []
        for page in (one, two):
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("dialog", lambda dialog: complaints.append(dialog.message))
            page.goto(f"http://{host}/")
            api.expect(page.locator("#line")).to_have_text("live")
        for drink in DRINKS:
            one.fill("[name=drink]", drink)
            one.click("#new button")
            api.expect(two.locator("li").last).to_contain_text(drink)
        two.locator("li button").first.click()
        api.expect(one.locator("li button").first).to_have_text("making")
        last = one.locator("li button").last
        for step in ("waiting", "making", "ready"):
            api.expect(last).to_have_text(step)
            last.click()
        for page in (one, two):
            api.expect(page.locator("li")).to_have_count(len(DRINKS) - 1)
        assert complaints == [], "what somebody typed is shown as text"
        if os.environ.get("UPDATE_PIPELINE_PICTURES") == "1":
            draw(chromium, [page.screenshot() for page in (one, two)])
        chromium.close()


def draw(chromium: Any, pictures: list[bytes]) -> None:
    """Both windows side by side."""
    images = "".join(
        f'<img alt="" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
        for picture in pictures
    )
    page = chromium.new_page(viewport={"width": 2 * SIZE["width"] + 60, "height": SIZE["height"] + 40})
    style = "body{margin:20px;display:flex;gap:20px;background:#8a93a5}img{border-radius:8px}"
    page.set_content(f"<style>{style}</style>{images}")
    page.screenshot(path=ROOT / "docs" / "images" / "tutorial-board.png")
