"""Text for terminals: it fits, in letters the terminal has, and nobody writes to it but us."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management.base import OutputWrapper
from django.core.management.color import color_style, no_style

from django_update_pipeline.management.terminal import (
    Cell,
    Column,
    Terminal,
    duration,
    milliseconds,
    number,
    width_of,
)


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class Ascii(Tty):
    encoding = "ascii"


def page(out: Any = None, width: int = 60, **options: Any) -> Terminal:
    style = options.pop("style", None) or color_style(force_color=True)
    return Terminal(OutputWrapper(out or Tty()), style, size=(width, 24), **options)


@pytest.fixture(autouse=True)
def _color_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m one\r\ntwo\u2028\u202e three\x7f"


def test_nothing_that_a_terminal_would_obey_gets_through() -> None:
    screen = page(style=no_style())
    screen.line(HOSTILE, Cell(HOSTILE, "bad"))
    screen.paragraph(HOSTILE, first="  *", indent=4)
    screen.pairs([("cause", HOSTILE)])
    screen.table([Column("cause", least=10)], [[HOSTILE]])
    text = screen.text()
    assert not any((ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 for c in text)
    assert "\u2028" not in text
    assert "\u202e" not in text
    assert r"\x1b[2J" in text


def test_what_stands_below_a_row_is_whole_where_the_table_has_no_room_for_it() -> None:
    columns, rows = (
        [Column("number", is_right=True), Column("agent", least=10)],
        [["2", "lamp"], ["1", "a" * 70]],
    )
    causes = ["transformer picky of plugin parts: ValueError: no room 'kitchen'", "short"]
    with_causes = [[*row, cause] for row, cause in zip(rows, causes, strict=True)]
    screen = page(style=no_style())
    assert not screen.has_room_for([*columns, Column("cause")], with_causes)
    assert screen.has_room_for(columns, rows[:1])
    screen.table(columns, rows, below=causes)
    assert all(width_of(line) <= 60 for line in screen.lines)
    assert screen.lines[1] == "     2  lamp"
    assert " ".join(line.strip() for line in screen.lines[2:4]) == causes[0]
    assert all(line.startswith(" " * 8) for line in screen.lines[2:4])
    assert screen.lines[4].startswith("     1  aaa")
    assert screen.lines[5:] == ["        short"]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize(
    "text", ["plain words " * 30, "w" * 300, "日本語の長い文 " * 20, "🌹" * 100, "ünï " * 50]
)
def test_every_line_fits(width: int, text: str) -> None:
    screen = page(width=width, style=no_style())
    screen.line(text, Cell(text))
    screen.paragraph(text, first="  *", indent=4)
    screen.pairs([("a label", text), ("b", "short")])
    screen.table(
        [Column("number", is_right=True), Column("agent", least=8), Column("cause", least=8)],
        [["1", text, text], ["2", "short", ""]],
    )
    assert max(width_of(line) for line in screen.lines) <= width


def test_a_narrow_terminal_is_taken_as_forty() -> None:
    screen = page(width=10, style=no_style())
    screen.paragraph("some words that are longer than ten cells")
    assert screen.width == 40


def test_wrapping_loses_no_letter() -> None:
    text = "one two " + "x" * 95 + " three"
    assert "".join(page(style=no_style()).wrapped(text, 30)).replace(" ", "") == text.replace(" ", "")


def test_letters_that_the_terminal_has_not_are_escaped() -> None:
    screen = page(Ascii(), style=no_style())
    screen.line("Zoë in the café 日")
    screen.line(screen.bar(0.5, 10))
    assert screen.text() == "Zo\\xeb in the caf\\xe9 \\u65e5\n#####.....\n"
    assert page(style=no_style()).bar(0.25, 8) == "██░░░░░░"
    screen.text().encode("ascii")


def test_an_unknown_encoding_is_no_reason_to_fail() -> None:
    out = Tty()
    out.encoding = "no-such-encoding"  # type: ignore[misc]
    screen = page(out)
    screen.line("é")
    assert screen.text() == "\\xe9\n"


def test_color_is_for_terminals_and_can_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def painted(**options: Any) -> bool:
        return "\x1b[" in page(**options).paint("x", "bad")

    assert painted()
    assert not painted(out=io.StringIO())
    assert painted(out=io.StringIO(), force_color=True)
    assert not painted(style=no_style())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not painted()
    assert painted(force_color=True), "what is asked for on the command line wins"
    monkeypatch.setenv("NO_COLOR", "")
    assert painted(), "an empty NO_COLOR is none"


def test_bars_stay_within_their_width() -> None:
    screen = page()
    for share in (-1.0, 0.0, 0.004, 0.5, 1.0, 7.0):
        assert len(screen.bar(share, 20)) == 20


def test_columns_give_way_only_where_they_may() -> None:
    screen = page(width=40, style=no_style())
    screen.table([Column("a"), Column("b", least=6)], [["fixed" * 4, "flexible" * 9]])
    assert screen.lines[1].startswith("fixed" * 4 + "  flexible")
    assert screen.lines[1].endswith("...")
    assert len(screen.lines[1]) == 40


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (number(12345), "12,345"),
        (number(0.25, 1), "0.2"),
        (number(None), "-"),
        (milliseconds(0.44), "0.4 ms"),
        (milliseconds(1234.0), "1,234 ms"),
        (milliseconds(123456.0), "123.5 s"),
        (milliseconds(None), "-"),
        (duration(0.44), "0.4 s"),
        (duration(185), "3 min 05 s"),
        (duration(7800), "2 h 10 min"),
        (duration(5 * 86400 + 3 * 3600), "5 d 3 h"),
    ],
)
def test_figures_are_short(told: str, text: str) -> None:
    assert told == text
