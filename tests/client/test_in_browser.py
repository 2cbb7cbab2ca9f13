"""The tag's client on a page in Chromium, under a policy without inline scripts."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import SWITCHES
from tests.dashboard.conftest import LISTEN
from tests.docs.markdown import blocks

from .serving import Site, site
from .site import REACT

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


@pytest.fixture
def react_served(tmp_path: Path, client_folder: Path) -> Iterator[Site]:
    """The modules of docs/howto/use-react.md; React made into one as the page says."""
    board, react = (block.code for block in blocks(REACT, "js"))
    (shell,) = (block.code for block in blocks(REACT, "sh"))
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "board.js").write_text(board.replace("/ws/updates/", "/live/villa/"))
    (client_folder / "react-page.mjs").write_text(react)
    program, *arguments = shlex.split(shell.replace("\\\n", "").split("npx ")[1])
    arguments[-1] = f"--outfile={shop / 'react.js'}"
    made = client_folder / "node_modules" / ".bin" / program
    subprocess.run([str(made), *arguments, "--log-level=error"], cwd=client_folder, check=True, timeout=60)
    with site(tmp_path) as served:
        yield served


def test_the_hooks_run_from_the_static_files_and_an_import_map(
    react_served: Site, chromium_path: str
) -> None:
    api = pytest.importorskip(
        "playwright.sync_api", reason="no playwright: install the e2e dependency group (tox -e e2e)"
    )
    react_served.do("fill", 30)
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path, args=SWITCHES)
        page = chromium.new_page()
        page.add_init_script(LISTEN)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{react_served.url}/react/")
        orders = api.expect(page.locator("#orders p"))
        orders.to_have_text("30 orders", timeout=30_000)
        orders.to_have_attribute("aria-busy", "false", timeout=30_000)
        react_served.do("remove", 7)
        orders.to_have_text("29 orders", timeout=30_000)
        # The page's own import is the client of the hooks: there is one.
        assert page.evaluate(
            """async () => {
                const { ActionError } = await import("django-update-pipeline");
                const { UpdatePipelineProvider } = await import("django-update-pipeline/react");
                const loaded = performance.getEntriesByType("resource").map(({ name }) => name.split("/").pop());
                const clients = loaded.filter((name) => name === "client.js").length;
                return [typeof ActionError, typeof UpdatePipelineProvider, clients];
            }"""
        ) == ["function", "function", 1]
        assert page.evaluate("window.violations") == []
        assert errors == []
        chromium.close()
