"""Multiprocess mode: where PROMETHEUS_MULTIPROC_DIR is set, each process writes its values into files there.

prometheus_client asks no collector then. So a thread reads the pipeline every few seconds while it runs and writes the
differences; it writes a last time when the pipeline stops. What was counted in the last seconds before a `kill -9` is
missing. Nothing is written on the event loop.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import Counter, Gauge, Histogram

from ..core.names import error_text
from ..core.repeats import Repeats
from .families import BUCKETS_S, FAMILIES
from .reading import Reading, Readings, nothing

if TYPE_CHECKING:
    from . import Source

logger = logging.getLogger(__name__)

WRITE_EVERY_S: Final = 5.0
_JOIN_TIMEOUT_S: Final = 1.0


class BulkHistogram(Histogram):
    """A histogram that takes many observations at once, already counted: one by one they would cost 2 us each."""

    def add(self, counts: Sequence[int], sum_s: float) -> None:
        """Adds to each bucket (not cumulative, the last one unbounded) and to the sum."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(sum_s)


class MultiprocessWriter:
    """One process's writer. Any thread.

    The metrics are in no registry: in this mode they are read from the files, of all processes together.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._readings = Readings(source)
        self._written = nothing()
        self._metrics: dict[str, Any] = {}
        for name, family in FAMILIES.items():
            if family.kind == "counter":
                self._metrics[name] = Counter(family.name, family.help, family.labels, registry=None)
            elif family.kind == "histogram":
                self._metrics[name] = BulkHistogram(
                    family.name, family.help, family.labels, buckets=BUCKETS_S, registry=None
                )
            else:
                self._metrics[name] = Gauge(
                    family.name, family.help, family.labels, multiprocess_mode=family.merge, registry=None
                )
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._complaints = Repeats()

    def started(self, pipeline: Any) -> None:
        """The pipeline runs: writes now and every few seconds."""
        if self._thread is not None:
            return
        self._stop = threading.Event()
        thread = threading.Thread(
            target=self._write_often, args=(self._stop,), name="update-pipeline-metrics", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system has no thread left
            logger.warning("metrics are not written until the pipeline stops: %s", error_text(error))
            return
        self._thread = thread

    def stopped(self, pipeline: Any, report: Any) -> None:
        """It runs no more: writes a last time."""
        thread, self._thread = self._thread, None
        self._stop.set()
        if thread is not None:
            thread.join(_JOIN_TIMEOUT_S)
        self.write()

    def write(self) -> None:
        """Writes what changed since the last time. What goes wrong is logged, and tried again the next time."""
        try:
            with self._lock:
                self._write(self._readings.take())
        except Exception as error:  # a sink's boundary: a full disk, a folder that is gone
            if count := self._complaints.add():
                logger.warning("the metrics could not be written (%d time(s)): %s", count, error_text(error))

    def _write(self, reading: Reading) -> None:
        for (name, labels), value in reading.values.items():
            metric = self._child(name, labels)
            if FAMILIES[name].kind == "gauge":
                metric.set(value)
            else:
                more = value - self._written.values[name, labels]
                metric.inc(max(0.0, more))
            self._written.values[name, labels] = value
        for key, (counts, sum_s) in reading.histograms.items():
            before, before_sum_s = self._written.histograms[key]
            added = [now - then for now, then in zip(counts, before, strict=True)]
            each = [count - below for count, below in zip(added, [0, *added], strict=False)]
            self._child(*key).add(each, max(0.0, sum_s - before_sum_s))
            self._written.histograms[key] = counts, sum_s

    def _child(self, name: str, labels: tuple[str, ...]) -> Any:
        metric = self._metrics[name]
        return metric.labels(*labels) if labels else metric

    def _write_often(self, stop: threading.Event) -> None:
        while True:
            self.write()
            if stop.wait(WRITE_EVERY_S):
                return

    def forget(self) -> None:
        """After a fork: the parent's counts, thread and lock are the parent's; the files are new ones."""
        self._lock = threading.Lock()
        self._readings = Readings(self._source)
        self._written = nothing()
        self._thread = None
        self._stop = threading.Event()


_writer: MultiprocessWriter | None = None


def writer_of_this_process(source: Source) -> MultiprocessWriter:
    """The process's one writer, made at first use."""
    global _writer
    if _writer is None:
        _writer = MultiprocessWriter(source)
    return _writer


def _after_fork_in_child() -> None:
    if _writer is not None:
        _writer.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
