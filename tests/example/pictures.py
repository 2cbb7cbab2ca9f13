"""Draws the pictures of the villa and its staff page in `docs/images`, from a real server in a real browser.

python -m tests.example.pictures [NAME ...]

Needs what the browser tests need (the dependency group `e2e`, and Chromium as `chromium` on the PATH or named in
CHROMIUM). It takes minutes: people have to walk and talk first. Without names it draws all.
"""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.browser import SWITCHES

from .serving import UVICORN, Served, serve_example

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
DESK: dict[str, Any] = {"viewport": {"width": 1400, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 2,
}


def open_page(browser: Any, url: str, options: dict[str, Any]) -> Any:
    page = browser.new_context(**options).new_page()
    page.goto(url)
    page.locator("[data-state=live]").wait_for()
    return page


def line(page: Any, which: str) -> None:
    page.locator(".network .switch span", has_text=which).click()


def talk(page: Any) -> None:
    """Waits until several people speak."""
    page.locator(".bubble").nth(1).wait_for(timeout=90_000)
    page.wait_for_timeout(400)


def villa_wide(browser: Any, served: Served) -> Any:
    """The map by day, after the line was cut for a moment."""
    page = open_page(browser, served.url, DESK)
    page.locator(".cast-button", has_text="Freya").click()
    page.locator("#feed li:not(.feed-empty)").nth(3).wait_for(timeout=60_000)
    line(page, "cut")
    page.wait_for_timeout(2_500)
    line(page, "good")
    page.locator(".network-log li").nth(1).wait_for()
    page.wait_for_timeout(3_000)
    talk(page)
    return page


def villa_stale(browser: Any, served: Served) -> Any:
    """The map at dusk, while nothing is read."""
    page = open_page(browser, served.url, {**DESK, "color_scheme": "dark"})
    page.locator(".cast-button", has_text="Mateo").click()
    page.locator("#feed li:not(.feed-empty)").nth(2).wait_for(timeout=60_000)
    line(page, "reads nothing")
    page.wait_for_timeout(4_200)
    line(page, "good")
    page.locator(".network-log li").nth(1).wait_for()
    talk(page)
    line(page, "reads nothing")
    page.wait_for_timeout(6_300)
    return page


def villa_narrow(browser: Any, served: Served) -> Any:
    """The page on a phone."""
    page = open_page(browser, served.url, PHONE)
    page.locator("#feed li:not(.feed-empty)").nth(1).wait_for(timeout=60_000)
    talk(page)
    return page


def villa_react(browser: Any, served: Served) -> Any:
    """The page on React, after half a minute, in the moment in which a card renders."""
    page = open_page(browser, f"{served.url}react/", {"viewport": {"width": 1400, "height": 660}})
    page.locator(".switch span", has_text="doing").click()
    page.wait_for_timeout(30_000)
    renders = page.evaluate(
        "[...document.querySelectorAll('.person')].map((card) => card.dataset.renders).join()"
    )
    page.wait_for_function(
        "before => [...document.querySelectorAll('.person')].map((card) => card.dataset.renders).join() !== before",
        arg=renders,
        timeout=60_000,
    )
    return page


#: A page that draws nothing and has clients which come and go: what they acknowledge has real ages.
AUDIENCE = """async () => {
  const { connect } = await import("/static/django_update_pipeline/client.js");
  window.present = [];
  window.comes = () => {
    const client = connect("/ws/dating_show/");
    for (const name of ["dating_show_updates", "agent_notifications"]) client.channel(name);
    window.present.push(client);
  };
  window.goes = () => window.present.shift()?.close();
}"""

#: The operator opens the breaker for so many seconds; `admin` is a socket of the staff page's visitor.
HOLD_S = 10
HOLD = """() => new Promise((done) => {
  const admin = new WebSocket("/ws/dating_show/admin/");
  const send = (command, params) => admin.send(JSON.stringify({ command, params }));
  admin.onopen = () => {
    send("hold_circuit_breaker", { reason: "the log is moved to another host" });
    setTimeout(() => { send("reset_circuit_breaker", {}); setTimeout(done, 500); }, %d);
  };
})"""


@functools.cache
def watched(browser: Any, url: str) -> None:
    """Five minutes of the villa with viewers, and the breaker held for a moment: what the staff page then remembers."""
    audience = browser.new_page()
    audience.goto(f"{url}pipeline/live/")
    audience.evaluate(AUDIENCE)
    for _ in range(6):
        audience.evaluate("window.comes()")
    operator = staff_page(browser, url, "light")
    for turn in range(30):
        if turn == 12:
            operator.evaluate(HOLD % (HOLD_S * 1000))
        audience.evaluate("window.goes()" if turn % 4 == 3 else "window.comes()")
        audience.wait_for_timeout(10_000)
    operator.context.close()


def staff_page(browser: Any, url: str, scheme: str) -> Any:
    """The staff page as the operator sees it, live."""
    page = browser.new_context(viewport={"width": 1400, "height": 940}, color_scheme=scheme).new_page()
    page.goto(f"{url}operator/{os.environ['DATING_SHOW_OPERATOR_KEY']}/")
    page.locator("body[data-line=live]").wait_for()
    return page


def dashboard(browser: Any, served: Served, scheme: str) -> Any:
    """The staff page down to how old updates are until clients show them."""
    watched(browser, served.url)
    page = staff_page(browser, served.url, scheme)
    page.locator("#clients tr").first.wait_for()
    page.wait_for_timeout(3_000)
    return page


PICTURES: dict[str, Callable[[Any, Served], Any]] = {
    "villa-wide": villa_wide,
    "villa-stale": villa_stale,
    "villa-narrow": villa_narrow,
    "villa-react": villa_react,
    "dashboard-light": functools.partial(dashboard, scheme="light"),
    "dashboard-dark": functools.partial(dashboard, scheme="dark"),
}


def main(names: list[str]) -> None:
    from playwright.sync_api import sync_playwright

    os.environ["DATING_SHOW_OPERATOR_KEY"] = secrets.token_urlsafe()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    serving = contextmanager(serve_example)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), *UVICORN) as served,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=SWITCHES)
        for name in names or PICTURES:
            path = IMAGES / f"{name}.png"
            page = PICTURES[name](browser, served)
            page.screenshot(path=path)
            page.context.close()
            print(f"{path}: {path.stat().st_size} bytes", flush=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
