"""The filter for uvicorn's tracebacks."""

from __future__ import annotations

import logging
import sys

import pytest

from django_update_pipeline.log_filters import InvalidFrames

TEXT = "Invalid UTF-8 sequence received from client."


def record(message: str, error: Exception | None) -> logging.LogRecord:
    exc_info = None
    if error is not None:
        try:
            raise error
        except Exception:
            exc_info = sys.exc_info()
    return logging.LogRecord("uvicorn.error", logging.ERROR, "x.py", 1, message, (), exc_info)


def bad_text() -> UnicodeDecodeError:
    return UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


def test_a_traceback_becomes_a_line_and_repeats_are_few() -> None:
    invalid = InvalidFrames()
    told = []
    for _ in range(1000):
        one = record(TEXT, bad_text())
        if invalid.filter(one):
            told.append(logging.Formatter("%(message)s").format(one))
    assert told == [f"{TEXT} ({2**n} so far)" for n in range(10)]


@pytest.mark.parametrize(
    ("message", "error"),
    [(TEXT, None), (TEXT, ValueError("x")), ("Exception in ASGI application", bad_text()), ("started", None)],
)
def test_everything_else_passes_as_it_is(message: str, error: Exception | None) -> None:
    one = record(message, error)
    for _ in range(3):
        assert InvalidFrames().filter(one) is True
    assert one.getMessage() == message
    assert (one.exc_info is None) == (error is None)
