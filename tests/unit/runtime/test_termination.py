"""SIGTERM is heard once, acted on, and passed on to whoever heard it before."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from django_update_pipeline.runtime.termination import Termination


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """What happened; somebody else's handler was there first."""
    log: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: log.append("passed on"))
    yield log
    signal.signal(signal.SIGTERM, before)


async def told(log: list[str], count: int) -> None:
    async with asyncio.timeout(10):
        while len(log) < count:  # noqa: ASYNC110 - a signal handler sets no event
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("comes_first", [True, False])
async def test_it_winds_up_and_passes_on(heard: list[str], comes_first: bool) -> None:
    async def wind_up() -> None:
        for _ in range(10):  # whoever does not wait for it passes on meanwhile
            await asyncio.sleep(0)
        heard.append("wound up")

    termination = Termination(wind_up, comes_first=comes_first)
    assert termination.install()
    assert not termination.has_begun
    os.kill(os.getpid(), signal.SIGTERM)
    await told(heard, 2)
    assert heard == (["wound up", "passed on"] if comes_first else ["passed on", "wound up"])
    assert termination.has_begun
    os.kill(os.getpid(), signal.SIGTERM)
    await told(heard, 3)
    assert heard[2] == "passed on", "it listens no more"


async def test_a_second_signal_passes_straight_on(heard: list[str]) -> None:
    going = asyncio.Event()

    async def wind_up() -> None:
        await going.wait()
        heard.append("wound up")

    Termination(wind_up, comes_first=True).install()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    await told(heard, 1)
    going.set()
    await told(heard, 3)
    assert heard == ["passed on", "wound up", "passed on"]


async def test_a_failure_ends_the_process_all_the_same(
    heard: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async def wind_up() -> None:
        raise RuntimeError("a bug")

    Termination(wind_up, comes_first=True).install()
    os.kill(os.getpid(), signal.SIGTERM)
    await told(heard, 1)
    assert "could not be wound up" in caplog.text


async def test_removed_it_leaves_what_was_there(heard: list[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    termination = Termination(asyncio.Event().wait, comes_first=True)
    termination.install()
    termination.remove()
    termination.remove()
    assert signal.getsignal(signal.SIGTERM) is before
    termination.install()
    later = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a server that comes after us
    termination.remove()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    assert later == termination._heard


def test_a_loop_that_is_over_passes_it_on(heard: list[str]) -> None:
    async def install() -> None:
        Termination(asyncio.Event().wait, comes_first=True).install()

    asyncio.run(install())
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == ["passed on"]


async def test_another_thread_may_not_listen() -> None:
    installed: list[bool] = []

    async def install() -> None:
        termination = Termination(asyncio.Event().wait, comes_first=True)
        installed.append(termination.install())
        termination.remove()

    thread = threading.Thread(target=lambda: asyncio.run(install()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert installed == [False]


PROGRAM = """
import asyncio, os, signal, sys
from django_update_pipeline.runtime.termination import Termination

async def main():
    if sys.argv[1] == "asyncio":
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async def wind_up():
        print("wound up", flush=True)
    Termination(wind_up, comes_first=True).install()
    if sys.argv[1] == "forked":
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)  # ends it, without a word
            os._exit(9)
        _, status = os.waitpid(child, 0)
        print(-os.waitstatus_to_exitcode(status), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    if sys.argv[1] == "asyncio":
        await ended.wait()
        await asyncio.sleep(0.05)
        print("its own loop heard it, too", flush=True)
    else:
        await asyncio.sleep(20)

if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("where", "says", "code"),
    [
        ("plain", "wound up\n", -signal.SIGTERM),
        ("forked", "15\nwound up\n", -signal.SIGTERM),
        ("asyncio", "wound up\nits own loop heard it, too\n", 0),
    ],
)
def test_in_a_process_of_its_own(where: str, says: str, code: int) -> None:
    """Without another handler the signal ends the process, as ever; a forked child is not wound up."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, where],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.stdout, done.returncode) == (says, code), done.stderr
