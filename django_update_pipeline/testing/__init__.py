"""The kit with which the package tests itself, for users' tests too.

    clocks      ManualClock · VirtualTimeLoop and `in_virtual_time`: timeouts and pauses pass without waiting
    transports  RecordingTransport · FaultyTransport: outages, rejections, hangs and lost answers by script
    sockets     RecordingSocket: a client that reads fast, slowly, not at all, or fails
    nodes       StoreNode: the node a transport sees, with a real store and nothing else
    contract    TransportContract: what every transport must do, as a class of tests to inherit
    fixtures    a pytest plugin: `pytest_plugins = ["django_update_pipeline.testing.fixtures"]`

`contract` and `fixtures` need pytest (with pytest-asyncio); the rest needs nothing.
"""

from __future__ import annotations

from .clocks import LoopClock, ManualClock, VirtualTimeLoop, in_virtual_time
from .nodes import StoreNode
from .sockets import RecordingSocket
from .transports import FaultyTransport, RecordingTransport

__all__ = [
    "FaultyTransport",
    "LoopClock",
    "ManualClock",
    "RecordingSocket",
    "RecordingTransport",
    "StoreNode",
    "VirtualTimeLoop",
    "in_virtual_time",
]
