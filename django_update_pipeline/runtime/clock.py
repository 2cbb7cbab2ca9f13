"""The one place that asks what time it is."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's clocks: `monotonic` in seconds from some start, `time` in Unix seconds."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
