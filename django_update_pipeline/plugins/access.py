"""Access decided by hooks and registered actions: default deny, any plain no wins, and no answer is a no.

What a client sends is a key into the table of actions or an argument, never a function's name.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Final

from ..core.actions import Action, action_table
from ..core.config import PipelineConfig
from ..core.messages import JSONObject
from ..core.names import error_text, one_line
from ..core.ports import Client
from ..core.rate_limit import TokenBucket
from ..core.repeats import Repeats
from ..core.view import Fields, View, allowed
from ..exceptions import ActionRefused
from ..runtime.clock import SystemClock
from ..runtime.complaints import place_of
from .manager import Plugins

logger = logging.getLogger(__name__)

RunSync = Callable[[Callable[[], Any]], Awaitable[Any]]


async def in_a_thread(call: Callable[[], Any]) -> Any:
    """Runs a synchronous hook where there is no Django."""
    return await asyncio.to_thread(call)


_CLOCK: Final = SystemClock()

#: So many users' rates are remembered; the one that acted longest ago is forgotten first.
MAX_RATES: Final = 10_000


class HookAccess:
    """Asks the plugins. `run_sync` runs a synchronous hook where it may block (Django's thread).

    Args:
        monotonic: monotonic clock, seconds, for the rates of actions.
    """

    def __init__(
        self,
        plugins: Plugins,
        config: PipelineConfig,
        run_sync: RunSync = in_a_thread,
        monotonic: Callable[[], float] = _CLOCK.monotonic,
    ) -> None:
        self._open = {config.default_channel, *config.open_channels}
        self._subscribe = plugins.questions("authorize_subscribe")
        self._action = plugins.questions("authorize_action")
        self._handle = plugins.questions("handle_action")
        self.actions = action_table(plugins.all("provide_actions", config))
        self._handlers = {
            name: plugins.contained(one, f"action {name}", one.handler, ("client", "agent_id", "params"))
            for name, one in self.actions.items()
        }
        self._rules = {
            name: plugins.contained(one, f"permission of {name}", one.permission, ("client", "agent_id"))
            for name, one in self.actions.items()
            if callable(one.permission)
        }
        self._timeout_s = config.connections.hook_timeout_s
        self._complaints = Repeats()
        self._run_sync = run_sync
        self._monotonic = monotonic
        self._rates: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    @property
    def failures(self) -> dict[str, int]:
        """Questions that got no answer, or none that is one, by hook."""
        return self._complaints.counts()

    # channels

    @property
    def asks_about_channels(self) -> bool:
        """Whether a plugin has a say."""
        return bool(self._subscribe)

    async def may_subscribe(self, client: Client, channel: str) -> bool:
        """Whether all of a channel may be seen."""
        whole = View(channel)
        return await self.view(client, whole) == whole

    async def view(self, client: Client, wanted: View) -> View | None:
        """What a client may see of a view; None if nothing. Without opinions the open channels are allowed."""
        said: list[bool | Fields] = []
        for question in self._subscribe:
            try:
                answer = await self._ask(question, **_about(client, wanted))
            except Exception as error:  # the plugin's boundary: no answer is a no
                self._failed(question, error)
                return None
            if answer is not None:
                said.append(self._said(question, answer))
                if said[-1] is False:
                    return None
        return allowed(wanted, said, is_open=wanted.channel in self._open)

    async def recheck(self, client: Client, wanted: Sequence[View]) -> dict[View, View | None]:
        """`view` for many, with one hop to Django's thread for each hook; without those that got no answer."""
        said: dict[View, list[bool | Fields]] = {view: [] for view in wanted}
        failed: set[View] = set()
        for question in self._subscribe:
            for view, answer in zip(wanted, await self._answers(question, client, wanted), strict=True):
                if isinstance(answer, BaseException):
                    self._failed(question, answer)
                    failed.add(view)
                elif answer is not None:
                    said[view].append(self._said(question, answer))
        found = {
            view: allowed(view, opinions, is_open=view.channel in self._open)
            for view, opinions in said.items()
        }
        return {
            view: left
            for view, left in found.items()
            if view not in failed or any(one is False for one in said[view])
        }

    async def _answers(
        self, question: Callable[..., Any], client: Client, wanted: Sequence[View]
    ) -> Sequence[Any]:
        """A hook's answer for each view, or what it raised."""

        def ask_all() -> list[Any]:
            answers: list[Any] = []
            for view in wanted:
                try:
                    answers.append(question(**_about(client, view)))
                except Exception as error:  # the plugin's boundary
                    answers.append(error)
            return answers

        async def one(view: View) -> Any:
            return await self._ask(question, **_about(client, view))

        if inspect.iscoroutinefunction(inspect.unwrap(question)):
            return await asyncio.gather(*map(one, wanted), return_exceptions=True)
        try:
            async with asyncio.timeout(self._timeout_s):
                answers: list[Any] = await self._run_sync(ask_all)
                return [await answer if inspect.isawaitable(answer) else answer for answer in answers]
        except Exception as error:  # late, or an awaitable that failed: no answer for any
            return [error] * len(wanted)

    # actions

    async def may_act(self, client: Client, agent_id: str, action: str, params: JSONObject) -> bool:
        """One plain no of a hook wins; then the action's own permission; then the hooks' yes.

        Without any of them authenticated users may, and the local operator.
        """
        opinion = await self._opinion(
            self._action, client=client, agent_id=agent_id, action=action, params=params
        )
        if opinion is False:
            return False
        registered = self.actions.get(action)
        if registered is not None and registered.permission is not None:
            return await self._has_permission(registered, client, agent_id)
        if opinion is not None:
            return opinion
        return client.is_local_operator or bool(getattr(client.user, "is_authenticated", False))

    async def _has_permission(self, action: Action, client: Client, agent_id: str) -> bool:
        permission = action.permission
        if isinstance(permission, str):
            if client.is_local_operator:
                return True
            if not getattr(client.user, "is_authenticated", False):
                return False
            name = permission

            def asked(client: Client, agent_id: str) -> Any:
                return client.user.has_perm(name)

            question: Callable[..., Any] = asked
        else:
            question = self._rules[action.name]
        try:
            answer = await self._ask(question, client=client, agent_id=agent_id)
        except Exception as error:  # the plugin's boundary: no answer is a no
            self._failed(question, error)
            return False
        if answer is None:  # of a hook that is no opinion; of a permission it is no yes
            return False
        return self._judge(question, answer)

    async def act(self, client: Client, agent_id: str, action: str, params: JSONObject) -> bool:
        """Carries out what was allowed: a registered action, else the first hook's answer that is not None.

        False: nobody handles it. A refusal passes through, wrong params and too high a rate included; late is an
        error.
        """
        registered = self.actions.get(action)
        if registered is not None:
            values = registered.read(params)
            self._check_rate(registered, client)
            await self._ask(self._handlers[action], client=client, agent_id=agent_id, params=values)
            return True
        for handler in self._handle:
            result = await self._ask(handler, client=client, agent_id=agent_id, action=action, params=params)
            if result is not None:
                return True
        return False

    def _check_rate(self, action: Action, client: Client) -> None:
        if action.rate_per_s is None or client.is_local_operator:
            return
        user = getattr(client.user, "pk", None)
        key = (
            (action.name, "connection", client.connection_id) if user is None else (action.name, "user", user)
        )
        bucket = self._rates.pop(key, None) or TokenBucket(action.rate_per_s, action.burst, self._monotonic)
        self._rates[key] = bucket
        if len(self._rates) > MAX_RATES:
            self._rates.popitem(last=False)
        if not bucket.try_acquire():
            raise ActionRefused(
                f"this action is done {action.rate_per_s:g} times a second at most: wait "
                f"{bucket.retry_after_s():.1f} s",
                code="rate_limited",
            )

    # asking

    async def _opinion(self, questions: tuple[Callable[..., Any], ...], **values: Any) -> bool | None:
        opinion: bool | None = None
        for question in questions:
            try:
                answer = await self._ask(question, **values)
            except Exception as error:  # the plugin's boundary: no answer is a no
                self._failed(question, error)
                return False
            if answer is not None:
                if not self._judge(question, answer):
                    return False
                opinion = True
        return opinion

    def _said(self, question: Callable[..., Any], answer: object) -> bool | Fields:
        """What an answer about a view says; what is no answer is a no, and complained of."""
        if isinstance(answer, Fields):
            return answer
        return self._judge(question, answer, "True, False, None and Fields")

    def _judge(
        self, question: Callable[..., Any], answer: object, answers: str = "True, False and None"
    ) -> bool:
        """Whether an answer is a plain yes; what is neither yes nor no is complained of."""
        if answer is not True and answer is not False:  # whatever it means, it is no yes
            self._complain(question, f"answered {answer!r}; {answers} are answers")
        return answer is True

    def _failed(self, question: Callable[..., Any], error: BaseException) -> None:
        place = place_of(error.__cause__ or error)  # the hook's own, not that of its boundary
        self._complain(question, f"failed with {error_text(error)}{place}", error)

    def _complain(self, question: Callable[..., Any], what: str, error: BaseException | None = None) -> None:
        name = one_line(getattr(question, "__name__", type(question).__name__), 100)
        if count := self._complaints.add(name):  # clients can ask often
            logger.warning("%s %s: taken for a no (%d time(s))", name, one_line(what), count)
            if error is not None:
                logger.debug("%s failed, here", name, exc_info=error)

    async def _ask(self, question: Callable[..., Any], **values: Any) -> Any:
        async with asyncio.timeout(self._timeout_s):
            if inspect.iscoroutinefunction(inspect.unwrap(question)):
                return await question(**values)
            answer = await self._run_sync(lambda: question(**values))
            return await answer if inspect.isawaitable(answer) else answer


def _about(client: Client, view: View) -> dict[str, Any]:
    """A hook's arguments."""
    fields = None if view.fields is None else frozenset(view.fields)
    return {"client": client, "channel": view.channel, "fields": fields}
