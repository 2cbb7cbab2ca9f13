"""Keeps what the system holds unsent of a connection small, so that what a slow line gets is fresh.

A socket's send buffer grows to megabytes, and what stands in it is sent as it was: on a narrow line that is seconds,
up to minutes, of old states, and the pipeline can't take them back. With TCP_NOTSENT_LOWAT the system takes only so
much beyond what is on its way (which it needs for its speed); the rest waits here, where a newer state takes its place.
Measured in tests/faults/test_network.py. Linux and macOS have the option; elsewhere, on servers whose socket can't be
reached (granian, daphne, hypercorn), and behind a middleware that wraps `send`, nothing is done.
"""

from __future__ import annotations

import os
import socket
from typing import Any

_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", None)


def bound_unsent(send: object, limit_bytes: int) -> bool:
    """Bounds what the system holds unsent of the connection whose server's method `send` is. False: it could not."""
    transport = _transport(send)
    if _LOWAT is None or not limit_bytes or not hasattr(transport, "get_extra_info"):
        return False
    try:
        number = transport.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(number)) as same:  # a loop's own object may have no setsockopt
            same.setsockopt(socket.IPPROTO_TCP, _LOWAT, limit_bytes)
    except (OSError, AttributeError, TypeError, ValueError):  # no socket, no TCP, closed meanwhile
        return False
    return True


def cut(send: object) -> bool:
    """Ends the connection whose server's method `send` is, whatever it holds unsent. False: it can't be reached."""
    transport = _transport(send)
    if not hasattr(transport, "abort"):
        return False
    transport.abort()
    return True


def cut_if_stuck(send: object) -> bool:
    """As `cut`, if something is unsent that the client does not take."""
    transport = _transport(send)
    return bool(getattr(transport, "get_write_buffer_size", int)()) and cut(send)


def _transport(send: object) -> Any:
    return getattr(getattr(send, "__self__", None), "transport", None)
