"""The transport over a Channels layer: one layer channel per node, each publication encoded and sent once.

A layer delivers at most once and tells nobody what it dropped, so it carries news, not truth. Each node applies its
own publications first and numbers them; the others apply them in that order, see holes by the numbers (a heartbeat
shows a lost last one), and ask the origin, which still has the publications or else the state they led to. Each node
numbers its own log, and that is what its clients see.

Of two origins that write one agent, the state with the higher (timestamp, node id) wins on every node.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

import msgspec

from ..core.messages import UpdateKind, UpdatePriority
from ..core.ports import Node
from ..core.publication import Change, Publication
from ..exceptions import ConfigurationError, TransportUnavailable

logger = logging.getLogger(__name__)

GROUP = "update_pipeline.nodes"
MESSAGE_TYPE = "update_pipeline.node"
HEARTBEAT_S = 2.0
RENEWAL_S = 3600.0  # layers let memberships expire after a day
KEPT_PUBLICATIONS = 256
STATES_PER_MESSAGE = 100
FORGET_ORIGIN_S = 60.0


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """What nodes send each other; one JSON text under one key of a fixed layer message.

    `kind`: `publication` (number `seq` of `node`), `beat` (no news; `seq` is the last number), `want` (send me what
    comes after `seq`), `states` (what the origin wrote, as of `seq`; the last message of a series has `is_last`).
    """

    kind: str
    node: str
    channel: str
    seq: int
    publication: Publication | None = None
    is_last: bool = True


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Envelope).decode


class _Origin:
    """What this node knows of another one."""

    __slots__ = ("asked_at", "heard_at", "seq")

    def __init__(self, now: float) -> None:
        self.seq = 0  # the last number applied
        self.asked_at = -1e9
        self.heard_at = now


class ChannelsTransport:
    """Publishes to all nodes on a Channels layer."""

    name = "channels"

    def __init__(
        self, layer_alias: str = "default", layer: Any = None, heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self._alias = layer_alias
        self._given_layer = layer
        self._layer: Any = layer
        self._heartbeat_s = heartbeat_s
        self._node: Node | None = None
        self._channel = ""
        self._seq = 0
        self._numbers: dict[tuple[str, int], int] = {}
        self._kept: deque[tuple[int, str]] = deque(maxlen=KEPT_PUBLICATIONS)
        self._authored: dict[tuple[str, tuple[str, ...]], int] = {}
        self._stamps: dict[tuple[str, str], tuple[float, str]] = {}
        self._origins: dict[str, _Origin] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.holes_seen = 0
        self.holes_healed = 0
        self.conflicts = 0
        self.messages_refused = 0

    async def start(self, node: Node) -> None:
        """Joins the group and begins to listen.

        Raises:
            ConfigurationError: there is no such layer.
        """
        if self._given_layer is None:
            self._layer = _get_layer(self._alias)
        self._node = node
        try:
            self._channel = await self._layer.new_channel("update_pipeline.node")
            await self._layer.group_add(GROUP, self._channel)
        except Exception as error:  # the layer's boundary: down at start is an outage like any other
            logger.warning("channel layer %r: %s; the node goes on alone and tries again", self._alias, error)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._listen(), name="update-pipeline-layer-reader"),
            loop.create_task(self._beat(), name="update-pipeline-layer-heartbeat"),
        ]

    async def stop(self) -> None:
        """Leaves the group."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._node = None
        try:
            async with asyncio.timeout(1.0):
                await self._layer.group_discard(GROUP, self._channel)
        except Exception as error:  # the layer's boundary: it forgets us by itself
            logger.debug("leaving the layer's group: %r", error)

    async def publish(self, publication: Publication) -> None:
        """Applies here, then tells the other nodes; returns when the layer took it."""
        node = self._node
        if node is None:
            raise TransportUnavailable("the channels transport is not started: start the pipeline first")
        node.apply(publication)
        key = (publication.id, publication.part)
        seq = self._numbers.get(key)
        if seq is None:
            self._seq = seq = self._seq + 1
            self._numbers[key] = seq
            if len(self._numbers) > KEPT_PUBLICATIONS:
                del self._numbers[next(iter(self._numbers))]
            self._note_own(publication, seq)
            text = self._envelope("publication", seq, publication)
            self._kept.append((seq, text))
        else:
            text = self._envelope("publication", seq, publication)
        try:
            await self._layer.group_send(GROUP, {"type": MESSAGE_TYPE, "p": text})
        except Exception as error:  # the layer's boundary
            raise TransportUnavailable(
                f"channel layer {self._alias!r}: {type(error).__name__}: {error}"
            ) from error

    def _note_own(self, publication: Publication, seq: int) -> None:
        assert self._node is not None
        for change in publication.changes:
            if change.kind is not UpdateKind.EVENT:
                self._authored[change.agent_id, change.channels] = seq
                for name in change.channels:
                    self._stamps[name, change.agent_id] = (change.timestamp, self._node.node_id)

    def _envelope(
        self, kind: str, seq: int, publication: Publication | None = None, *, is_last: bool = True
    ) -> str:
        assert self._node is not None
        return _encode(Envelope(kind, self._node.node_id, self._channel, seq, publication, is_last)).decode()

    # listening

    async def _listen(self) -> None:
        pause = 0.05
        while True:
            try:
                message = await self._layer.receive(self._channel)
                pause = 0.05
            except Exception as error:  # the layer's boundary: an outage
                logger.warning("channel layer %r: %s: %.200s", self._alias, type(error).__name__, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 2.0)
                continue
            try:
                await self._handle(_decode(message["p"]))
            except Exception as error:  # whatever is on the layer: counted, never another message's fault
                self.messages_refused += 1
                logger.warning("a message on the layer was refused: %s: %.200s", type(error).__name__, error)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        renewed_at = loop.time()
        while True:
            try:
                if loop.time() - renewed_at > RENEWAL_S:
                    await self._layer.group_add(GROUP, self._channel)
                    renewed_at = loop.time()
                await self._layer.group_send(
                    GROUP, {"type": MESSAGE_TYPE, "p": self._envelope("beat", self._seq)}
                )
            except Exception as error:  # the layer's boundary
                logger.debug("heartbeat: %r", error)
                renewed_at = -RENEWAL_S  # whoever was down may have forgotten us
            now = loop.time()
            for name in [name for name, o in self._origins.items() if now - o.heard_at > FORGET_ORIGIN_S]:
                del self._origins[name]
            await asyncio.sleep(self._heartbeat_s)

    async def _handle(self, envelope: Envelope) -> None:
        node = self._node
        if node is None or envelope.node == node.node_id:
            return
        if envelope.kind == "want":
            await self._answer(envelope)
            return
        now = asyncio.get_running_loop().time()
        origin = self._origins.get(envelope.node)
        if origin is None:
            origin = self._origins[envelope.node] = _Origin(now)
        origin.heard_at = now
        if envelope.kind == "states":
            self._apply_foreign(envelope)
            if envelope.is_last and envelope.seq > origin.seq:
                origin.seq = envelope.seq
                origin.asked_at = -1e9
                self.holes_healed += 1
        elif envelope.kind == "publication" and envelope.seq == origin.seq + 1:
            origin.seq = envelope.seq
            self._apply_foreign(envelope)
        elif envelope.seq > origin.seq:
            await self._ask(envelope, origin, now)

    async def _ask(self, envelope: Envelope, origin: _Origin, now: float) -> None:
        """A hole: asks the origin for what comes after the last applied number, at most once in a heartbeat."""
        if now - origin.asked_at < self._heartbeat_s:
            return
        origin.asked_at = now
        self.holes_seen += 1
        want = self._envelope("want", origin.seq)
        await self._layer.send(envelope.channel, {"type": MESSAGE_TYPE, "p": want})

    async def _answer(self, want: Envelope) -> None:
        """Sends another node what it lacks: the publications themselves, or the states they led to."""
        kept = [(seq, text) for seq, text in self._kept if seq > want.seq]
        if kept and kept[0][0] == want.seq + 1:
            for _, text in kept:
                await self._layer.send(want.channel, {"type": MESSAGE_TYPE, "p": text})
            return
        changes = self._own_states()
        chunks = [
            changes[i : i + STATES_PER_MESSAGE] for i in range(0, len(changes), STATES_PER_MESSAGE)
        ] or [[]]
        seq = self._seq
        for number, chunk in enumerate(chunks):
            publication = Publication(f"{want.node}-{seq}-{number}", tuple(chunk))
            text = self._envelope("states", seq, publication, is_last=number == len(chunks) - 1)
            await self._layer.send(want.channel, {"type": MESSAGE_TYPE, "p": text})

    def _own_states(self) -> list[Change]:
        """What this node wrote, as it is now: each agent whole, or removed."""
        assert self._node is not None
        changes = []
        for agent_id, channels in self._authored:
            for name in channels:
                stamp, writer = self._stamps.get((name, agent_id), (0.0, ""))
                if writer != self._node.node_id:
                    continue  # another node's state is newer, and that node has it
                agent = self._node.store.channel(name).agents.get(agent_id)
                kind = UpdateKind.REMOVE if agent is None else UpdateKind.REPLACE
                changes.append(
                    Change(
                        kind,
                        agent_id,
                        (name,),
                        "state_removed" if agent is None else agent.update_type,
                        b"{}" if agent is None else agent.text(),
                        (),
                        stamp,
                        UpdatePriority.NORMAL,
                    )
                )
        return changes

    def _apply_foreign(self, envelope: Envelope) -> None:
        """Applies another node's changes, save states that are older than what is known."""
        publication = envelope.publication
        if publication is None:
            return
        assert self._node is not None
        changes = []
        for change in publication.changes:
            if change.kind is not UpdateKind.EVENT:
                stamp = (change.timestamp, envelope.node)
                known = [self._stamps.get((name, change.agent_id)) for name in change.channels]
                if any(one is not None and one > stamp for one in known):
                    self.conflicts += 1
                    continue
                for name in change.channels:
                    self._stamps[name, change.agent_id] = stamp
            changes.append(change)
        if changes:
            self._node.apply(
                Publication(f"{envelope.node}:{publication.id}", tuple(changes), publication.part)
            )


def _get_layer(alias: str) -> Any:
    try:
        from channels.layers import get_channel_layer
    except ImportError as error:
        raise ConfigurationError(
            'TRANSPORT "channels" needs Channels: pip install "django-update-pipeline[channels]"',
            path="transport",
        ) from error
    layer = get_channel_layer(alias)
    if layer is None:
        raise ConfigurationError(
            f"CHANNEL_LAYERS has no {alias!r}: configure it, or set UPDATE_PIPELINE['CHANNEL_LAYER']",
            path="channel_layer",
        )
    return layer


def crosses_processes(alias: str) -> bool:
    """Whether a layer of this name is configured that reaches other processes (Channels' in-memory one does not)."""
    from django.conf import settings

    backend = getattr(settings, "CHANNEL_LAYERS", {}).get(alias, {}).get("BACKEND", "")
    return bool(backend) and not backend.endswith(".InMemoryChannelLayer")
