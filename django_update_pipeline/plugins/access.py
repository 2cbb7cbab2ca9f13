"""Access decided by hooks: default deny, any plain no wins, and no answer is a no."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from ..core.config import PipelineConfig
from ..core.messages import JSONObject
from ..core.ports import Client
from .manager import Plugins

logger = logging.getLogger(__name__)

RunSync = Callable[[Callable[[], Any]], Awaitable[Any]]


async def in_a_thread(call: Callable[[], Any]) -> Any:
    """Runs a synchronous hook where there is no Django."""
    return await asyncio.to_thread(call)


class HookAccess:
    """Asks the plugins. `run_sync` runs a synchronous hook where it may block (Django's thread)."""

    def __init__(self, plugins: Plugins, config: PipelineConfig, run_sync: RunSync = in_a_thread) -> None:
        self._open = {config.default_channel, *config.open_channels}
        self._subscribe = plugins.questions("authorize_subscribe")
        self._action = plugins.questions("authorize_action")
        self._handle = plugins.questions("handle_action")
        self._timeout_s = config.connections.hook_timeout_s
        self.failures: Counter[str] = Counter()  # questions that got no answer, or none that is one, by hook
        self._run_sync = run_sync

    async def may_subscribe(self, client: Client, channel: str) -> bool:
        """One False wins, then one True; without opinions the open channels are allowed."""
        opinion = await self._opinion(self._subscribe, client=client, channel=channel)
        return channel in self._open if opinion is None else opinion

    async def may_act(self, client: Client, agent_id: str, action: str, params: JSONObject) -> bool:
        """As above; without opinions authenticated users are, and the local operator."""
        opinion = await self._opinion(
            self._action, client=client, agent_id=agent_id, action=action, params=params
        )
        if opinion is not None:
            return opinion
        return client.is_local_operator or bool(getattr(client.user, "is_authenticated", False))

    async def act(self, client: Client, agent_id: str, action: str, params: JSONObject) -> bool:
        """The first answer that is not None handled it. A refusal passes through; late is an error."""
        for handler in self._handle:
            result = await self._ask(handler, client=client, agent_id=agent_id, action=action, params=params)
            if result is not None:
                return True
        return False

    async def _opinion(self, questions: tuple[Callable[..., Any], ...], **values: Any) -> bool | None:
        opinion: bool | None = None
        for question in questions:
            try:
                answer = await self._ask(question, **values)
            except Exception as error:  # the plugin's boundary: no answer is a no
                self._complain(question, f"failed with {type(error).__name__}: {error}")
                return False
            if answer is True:
                opinion = True
            elif answer is not None:
                if answer is not False:  # whatever it means, it is no yes
                    self._complain(question, f"answered {answer!r}; True, False and None are answers")
                return False
        return opinion

    def _complain(self, question: Callable[..., Any], what: str) -> None:
        self.failures[question.__name__] += 1
        count = self.failures[question.__name__]
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th ...: clients can ask often
            logger.warning("%s %.300s: taken for a no (%d time(s))", question.__name__, what, count)

    async def _ask(self, question: Callable[..., Any], **values: Any) -> Any:
        async with asyncio.timeout(self._timeout_s):
            if inspect.iscoroutinefunction(inspect.unwrap(question)):
                return await question(**values)
            answer = await self._run_sync(lambda: question(**values))
            return await answer if inspect.isawaitable(answer) else answer
