"""The transport over a Channels layer: one layer channel per node, each publication encoded and sent once.

A layer delivers at most once and tells nobody what it dropped, so it carries news, not truth. Each node applies its
own publications first and numbers them; the others apply them in that order, see holes by the numbers (a heartbeat
shows a lost last one), and ask the origin, which still has the publications or else the state they led to. A node
that hears of an origin late gets its state, and no events of the past. Each node numbers its own log, and that is
what its clients see.

Which of two nodes' states wins is decided in `writers`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..core.messages import UpdateKind, UpdatePriority
from ..core.names import error_text
from ..core.ports import Node
from ..core.publication import Change, Publication
from ..core.repeats import Repeats
from ..exceptions import ConfigurationError, TransportUnavailable, UpdatesRejected
from .writers import Verdict, Writers

logger = logging.getLogger(__name__)

#: The layer's group is `<group>.nodes`.
DEFAULT_GROUP = "update_pipeline"
MESSAGE_TYPE = "update_pipeline.node"
HEARTBEAT_S = 2.0
JOIN_TIMEOUT_S = 1.0
CALL_TIMEOUT_S = 5.0
KEPT_PUBLICATIONS = 256
KEPT_ORIGINS = 1000
STATES_PER_MESSAGE = 100

#: The number before which a node knows nothing of an origin, not even that it began.
UNKNOWN = -1


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """What nodes send each other; one JSON text under one key of a fixed layer message.

    `kind`: `publication` (number `seq` of `node`), `beat` (no news; `seq` is the last number), `want` (send me what
    comes after `seq`, or with UNKNOWN what you wrote), `states` (what the origin wrote, as of `seq`, in `pieces`
    messages of one `series`). `stamps` are the changes' where they are not their timestamps.
    """

    kind: str
    node: str
    channel: str
    seq: int
    publication: Publication | None = None
    stamps: tuple[float, ...] = ()
    series: str = ""
    piece: int = 0
    pieces: int = 1


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Envelope).decode


@dataclass(slots=True)
class _Origin:
    """What this node knows of another one. Times are the loop's, in seconds."""

    seq: int = UNKNOWN  # the last number applied
    asked_at: float = -1e9
    wants_states_of: int = UNKNOWN  # a number whose patch could not be applied
    series: str = ""
    pieces: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Sent:
    """An own publication: its number, its envelope, and what of it the store refused."""

    seq: int
    text: str
    rejected: Mapping[int, str]


class ChannelsTransport:
    """Publishes to all nodes on a Channels layer."""

    name = "channels"

    def __init__(
        self,
        layer_alias: str = "default",
        layer: Any = None,
        heartbeat_s: float = HEARTBEAT_S,
        group: str = DEFAULT_GROUP,
    ) -> None:
        self._alias = layer_alias
        self._group = f"{group}.nodes"
        self._given_layer = layer
        self._layer: Any = layer
        self._heartbeat_s = heartbeat_s
        self._node: Node | None = None
        self._channel = ""
        self._joined = asyncio.Event()
        self._seq = 0
        self._sent: OrderedDict[tuple[str, int], _Sent] = OrderedDict()
        self._kept: deque[tuple[int, str]] = deque(maxlen=KEPT_PUBLICATIONS)
        self._writers = Writers("")
        self._origins: OrderedDict[str, _Origin] = OrderedDict()  # the one heard last is at the end
        self._answers = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.holes_seen = 0
        self.holes_healed = 0
        self.conflicts = 0
        self.messages_refused = 0
        #: What is wrong with the layer, None while it is well; for the health report.
        self.problem: str | None = None
        self._complaints = Repeats()

    async def start(self, node: Node) -> None:
        """Joins the group, says that this node is there, and begins to listen. A layer that is down is tried again.

        Raises:
            ConfigurationError: there is no such layer.
        """
        if self._given_layer is None:
            self._layer = _get_layer(self._alias)
        if self._writers.node_id != node.node_id:
            self._writers = Writers(node.node_id)
        self._node = node
        self._channel = ""
        self._joined = asyncio.Event()
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await self._join()
        except Exception as error:  # the layer's boundary: down at start is an outage like any other
            self._has_trouble(error)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._listen(), name="update-pipeline-layer-reader"),
            loop.create_task(self._beat(), name="update-pipeline-layer-heartbeat"),
        ]

    async def stop(self) -> None:
        """Leaves the group."""
        tasks, self._tasks = self._tasks, []
        self._node = None
        for _ in range(20):  # a layer may swallow a cancellation; told again, its task ends
            for task in tasks:
                task.cancel()
            if not tasks or not (await asyncio.wait(tasks, timeout=0.1))[1]:
                break
        if not self._channel:
            return
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await self._layer.group_discard(self._group, self._channel)
        except Exception as error:  # the layer's boundary: it forgets us by itself
            logger.debug("leaving the layer's group: %r", error)

    async def publish(self, publication: Publication) -> None:
        """Applies here, then tells the other nodes; returns when the layer took it."""
        node = self._node
        if node is None:
            raise TransportUnavailable("the channels transport is not started: start the pipeline first")
        sent = self._sent.get((publication.id, publication.part))
        if sent is None:
            sent = self._apply_own(node, publication)
        try:
            await self._layer.group_send(self._group, {"type": MESSAGE_TYPE, "p": sent.text})
        except Exception as error:  # the layer's boundary
            raise TransportUnavailable(
                f"channel layer {self._alias!r}: {type(error).__name__}: {error}"
            ) from error
        if sent.rejected:
            raise UpdatesRejected(sent.rejected)

    def _apply_own(self, node: Node, publication: Publication) -> _Sent:
        """Applies an own publication, numbers it, and makes what the others are sent, once for all attempts."""
        rejected: Mapping[int, str] = {}
        try:
            node.apply(publication)
        except UpdatesRejected as error:
            rejected = error.reasons
        changes, stamps = [], []
        for index, change in enumerate(publication.changes):
            stamp = change.timestamp
            if index in rejected:
                change = _silent(change)
            elif change.kind is not UpdateKind.EVENT:
                stamp = self._writers.own_stamp(change)
                if change.kind is UpdateKind.MERGE and not self._writers.wrote_all(change, node.node_id):
                    change = _whole(node, change)
                self._writers.note(change, stamp, node.node_id)
            changes.append(change)
            stamps.append(stamp)
        self._seq += 1
        told = Publication(publication.id, tuple(changes), publication.part)
        same = all(stamp == change.timestamp for stamp, change in zip(stamps, changes, strict=True))
        text = self._envelope("publication", self._seq, told, stamps=() if same else tuple(stamps))
        sent = self._sent[publication.id, publication.part] = _Sent(self._seq, text, rejected)
        if len(self._sent) > KEPT_PUBLICATIONS:
            self._sent.popitem(last=False)
        self._kept.append((self._seq, text))
        return sent

    def _envelope(self, kind: str, seq: int, publication: Publication | None = None, **more: Any) -> str:
        assert self._node is not None
        return _encode(Envelope(kind, self._node.node_id, self._channel, seq, publication, **more)).decode()

    # membership

    async def _join(self) -> None:
        """Joins, or renews the membership: a layer forgets it after a day, and whenever it is restarted empty."""
        if not self._channel:
            self._channel = await self._layer.new_channel("update_pipeline.node")
        await self._layer.group_add(self._group, self._channel)
        await self._layer.group_send(
            self._group, {"type": MESSAGE_TYPE, "p": self._envelope("beat", self._seq)}
        )
        self._joined.set()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            try:
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self._join()
            except Exception as error:  # the layer's boundary
                logger.debug("heartbeat: %r", error)
                self._has_trouble(error)

    def _has_trouble(self, error: Exception) -> None:
        """The layer can't be reached: the node goes on alone and tries again."""
        self.problem = f"channel layer {self._alias!r}: {error_text(error)}"
        if count := self._complaints.add("trouble"):
            logger.warning("%s; the node goes on alone and tries again (%d time(s))", self.problem, count)

    def _is_well(self) -> None:
        """A message came, if only our own heartbeat: the next trouble is a new one."""
        if self.problem is not None:
            self.problem = None
            self._complaints.forget("trouble")
            logger.warning("channel layer %r: it is back", self._alias)

    async def _listen(self) -> None:
        pause = 0.05
        while True:
            try:
                if not self._channel:
                    await self._joined.wait()
                message = await self._layer.receive(self._channel)
                pause = 0.05
                self._is_well()
            except Exception as error:  # the layer's boundary: an outage
                self._has_trouble(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 2.0)
                continue
            try:
                await self._handle(_decode(message["p"]))
            except Exception as error:  # whatever is on the layer: counted, never another message's fault
                self.messages_refused += 1
                if count := self._complaints.add("refused"):
                    logger.warning(
                        "a message on the layer was refused (%d so far): %s", count, error_text(error)
                    )

    # what the others say

    async def _handle(self, envelope: Envelope) -> None:
        node = self._node
        if node is None or envelope.node == node.node_id:
            return
        if envelope.kind == "want":
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._answer(envelope)
            return
        origin = self._origins.get(envelope.node)
        if origin is None:
            origin = self._origins[envelope.node] = _Origin()
            if len(self._origins) > KEPT_ORIGINS:
                self._origins.popitem(last=False)
        self._origins.move_to_end(envelope.node)
        seq = envelope.seq
        if envelope.kind == "states":
            self._take_states(envelope, origin)
        elif origin.seq == UNKNOWN and seq == 0:
            origin.seq = 0  # it has just begun: whatever comes is new
        elif envelope.kind == "publication" and seq == max(origin.seq, 0) + 1:
            origin.seq = seq
            self._apply_foreign(envelope, origin)
        if seq > origin.seq or origin.wants_states_of != UNKNOWN:
            await self._ask(envelope, origin)

    async def _ask(self, envelope: Envelope, origin: _Origin) -> None:
        """Asks the origin for what is missing, at most once in a heartbeat."""
        now = asyncio.get_running_loop().time()
        if now - origin.asked_at < self._heartbeat_s:
            return
        origin.asked_at = now
        self.holes_seen += 1
        want = self._envelope("want", UNKNOWN if origin.wants_states_of != UNKNOWN else origin.seq)
        async with asyncio.timeout(CALL_TIMEOUT_S):
            await self._layer.send(envelope.channel, {"type": MESSAGE_TYPE, "p": want})

    async def _answer(self, want: Envelope) -> None:
        """Sends another node what it lacks: the publications themselves, or the states they led to."""
        kept = [(seq, text) for seq, text in self._kept if seq > want.seq]
        if want.seq != UNKNOWN and kept and kept[0][0] == want.seq + 1:
            for _, text in kept:
                await self._layer.send(want.channel, {"type": MESSAGE_TYPE, "p": text})
            return
        states = self._own_states()
        self._answers += 1
        series, seq = f"states-{self._answers}", self._seq
        pieces = [states[i : i + STATES_PER_MESSAGE] for i in range(0, len(states), STATES_PER_MESSAGE)] or [
            []
        ]
        for number, piece in enumerate(pieces):
            text = self._envelope(
                "states",
                seq,
                Publication(f"{series}-{number}", tuple(change for change, _ in piece)),
                stamps=tuple(stamp for _, stamp in piece),
                series=series,
                piece=number,
                pieces=len(pieces),
            )
            await self._layer.send(want.channel, {"type": MESSAGE_TYPE, "p": text})

    def _own_states(self) -> list[tuple[Change, float]]:
        """What this node wrote last, as it is now: each agent whole, or removed; with its stamp."""
        assert self._node is not None
        states = []
        for name, agent_id, stamp in self._writers.own():
            agent = self._node.store.channel(name).agents.get(agent_id)
            change = Change(
                UpdateKind.REMOVE if agent is None else UpdateKind.REPLACE,
                agent_id,
                (name,),
                "state_removed" if agent is None else agent.update_type,
                b"{}" if agent is None else agent.text(),
                (),
                stamp if agent is None else agent.timestamp,
                UpdatePriority.NORMAL,
            )
            states.append((change, stamp))
        return states

    def _take_states(self, envelope: Envelope, origin: _Origin) -> None:
        """A piece of what an origin wrote. The hole is closed when all pieces of one series are there."""
        if envelope.series != origin.series:
            origin.series, origin.pieces = envelope.series, set()
        self._apply_foreign(envelope, origin)
        origin.pieces.add(envelope.piece)
        if len(origin.pieces) < envelope.pieces:
            return
        origin.series, origin.pieces = "", set()
        origin.seq = max(origin.seq, envelope.seq)
        if envelope.seq >= origin.wants_states_of:
            origin.wants_states_of = UNKNOWN
        origin.asked_at = -1e9
        self.holes_healed += 1

    def _apply_foreign(self, envelope: Envelope, origin: _Origin) -> None:
        """Applies another node's changes, save states that are older than what is known."""
        publication = envelope.publication
        if publication is None:
            return
        assert self._node is not None
        changes = []
        stamps = envelope.stamps or [change.timestamp for change in publication.changes]
        for change, stamp in zip(publication.changes, stamps, strict=True):
            if change.kind is not UpdateKind.EVENT:
                verdict = self._writers.judge(change, stamp, envelope.node)
                if verdict is Verdict.APPLY:
                    self._writers.note(change, stamp, envelope.node)
                else:
                    if verdict is Verdict.OLDER:
                        self.conflicts += 1
                    else:
                        origin.wants_states_of = envelope.seq
                    change = _silent(change)
            changes.append(change)
        self._node.apply(Publication(f"{envelope.node}:{publication.id}", tuple(changes), publication.part))


def _silent(change: Change) -> Change:
    """The change in no channel: it keeps its place in the publication, by which parts are known, and does nothing."""
    return msgspec.structs.replace(change, channels=(), content=b"{}")


def _whole(node: Node, change: Change) -> Change:
    """A patch of what another node wrote, as the whole state it led to here; the patch where channels differ."""
    texts = set()
    for name in change.channels:
        agent = node.store.channel(name).agents.get(change.agent_id)
        texts.add(b"" if agent is None else agent.text())
    if len(texts) != 1 or texts == {b""}:
        return change
    return msgspec.structs.replace(change, kind=UpdateKind.REPLACE, content=texts.pop(), unset=())


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
