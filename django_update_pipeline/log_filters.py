"""A filter for a server's log, for `LOGGING` in a project's settings. Imports no Django.

What our own loggers write needs no filter.
"""

from __future__ import annotations

import logging

from .core.repeats import Repeats


class InvalidFrames(logging.Filter):
    """Keeps what uvicorn says of frames that are no UTF-8 to one line, told the 1st, 2nd, 4th, 8th ... time.

    Any client can send such a frame, and uvicorn (0.54, `websockets-sansio`, its default) writes a traceback for each.
    It goes on the logger `uvicorn.error`; everything else passes as it is. Any thread.
    """

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self._repeats = Repeats(max_keys=1)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written; one of these loses its traceback and gets its count."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, UnicodeDecodeError) or "UTF-8" not in str(record.msg):
            return True
        record.exc_info = record.exc_text = None
        count = self._repeats.add()
        record.msg, record.args = f"{record.msg} (%d so far)", (count,)
        return bool(count)
