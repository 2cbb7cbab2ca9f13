"""What every transport must do, as tests to inherit.

    from django_update_pipeline.testing.contract import NetworkTransportContract

    class TestMyTransport(NetworkTransportContract):
        def make_transport(self):
            return MyTransport(url="...")

`TransportContract` is for a transport within one process, `NetworkTransportContract` adds what holds between nodes.
The tests are coroutines: run them with pytest-asyncio. The transport is driven as the pipeline drives it: one
publication at a time, each tried again with the same id after an error.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ..core.messages import UpdateKind, UpdatePriority
from ..core.ports import Transport
from ..core.publication import Change, Publication
from ..exceptions import TransportError, UpdatesRejected
from .nodes import StoreNode

CHANNEL = "updates"


def state(
    agent_id: str, content: bytes, timestamp: float = 100.0, kind: UpdateKind = UpdateKind.REPLACE
) -> Change:
    """A change of an agent's state; `content` is JSON."""
    return Change(kind, agent_id, (CHANNEL,), "state_change", content, (), timestamp, UpdatePriority.NORMAL)


def event(agent_id: str, content: bytes, timestamp: float = 100.0) -> Change:
    """An event; `content` is JSON."""
    return Change(
        UpdateKind.EVENT, agent_id, (CHANNEL,), "said", content, (), timestamp, UpdatePriority.NORMAL
    )


class TransportContract:
    """Subclass it, name it `Test...`, and give `make_transport`.

    Attributes:
        timeout_s: how long a test waits for another node.
    """

    pytestmark = pytest.mark.asyncio

    timeout_s = 10.0

    def make_transport(self) -> Transport:
        """A fresh transport. Those made in one test share a bus, if there is one."""
        raise NotImplementedError("a transport's contract needs make_transport()")

    @contextlib.asynccontextmanager
    async def node(self, node_id: str | None = None) -> AsyncIterator[tuple[StoreNode, Transport]]:
        """A node whose transport is started."""
        node, transport = StoreNode(node_id), self.make_transport()
        await transport.start(node)
        try:
            yield node, transport
        finally:
            await transport.stop()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Waits for what arrives from another node.

        Raises:
            TimeoutError: it does not, in `timeout_s`.
        """
        async with asyncio.timeout(self.timeout_s):
            # A bus gives no notice that a test could await.
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    # one node

    async def test_a_publication_is_applied_here_when_it_is_acknowledged(self) -> None:
        async with self.node() as (node, transport):
            await transport.publish(Publication("p-1", (state("a", b'{"n":1}'), event("a", b'{"e":1}'))))
            assert node.states() == {"a": {"n": 1}}
            assert node.events() == [("a", {"e": 1})]

    async def test_the_changes_of_a_publication_are_applied_in_order(self) -> None:
        async with self.node() as (node, transport):
            events = tuple(event("a", b'{"e":%d}' % n) for n in range(50))
            await transport.publish(Publication("p-1", events[:20]))
            await transport.publish(Publication("p-2", events[20:]))
            assert [data["e"] for _, data in node.events()] == list(range(50))

    async def test_the_same_publication_again_changes_nothing(self) -> None:
        async with self.node() as (node, transport):
            first = Publication("p-1", (state("a", b'{"n":1}'), event("a", b'{"e":1}')))
            await transport.publish(first)
            await transport.publish(Publication("p-2", (state("a", b'{"n":2}'),)))
            head = node.store.head
            await transport.publish(first)
            assert node.store.head == head
            assert node.states() == {"a": {"n": 2}}
            assert node.events() == [("a", {"e": 1})]

    async def test_parts_after_the_whole_change_nothing(self) -> None:
        async with self.node() as (node, transport):
            whole = Publication("p-1", (event("a", b'{"e":1}'), event("b", b'{"e":2}')))
            await transport.publish(whole)
            for part in whole.parts():
                await transport.publish(part)
            assert node.events() == [("a", {"e": 1}), ("b", {"e": 2})]

    async def test_the_whole_after_some_parts_applies_the_others_alone(self) -> None:
        async with self.node() as (node, transport):
            whole = Publication("p-1", tuple(event(name, b"{}") for name in "abc"))
            await transport.publish(whole.parts()[1])
            await transport.publish(whole)
            assert sorted(agent_id for agent_id, _ in node.events()) == ["a", "b", "c"]

    async def test_merges_and_removals_arrive_as_such(self) -> None:
        async with self.node() as (node, transport):
            await transport.publish(Publication("p-1", (state("a", b'{"x":1,"y":1}'), state("b", b"{}"))))
            merge = Change(
                UpdateKind.MERGE,
                "a",
                (CHANNEL,),
                "state_patch",
                b'{"z":3}',
                ("y",),
                101.0,
                UpdatePriority.NORMAL,
            )
            remove = Change(
                UpdateKind.REMOVE, "b", (CHANNEL,), "state_removed", b"{}", (), 101.0, UpdatePriority.NORMAL
            )
            await transport.publish(Publication("p-2", (merge, remove)))
            assert node.states() == {"a": {"x": 1, "z": 3}}

    async def test_what_is_refused_for_what_it_is_harms_no_other_change(self) -> None:
        async with self.node() as (node, transport):
            publication = Publication("p-1", (state("a", b"{"), state("b", b'{"n":1}')))
            with pytest.raises(UpdatesRejected) as caught:
                await transport.publish(publication)
            assert list(caught.value.reasons) == [0]
            assert node.states() == {"b": {"n": 1}}

    async def test_a_transport_that_is_not_started_is_an_outage(self) -> None:
        transport = self.make_transport()
        with pytest.raises(TransportError):
            await transport.publish(Publication("p-1", (state("a", b"{}"),)))

    async def test_a_stopped_transport_is_an_outage_and_can_be_started_again(self) -> None:
        node, transport = StoreNode(), self.make_transport()
        publication = Publication("p-1", (state("a", b'{"n":1}'),))
        await transport.start(node)
        await transport.stop()
        with pytest.raises(TransportError):
            await transport.publish(publication)
        await transport.start(node)
        try:
            await transport.publish(publication)
            assert node.states() == {"a": {"n": 1}}
        finally:
            await transport.stop()


class NetworkTransportContract(TransportContract):
    """The same, and what holds between nodes. Transports made in one test reach each other."""

    async def test_every_node_has_what_any_node_published(self) -> None:
        async with self.node() as (one, sends), self.node() as (two, answers):
            await sends.publish(Publication("p-1", (state("a", b'{"n":1}'), event("a", b'{"e":1}'))))
            await answers.publish(Publication("p-1", (state("b", b'{"n":2}'),)))  # ids are each node's own
            await self.until(lambda: one.states() == two.states() == {"a": {"n": 1}, "b": {"n": 2}})
            await self.until(lambda: two.events() == [("a", {"e": 1})])

    async def test_another_node_applies_publications_in_order_and_once(self) -> None:
        async with self.node() as (_, transport), self.node() as (other, _):
            for n in range(60):
                publication = Publication(
                    f"p-{n}", (event("a", b'{"e":%d}' % n), state("a", b'{"n":%d}' % n))
                )
                await transport.publish(publication)
                await transport.publish(publication)  # as after a lost answer
            await self.until(lambda: other.states() == {"a": {"n": 59}})
            assert [data["e"] for _, data in other.events()] == list(range(60))

    async def test_a_node_that_joins_later_gets_the_state(self) -> None:
        async with self.node() as (_, transport):
            for n in range(300):
                await transport.publish(Publication(f"p-{n}", (state(f"a{n % 7}", b'{"n":%d}' % n),)))
            async with self.node() as (late, _):
                expected = {f"a{n % 7}": {"n": n} for n in range(300)}
                await self.until(lambda: late.states() == expected)

    async def test_what_is_refused_for_what_it_is_keeps_no_other_change_from_other_nodes(self) -> None:
        async with self.node() as (_, transport), self.node() as (other, _):
            with pytest.raises(UpdatesRejected):
                await transport.publish(Publication("p-1", (state("a", b"{"), state("b", b'{"n":1}'))))
            await transport.publish(Publication("p-2", (state("c", b'{"n":2}'),)))
            await self.until(lambda: other.states() == {"b": {"n": 1}, "c": {"n": 2}})
