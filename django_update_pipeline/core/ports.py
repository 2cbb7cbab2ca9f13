"""What the parts around the core promise: a plugin's parts obey these protocols.

Methods that may be sync or async say so with `MaybeAwaitable`; async ones meet a timeout.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from .messages import Channels, JSONObject, UpdatePriority
from .publication import Publication

if TYPE_CHECKING:
    from .store import Store
    from .view import View

_T = TypeVar("_T")
MaybeAwaitable: TypeAlias = _T | Awaitable[_T]


class Clock(Protocol):
    """Where time comes from."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def time(self) -> float:
        """Unix seconds."""


class Sink(Protocol):
    """What a source sees of the pipeline."""

    def queue_agent_update(
        self,
        agent_id: str,
        update_type: str = "state_change",
        data: JSONObject | None = None,
        priority: UpdatePriority = UpdatePriority.NORMAL,
        channels: Channels | None = None,
    ) -> None: ...

    def queue_agent_changed(
        self,
        agent_id: str,
        load: Callable[[str], JSONObject | None],
        priority: UpdatePriority = UpdatePriority.NORMAL,
        update_type: str = "state_change",
        channels: Channels | None = None,
    ) -> None: ...


class Source(Protocol):
    """Feeds the pipeline. `start` and `stop` are called on the pipeline's loop, once per start of it."""

    name: str

    def start(self, pipeline: Any) -> MaybeAwaitable[None]:
        """Begins to queue through `pipeline` (a `Sink`)."""

    def stop(self) -> MaybeAwaitable[None]:
        """Ends it; nothing is queued afterwards."""


class Transformer(Protocol):
    """Changes data after conflation, once per update that is really sent, on the pipeline's loop.

    The data is the transformer's own copy. What it returns is sent; None swallows the update (counted as
    cleared). An exception spends one of the update's retries. For a `state_patch` the data is the fields
    that are set.
    """

    def transform(
        self, agent_id: str, update_type: str, data: JSONObject
    ) -> MaybeAwaitable[JSONObject | None]: ...


class Router(Protocol):
    """Says which channels an update goes to. Called in the queueing thread, on the hot path."""

    def route(self, agent_id: str, update_type: str) -> Channels | None:
        """A tuple of channel names; None for the default channel; `()` swallows the update."""


class RetryPolicy(Protocol):
    """How long an update that failed itself waits before its next try."""

    def delay_s(self, retry_count: int) -> float: ...


class Breaker(Protocol):
    """A circuit breaker: asked before each publish, told of each result. On the pipeline's loop."""

    def can_execute(self) -> bool: ...

    def record_success(self) -> None: ...

    def record_failure(self) -> None: ...

    def release(self) -> None:
        """The call was cancelled: neither a success nor a failure."""

    def retry_after_s(self) -> float: ...

    def get_state(self) -> dict[str, Any]: ...


class Node(Protocol):
    """What a transport sees of its node, on the pipeline's loop."""

    node_id: str
    store: Store

    def apply(self, publication: Publication) -> None:
        """Applies a publication to this node's store and wakes its connections. An id seen before is ignored."""


class Transport(Protocol):
    """Moves publications to every node, this one included.

    `publish` returns once the publication is acknowledged; it may be called again with the same publication.
    It raises `UpdatesRejected` for updates that were refused for what they are (the others are applied), and
    anything else for an outage. One publication is out at a time.
    """

    name: str

    async def start(self, node: Node) -> None: ...

    async def stop(self) -> None: ...

    async def publish(self, publication: Publication) -> None: ...


class Client(Protocol):
    """Who is behind a connection, as hooks see it."""

    @property
    def connection_id(self) -> str:
        """128 random bits as text; `local-operator` for the control socket."""

    @property
    def user(self) -> Any:
        """A Django user, AnonymousUser, or None where Django's auth is not used."""

    @property
    def is_local_operator(self) -> bool:
        """True for commands that came over the control socket."""


class AccessPolicy(Protocol):
    """Decides what a connection may do. A hook that raises or is late counts as a no."""

    @property
    def asks_about_channels(self) -> bool:
        """Whether anybody has a say beside the settings. If not, what was allowed stays allowed."""

    async def may_subscribe(self, client: Client, channel: str) -> bool:
        """Whether all of a channel may be seen."""

    async def view(self, client: Client, wanted: View) -> View | None:
        """What of a view may be seen; None if nothing."""

    async def recheck(self, client: Client, wanted: Sequence[View]) -> dict[View, View | None]:
        """`view` again, for what the client is on; those that got no answer are left out."""

    async def may_act(self, client: Client, agent_id: str, action: str, params: JSONObject) -> bool: ...

    async def act(self, client: Client, agent_id: str, action: str, params: JSONObject) -> bool:
        """Carries an action out. False: nobody handles it. Raises ActionRefused."""


class HealthCheck(Protocol):
    """A plugin's own check: returns None when well, else a sentence that names the mend."""

    name: str

    def check(self) -> str | None: ...
