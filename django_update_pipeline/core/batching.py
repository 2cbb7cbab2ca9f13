"""When a batch is due, and how large it is.

`AdaptiveBatching` is the policy; a plugin may put another in its place. `BatchProcessor` joins it to the
queue and carries the founding names (`max_batch_size`, `pending_updates`, ...).

- Law W1 (idle): the first update after a quiet window is due at once.
- Law W2 (busy): after a flush the classes in it pause 1 ms, doubling with each flush up to the class's
  window, counted from the flush's start; what comes after its end waits at least half as long as it took, but no
  longer than the window, from its end. A flush may be several batches; its last one counts.
- Law W3 (urgent): CRITICAL never pauses.
- Law W4 (size): a batch has 1 to `max_batch_size` updates, whatever the policy says.
- Law W5 (cost): where a flush takes `f + m * n` seconds, the size settles where that is the target, or `2 * f`
  if that is more: smaller batches would hardly be quicker, only more. It does not stick at less.
- Law W6 (together): a full batch is followed by the next at once, before anybody is handed either, up to the policy's
  limit, `FLUSH_UPDATES` and about `FLUSH_BYTES`, as they go out: what waits shares frames. It is all one flush.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from ..exceptions import ConfigurationError
from .config import BatchingConfig
from .messages import PRIORITIES, UpdateMessage, UpdatePriority
from .priority_queue import PriorityQueue

FIRST_PAUSE_S = 0.001

#: Each class's window as a multiple of `batch_timeout_ms`.
WINDOW_FACTORS = (0.0, 0.5, 1.0, 4.0)

#: Weight of the newest flush in what is known of costs: the last ten or so count.
_NEWEST = 0.1
#: Below this variance of sizes, relative to their mean squared, they say nothing about the cost of one more.
_VARIED = 0.001
#: While flushes leave something behind, the target grows by this factor each time, at most so far.
_STRETCH_STEP = 1.25
_MOST_STRETCH = 4.0

#: A flush that takes so many times more or less than expected starts the measures afresh.
_SURPRISE = 2.0
#: A measured flush counts as no longer than this: a suspended machine is no measure.
_LONGEST_S = 10.0

#: A flush is over once its batches have about so many bytes: what is handed to a connection stays one piece.
FLUSH_BYTES = 24 * 1024

#: Nor is it more updates than this, where a batch is less: classic connections share `session.MAX_LIVE_FRAMES` frames,
#: and a state in two channels takes two of them.
FLUSH_UPDATES = 128

NEVER = float("inf")


class BatchingPolicy(Protocol):
    """Decides when a batch is due, and how many updates go out together.

    Called under the door's lock, save `measured`: that is on the loop.
    """

    max_batch_size: int
    batch_timeout_ms: float

    def windows_s(self) -> tuple[float, float, float, float]:
        """Each class's window in seconds; also its distance to the deadline in the queue."""

    def due_at(self, priority: UpdatePriority, now: float) -> float:
        """When an update that arrives now should be flushed, in monotonic seconds."""

    def limit(self) -> int:
        """How many updates the next flush may take, in as many batches as that makes."""

    def flushed(self, classes: Iterable[UpdatePriority], now: float) -> None:
        """A flush that began at `now` took updates of these classes and left nothing ready behind."""

    def measured(self, size: int, duration_s: float, is_behind: bool) -> None:
        """A flush of `size` updates took so long until the last ready connection had been handed them."""


class AdaptiveBatching:
    """Flushes at once when idle, coalesces when busy, and keeps one flush near `target_flush_ms`.

    The size adapts so that a CRITICAL update never waits long behind a flush that is being handed out: with many
    connections a flush gets smaller, down to one update; with few it grows to several full batches.

    A flush costs a fixed part (waking every connection) and a part per update. Both are fitted to what was
    measured, by exponentially weighted least squares: with the mean cost per update alone, small batches
    would look dear and stay small. Growth is by half and one at a time, each step measured; where only one
    size was seen of late, another is tried; where a flush takes far more or less than expected, what was
    measured before is forgotten.

    While a flush leaves something ready behind, the target stretches, up to fourfold: at saturation a
    thousand connections are better served by fewer, larger turns than by the promise that no turn is long.
    """

    def __init__(self, config: BatchingConfig | None = None) -> None:
        config = config or BatchingConfig()
        self.max_batch_size = config.max_batch_size
        self.batch_timeout_ms = config.batch_timeout_ms
        self.target_s = config.target_flush_ms / 1000
        self._pause = [0.0] * len(PRIORITIES)
        self._flushed_at = [-NEVER] * len(PRIORITIES)
        # Of sizes and durations (seconds): weighted means, variance of sizes, covariance.
        self._mean_size = self._mean_s = self._variance = self._covariance = 0.0
        self._largest = 0.0  # size of late, decaying
        self._stretch = 1.0  # of the target, while more waits than a flush may take
        self._took_s = 0.0  # the last flush, once it is over

    def windows_s(self) -> tuple[float, float, float, float]:
        base = self.batch_timeout_ms / 1000
        a, b, c, d = (factor * base for factor in WINDOW_FACTORS)
        return a, b, c, d

    def due_at(self, priority: UpdatePriority, now: float) -> float:
        if not priority:
            return now
        since = now - self._flushed_at[priority]
        window = self.batch_timeout_ms / 1000 * WINDOW_FACTORS[priority]
        # With many connections a flush may take longer than a window. Without a rest the next would follow at once,
        # with the few updates that came meanwhile, and nearly all time would go into its fixed part.
        rest = self._took_s + min(0.5 * self._took_s, window)
        if since >= window and since >= rest:
            self._pause[priority] = 0.0
            return now
        pause = max(min(self._pause[priority], window), rest)
        return now if since >= pause else now - since + pause

    def limit(self) -> int:
        if self._mean_s < 1e-9:  # nothing measured, or by a clock that stands still
            return self.max_batch_size
        target_s = self.target_s * self._stretch
        cost_s = self._mean_s / self._mean_size  # of one update, the fixed part shared out: at most too dear
        step = 1.5 * self._largest + 1
        if self._variance > _VARIED * self._mean_size**2:
            marginal_s = min(max(self._covariance / self._variance, 0.0), cost_s)
            fixed_s = self._mean_s - marginal_s * self._mean_size
            fitting = max(target_s - fixed_s, fixed_s) / marginal_s if marginal_s > 0.0 else NEVER
        elif self._mean_s > target_s and self._mean_size > 1.5:
            fitting = 0.5 * self._mean_size  # too long, and nothing known of other sizes: try a smaller one
        else:
            fitting = step
        size = max(target_s / cost_s, min(fitting, step))
        return max(1, int(size))

    def flushed(self, classes: Iterable[UpdatePriority], now: float) -> None:
        base = self.batch_timeout_ms / 1000
        for priority in classes:
            window = base * WINDOW_FACTORS[priority]
            self._pause[priority] = min(window, max(FIRST_PAUSE_S, 2 * self._pause[priority]))
            self._flushed_at[priority] = now
        self._took_s = 0.0  # not known yet: what comes before it is waits for no end

    def measured(self, size: int, duration_s: float, is_behind: bool = False) -> None:
        stretch = self._stretch * (_STRETCH_STEP if is_behind else 1 / _STRETCH_STEP)
        self._stretch = min(max(stretch, 1.0), _MOST_STRETCH)
        if size < 1 or not 0.0 <= duration_s < NEVER:
            return
        duration_s = min(duration_s, _LONGEST_S)
        self._took_s = duration_s
        if self._mean_size == 0.0 or self._is_news(size, duration_s):
            self._mean_size, self._mean_s = size, duration_s
            self._variance = self._covariance = 0.0
            self._largest = max(size, (1 - _NEWEST) * self._largest)
            return
        off_size, off_s = size - self._mean_size, duration_s - self._mean_s
        self._mean_size += _NEWEST * off_size
        self._mean_s += _NEWEST * off_s
        self._variance = (1 - _NEWEST) * (self._variance + _NEWEST * off_size * off_size)
        self._covariance = (1 - _NEWEST) * (self._covariance + _NEWEST * off_size * off_s)
        self._largest = max(size, (1 - _NEWEST) * self._largest)

    def _is_news(self, size: int, duration_s: float) -> bool:
        """Whether the costs are no longer what they were: connections came or went, the machine is busier.

        The old measures would be taken for the cost of another size, and the size stay where it is.
        """
        shared_out = self._mean_s * size / self._mean_size  # what it takes if nothing of it is fixed
        if self._variance > _VARIED * self._mean_size**2:
            marginal_s = min(max(self._covariance / self._variance, 0.0), self._mean_s / self._mean_size)
            least = most = self._mean_s + marginal_s * (size - self._mean_size)
        else:
            least, most = min(self._mean_s, shared_out), max(self._mean_s, shared_out)
        return not least / _SURPRISE <= duration_s <= most * _SURPRISE


class PendingView:
    """The updates of one priority that wait: a queue with `len()`, iteration and `clear()`."""

    def __init__(self, processor: BatchProcessor, priority: UpdatePriority) -> None:
        self._processor = processor
        self._priority = priority

    def __len__(self) -> int:
        return self._processor.queue.pending_by_priority()[self._priority]

    def __iter__(self) -> Iterator[UpdateMessage]:
        waiting = [u for chain in list(self._processor.queue.chains.values()) for u in list(chain.updates)]
        return iter(sorted((u for u in waiting if u.priority == self._priority), key=lambda u: u.accepted_at))

    def clear(self) -> None:
        """Gives up what waits with this priority; it is counted as cleared. A batch that is out stays."""
        self._processor.clear(self._priority)


class BatchProcessor:
    """The queue and the policy together: what is due when, and the next batch.

    `clear` is handed in by the runtime, because it has to pass the door that guards the queue; the core's
    own is the queue's.
    """

    def __init__(self, policy: BatchingPolicy | None = None) -> None:
        self.policy: BatchingPolicy = policy or AdaptiveBatching()
        self.queue = PriorityQueue(self.policy.windows_s())
        self.next_due = NEVER
        self.is_behind = False  # the last batch left something ready behind
        self._flushed: set[UpdatePriority] = set()  # the classes in the batches of this flush
        self._told: set[UpdatePriority] = set()  # those of them that the policy has been told of
        self._left = self._left_bytes = 0  # how much more this flush may take
        self._is_full = False  # the last batch was as large as it may be, and more may wait
        self.pending_updates: Mapping[UpdatePriority, PendingView] = {
            priority: PendingView(self, priority) for priority in PRIORITIES
        }
        self.clear: Callable[[UpdatePriority], object] = self.queue.clear
        #: Called after a knob was turned: what waits may be due earlier.
        self.on_tuned: Callable[[], object] = lambda: None

    @property
    def max_batch_size(self) -> int:
        """How many updates one batch may have, 1 or more; takes effect with the next. A flush may be several."""
        return self.policy.max_batch_size

    @max_batch_size.setter
    def max_batch_size(self, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigurationError(
                f"max_batch_size is {value!r}: give an integer of 1 or more", path="max_batch_size"
            )
        self.policy.max_batch_size = value

    @property
    def batch_timeout_ms(self) -> float:
        """NORMAL's window in milliseconds, 0 or more; what waits is flushed at once when it changes."""
        return self.policy.batch_timeout_ms

    @batch_timeout_ms.setter
    def batch_timeout_ms(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 60_000:
            raise ConfigurationError(
                f"batch_timeout_ms is {value!r}: give milliseconds from 0 to 60000", path="batch_timeout_ms"
            )
        self.policy.batch_timeout_ms = float(value)
        self.queue.windows_s = self.policy.windows_s()
        self.next_due = -NEVER  # what waits was given the old window: look at once
        self.on_tuned()

    def get_pending_count(self) -> dict[UpdatePriority, int]:
        """How many updates wait, by priority."""
        return self.queue.pending_by_priority()

    def accept(self, update: UpdateMessage) -> bool:
        """Takes an update in and notes when it is due. True: `next_due` may be earlier than before."""
        if not self.queue.accept(update):
            return False
        due = self.policy.due_at(update.priority, update.accepted_at)
        if due < self.next_due:
            self.next_due = due
        return True

    def take_due(self, now: float) -> list[UpdateMessage]:
        """The first batch of a flush if one is due, else an empty list; `next_due` then says when to ask again."""
        if self.queue.wake_up(now):
            self.next_due = now
        if self.next_due > now:
            return []
        self._told = set()
        self._left = min(max(1, self.policy.limit()), max(FLUSH_UPDATES, self.policy.max_batch_size))
        self._left_bytes = FLUSH_BYTES
        return self._take(now)

    def take_more(self, now: float, made_bytes: int) -> list[UpdateMessage]:
        """The next batch of the flush that began at `now`, empty where that is over.

        `made_bytes` is the content of the one before as it went out: transformers and loads may make it larger.
        """
        self._left_bytes -= made_bytes
        if not self._is_full or self._left < 1 or self._left_bytes < 1 or not self.queue.has_ready():
            return []
        return self._take(now)

    def _take(self, now: float) -> list[UpdateMessage]:
        queue, most = self.queue, self.policy.max_batch_size
        batch = queue.take(max(1, min(self._left, most)))
        self._left -= len(batch)
        self._is_full = len(batch) >= most
        self._flushed.update([update.priority for update in batch])
        self.is_behind = queue.has_ready()
        if self.is_behind:
            self.next_due = now
        else:
            self.next_due = NEVER
            if classes := self._flushed - self._told:
                self.policy.flushed(classes, now)
            self._told |= classes
            self._flushed = set()
        return batch

    def released(self, now: float) -> None:
        """A batch was settled, and its agents had held something back: that is due at once."""
        if self.next_due > now and self.queue.has_ready():
            self.next_due = now

    def wait_until(self) -> float:
        """When to ask again: the next due time or the end of the next back-off, `inf` for neither."""
        wake_up = self.queue.next_wake_up()
        return self.next_due if wake_up is None else min(self.next_due, wake_up)
