"""The pictures of the explanations, as SVG: what they say comes from the code, where it stands from here.

They bring their own background and follow the reader's preference for dark, so they can be read on any page.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from html import escape

from django_update_pipeline.core.circuit_table import TABLE, BreakerEvent, CircuitState
from django_update_pipeline.core.config import StoreConfig
from django_update_pipeline.core.messages import UpdateKind, UpdatePriority
from django_update_pipeline.core.publication import Change, Publication
from django_update_pipeline.core.store import Store

STYLE = """
svg{font:14px system-ui,-apple-system,"Segoe UI",sans-serif}
.ground{fill:#fbfbfd;stroke:#d8dbe2}
text{fill:#1f2430}
.quiet{fill:#667085}
.title{font-weight:600}
.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:13px}
.mid{text-anchor:middle}
.box{fill:#eef1f6;stroke:#b8c0cf}
.live{fill:#e2f3e8;stroke:#5fae7b}
.late{fill:#fdeedd;stroke:#d99a4e}
.bad{fill:#fbe3e3;stroke:#d06a6a}
.line{stroke:#667085;stroke-width:1.5;fill:none;marker-end:url(#tip)}
.plain{stroke:#b8c0cf;stroke-width:1.5;fill:none}
.tip{fill:#667085}
@media (prefers-color-scheme:dark){
.ground{fill:#171a21;stroke:#343a46}
text{fill:#e6e8ee}
.quiet,.tip{fill:#98a2b3}
.box{fill:#242934;stroke:#4a5263}
.live{fill:#1b3325;stroke:#4f9a6b}
.late{fill:#3a2b17;stroke:#b98142}
.bad{fill:#3a1f1f;stroke:#b05a5a}
.line{stroke:#98a2b3}
.plain{stroke:#4a5263}
}
"""


class Drawing:
    """Shapes in pixels, written in the order they are added."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
            ' orient="auto-start-reverse"><path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>',
            f'<rect class="ground" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        ]

    def box(self, x: int, y: int, width: int, height: int, kind: str = "box") -> None:
        self.parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>')

    def text(self, x: int, y: int, words: str, kind: str = "") -> None:
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}">{escape(words)}</text>')

    def line(self, path: str, kind: str = "line") -> None:
        self.parts.append(f'<path class="{kind}" d="{path}"/>')

    def __str__(self) -> str:
        return "\n".join([*self.parts, "</svg>"]) + "\n"


LOG = (
    ("lamp", b'{"on":true,"hue":3}'),
    ("door", b'{"open":false}'),
    ("lamp", b'{"on":false,"hue":3}'),
)


def one_mechanism() -> str:
    """Three updates, what the store keeps of them, and what it answers to positions 0 to 3."""
    store = Store(epoch="k3f9", config=StoreConfig())
    for number, (agent_id, content) in enumerate(LOG, 1):
        change = Change(
            UpdateKind.REPLACE,
            agent_id,
            ("updates",),
            "state_change",
            content,
            (),
            0.0,
            UpdatePriority.NORMAL,
        )
        store.apply(Publication(str(number), (change,)))

    def since(offset: int) -> dict[str, dict[str, bytes]]:
        answer = store.changes_since("updates", store.epoch, offset)
        return {agent_id: dict(one.set) for agent_id, one in answer.agents.items()}

    def offset_of(agent_id: str, name: str) -> int:
        """The offset that last changed a field: from there on no answer has it."""
        return next(n for n in range(store.head + 1) if name not in since(n).get(agent_id, {}))

    drawing = Drawing(960, 350, "The log, the store, and what each reader is told")
    drawing.text(24, 34, "1  What was queued", "title")
    for row, (agent_id, content) in enumerate(LOG):
        y = 52 + 48 * row
        drawing.box(24, y, 244, 36)
        drawing.text(36, y + 23, str(row + 1), "mono quiet")
        drawing.text(60, y + 23, f"{agent_id} {content.decode()}", "mono")
    drawing.line("M274 118H308")
    drawing.text(316, 34, "2  What the store keeps", "title")
    drawing.text(316, 216, "Each field's newest value, and", "quiet")
    drawing.text(316, 236, "the offset that changed it last.", "quiet")
    drawing.text(316, 256, f"hue came again, equal: it keeps {offset_of('lamp', 'hue')}.", "quiet")
    y = 52
    for agent_id in sorted(since(0), reverse=True):
        for name, value in since(0)[agent_id].items():
            drawing.box(316, y, 220, 36)
            drawing.text(328, y + 23, f"{agent_id}.{name} = {value.decode()}", "mono")
            drawing.text(502, y + 23, f"@{offset_of(agent_id, name)}", "mono quiet")
            y += 48
    drawing.line("M542 118H576")
    drawing.text(584, 34, "3  Who asks: changes since N", "title")
    readers = (
        (0, "a new window", "late"),
        (1, "a slow reader, stuck at 1", "late"),
        (2, "another one, stuck at 2", "late"),
        (3, "one that keeps up", "live"),
    )
    for row, (offset, who, kind) in enumerate(readers):
        y = 52 + 72 * row
        drawing.box(584, y, 352, 60, kind)
        drawing.text(596, y + 22, f"{who}: since {offset}")
        said = [
            f"{agent_id} {{{','.join(f'{k}:{v.decode()}' for k, v in fields.items())}}}"
            for agent_id, fields in sorted(since(offset).items(), reverse=True)
        ]
        drawing.text(596, y + 45, " ".join(said) or "nothing", "mono")
    drawing.text(24, 216, "One log, one number for each", "quiet")
    drawing.text(24, 236, "update: its offset.", "quiet")
    drawing.text(24, 322, "New, slow, or cut off for a while: one question, one place that answers.", "")
    return str(drawing)


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
    "one-mechanism": one_mechanism,
    "slow-consumers": slow_consumers,
    "circuit-breaker": circuit_breaker,
}
