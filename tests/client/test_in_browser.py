"""The tag's client on a page in Chromium, under a policy without inline scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dashboard.conftest import LISTEN, SWITCHES

from .serving import Site, site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PAGE = """
const client = UpdatePipeline.connect(null, { storage: sessionStorage, backoffCapMs: 500 });
const view = client.channel("updates");
window.resets = [];
function draw() {
  const { agents, status } = view.snapshot;
  document.body.dataset.status = status;
  document.body.dataset.agents = agents.size;
  document.getElementById("out").textContent = agents.get("agent_000")?.mood ?? "";
}
view.subscribe(draw);
view.onStatus(({ catchUp }) => catchUp && window.resets.push(catchUp.isReset));
draw();
window.first = document.body.dataset.agents;
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "page.js").write_text(PAGE)
    with site(tmp_path) as served:
        yield served


def test_a_page_is_live_through_a_reload_and_a_killed_server(served: Site, chromium_path: str) -> None:
    api = pytest.importorskip(
        "playwright.sync_api", reason="no playwright: install the e2e dependency group (tox -e e2e)"
    )
    served.do("fill", 30)
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=SWITCHES)
        page = chromium.new_page()
        page.add_init_script(LISTEN)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(served.url)
        body = api.expect(page.locator("body"))

        def shows(agents: int, mood: str) -> Any:
            body.to_have_attribute("data-status", "live", timeout=30_000)
            body.to_have_attribute("data-agents", str(agents), timeout=30_000)
            api.expect(page.locator("#out")).to_have_text(mood, timeout=30_000)

        shows(30, "calm")
        served.do("patch", 1)
        shows(30, "mood 1")

        page.reload()
        shows(30, "mood 1")
        assert page.evaluate("window.first") == "30", "what was kept is there before the server said anything"
        assert page.evaluate("window.resets") == [False], "a reload is a resume"
        (key,) = page.evaluate("Object.keys(sessionStorage)")
        assert re.search(r'\\"[0-9a-f]{16}\\"', key), "it belongs to the page's owner"

        sample = chromium.new_page()
        sample.goto(f"{served.url}/readme/")
        api.expect(sample.locator("#out")).to_have_text("live30", timeout=30_000)
        served.kill()
        api.expect(sample.locator("#out")).to_have_text("stale30", timeout=30_000)
        body.to_have_attribute("data-status", "stale", timeout=30_000)
        body.to_have_attribute("data-agents", "30")
        served.start()
        served.do("fill", 4)
        shows(4, "calm")
        assert page.evaluate("window.violations") == []
        assert errors == []
        chromium.close()
