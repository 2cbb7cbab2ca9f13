"""The faults that are thought of, and the tests that inject them.

A test says which fault it injects and what it holds: `@pytest.mark.fault("F17", "what was queued is what is sent")`.
The marks are read from the tests' source, so nothing is imported and nothing runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"

#: Groups of faults by id. The numbers are stable: tests and pages name them.
FAULTS: dict[str, dict[str, str]] = {
    "Processes and loops": {
        "F1": "the server process is killed (`kill -9`)",
        "F2": "the process is frozen for some seconds and goes on",
        "F3": "the process is asked to end (SIGTERM), in a rolling restart",
        "F4": "memory runs out",
        "F5": "the process forks after import or start (gunicorn's preload)",
        "F6": "the event loop is closed and a new one used; several loops at once",
        "F7": "start and stop twice, nested, at once, in the middle of a flush",
        "F8": "a task is cancelled at any of its awaits",
        "F9": "something blocks the event loop for seconds",
        "F10": "the interpreter ends while updates wait",
        "F11": "many threads queue at once",
        "F12": "queueing from a signal handler, a finalizer, with a running loop or with none",
    },
    "Plugins and data": {
        "F13": "a hook or a part of a plugin raises, `BaseException` too",
        "F14": "a part of a plugin is slow or hangs",
        "F15": "a part returns rubbish, changes its input, or queues from inside",
        "F16": "an update that can never be encoded or sent",
        "F17": "the caller changes the data after queueing it",
    },
    "Redis": {
        "F18": "connections to Redis are cut, again and again",
        "F19": "Redis stands still for ten seconds",
        "F20": "Redis is killed and comes back with its data",
        "F21": "Redis comes back empty",
        "F22": "failover to a replica that lags",
        "F23": "Redis has no memory left and refuses writes",
        "F24": "Redis is set up to evict keys",
        "F25": "the log was trimmed past a reader",
        "F26": "groups, scripts, passwords or keys vanish",
        "F27": "Redis answers that it is loading, read-only or busy",
        "F28": "two processes use one node's name",
        "F29": "packets to Redis vanish, without a reset",
    },
    "Network and clients": {
        "F30": "a client is gone without a word",
        "F31": "a slow and unsteady line",
        "F32": "a reset in mid-frame, single bytes, half-closed connections",
        "F33": "a proxy cuts what is idle",
        "F34": "some clients stop reading",
        "F35": "everybody reconnects at once",
        "F36": "a flood of connections that never finish their handshake",
        "F37": "clients subscribe and unsubscribe while updates are sent",
        "F38": "a client comes back late, from another log, or with a position it made up",
    },
    "Time and machine": {
        "F39": "the wall clock jumps, forward or back",
        "F40": "the machine was suspended: monotonic time jumps",
        "F41": "the disk is full",
        "F42": "no file descriptors are left",
        "F43": "threads can't be started, names not resolved",
    },
    "Databases, versions and the rest": {
        "F44": "the transaction in which something was queued is rolled back",
        "F45": "the database is locked or down",
        "F46": "two relays of one outbox, one killed in between",
        "F47": "transactions commit in another order than their ids",
        "F48": "an old client and a new server, and the other way round",
        "F49": "foreign bytes on the bus",
        "F50": "metrics or logs can't be written",
    },
}


@dataclass(frozen=True, slots=True, order=True)
class Held:
    """One mark: a test that holds a promise under a fault. `test` is as pytest names it, with `tests/` before it."""

    fault: str
    test: str
    promise: str


def _marks(node: ast.AST, where: str) -> Iterator[tuple[str, str]]:
    for call in ast.walk(node):
        if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.fault"):
            continue
        words = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
        if len(words) != 2 or call.keywords or not all(isinstance(word, str) for word in words):
            raise ValueError(f"{where}: write fault('F13', 'one sentence'), two plain strings")
        yield str(words[0]), str(words[1])


def _of_body(body: list[ast.stmt], where: str) -> Iterator[tuple[str, str, str]]:
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{where}::{node.name}"
            for decorator in node.decorator_list:
                for fault, promise in _marks(decorator, name):
                    yield fault, name, promise
            if isinstance(node, ast.ClassDef):
                yield from _of_body(node.body, name)
        else:  # `pytestmark`, or parameters that carry the mark
            for fault, promise in _marks(node, where):
                yield fault, where, promise


def held(tests: Path = TESTS) -> list[Held]:
    """Every mark of the tests, by the fault's number, then by the test's name."""
    found = set()
    for path in tests.rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if "mark.fault" in text:
            where = str(path.relative_to(tests.parent))
            found |= {Held(*mark) for mark in _of_body(ast.parse(text).body, where)}
    return sorted(found, key=lambda one: (int(one.fault.removeprefix("F")), one))
