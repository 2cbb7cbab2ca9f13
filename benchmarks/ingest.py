"""What `queue_agent_update` costs its caller, beside `msgspec.json.encode` of the same dict.

usage: python benchmarks/ingest.py [--rounds 15] [--calls 4000] [--type state_change]

One plain thread, no loop, nothing draining; states of 25 agents, about 300 bytes and about 4 KB of JSON.
The two are measured in turn, round by round, so that a busy machine slows both; the figures are medians over
the rounds. Exits with 1 when a call costs more than 1.5 times the encoding plus 2 microseconds.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import threading
from collections.abc import Callable
from time import perf_counter

import msgspec

from django_update_pipeline import UpdatePipeline, UpdatePriority

AGENTS = 25
# Each agent's state takes turns among this many, so that neither side can profit from seeing equal values.
VARIANTS = 4
FACTOR, EXTRA_US = 1.5, 2.0
Item = tuple[str, dict[str, object]]


def small_state(number: int) -> dict[str, object]:
    """A state of about 300 bytes of JSON."""
    return {
        "current_location": ("pool", "villa_kitchen", "fire_pit", "terrace")[number % 4],
        "current_action": "talking",
        "mood": 0.5 + number / 1000,
        "position": {"x": 102.25 + number, "y": 48.5},
        "partner": f"agent_{number % 7:03d}",
        "note": "x" * 150,
    }


def large_state(number: int) -> dict[str, object]:
    """A nested state of about 4 KB of JSON, shaped like the example's frontend state."""
    state = small_state(number)
    state["skills"] = {f"skill_{i}": {"level": i + number % 5, "experience": i * 13.5} for i in range(20)}
    state["emotions"] = dict.fromkeys(("joy", "trust", "fear", "anger", "surprise"), number % 10 / 10)
    state["relationships"] = [
        {"agent_id": f"agent_{i:03d}", "trust": i / 20, "attraction": (i * 3 % 10) / 10, "status": "friends"}
        for i in range(20)
    ]
    state["memory"] = [f"Event {i}: somebody said something worth remembering, {number}" for i in range(20)]
    state["flags"] = {f"flag_{i}": bool(i % 2) for i in range(20)}
    return state


def items_of(make: Callable[[int], dict[str, object]]) -> list[Item]:
    """(agent_id, data), every agent once, then every agent again with its next state."""
    return [(f"agent_{n % AGENTS:03d}", make(n)) for n in range(AGENTS * VARIANTS)]


def encode_us(items: list[Item], calls: int) -> float:
    """Microseconds a call of the encoder."""
    encode = msgspec.json.encode
    whole, t0 = calls // len(items), perf_counter()
    for _ in range(whole):
        for _agent_id, data in items:
            encode(data)
    return (perf_counter() - t0) / (whole * len(items)) * 1e6


def queue_us(pipeline: UpdatePipeline, items: list[Item], calls: int, update_type: str) -> float:
    """Microseconds a call of the pipeline's door."""
    queue, priority = pipeline.queue_agent_update, UpdatePriority.NORMAL
    whole, t0 = calls // len(items), perf_counter()
    for _ in range(whole):
        for agent_id, data in items:
            queue(agent_id=agent_id, update_type=update_type, data=data, priority=priority)
    return (perf_counter() - t0) / (whole * len(items)) * 1e6


def measure(rounds: int, calls: int, update_type: str) -> bool:
    """Print the table; whether every row is within the bound."""
    print(f"CPython {platform.python_version()}, msgspec {msgspec.__version__}, {platform.machine()}")
    print(f"{rounds} interleaved rounds of {calls} calls, {AGENTS} agents, update_type {update_type!r}\n")
    print("| JSON bytes | encode us | queue us | ratio | bound us | queue/bound | within |")
    print("|---:|---:|---:|---:|---:|---:|---|")
    good = True
    for make in (small_state, large_state):
        items = items_of(make)
        size = round(statistics.mean(len(msgspec.json.encode(data)) for _, data in items))
        pipeline = UpdatePipeline()
        encode_us(items, calls)
        queue_us(pipeline, items, calls, update_type)
        pairs = []
        for _ in range(rounds):
            if update_type != "state_change":
                pipeline = UpdatePipeline()  # events do not conflate: a fresh queue stays below its bound
            pairs.append((encode_us(items, calls), queue_us(pipeline, items, calls, update_type)))
        encode = statistics.median(pair[0] for pair in pairs)
        queue = statistics.median(pair[1] for pair in pairs)
        bound = FACTOR * encode + EXTRA_US
        within = queue <= bound
        good &= within
        print(
            f"| {size} | {encode:.2f} | {queue:.2f} | {queue / encode:.2f} | {bound:.2f} "
            f"| {queue / bound:.2f} | {'yes' if within else 'NO'} |"
        )
    return good


def main() -> int:
    """Measure in a thread of its own, where no event loop runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--type", default="state_change", dest="update_type")
    options = parser.parse_args()
    answer: list[bool] = []
    thread = threading.Thread(
        target=lambda: answer.append(measure(options.rounds, options.calls, options.update_type))
    )
    thread.start()
    thread.join()
    return 0 if answer == [True] else 1


if __name__ == "__main__":
    sys.exit(main())
