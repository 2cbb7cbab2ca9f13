"""The pictures of the explanations, as SVG: what they say comes from the code, where it stands from here."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from django_update_pipeline.core.circuit_table import TABLE, BreakerEvent, CircuitState

from . import mechanism
from .shapes import Drawing


def slow_consumers() -> str:
    """A queue for each client, beside a position for each."""
    drawing = Drawing(860, 300, "A queue for each client, or a position for each")
    drawing.text(24, 34, "A queue for each client", "title")
    for row, (name, waiting, kind) in enumerate((("A", 1, "live"), ("B", 2, "live"), ("C", 13, "bad"))):
        y = 56 + 62 * row
        for place in range(waiting):
            drawing.box(312 - 22 * place, y, 18, 34, kind)
        drawing.line(f"M334 {y + 17}H360")
        drawing.text(372, y + 22, name, "title")
    drawing.text(24, 256, "C sleeps: its queue grows, or drops. When it wakes up,", "quiet")
    drawing.text(24, 276, "it reads through the past before it sees the present.", "quiet")
    drawing.line("M418 24V280", "plain")
    drawing.text(444, 34, "A position for each client", "title")
    drawing.box(444, 56, 388, 40)
    drawing.text(456, 81, "store: newest value of each field, head 1044", "mono")
    for x, position, name, kind in (
        (470, 903, "C", "late"),
        (730, 1044, "A", "live"),
        (790, 1044, "B", "live"),
    ):
        drawing.line(f"M{x} 160V102")
        drawing.box(x - 22, 164, 44, 44, kind)
        drawing.text(x, 182, name, "title mid")
        drawing.text(x, 200, str(position), "mono mid")
    drawing.text(444, 256, "C costs one integer. When it can take more, it gets what", "quiet")
    drawing.text(444, 276, "changed since 903, as it is then: each agent once.", "quiet")
    return str(drawing)


def circuit_breaker() -> str:
    """The breaker's states, with the events that lead from one to another by themselves."""
    places = {
        CircuitState.CLOSED: (40, "live", "calls go through"),
        CircuitState.OPEN: (335, "bad", "work waits, conflated"),
        CircuitState.HALF_OPEN: (630, "late", "a few trial calls"),
    }
    drawing = Drawing(860, 250, "The circuit breaker's states")
    for state, (x, kind, meaning) in places.items():
        drawing.box(x, 92, 190, 62, kind)
        drawing.text(x + 95, 118, state.value, "title mid")
        drawing.text(x + 95, 140, meaning, "quiet mid")
    ways = (
        (CircuitState.CLOSED, BreakerEvent.THRESHOLD_REACHED, "M230 112H329", (280, 62)),
        (CircuitState.OPEN, BreakerEvent.RECOVERY_DUE, "M525 112H624", (575, 62)),
        (CircuitState.HALF_OPEN, BreakerEvent.FAILURE, "M624 138H531", (578, 190)),
        (CircuitState.HALF_OPEN, BreakerEvent.TRIALS_PASSED, "M725 154V214H135V160", (430, 236)),
    )
    for before, event, path, (x, y) in ways:
        assert TABLE[before, event].after is not before, "only what changes the state is an arrow"
        drawing.line(path)
        lines = [event.value] if y > 200 else textwrap.wrap(event.value, 26)
        for row, line in enumerate(lines):
            drawing.text(x, y + 18 * row, line, "mid")
    return str(drawing)


PICTURES: dict[str, Callable[[], str]] = {
    "one-mechanism": mechanism.timeline,
    "frame": mechanism.frame,
    "credit": mechanism.credit,
    "lanes": mechanism.lanes,
    "slow-consumers": slow_consumers,
    "circuit-breaker": circuit_breaker,
}
