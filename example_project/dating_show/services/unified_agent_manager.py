"""UnifiedAgentManager: the one place that holds each agent's state, and tells listeners of changes.

It knows no pipeline, no event loop and no Django. All methods may be called from any thread. Listeners
are called outside the lock, one notification at a time, in the order of the changes; a notification made
while another thread is delivering is left to that thread, so no caller waits for a slow listener and a
listener may call the manager again.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

logger = logging.getLogger(__name__)

State = dict[str, Any]
"""An agent's state: `agent_id`, `name`, `personality_traits`, `location`, `activity` and free fields."""

Listener = Callable[[str, Any, Any], object]
"""`listener(event_type, agent_id, state)`.

| event_type | agent_id | state |
|---|---|---|
| `agent_registered` | the id | the agent's whole state |
| `agent_updated` | the id | the agent's whole state |
| `batch_update` | a dict of agent ids to the fields that changed | None |
| `agent_removed` | the id | the last state |
"""

BATCH_WINDOW_S = 0.1
"""How long `batch_mode=True` gathers at most, in seconds from the first change."""

ARRIVING = {"location": "villa", "activity": "settling in"}
"""What a newly registered agent does until somebody says otherwise."""


class Startable(Protocol):
    """What a timer factory returns: something that runs its function once, later, after `start()`."""

    def start(self) -> None: ...


def _thread_timer(delay_s: float, function: Callable[[], None]) -> Startable:
    timer = threading.Timer(delay_s, function)
    timer.daemon = True  # A window still open at exit must not hold the process back.
    timer.name = "agent-batch-window"
    return timer


class UnifiedAgentManager:
    """The agents and their states, with change notices.

    Args:
        batch_window_s: how long changes are gathered, in seconds from the first one.
        timer: makes the timer that closes a window; tests pass one they fire themselves.
    """

    def __init__(
        self,
        *,
        batch_window_s: float = BATCH_WINDOW_S,
        timer: Callable[[float, Callable[[], None]], Startable] = _thread_timer,
    ) -> None:
        self._batch_window_s = batch_window_s
        self._timer = timer
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}
        self._listeners: tuple[Listener, ...] = ()
        self._gathered: dict[str, State] = {}
        self._window: object | None = None
        self._window_pid = 0
        self._notices: deque[tuple[str, Any, Any]] = deque()
        self._delivering = threading.Lock()

    def register_agent(
        self, agent_id: str, name: str, personality_traits: Mapping[str, Any] | None = None
    ) -> State:
        """Adds an agent, notifies `agent_registered` and returns a copy of its state.

        A known id is left as it is and not announced again. Trait names are free, and any of them may be
        left out.

        Raises:
            ValueError: the id or the name is empty.
        """
        if not agent_id or not isinstance(agent_id, str):
            raise ValueError(f"agent_id must be a non-empty string, not {agent_id!r}")
        if not name or not isinstance(name, str):
            raise ValueError(f"agent {agent_id}: name must be a non-empty string, not {name!r}")
        traits = copy.deepcopy(dict(personality_traits or {}))
        with self._lock:
            known = self._states.get(agent_id)
            if known is not None:
                return copy.deepcopy(known)
            state: State = {"agent_id": agent_id, "name": name, "personality_traits": traits, **ARRIVING}
            self._states[agent_id] = state
            answer = copy.deepcopy(state)
            self._notices.append(("agent_registered", agent_id, copy.deepcopy(state)))
        self._deliver()
        return answer

    def update_agent_state(self, agent_id: str, updates: Mapping[str, Any], batch_mode: bool = True) -> bool:
        """Replaces top-level fields of an agent's state; False if the agent is unknown.

        The state changes at once and is seen by `get_agent_state`. With `batch_mode` the notice is
        gathered with others for at most `batch_window_s` from the first change (a window: later changes do
        not move its end); without, `agent_updated` is notified at once and carries what was gathered for
        this agent too.

        Raises:
            TypeError: `updates` is no mapping with string keys.
            ValueError: `updates` tries to change the agent's id.
        """
        if not isinstance(updates, Mapping) or not all(isinstance(key, str) for key in updates):
            raise TypeError(f"agent {agent_id}: updates must be a mapping with string keys, not {updates!r}")
        if updates.get("agent_id", agent_id) != agent_id:
            raise ValueError(f"agent {agent_id}: the id can't be changed to {updates['agent_id']!r}")
        fields = copy.deepcopy(dict(updates))
        opened: Startable | None = None
        with self._lock:
            state = self._states.get(agent_id)
            if state is None:
                return False
            state.update(fields)
            if batch_mode:
                # A copy of its own: what a listener gets must not change under it, nor change the state.
                self._gathered.setdefault(agent_id, {}).update(copy.deepcopy(fields))
                # A fork leaves the timer's thread behind: the child opens a window of its own.
                if self._window is None or self._window_pid != os.getpid():
                    opened = self._open_window()
            else:
                # The whole state goes out now. Were the gathered fields kept, they would come later than
                # newer values of the same fields, and take a listener back in time.
                self._gathered.pop(agent_id, None)
                self._notices.append(("agent_updated", agent_id, copy.deepcopy(state)))
        if opened is not None:
            try:
                opened.start()
            except RuntimeError:  # No thread to be had: notify now rather than never.
                self.flush_updates()
        if not batch_mode:
            self._deliver()
        return True

    def remove_agent(self, agent_id: str) -> bool:
        """Forgets an agent and notifies `agent_removed` at once; False if it is unknown."""
        with self._lock:
            state = self._states.pop(agent_id, None)
            if state is None:
                return False
            self._gathered.pop(agent_id, None)
            self._notices.append(("agent_removed", agent_id, state))
        self._deliver()
        return True

    def get_agent_state(self, agent_id: str) -> State | None:
        """A copy of the agent's newest state, or None if it is unknown."""
        with self._lock:
            return copy.deepcopy(self._states.get(agent_id))

    def get_all_agents_state(self) -> dict[str, State]:
        """A copy of every agent's newest state by id, in the order of registration, of one moment."""
        with self._lock:
            return copy.deepcopy(self._states)

    def has_agent(self, agent_id: str) -> bool:
        """Whether the agent is registered."""
        return agent_id in self._states

    def agent_ids(self) -> list[str]:
        """The ids of all agents, in the order of registration."""
        with self._lock:
            return list(self._states)

    def add_update_listener(self, listener: Listener) -> None:
        """Calls `listener` for each later notice. Adding it twice changes nothing."""
        with self._lock:
            if listener not in self._listeners:
                self._listeners = (*self._listeners, listener)

    def remove_update_listener(self, listener: Listener) -> None:
        """Stops calling `listener`; one that was never added is ignored."""
        with self._lock:
            self._listeners = tuple(kept for kept in self._listeners if kept != listener)

    def flush_updates(self) -> None:
        """Notifies now what was gathered, as if the window had ended."""
        with self._lock:
            self._close_window()
        self._deliver()

    def _open_window(self) -> Startable:
        token = object()
        self._window = token
        self._window_pid = os.getpid()
        return self._timer(self._batch_window_s, lambda: self._end_window(token))

    def _end_window(self, token: object) -> None:
        with self._lock:
            if self._window is not token:
                return  # flush_updates closed this window; the gathered belongs to a later one.
            self._close_window()
        self._deliver()

    def _close_window(self) -> None:
        gathered, self._gathered, self._window = self._gathered, {}, None
        if gathered:
            self._notices.append(("batch_update", gathered, None))

    def _deliver(self) -> None:
        while self._notices and self._delivering.acquire(blocking=False):
            try:
                while self._notices:
                    self._tell(*self._notices.popleft())
            finally:
                self._delivering.release()
            # Looked at again after the release: a notice appended between the last look and the release
            # found the lock taken, and its caller went away.

    def _tell(self, event_type: str, agent_id: Any, state: Any) -> None:
        listeners = self._listeners
        for index, listener in enumerate(listeners):
            last = index == len(listeners) - 1
            try:
                listener(
                    event_type,
                    agent_id if last or isinstance(agent_id, str) else copy.deepcopy(agent_id),
                    state if last else copy.deepcopy(state),
                )
            except Exception:  # One listener's fault must not keep the change from the others.
                logger.exception("update listener failed event=%s listener=%r", event_type, listener)


_manager: UnifiedAgentManager | None = None
_manager_lock = threading.Lock()


def get_unified_agent_manager() -> UnifiedAgentManager:
    """The process's one manager, made at the first call."""
    global _manager
    with _manager_lock:
        if _manager is None:
            _manager = UnifiedAgentManager()
        return _manager


def reset_unified_agent_manager() -> None:
    """Forgets the process's manager; the next call makes an empty one. For tests."""
    global _manager
    with _manager_lock:
        _manager = None
