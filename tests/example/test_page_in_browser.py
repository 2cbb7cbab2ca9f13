"""The page in a real browser: it lives, one click makes a producer, and every window sees what happens."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_the_page_shows_the_villa_live(open_window: Any) -> None:
    window = open_window()
    window.expect("#status").to_have_attribute("data-state", "live")
    window.expect(".figure").to_have_count(10)
    window.expect("#who-name").not_to_be_empty()
    window.expect("#feed li:not(.feed-empty)").not_to_have_count(0, timeout=30_000)
    window.expect("#latency").not_to_have_text("–", timeout=20_000)
    window.expect(".changed").not_to_have_count(0, timeout=20_000)
    before = window.page.evaluate("[...document.querySelectorAll('.figure')].map(one => one.style.transform)")
    window.page.wait_for_function(
        "before => [...document.querySelectorAll('.figure')].some((one, i) => one.style.transform !== before[i])",
        arg=before,
        timeout=20_000,
    )


def test_the_producers_click_is_seen_in_every_window(open_window: Any) -> None:
    producer, visitor = open_window(), open_window()
    visitor.expect(".figure").to_have_count(10)
    visitor.expect("#actions").to_be_hidden()
    producer.expect(".figure").to_have_count(10)
    producer.page.get_by_role("button", name="Become demo producer").click()
    producer.expect("body").to_have_attribute("data-producer", "yes")
    producer.expect("#status").to_have_attribute("data-state", "live")
    for window in (producer, visitor):
        button = window.page.locator(".cast-button", has_text="Freya")
        button.click()
        window.expect("#who-name").to_have_text("Freya Lindqvist")
    place = "to the gym deck" if "pool" in visitor.page.locator("#who-place").inner_text() else "to the pool"
    producer.page.get_by_role("button", name=place, exact=True).click()
    producer.expect(".toast").to_have_text("Freya is on the way")
    for window in (producer, visitor):
        window.expect("#who-place").to_have_text(place.removeprefix("to ").replace("the", "The", 1))

    producer.page.get_by_role("button", name="Leave").click()
    producer.expect("body").to_have_attribute("data-producer", "no")
    producer.page.reload()
    producer.expect("body").to_have_attribute("data-producer", "no")


def test_after_a_lost_line_the_page_says_so_and_comes_back(open_window: Any) -> None:
    lines: list[Any] = []
    window = open_window(on_socket=lambda line: lines.append((line, line.connect_to_server())))
    window.expect("#status").to_have_attribute("data-state", "live")
    window.expect(".figure").to_have_count(10)
    window.page.evaluate(
        """() => {
            window.states = [];
            const status = document.getElementById("status");
            new MutationObserver(() => window.states.push(
                `${status.dataset.state} ${document.getElementById("map").classList.contains("stale")}`
            )).observe(status, { attributes: true });
        }"""
    )
    page_end, _ = lines[0]
    page_end.close()  # and with it the server's; the other way round, what the page still says is complained about
    window.page.wait_for_function("() => window.states.at(-1)?.startsWith('live')", timeout=20_000)
    states = window.page.evaluate("window.states")
    assert states[0].startswith("offline")
    assert states[-1].startswith("live")
    window.expect("#map").not_to_have_class("map stale")
    window.expect(".figure").to_have_count(10)
    assert len(lines) == 2


def test_on_a_phone_nothing_sticks_out_and_a_tap_opens_the_panel(open_window: Any) -> None:
    window = open_window(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    window.expect(".figure").to_have_count(10)
    assert window.page.evaluate("document.documentElement.scrollWidth") <= 390
    window.expect("#panel").to_be_hidden()
    window.page.locator(".cast-button", has_text="Mateo").tap()
    window.expect("#who-name").to_have_text("Mateo Rivera")
    assert window.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_keyboard_reaches_the_people(open_window: Any) -> None:
    window = open_window()
    window.expect(".figure").to_have_count(10)
    window.page.locator(".cast-button").nth(4).focus()
    window.page.keyboard.press("Enter")
    window.expect(".cast-button[aria-pressed=true]").to_have_count(1)
    window.expect("#who-name").to_have_text("Priya Raman")
    assert window.page.locator(".figure-button").first.get_attribute("aria-label")


HOSTILE = '"><img src=x onerror="window.hurt=1"><script>window.hurt=2</script>'


def hostile_state() -> dict[str, Any]:
    """Hostile texts and prototypes' names in every place of a state."""
    return {
        "name": HOSTILE,
        "current_action": HOSTILE,
        "current_location": HOSTILE,
        "identity": {
            "first_name": HOSTILE,
            "colour": "url(https://evil.example/)",
            "bio": HOSTILE,
            "hair": "__proto__",
        },
        "emotions": {
            "mood": HOSTILE,
            "levels": {"__proto__": 1, HOSTILE: 0.5},
            "valence": "1",
            "energy": None,
        },
        "relationships": {"__proto__": {"kind": HOSTILE, "hurt": 3}, "constructor": {"kind": "friend"}},
        "memory": {"recent": [HOSTILE, {"__proto__": {"hurt": 4}}], "reflection": HOSTILE},
        "personality": {"summary": HOSTILE},
        "dialogue": {"line": HOSTILE},
        "position": {"x": 50, "y": 50, "place_label": HOSTILE},
        "__proto__": {"hurt": 5},
        "constructor": {"prototype": {"hurt": 6}},
    }


def infected(text: str | bytes) -> list[str]:
    """A frame of the server's, with what no server of ours sends beside what it says."""
    frame = json.loads(text)
    if frame.get("channel") == "dating_show_updates":
        agents = frame.setdefault("agents", {})
        for agent_id in (HOSTILE, "__proto__"):
            agents[agent_id] = {"set": hostile_state(), "at": frame["ts"]}
        if "check" in frame:
            frame["check"]["count"] += 2
    elif frame.get("channel") == "agent_notifications" and frame["to"] > frame["from"]:
        event = {
            "speaker": "__proto__",
            "speaker_name": HOSTILE,
            "listener_name": HOSTILE,
            "text": HOSTILE,
            "tone": HOSTILE,
        }
        said = {"offset": frame["to"], "timestamp": frame["ts"], "data": event}
        frame.setdefault("events", []).append({**said, "agent_id": HOSTILE, "update_type": "dialogue"})
        frame["events"].append({**said, "agent_id": "constructor", "update_type": HOSTILE})
    elif frame.get("type") == "connection_established":
        level, offset = HOSTILE.replace(" ", "_"), {"epoch": "hostile", "from": 0, "to": 1, "event_count": 1}
        note = {"agent_id": "system", "update_type": "x", "data": {"level": level, "message": HOSTILE}}
        system = {"type": "sync", "channel": "update_pipeline.system", "ts": 1.0, **offset}
        more = (
            {**system, "events": [{"offset": 1, "timestamp": 1.0, **note}]},
            {"type": "error", "code": "x", "message": HOSTILE},
            {"type": "__proto__"},
        )
        return [json.dumps(one) for one in (frame, *more)]
    return [json.dumps(frame)]


def test_hostile_names_and_states_are_shown_and_do_nothing(open_window: Any) -> None:
    def infect(line: Any) -> None:
        server = line.connect_to_server()
        server.on_message(lambda text: [line.send(one) for one in infected(text)])

    window = open_window(on_socket=infect)
    window.expect(".figure").to_have_count(12)
    window.expect(".toast.bad").to_contain_text("<script>")
    window.page.locator(".cast-button", has_text="<img").first.click()
    window.expect("#who-name").to_have_text(HOSTILE)
    window.expect("#fields").to_contain_text("__proto__.hurt")
    window.expect("#feed").to_contain_text("onerror")
    found = window.page.evaluate(
        """() => [window.hurt ?? null, ({}).hurt ?? null, document.querySelectorAll("main img, .toasts img").length]"""
    )
    assert found == [None, None, 0]
    refused = window.page.evaluate(
        """() => {
            try { document.body.innerHTML = "<i></i>"; return "taken"; }
            catch (error) { return error.name; }
        }"""
    )
    assert refused == "TypeError"
    window.complaints[:] = [text for text in window.complaints if "TrustedHTML" not in text]
