"""The page on React: a card renders when what it selected changed, and only then."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

WATCH = """() => {
    const cards = () => [...document.querySelectorAll(".person")];
    window.says = Object.fromEntries(cards().map((card) => [card.dataset.agent, 0]));
    window.counts = (card) => [Number(card.dataset.renders), Number(card.querySelector(".changes").textContent)];
    window.before = Object.fromEntries(cards().map((card) => [card.dataset.agent, window.counts(card)]));
    for (const card of cards()) {
        new MutationObserver((records) => { window.says[card.dataset.agent] += records.length; })
            .observe(card.querySelector(".says"), { characterData: true, subtree: true, childList: true });
    }
}"""

COUNTED = """() => [...document.querySelectorAll(".person")].map((card) => {
    const [renders, changes] = window.counts(card);
    const [rendersBefore, changesBefore] = window.before[card.dataset.agent];
    const id = card.dataset.agent;
    return { id, renders: renders - rendersBefore, changes: changes - changesBefore, said: window.says[id] };
})"""


def test_a_card_renders_when_what_it_selected_changed_and_no_other_does(open_window: Any) -> None:
    window = open_window(path="react/")
    window.expect(".status").to_have_attribute("data-state", "live")
    window.expect(".person").to_have_count(10)
    window.page.evaluate(WATCH)
    producer = open_window()
    producer.expect(".figure").to_have_count(10)
    producer.page.get_by_role("button", name="Become demo producer").click()
    producer.expect("body").to_have_attribute("data-producer", "yes")
    producer.page.locator(".cast-button", has_text="Freya").click()
    producer.expect("#who-name").to_have_text("Freya Lindqvist")
    producer.page.get_by_role("button", name="sleepy", exact=True).click()
    freya = '.person:has(h2:text-is("Freya"))'
    window.expect(f"{freya} .says").to_have_text("sleepy")
    window.until(lambda: sum(one["changes"] for one in window.page.evaluate(COUNTED)) >= 15)
    counted = window.page.evaluate(COUNTED)
    assert [one for one in counted if one["renders"] != one["said"]] == []
    assert sum(one["renders"] for one in counted) < sum(one["changes"] for one in counted) / 2
    rendered = {one["id"]: one["renders"] for one in counted}
    assert rendered[window.page.locator(freya).get_attribute("data-agent")] >= 1
    assert 0 in rendered.values(), "somebody's mood stayed, so their card did not render"
    assert int(window.page.locator("#list-renders").inner_text()) > 4

    window.page.locator(".switch span", has_text="everything").click()
    window.page.evaluate(WATCH)
    # Now each change is a render: three of different people are enough to see.
    window.until(lambda: sum(one["renders"] > 0 for one in window.page.evaluate(COUNTED)) >= 3)
    assert [one for one in window.page.evaluate(COUNTED) if one["renders"] != one["changes"]] == []


def test_the_react_page_says_when_it_is_stale_and_fits_a_phone(open_window: Any) -> None:
    window = open_window(
        path="react/", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    window.expect(".person").to_have_count(10)
    assert window.page.evaluate("document.documentElement.scrollWidth") <= 390
    window.page.get_by_role("button", name="Cut the line").tap()
    window.expect(".status").to_have_attribute("data-state", "offline")
    window.until(lambda: window.sockets[0].is_closed)
    window.expect(".person").to_have_count(10)
    window.page.get_by_role("button", name="Come back").tap()
    window.expect(".status").to_have_attribute("data-state", "live")
    assert len(window.sockets) == 2


@pytest.mark.parametrize("viewport", [{"width": 1400, "height": 900}, {"width": 390, "height": 844}])
def test_the_heading_stands_above_the_content(open_window: Any, viewport: dict[str, int]) -> None:
    window = open_window(path="react/", viewport=viewport)
    window.expect(".person").to_have_count(10)
    lefts = window.page.evaluate(
        "[...document.querySelectorAll('.brand, .lead, .people')].map((one) => one.getBoundingClientRect().left)"
    )
    assert len(lefts) == 3
    assert len(set(lefts)) == 1, lefts
