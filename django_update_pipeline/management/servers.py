"""How a management command finds the running servers of this project and asks them; and the options all commands share.

A command runs in a process of its own. It reaches the servers of the same user on this host through their control
sockets (docs/adr/0003-how-commands-reach-a-running-server.md), several at a time, and none of them can hold it up for
longer than `--timeout`.
"""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from ..control import CommandFailed, ControlClient, ControlError, project_key
from .terminal import clean

UNREACHABLE: Final = 3
"""The exit code of every command that finds no server, or none that answers."""

REFUSED: Final = 1
"""The exit code of a command that was not carried out, or not wholly."""

HINT: Final = (
    "If one runs, its log says why it can't be reached: it began with "
    '"Management commands can\'t reach this process", or CONTROL is off.'
)


class NoServer(CommandError):
    """No server of this project runs here for this user. `reasons` says so first, then what was passed over."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("\n".join([*reasons, HINT]), returncode=UNREACHABLE)
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class Server:
    """One running server, asked: its answer, or why there is none. `took_s` is how long that took.

    `is_refusal`: it did answer, with a no.
    """

    pid: int
    path: str
    answer: Any = None
    problem: str = ""
    took_s: float = 0.0
    is_refusal: bool = False


class Servers:
    """The connections to the running servers of this project, newest first; a context manager.

    Args:
        timeout_s: bounds the search, and then each round of questions.
        pid: only the server of this process.

    Raises:
        NoServer: none runs (exit code 3); the text says what was looked for and what to do.
    """

    def __init__(self, timeout_s: float, pid: int | None = None) -> None:
        self.project = project_key()
        try:
            self.clients, passed_over = ControlClient.discover(self.project, timeout_s, pid)
        except ControlError as error:
            raise CommandError(str(error), returncode=UNREACHABLE) from error
        if not self.clients:
            raise NoServer(passed_over)
        for client in self.clients:
            client.timeout_s = timeout_s

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.close()

    def ask(self, command: str, /, **params: Any) -> list[Server]:
        """Asks all of them at once. One that did not even greet is stuck: it is not asked."""
        with ThreadPoolExecutor(len(self.clients)) as threads:
            return list(threads.map(lambda client: _asked(client, command, params), self.clients))

    def ask_in_turn(self, command: str, /, **params: Any) -> Iterator[Server]:
        """Asks one after the other, each when it is called for; those that did not even greet are left out."""
        for client in self.clients:
            if client.has_answered:
                yield _asked(client, command, params)

    def the_only(self, ways_out: str = "choose one with --pid") -> ControlClient:
        """The one server there is.

        Raises:
            CommandError: there are several (exit code 1).
        """
        if len(self.clients) > 1:
            pids = ", ".join(str(client.pid) for client in self.clients)
            raise CommandError(
                f"{len(self.clients)} servers run here (pid {pids}): {ways_out}", returncode=REFUSED
            )
        return self.clients[0]

    def ask_the_only(self, command: str, /, **params: Any) -> Server:
        """The answer of the one server there is.

        Raises:
            CommandError: there are several; or it does not answer (exit code 3), or refuses (1).
        """
        client = self.the_only()
        began = time.monotonic()
        try:
            if not client.has_answered:
                raise_silent(client)
            return Server(
                client.pid, client.path, client.call(command, **params), took_s=time.monotonic() - began
            )
        except CommandFailed as error:
            raise CommandError(f"pid {client.pid}: {error}", returncode=REFUSED) from error
        except ControlError as error:
            raise CommandError(str(error), returncode=UNREACHABLE) from error


def raise_silent(client: ControlClient) -> None:
    """Says of a server that did not greet in time what can be done.

    Raises:
        ControlError: always.
    """
    raise ControlError(
        f"pid {client.pid} did not answer within {client.timeout_s:g} s: it is stopped, stuck or overloaded; look at "
        f"it with py-spy dump --pid {client.pid}, give it longer with --timeout, or restart it"
    )


def _asked(client: ControlClient, command: str, params: dict[str, Any]) -> Server:
    began = time.monotonic()
    answer, problem, is_refusal = None, "", False
    try:
        if not client.has_answered:
            raise_silent(client)
        answer = client.call(command, **params)
    except CommandFailed as error:
        problem, is_refusal = f"pid {client.pid} refused: {error}", True
    except ControlError as error:
        problem = str(error)
    return Server(client.pid, client.path, answer, problem, time.monotonic() - began, is_refusal)


def end_with_problems(command: BaseCommand, servers: Sequence[Server]) -> None:
    """Tells on the standard error which servers did not do it; the exit code says whether they refused or are silent.

    Raises:
        SystemExit: there are such servers.
    """
    problems = [server for server in servers if server.problem]
    for server in problems:
        command.stderr.write(clean(server.problem))
    if problems:
        sys.exit(REFUSED if all(server.is_refusal for server in problems) else UNREACHABLE)


def positive(kind: type[float] | type[int]) -> Callable[[str], Any]:
    """An option's value that must be above 0."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = kind(0)
        if not 0 < value < 1e9:
            raise ArgumentTypeError(f"{text!r} is no {'whole ' if kind is int else ''}number above 0")
        return value

    return read


def add_server_options(parser: ArgumentParser, several: str = "") -> None:
    """`--pid` and `--timeout`."""
    parser.add_argument(
        "--pid", type=positive(int), help=f"only the server of this process{several}", metavar="PID"
    )
    parser.add_argument(
        "--timeout",
        type=positive(float),
        default=5.0,
        metavar="SECONDS",
        help="how long a server may take to answer (default: %(default)s)",
    )


def exit_codes(meanings: Sequence[tuple[int, str]]) -> str:
    """The part of a command's help that tells its exit codes."""
    return "Exit codes: " + ", ".join(f"{code} {meaning}" for code, meaning in meanings) + "."
