"""What could not be delivered: bounded, listed, and (events only) replayable.

Dead state can be seen, not replayed: a newer state is the truth by then.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from .config import DeadLetterConfig
from .messages import Channels, UpdateKind, UpdateMessage, UpdatePriority


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One update that died. `reason` is a short code, `cause` the error's text, times are Unix seconds."""

    number: int
    agent_id: str
    update_type: str
    kind: UpdateKind
    priority: UpdatePriority
    channels: Channels
    payload: bytes
    reason: str
    cause: str
    queued_at: float
    died_at: float

    @property
    def is_replayable(self) -> bool:
        """Only events are."""
        return self.kind is UpdateKind.EVENT


class DeadLetters:
    """The dead letters of one pipeline, oldest first; past its bounds the oldest are let go, and counted.

    Letters are added by one thread at a time (whoever holds the pipeline's door); meanwhile any other may read or
    discard.
    """

    def __init__(self, config: DeadLetterConfig | None = None) -> None:
        self._config = config or DeadLetterConfig()
        self._letters: OrderedDict[int, DeadLetter] = OrderedDict()
        self._bytes = 0
        self._freed: deque[int] = deque()  # what `discard` took off, in whatever thread; `add` does the sum
        self._next = 1
        self.total = 0
        self.let_go = 0

    def add(self, update: UpdateMessage, reason: str, cause: str, died_at: float) -> DeadLetter:
        """Keeps a dead update."""
        letter = DeadLetter(
            self._next,
            update.agent_id,
            update.update_type,
            update.kind,
            update.priority,
            update.channels,
            update.payload if update.payload is not None else b"{}",
            reason,
            cause[:500],
            update.timestamp,
            died_at,
        )
        self._next += 1
        self.total += 1
        self._letters[letter.number] = letter
        self._bytes += len(letter.payload)
        while self._freed:
            self._bytes -= self._freed.popleft()
        while len(self._letters) > self._config.max_entries or (
            self._bytes > self._config.max_bytes and len(self._letters) > 1
        ):
            try:
                _, oldest = self._letters.popitem(last=False)
            except KeyError:  # discarded meanwhile
                break
            self._bytes -= len(oldest.payload)
            self.let_go += 1
        return letter

    def __len__(self) -> int:
        return len(self._letters)

    def list(self) -> list[DeadLetter]:
        """What is kept, oldest first."""
        return list(self._letters.values())

    def get(self, number: int) -> DeadLetter | None:
        """The letter of a number, None if it is not kept."""
        return self._letters.get(number)

    def newest(self) -> DeadLetter | None:
        """The one that died last, None if none is kept."""
        try:
            return self._letters[next(reversed(self._letters))]
        except (StopIteration, KeyError, RuntimeError):  # none, or discarded in this moment
            return None

    def discard(self, number: int) -> DeadLetter | None:
        """Lets one go; returns it, or None if it is not kept. Of two callers one gets it."""
        letter = self._letters.pop(number, None)
        if letter is not None:
            self._freed.append(len(letter.payload))
        return letter
