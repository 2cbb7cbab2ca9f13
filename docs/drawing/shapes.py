"""What pictures are made of. They bring their own background and follow the reader's preference for dark."""

from __future__ import annotations

from html import escape

STYLE = """
svg{font:14px system-ui,-apple-system,"Segoe UI",sans-serif}
.ground{fill:#fbfbfd;stroke:#d8dbe2}
text{fill:#1f2430}
.quiet{fill:#667085}
.title{font-weight:600}
.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:13px}
.mid{text-anchor:middle}
.end{text-anchor:end}
.strong{font-weight:600}
.box{fill:#eef1f6;stroke:#b8c0cf}
.live{fill:#e2f3e8;stroke:#5fae7b}
.late{fill:#fdeedd;stroke:#d99a4e}
.bad{fill:#fbe3e3;stroke:#d06a6a}
.window{fill:none;stroke:#5fae7b;stroke-dasharray:5 4}
.stopped{stroke:#d06a6a;stroke-width:2;fill:none}
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

    def pin(self, x: int, y: int, letter: str, kind: str) -> None:
        self.parts.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="12"/>')
        self.text(x, y + 5, letter, "strong mid")

    def text(self, x: int, y: int, words: str, kind: str = "") -> None:
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}">{escape(words)}</text>')

    def line(self, path: str, kind: str = "line") -> None:
        self.parts.append(f'<path class="{kind}" d="{path}"/>')

    def __str__(self) -> str:
        return "\n".join([*self.parts, "</svg>"]) + "\n"
