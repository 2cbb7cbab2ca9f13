"""The pipeline's metrics for Prometheus, in the registry that django-prometheus (or anybody) exports.

Lives here: `families` (names, labels, meaning: plain data, drawn into the documents and the alert rules' test),
`reading` (what the process's pipelines say, as those families), `exporter` (the collector, and multiprocess mode).
Not here: counting, which happens where things happen and costs the same without Prometheus.

Importing this needs no prometheus_client; `exporter` does, and is imported only where it is installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..runtime.pipeline import UpdatePipeline

#: Says which pipeline is the process's at this moment; None for none.
Source = Callable[[], "UpdatePipeline | None"]


def is_available() -> bool:
    """Whether prometheus_client is installed."""
    return find_spec("prometheus_client") is not None


def is_multiprocess() -> bool:
    """Whether prometheus_client shares its metrics through files, so that collectors are not asked."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ or "prometheus_multiproc_dir" in os.environ


def register(source: Source) -> bool:
    """Adds the metrics to the default registry, once in a process. False where there is no prometheus_client.

    In multiprocess mode nothing is added: there `follow` writes.
    """
    if not is_available() or is_multiprocess():
        return False
    from .exporter import register_collector

    register_collector(source)
    return True


def forgotten(pipeline: UpdatePipeline) -> None:
    """Told before the process forgets its pipeline: what it counted stays counted."""
    if is_available():
        from .reading import note

        note(pipeline)


def follow(pipeline: UpdatePipeline, source: Source) -> bool:
    """In multiprocess mode, has the metrics written while the pipeline runs. False elsewhere."""
    if not is_available() or not is_multiprocess():
        return False
    from .multiprocess import writer_of_this_process

    observers = pipeline.parts.observers
    writer = writer_of_this_process(source)
    observers.started = (*observers.started, writer.started)
    observers.stopped = (*observers.stopped, writer.stopped)
    return True
