"""Transports for tests: one that remembers, one that fails by script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..core.ports import Node, Transport
from ..core.publication import Change, Publication
from ..exceptions import TransportUnavailable, UpdatesRejected
from ..transports.memory import MemoryTransport

Predicate = Callable[[Change], bool]


class RecordingTransport:
    """Passes everything on to another transport and remembers it.

    `attempts` has each publication that was tried, `published` those that were acknowledged.
    """

    name = "recording"

    def __init__(self, inner: Transport | None = None) -> None:
        self.inner: Transport = inner or MemoryTransport()
        self.attempts: list[Publication] = []
        self.published: list[Publication] = []
        self.is_started = False

    async def start(self, node: Node) -> None:
        """Starts the inner transport."""
        await self.inner.start(node)
        self.is_started = True

    async def stop(self) -> None:
        """Stops it."""
        self.is_started = False
        await self.inner.stop()

    async def publish(self, publication: Publication) -> None:
        """Passes a publication on."""
        self.attempts.append(publication)
        await self._pass_on(publication)
        self.published.append(publication)

    async def _pass_on(self, publication: Publication) -> None:
        await self.inner.publish(publication)

    def changes(self) -> list[Change]:
        """Every acknowledged change, in order."""
        return [change for publication in self.published for change in publication.changes]


class FaultyTransport(RecordingTransport):
    """Fails as told; without a script it works. Scripts may be combined and changed at any time.

    transport = FaultyTransport()
    transport.fail(times=3)                                  # then it works again
    transport.begin_outage(); ...; transport.end_outage()
    transport.poison(lambda change: change.agent_id == "a")  # any publication with it raises
    transport.reject(lambda change: change.agent_id == "a", "too large")   # only that change is refused
    transport.lose_answers(times=1)                          # applied, but the answer never came
    transport.hang(); ...; transport.go_on()                 # publish waits
    """

    name = "faulty"

    def __init__(self, inner: Transport | None = None) -> None:
        super().__init__(inner)
        self._failures = 0
        self._error: Exception = TransportUnavailable("scripted failure")
        self._outage = False
        self._lost_answers = 0
        self._poison: Predicate = lambda change: False
        self._rejects: Predicate = lambda change: False
        self._reason = "rejected"
        self._going = asyncio.Event()
        self._going.set()
        self.hanging = asyncio.Event()  # set while a publish waits
        self.failed = 0

    def fail(self, times: int = 1, error: Exception | None = None) -> None:
        """The next publishes raise."""
        self._failures = times
        self._error = error or TransportUnavailable("scripted failure")

    def begin_outage(self) -> None:
        """Every publish raises until `end_outage`."""
        self._outage = True

    def end_outage(self) -> None:
        """It works again."""
        self._outage = False

    def lose_answers(self, times: int = 1) -> None:
        """The next publishes are applied, and raise nevertheless."""
        self._lost_answers = times

    def poison(self, predicate: Predicate) -> None:
        """A publication with such a change raises, and nothing of it is applied."""
        self._poison = predicate

    def reject(self, predicate: Predicate, reason: str = "rejected") -> None:
        """Such changes are refused for what they are; the others of the publication are applied."""
        self._rejects = predicate
        self._reason = reason

    def hang(self) -> None:
        """Publishes wait, until `go_on` or they are cancelled."""
        self._going.clear()

    def go_on(self) -> None:
        """They go on."""
        self._going.set()

    async def _pass_on(self, publication: Publication) -> None:
        if not self._going.is_set():
            self.hanging.set()
            try:
                await self._going.wait()
            finally:
                self.hanging.clear()
        if self._outage:
            raise self._raised(TransportUnavailable("scripted outage"))
        if self._failures > 0:
            self._failures -= 1
            raise self._raised(self._error)
        if any(self._poison(change) for change in publication.changes):
            raise self._raised(RuntimeError("scripted poison"))
        rejected = {i: self._reason for i, change in enumerate(publication.changes) if self._rejects(change)}
        if not rejected:
            await self.inner.publish(publication)
        else:
            for part in publication.parts():
                if not self._rejects(part.changes[0]):
                    await self.inner.publish(part)
        if self._lost_answers > 0:
            self._lost_answers -= 1
            raise self._raised(TransportUnavailable("scripted loss of the answer"))
        if rejected:
            raise UpdatesRejected(rejected)

    def _raised(self, error: Any) -> Any:
        self.failed += 1
        return error
