"""The collector: asked when somebody scrapes, and at no other time."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from itertools import product
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from ..core.names import error_text
from ..core.repeats import Repeats
from .families import BUCKETS_S, FAMILIES, LABELS, Family
from .reading import Reading, Readings

if TYPE_CHECKING:
    from . import Source

logger = logging.getLogger(__name__)


class PipelineCollector(Collector):
    """Exports the process's pipeline. Any thread may collect; a scrape costs about two milliseconds.

    Args:
        source: says which pipeline that is; None for none, which is exported as zeros.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._readings = Readings(source)
        self._pid = os.getpid()
        self._complaints = Repeats()

    def describe(self) -> Iterable[Metric]:
        """The families without values: their names are taken, and nothing is read."""
        return [_family(family) for family in FAMILIES.values()]

    def collect(self) -> Iterable[Metric]:
        """All families; none where they can't be read, which is logged: other metrics of the scrape go on."""
        try:
            if self._pid != os.getpid():  # a fork: what the parent counted is the parent's
                self._pid, self._readings = os.getpid(), Readings(self._source)
            reading = self._readings.take()
        except Exception as error:  # the scrape's boundary: wrong settings, a bug of ours
            if count := self._complaints.add():
                logger.warning("the metrics could not be read (%d time(s)): %s", count, error_text(error))
            return []
        return exported(reading)


def exported(reading: Reading) -> list[Metric]:
    """A reading as prometheus_client has it."""
    found: list[Metric] = []
    for name, family in FAMILIES.items():
        metric = _family(family)
        for labels in product(*(LABELS[label] for label in family.labels)):
            if isinstance(metric, HistogramMetricFamily):
                counts, sum_s = reading.histograms[name, labels]
                bounds = [*map(floatToGoString, BUCKETS_S), "+Inf"]
                metric.add_metric(labels, list(zip(bounds, counts, strict=True)), sum_s)
            else:
                metric.add_metric(labels, reading.values[name, labels])
        found.append(metric)
    return found


def _family(family: Family) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    if family.kind == "counter":
        return CounterMetricFamily(family.name, family.help, labels=family.labels)
    if family.kind == "gauge":
        return GaugeMetricFamily(family.name, family.help, labels=family.labels)
    return HistogramMetricFamily(family.name, family.help, labels=family.labels)


def register_collector(source: Source, registry: CollectorRegistry = REGISTRY) -> PipelineCollector | None:
    """Registers a collector; None where one is registered already, also by an earlier import of this module."""
    collector = PipelineCollector(source)
    try:
        registry.register(collector)
    except ValueError as error:
        logger.debug("the metrics are registered already: %s", error_text(error))
        return None
    return collector
