"""The memory transport keeps the contract."""

from __future__ import annotations

from django_update_pipeline.core.ports import Transport
from django_update_pipeline.testing import FaultyTransport, RecordingTransport
from django_update_pipeline.testing.contract import TransportContract
from django_update_pipeline.transports.memory import MemoryTransport


class TestMemoryTransport(TransportContract):
    def make_transport(self) -> Transport:
        return MemoryTransport()


class TestRecordingTransport(TransportContract):
    """The kit's own doubles pass what they stand in for."""

    def make_transport(self) -> Transport:
        return RecordingTransport()


class TestFaultyTransportWithoutScript(TransportContract):
    def make_transport(self) -> Transport:
        return FaultyTransport()
