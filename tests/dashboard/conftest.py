"""The project of `site/` in a server of its own, and browser windows that keep what the page complained about."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser import WIDE
from tests.browser import chromium as chromium
from tests.browser import playwright_api as playwright_api

ROOT = Path(__file__).resolve().parents[2]

#: Reports what a policy refused to the console of our own, also where Chromium's text is another one.
LISTEN = """
window.violations = [];
document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
  window.violations.push(`${violatedDirective} ${blockedURI}`);
});
"""


@dataclass
class Site:
    """The served project; `do` has something happen in its process."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def do(self, path: str) -> None:
        with urllib.request.urlopen(f"{self.url}/do/{path}", timeout=10) as answer:
            assert answer.read() == b"ok"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    runtime = tempfile.mkdtemp(prefix="dup-")
    environment = {
        **os.environ,
        "DASHBOARD_SITE_FOLDER": str(folder),
        "UPDATE_PIPELINE_RUNTIME_DIR": runtime,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.dashboard.site.serve", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    served = Site(port, log, process)
    try:
        deadline = time.monotonic() + 40
        while True:
            try:
                with urllib.request.urlopen(f"{served.url}/pipeline/ready/", timeout=5):
                    break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the site did not come up:\n{log.read_text()}")
                time.sleep(0.1)
        yield served
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(runtime, ignore_errors=True)


class Window:
    """A window with cookies of its own, signed in as somebody, at the staff page."""

    def __init__(
        self, chromium: Any, site: Site, api: Any, name: str, on_socket: Any = None, **options: Any
    ) -> None:
        self.api = api
        self.context = chromium.new_context(**{"viewport": WIDE, **options})
        self.context.request.get(f"{site.url}/do/sign-in/{name}/")
        self.context.add_init_script(LISTEN)
        self.page = self.context.new_page()
        if on_socket is not None:
            self.page.route_web_socket("**/admin/", on_socket)
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._console)
        self.page.goto(f"{site.url}/pipeline/dashboard/")

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def expect(self, selector: str) -> Any:
        return self.api.expect(self.page.locator(selector))

    def is_live(self) -> None:
        self.expect("body").to_have_attribute("data-line", "live", timeout=15_000)

    def ask(self, script: str) -> Any:
        return self.page.evaluate(script)


@pytest.fixture
def open_window(chromium: Any, site: Site, playwright_api: Any) -> Iterator[Any]:
    """Opens windows; afterwards none may have complained, nor have had anything refused by the page's policy."""
    windows: list[Window] = []

    def open_one(name: str = "operator", **options: Any) -> Window:
        windows.append(Window(chromium, site, playwright_api, name, **options))
        return windows[-1]

    yield open_one
    complaints = [text for window in windows for text in window.complaints]
    violations = [one for window in windows for one in window.ask("window.violations ?? []")]
    for window in windows:
        window.context.close()
    assert (complaints, violations) == ([], [])
