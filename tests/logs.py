"""What in a server's log says that something went wrong behind the scenes."""

from __future__ import annotations

import re

#: A traceback of anybody, or a line of our own about an error (those have no traceback).
TROUBLE = re.compile(
    r"Traceback \(most recent call last\)|\b(?:failed|could not be)\b[^\n]*: \w*(?:Error|Exception|Timeout)\b"
)


def trouble(log: str) -> list[str]:
    """The lines that tell of trouble; empty for a log of a server that did well."""
    return [line for line in log.splitlines() if TROUBLE.search(line)]
