"""How old news is when clients have applied it, from their acknowledgements.

Lives here: the judgement of what a client says, and the counting. Not here: which frames ask and what was news in them
(`sync_stream`), and when a window ends (the shell calls `rotate`).

Two figures, never mixed. `applied` is until the client had applied a frame, as the client measured it, held between
two times that are known here: when the frame was sent, and when its acknowledgement came. `acknowledged` is until then,
measured here alone: an upper bound, for clients that measure nothing, too.

Written on one event loop, read from any thread. Time is passed in.
"""

from __future__ import annotations

from .credit import Asked
from .histogram import LatencyRecorder


class Ages:
    """Ages by priority, and the repairs that clients report.

    Law E1: what is recorded as applied is never below the time until the frame was sent, nor above the time until its
        acknowledgement came, whatever the client says.
    Law E2: an acknowledgement adds to each priority at most one sample: always to `acknowledged`, and to `applied` if
        the client says an age; none where its frame was no sample.
    Law E3: an honest client's age is recorded as it is, for every priority in the frame, however wrong its clock.
    """

    __slots__ = ("_repairs_before", "acknowledged", "applied", "repaired_count")

    def __init__(self) -> None:
        self.applied = LatencyRecorder()
        self.acknowledged = LatencyRecorder()
        self.repaired_count = 0
        self._repairs_before = (0, 0)

    def heard(self, asked: Asked, age_ms: float | None, now: float, time: float) -> None:
        """An acknowledgement that was asked for came; some 0.8 us.

        Args:
            age_ms: how old the frame's oldest change was once it was applied, by the client; None if it does not say.
            now: monotonic seconds.
            time: Unix seconds of the same moment.
        """
        _, _, asked_at, oldest, queued = asked
        acknowledged = self.acknowledged.records
        if age_ms is None:
            for priority, at in queued:
                acknowledged[priority](time - at if time > at else 0.0)
            return
        applied_at = oldest + age_ms / 1000.0
        if applied_at < (sent_at := time - now + asked_at):
            applied_at = sent_at
        if applied_at > time:
            applied_at = time
        applied = self.applied.records
        for priority, at in queued:
            # Another node's clock may be ahead, and nothing is younger than new.
            acknowledged[priority](time - at if time > at else 0.0)
            applied[priority](applied_at - at if applied_at > at else 0.0)

    def repaired(self, count: int) -> None:
        """A client's self-check repaired so many agents."""
        self.repaired_count += count

    def rotate(self) -> None:
        """Ends a window, as `LatencyRecorder.rotate`."""
        self.applied.rotate()
        self.acknowledged.rotate()
        self._repairs_before = (self._repairs_before[1], self.repaired_count)

    def repaired_of_late(self) -> int:
        """Repairs of the last one to two windows."""
        return self.repaired_count - self._repairs_before[0]
