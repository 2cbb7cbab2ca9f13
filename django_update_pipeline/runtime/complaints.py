"""How a failure is told in the log: one line with its cause and place; the traceback at DEBUG.

A traceback in a log is twenty lines, some of them whatever text an error carries, and a client that can cause one can
cause a thousand. So no line of ours at INFO or above has one.
"""

from __future__ import annotations

import logging

from ..core.names import error_text, one_line
from ..core.repeats import Repeats


def place_of(error: BaseException) -> str:
    """Where it was raised: the innermost frame of the traceback, as ` (file:line in function)`."""
    trace = error.__traceback__
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return one_line(f" ({code.co_filename}:{trace.tb_lineno} in {code.co_name})", 300)


def complain(
    logger: logging.Logger,
    error: BaseException,
    message: str,
    *args: object,
    level: int = logging.ERROR,
    repeats: Repeats | None = None,
) -> None:
    """Tells of an error in one line: the message, `TypeError: what it says`, and where it was raised.

    Args:
        message, args: as for `logger.error`; texts of others in `args` are escaped and cut.
        repeats: where it can happen again and again: told the 1st, 2nd, 4th, 8th ... time, counted by message.
    """
    count = 1 if repeats is None else repeats.add(message)
    if not count:
        return
    safe = tuple(one_line(arg, 200) if isinstance(arg, str) else arg for arg in args)
    often = f" ({count} so far)" if count > 1 else ""
    logger.log(level, f"{message}%s: %s%s", *safe, often, error_text(error), place_of(error))
    logger.debug(f"{message}, here", *safe, exc_info=error)
