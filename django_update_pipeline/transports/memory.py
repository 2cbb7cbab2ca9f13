"""The transport of one process: applying to the own store is the acknowledgement. Reference for the others."""

from __future__ import annotations

from ..core.ports import Node
from ..core.publication import Publication
from ..exceptions import TransportUnavailable


class MemoryTransport:
    """Applies each publication to this node. Nothing outlives the process; other processes see nothing."""

    name = "memory"

    def __init__(self) -> None:
        self._node: Node | None = None

    async def start(self, node: Node) -> None:
        """Begins to take publications."""
        self._node = node

    async def stop(self) -> None:
        """Takes no more publications."""
        self._node = None

    async def publish(self, publication: Publication) -> None:
        """Applies a publication; returns when it is applied."""
        if self._node is None:
            raise TransportUnavailable("the memory transport is not started: start the pipeline first")
        self._node.apply(publication)
