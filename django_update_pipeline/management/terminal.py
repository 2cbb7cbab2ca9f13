"""Text for a terminal: lines that fit its width, in its letters, in colour where it has any. No dependency.

What comes from a server is somebody's data: control characters are escaped, so that nobody writes to the operator's
terminal, and letters that the terminal's encoding does not have are replaced by escapes.
"""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from django.core.management.base import OutputWrapper
from django.core.management.color import Style, no_style

from ..core.names import one_line

Tone = Literal["good", "warning", "bad", "heading", "plain"]

#: Django's palette has these in its light, dark and "nocolor" variants.
_ROLES: Final[dict[Tone, str]] = {
    "good": "SUCCESS",
    "warning": "WARNING",
    "bad": "ERROR",
    "heading": "MIGRATE_LABEL",
}

NARROWEST: Final = 40
DEFAULT_SIZE: Final = (100, 24)


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with a tone."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. A flexible one gives way where the terminal is narrow, down to `least` cells."""

    head: str
    is_right: bool = False
    least: int = 0


_TURNS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""What makes a terminal write from right to left, so that a line reads as another one than it is."""


def clean(value: Any) -> str:
    """A value as text that is safe to write: one line, control characters escaped."""
    return _TURNS.sub(lambda found: ascii(found[0])[1:-1], one_line(str(value), 1_000_000))


def width_of(text: str) -> int:
    """How many cells of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


class Terminal:
    """Collects the lines of a report for one output.

    Args:
        out: where they go in the end; says whether it is a terminal, and its encoding.
        style: the command's colours; not used where `out` is no terminal, or NO_COLOR is set, unless `force_color`.
        size: columns and lines; the terminal's own if left out.
    """

    def __init__(
        self,
        out: OutputWrapper,
        style: Style,
        *,
        force_color: bool = False,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.is_terminal = out.isatty()
        has_color = force_color or (self.is_terminal and not os.environ.get("NO_COLOR"))
        self.style = style if has_color else no_style()
        columns, self.height = size or shutil.get_terminal_size(DEFAULT_SIZE)
        self.width = max(NARROWEST, columns)
        self.encoding = getattr(out, "encoding", None) or "utf-8"
        self.has_blocks = self._can_write("█░")
        self.lines: list[str] = []

    def _can_write(self, text: str) -> bool:
        try:
            text.encode(self.encoding)
        except (UnicodeError, LookupError):
            return False
        return True

    def safe(self, text: str) -> str:
        """The text in letters that the output's encoding has."""
        if text.isascii() or self._can_write(text):
            return text
        return text.encode("ascii", "backslashreplace").decode("ascii")

    def paint(self, text: str, tone: Tone) -> str:
        """The text in a tone's colour."""
        role = _ROLES.get(tone)
        paint: Callable[[str], str] = getattr(self.style, role, str) if role else str
        return paint(text) if text else text

    def text(self) -> str:
        """All lines, with a line break after each."""
        return "".join(f"{line}\n" for line in self.lines)

    # lines

    def line(self, *cells: Cell | str) -> None:
        """One line of texts beside each other; what does not fit is cut off."""
        left, parts = self.width, []
        for cell in cells:
            cell = cell if isinstance(cell, Cell) else Cell(cell)
            text = self.clipped(self.safe(clean(cell.text)), left)
            left -= width_of(text)
            parts.append(self.paint(text, cell.tone))
        self.lines.append("".join(parts).rstrip())

    def blank(self) -> None:
        """An empty line."""
        self.lines.append("")

    def paragraph(self, text: str, *, first: str = "", indent: int = 0, tone: Tone = "plain") -> None:
        """A text over as many lines as it takes, indented; `first` stands before its first line."""
        rows = self.wrapped(text, self.width - indent)
        for place, row in enumerate(rows):
            head = first.ljust(indent) if place == 0 else " " * indent
            self.lines.append(f"{head}{self.paint(row, tone)}".rstrip())

    def pairs(self, rows: Iterable[tuple[str, Cell | str]], indent: int = 0) -> None:
        """Labels with their texts, aligned, at least so far from the edge."""
        cells = [(label, cell if isinstance(cell, Cell) else Cell(cell)) for label, cell in rows]
        indent = max([indent, *(len(label) + 2 for label, _ in cells)])
        for label, cell in cells:
            self.paragraph(cell.text, first=label, indent=indent, tone=cell.tone)

    def table(
        self,
        columns: Sequence[Column],
        rows: Iterable[Sequence[Cell | str]],
        below: Sequence[str] | None = None,
    ) -> None:
        """A table with a head. Columns are as wide as they must be; flexible ones give way where that is too much.

        `below`: a text for each row, whole, on lines of its own under it.
        """
        cells, texts = self._read(rows)
        widths = _widths(columns, texts)
        self._narrow(columns, widths)
        self.lines.append(
            "  ".join(
                self.paint(self._padded(column.head, width, column.is_right), "heading")
                for column, width in zip(columns, widths, strict=True)
            ).rstrip()
        )
        for place, (row, tones) in enumerate(zip(texts, cells, strict=True)):
            self.lines.append(
                "  ".join(
                    self.paint(self._padded(text, width, column.is_right), cell.tone)
                    for text, cell, column, width in zip(row, tones, columns, widths, strict=True)
                ).rstrip()
            )
            if below is not None:
                self.paragraph(below[place], indent=widths[0] + 2)

    def has_room_for(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell | str]]) -> bool:
        """Whether the table fits with nothing cut off."""
        return _total(_widths(columns, self._read(rows)[1])) <= self.width

    def _read(self, rows: Iterable[Sequence[Cell | str]]) -> tuple[list[list[Cell]], list[list[str]]]:
        """The rows as cells, and as the texts that can be written."""
        cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
        return cells, [[self.safe(clean(cell.text)) for cell in row] for row in cells]

    def _narrow(self, columns: Sequence[Column], widths: list[int]) -> None:
        """Takes from the widest flexible column, cell by cell, until the table fits or nothing gives way."""
        while _total(widths) > self.width:
            flexible = [
                place for place, column in enumerate(columns) if column.least and widths[place] > column.least
            ]
            if not flexible:
                return
            widest = max(flexible, key=lambda place: widths[place])
            widths[widest] -= 1

    def bar(self, share: float, width: int) -> str:
        """A bar that is filled to a share, 0 to 1."""
        full, empty = "█░" if self.has_blocks else "#."
        filled = round(max(0.0, min(1.0, share)) * width)
        return full * filled + empty * (width - filled)

    # texts

    def clipped(self, text: str, width: int) -> str:
        """The text in at most so many cells, with three dots where something was cut off."""
        if width_of(text) <= width:
            return text
        dots = "..." if width > 3 else ""
        room, kept = width - len(dots), []
        for letter in text:
            room -= width_of(letter)
            if room < 0:
                break
            kept.append(letter)
        return "".join(kept) + dots

    def _padded(self, text: str, width: int, is_right: bool) -> str:
        text = self.clipped(text, width)
        pad = " " * (width - width_of(text))
        return pad + text if is_right else text + pad

    def wrapped(self, text: str, width: int) -> list[str]:
        """The text in lines of at most so many cells, broken between words where that is possible."""
        width = max(10, width)
        rows: list[str] = []
        row = ""
        for word in self.safe(clean(text)).split():
            while width_of(word) > width:
                if row:
                    rows.append(row)
                    row = ""
                head = self._head(word, width)
                rows.append(head)
                word = word[len(head) :]
            if row and width_of(row) + 1 + width_of(word) > width:
                rows.append(row)
                row = word
            else:
                row = f"{row} {word}" if row else word
        return [*rows, row] if row or not rows else rows

    @staticmethod
    def _head(word: str, width: int) -> str:
        room = width
        for place, letter in enumerate(word):
            room -= width_of(letter)
            if room < 0:
                return word[:place]
        return word


def number(value: float | None, places: int = 0) -> str:
    """A number with thousands separated: `12,345`, `0.4`; `-` for none."""
    return "-" if value is None else f"{value:,.{places}f}"


def _widths(columns: Sequence[Column], texts: Sequence[Sequence[str]]) -> list[int]:
    """What each column takes if nothing is cut off."""
    return [
        max([len(column.head), *(width_of(row[place]) for row in texts)])
        for place, column in enumerate(columns)
    ]


def _total(widths: Sequence[int]) -> int:
    """What columns of these widths take together, with the gaps between them."""
    return sum(widths) + 2 * (len(widths) - 1)


def milliseconds(value: float | None) -> str:
    """`0.4 ms`, `123 ms`, `4.20 s`."""
    if value is None:
        return "-"
    if value < 100:
        return f"{value:.1f} ms"
    return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"


def duration(seconds: float) -> str:
    """`0.4 s`, `3 min 05 s`, `2 h 10 min`, `5 d 3 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
