"""What may be called how."""

from __future__ import annotations

import pytest

from django_update_pipeline.core.names import (
    error_text,
    one_line,
    reflected,
    valid_agent_id,
    valid_channel_name,
)


@pytest.mark.parametrize("name", ["a", "dating_show_updates", "agent.agent_001", "A-Z.9_", "x" * 90])
def test_a_channel_name_is_ascii_letters_digits_and_three_marks(name):
    assert valid_channel_name(name)


@pytest.mark.parametrize(
    "name", ["", "a\n", "\na", "a b", "٣", "é", "a/b", "a:b", "x" * 91, "a\x00", None, 1, b"a"]
)
def test_anything_else_is_no_channel_name(name):
    assert not valid_channel_name(name)


def test_the_length_limit_can_be_set():
    assert valid_channel_name("abc", 3)
    assert not valid_channel_name("abcd", 3)


@pytest.mark.parametrize(
    "agent_id", ["a", " ", "Isabella Rodriguez", "agent/001", "ünï", "\U0001f339", "x" * 200]
)
def test_an_agent_id_is_free_text(agent_id):
    assert valid_agent_id(agent_id)


@pytest.mark.parametrize(
    "agent_id",
    [
        "",
        "x" * 201,
        "a\n",
        "\x00",
        "\x7f",
        "\x85",
        "\ud800",
        "__proto__",
        "constructor",
        "prototype",
        None,
        1,
        b"a",
    ],
)
def test_but_not_what_breaks_a_log_an_encoder_or_a_browsers_object(agent_id):
    assert not valid_agent_id(agent_id)


def test_reflected_text_is_short_escaped_and_ascii():
    assert reflected("pool") == "'pool'"
    assert reflected("a\n\x1b<b>&'\u2028") == "'a\\n\\x1b\\x3cb\\x3e\\x26'\\u2028'"
    assert reflected("x" * 80) == "'" + "x" * 80 + "'"
    assert reflected("x" * 81) == "'" + "x" * 77 + "...'"
    assert len(reflected("\U0001f600" * 500)) <= 82


@pytest.mark.parametrize(
    "mark", ["\n", "\r", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\ud800", "\t"]
)
def test_a_log_line_stays_one_line(mark):
    line = one_line(f"first{mark}ERROR forged")
    assert mark not in line
    assert len(line.splitlines()) == 1
    assert line.startswith("first\\")


def test_a_log_line_is_bounded_and_says_that_it_was_cut():
    assert one_line("x" * 300) == "x" * 300
    assert one_line("x" * 301) == "x" * 297 + "..."
    assert len(one_line("\n" * 1000)) == 300
    assert one_line("\n" * 10, limit=9) == "\\n\\n\\n..."


class Unspeakable(Exception):
    def __str__(self):
        raise SystemExit


def test_an_errors_text_is_its_class_and_what_it_says():
    assert error_text(ValueError("no\nwhere")) == "ValueError: no\\nwhere"
    assert error_text(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert error_text(Unspeakable()) == "Unspeakable: its text can't be shown"
    assert len(error_text(ValueError("x" * 1000))) == 300


def test_an_interrupt_is_never_held_up():
    class Interrupted(Exception):
        def __str__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        error_text(Interrupted())


def test_an_errors_text_may_be_bounded_more_closely():
    assert error_text(ValueError("x" * 100), 20) == "ValueError: xxxxx..."
