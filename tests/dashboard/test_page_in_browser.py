"""The staff page in a real browser, its files served under hashed names only. Run with playwright (tox -e e2e)."""

from __future__ import annotations

import re
import signal
from typing import Any

import pytest

from .conftest import Site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

#: How many pixels of a chart's canvas have a colour that is no grey: lines, not the grid.
COLOURED = """(name) => {
    const canvas = document.querySelector(`[data-plot="${name}"] canvas`);
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    let coloured = 0;
    for (let i = 0; i < data.length; i += 4) {
        const [red, green, blue, alpha] = data.subarray(i, i + 4);
        if (alpha > 100 && Math.max(red, green, blue) - Math.min(red, green, blue) > 40) coloured += 1;
    }
    return coloured;
}"""


@pytest.fixture(autouse=True)
def _mended(site: Site) -> Any:
    """Each test ends with a transport that works and a breaker that is closed."""
    yield
    site.do("transport/takes/")
    site.do("transport/up/")
    site.do("reset/")


def test_an_empty_page_says_so_and_then_shows_what_comes(open_window: Any, site: Site) -> None:
    site.do("fresh/")
    window = open_window()
    window.is_live()
    window.expect("#status").to_have_text("healthy")
    window.expect("#score").to_have_text("100")
    window.expect('[data-plot="throughput"] .empty').to_be_visible()
    window.expect("#no-letters").to_be_visible()
    window.expect("#balance").to_have_text("✓ it adds up")
    window.expect("#plugins li").not_to_have_count(0)
    window.expect("#connections-rows tr").to_have_count(1)
    assert window.page.evaluate(COLOURED, "latency") == 0

    site.do("queue/?count=30&priority=HIGH")
    window.expect('[data-plot="throughput"] .empty').to_be_hidden()
    window.expect("#account tr.total td >> nth=0").to_have_text("30")
    window.expect("#account tr >> nth=1 >> td >> nth=1").to_have_text("30")
    window.expect('[data-legend="latency"] tr >> nth=1 >> td >> nth=2').not_to_have_text("–")
    for name in ("throughput", "latency", "sockets"):
        window.page.wait_for_function(f"name => ({COLOURED})(name) > 20", arg=name, timeout=15_000)
    assert int(window.page.locator("#account tr.total td").nth(1).inner_text()) == 30


def test_what_clients_acknowledge_is_shown_beside_what_the_server_measures(
    open_window: Any, site: Site
) -> None:
    site.do("fresh/")
    window = open_window()
    window.is_live()
    window.expect("#repaired").to_have_text("✓ nothing to repair")
    window.expect("#clients tr").to_have_count(4)
    site.do("heard/")
    row = "#clients tr >> nth=0 >> td >> nth"
    nearly = re.compile(r"^(8[89]|9[01])\d$")  # within 2 %
    for place, text in enumerate(["–", nearly, nearly, nearly, re.compile(r"^(9[89]\d|1,0[012]\d)$"), "200"]):
        window.expect(f"{row}={place}").to_have_text(text)
    window.expect("#clients .too-slow").to_have_count(1)
    window.expect(f"{row}=2").to_have_class("too-slow")
    window.expect("#clients tr >> nth=1 >> td >> nth=1").to_have_text("–")
    window.expect("#repaired").to_have_text("3 agents repaired: see the log")
    window.expect("#issues").to_contain_text("ms (the limit is 550 ms)")
    site.do("fresh/")


def test_an_outage_opens_the_breaker_and_an_operator_closes_it(open_window: Any, site: Site) -> None:
    window, watcher = open_window(), open_window("watcher", color_scheme="dark")
    window.is_live()
    watcher.is_live()
    window.expect("#reset").to_be_disabled()
    watcher.expect("#reset, #replay, #discard, #all-letters").to_have_count(0)
    site.do("transport/down/")
    site.do("queue/?count=3&type=dialogue")
    for one in (window, watcher):
        one.expect("#breaker-state").to_have_text("open", timeout=15_000)
        one.expect("#changes li >> nth=0").to_contain_text("closed → open")
        one.expect("#band .open").not_to_have_count(0)
        one.expect("#issues li >> nth=0").to_contain_text("circuit breaker is open")
        one.expect("#status").not_to_have_text("healthy")
    window.expect("#pending").to_have_text("3")

    window.page.locator("#reset").click()
    window.expect("#confirm").to_be_visible()
    window.page.keyboard.press("Escape")
    window.expect("#confirm").to_be_hidden()
    window.expect("#breaker-state").to_have_text("open")

    site.do("transport/up/")
    window.page.locator("#reset").click()
    window.page.locator("#confirm-yes").click()
    for one in (window, watcher):
        one.expect("#breaker-state").to_have_text("closed")
        one.expect("#changes").to_contain_text("open → closed")
        one.expect("#changes").to_contain_text("reset circuit breaker")
        one.expect("#pending").to_have_text("0")
    # The watcher's page came later, and began with what the server remembers.
    assert watcher.page.evaluate(COLOURED, "depth") > 20
    assert watcher.ask("getComputedStyle(document.body).backgroundColor") == "rgb(14, 18, 24)"
    assert window.ask("getComputedStyle(document.body).backgroundColor") == "rgb(243, 244, 246)"


def test_dead_letters_are_opened_replayed_and_discarded(open_window: Any, site: Site) -> None:
    window = open_window()
    window.is_live()
    site.do("transport/rejects/")
    site.do("queue/?count=2&type=dialogue&text=hello")
    site.do("queue/?count=1&agent=a_state")
    window.expect("#letters-rows tr").to_have_count(3)
    window.expect("#letters-rows tr >> nth=0 >> code").to_have_text("a_state")
    window.page.get_by_role("button", name="of agent_001").click()
    window.expect("#letter-data").to_contain_text('"text": "hello"')
    window.expect("#letter-facts").to_contain_text("dialogue, event, normal")
    window.page.keyboard.press("Escape")

    site.do("transport/takes/")
    window.page.locator("#all-letters").check()
    window.expect("#replay").to_have_text("Replay 2")
    window.page.locator("#replay").click()
    window.expect("#confirm-text").to_contain_text("1 state among the chosen stay")
    window.page.locator("#confirm-yes").click()
    window.expect(".toast").to_have_text("2 dead letters replayed")
    window.expect("#letters-rows tr").to_have_count(1)

    window.page.locator("#letters-rows input").check()
    window.page.locator("#discard").click()
    window.page.locator("#confirm-yes").click()
    window.expect("#no-letters").to_be_visible()


def test_hostile_texts_are_shown_and_do_nothing(open_window: Any, site: Site) -> None:
    window = open_window()
    window.is_live()
    site.do("transport/rejects/")
    site.do("hostile/")
    window.expect("#letters-rows tr").to_have_count(1)
    window.expect("#letters-rows code").to_contain_text("<img src=x onerror=")
    window.page.locator("#letters-rows button").click()
    window.expect("#letter-data").to_contain_text('"__proto__"')
    window.expect("#letter-facts").to_contain_text("<script>")
    assert window.ask(
        "[window.hurt, ({}).hurt, document.querySelectorAll('main img, dialog img').length]"
    ) == [
        None,
        None,
        0,
    ]
    # And were a script of ours to forget itself, the browser would refuse: no text becomes markup here.
    refused = window.ask("""() => {
        try { document.body.innerHTML = "<img src=x onerror='window.hurt=5'>"; return "taken"; }
        catch (error) { return error.name; }
    }""")
    assert refused == "TypeError"
    assert window.ask("window.violations.splice(0).length") == 1
    window.complaints[:] = [text for text in window.complaints if "TrustedHTML" not in text]
    window.page.locator("#letter [data-close]").click()
    window.page.locator("#all-letters").check()
    window.page.locator("#discard").click()
    window.page.locator("#confirm-yes").click()
    window.expect("#no-letters").to_be_visible()


def test_who_loses_the_permission_is_told_and_sees_no_more(open_window: Any, site: Site) -> None:
    window = open_window("leaver")
    window.is_live()
    site.do("withdraw/leaver/")
    window.expect("body").to_have_attribute("data-line", "refused", timeout=30_000)
    window.expect("#banner").to_contain_text("What you see is from")
    window.expect("#line-text").to_have_text("Refused")
    assert float(window.ask("getComputedStyle(document.querySelector('.health')).opacity")) < 0.6
    accepted = window.page.locator("#account tr.total td").nth(0).inner_text()
    site.do("queue/?count=7&type=dialogue")
    window.page.locator("#again").click()
    window.expect("body").to_contain_text("403")
    assert accepted.isdigit()
    window.complaints[:] = [text for text in window.complaints if "40" not in text]  # 403, and its favicon


def test_the_keyboard_and_a_phone_reach_everything(open_window: Any) -> None:
    window = open_window(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    window.is_live()
    assert window.ask("document.documentElement.scrollWidth") <= 390
    window.page.keyboard.press("Tab")
    assert window.ask("document.activeElement.className") == "skip"
    window.page.locator("#pause").focus()
    window.page.keyboard.press("Enter")
    window.expect("#line-text").to_contain_text("Paused at")
    window.page.keyboard.press("Enter")
    window.expect("#line-text").to_have_text("Live")
    window.page.locator("input[value=p99]").focus()
    window.page.keyboard.press("ArrowLeft")
    window.expect("input[value=p95]").to_be_checked()


def test_a_server_that_stalls_makes_the_page_stale_and_a_lost_line_is_taken_up_again(
    open_window: Any, site: Site
) -> None:
    lines: list[Any] = []
    window = open_window(on_socket=lambda line: lines.append((line, line.connect_to_server())))
    window.is_live()
    site.process.send_signal(signal.SIGSTOP)
    try:
        window.expect("body").to_have_attribute("data-line", "stale", timeout=20_000)
        window.expect("#banner").to_contain_text("What you see is from")
        window.expect("#reset").to_be_disabled()
    finally:
        site.process.send_signal(signal.SIGCONT)
    window.is_live()
    window.expect("#banner").to_be_hidden()

    window.ask("""() => {
        window.seen = [];
        const look = new MutationObserver(() => window.seen.push(document.body.dataset.line));
        look.observe(document.body, { attributes: true });
    }""")
    page_end, _ = lines[0]
    page_end.close()  # and with it the server's; the other way round, what the page still says is complained about
    window.page.wait_for_function("() => window.seen.at(-1) === 'live'", timeout=20_000)
    assert window.ask("window.seen[0]") == "offline"
    assert len(lines) == 2
    assert window.page.evaluate(COLOURED, "sockets") > 20
