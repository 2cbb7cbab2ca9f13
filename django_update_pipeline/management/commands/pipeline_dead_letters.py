"""`manage.py pipeline_dead_letters`: what could not be delivered: lists, shows, queues again, lets go."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from ...control import ControlError
from ..servers import (
    REFUSED,
    UNREACHABLE,
    Server,
    Servers,
    add_server_options,
    end_with_problems,
    exit_codes,
    positive,
)
from ..terminal import Cell, Column, Terminal, clean, duration, number

AT_ONCE: Final = 1000
"""So many numbers go into one request."""


class Command(BaseCommand):
    """The subcommands `list`, `show`, `replay` and `discard`."""

    help = (
        "Lists the updates that could not be delivered, shows one with its data, queues events again, or lets them "
        "go. Numbers belong to one server. "
        + exit_codes(
            [
                (0, "done"),
                (REFUSED, "not carried out, or not wholly"),
                (UNREACHABLE, "no server, or one that gave no answer"),
            ]
        )
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|replay|discard")
        listing = actions.add_parser("list", help="newest first")
        listing.add_argument("--reason", help="only those of one reason, for example failed")
        listing.add_argument(
            "--limit", type=positive(int), default=20, metavar="N", help="how many (default: %(default)s)"
        )
        listing.add_argument("--before", type=positive(int), metavar="NUMBER", help="those below this number")
        showing = actions.add_parser("show", help="one, with its data")
        showing.add_argument("number", type=positive(int), metavar="NUMBER", help="its number")
        replaying = actions.add_parser(
            "replay", help="queue dead events again; dead state is outdated by now"
        )
        discarding = actions.add_parser("discard", help="let dead letters go for good")
        for changing in (replaying, discarding):
            changing.add_argument(
                "numbers", nargs="*", type=positive(int), metavar="NUMBER", help="their numbers"
            )
            changing.add_argument(
                "--all", action="store_true", help="all that are kept; asks before it begins"
            )
            changing.add_argument("--reason", help="with --all: only those of one reason")
            changing.add_argument(
                "--yes", "--no-input", "--noinput", action="store_true", dest="yes", help="do not ask"
            )
        for action in (listing, showing, replaying, discarding):
            add_server_options(action)
            action.add_argument("--json", action="store_true", help="write JSON")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        with Servers(options["timeout"], options["pid"]) as servers:
            if action == "list":
                self._list(servers, **options)
            elif action == "show":
                self._show(servers.ask_the_only("show_dead_letter", number=options["number"]), **options)
            else:
                self._change(servers, action, **options)

    def _page(self, **options: Any) -> Terminal:
        return Terminal(self.stdout, self.style, force_color=options.get("force_color", False))

    # list

    def _list(self, servers: Servers, **options: Any) -> None:
        asked = {name: options[name] for name in ("reason", "before") if options[name] is not None}
        answers = [
            _with_pages(one, servers, options["limit"], asked)
            for one in servers.ask("list_dead_letters", limit=min(options["limit"], 500), **asked)
        ]
        if options["json"]:
            rows = [{"pid": one.pid, "problem": one.problem or None, **(one.answer or {})} for one in answers]
            self.stdout.write(json.dumps({"servers": rows}))
        else:
            page = self._page(**options)
            for place, one in enumerate(one for one in answers if one.answer is not None):
                if place:
                    page.blank()
                show_letters(page, one)
            self.stdout.write(page.text(), ending="")
        end_with_problems(self, answers)

    # show

    def _show(self, server: Server, **options: Any) -> None:
        letter = server.answer
        if options["json"]:
            self.stdout.write(json.dumps({"pid": server.pid, **letter}))
            return
        page = self._page(**options)
        page.line(Cell(f"Dead letter {letter['number']} of pid {server.pid}", "heading"))
        page.blank()
        is_replayable = "yes" if letter["is_replayable"] else "no: it is state, and a newer one is the truth"
        page.pairs(
            [
                ("agent", letter["agent_id"]),
                ("type", f"{letter['update_type']} ({letter['kind']}, {letter['priority']})"),
                ("channels", ", ".join(letter["channels"]) or "-"),
                ("queued", _at(letter["queued_at"])),
                ("died", _at(letter["died_at"])),
                ("reason", Cell(letter["reason"], "warning")),
                ("cause", letter["cause"]),
                ("replayable", is_replayable),
            ]
        )
        page.blank()
        if letter["is_data_too_large"]:
            page.paragraph(f"Its data has {number(letter['bytes'])} bytes, too many to be shown.")
        else:
            for line in json.dumps(letter["data"], indent=2, ensure_ascii=False).split("\n"):
                page.lines.append(page.safe(clean(line)))
        self.stdout.write(page.text(), ending="")

    # replay and discard

    def _change(self, servers: Servers, action: str, **options: Any) -> None:
        numbers, is_all, reason = options["numbers"], options["all"], options["reason"]
        if is_all == bool(numbers):
            raise CommandError(f"name the letters to {action} by number, or give --all", returncode=REFUSED)
        if reason is not None and not is_all:
            raise CommandError("--reason goes with --all", returncode=REFUSED)
        client = servers.the_only("numbers belong to one of them: choose it with --pid")
        if is_all and not options["yes"]:
            self._confirm(servers, action, reason, client.pid)
        command = f"{action}_dead_letters"
        if is_all:
            asked = [{"all": True, **({} if reason is None else {"reason": reason})}]
        else:
            asked = [
                {"numbers": numbers[start : start + AT_ONCE]} for start in range(0, len(numbers), AT_ONCE)
            ]
        done = f"{'replay' if action == 'replay' else 'discard'}ed"
        total: dict[str, Any] = {done: [], f"{done}_count": 0, "skipped": [], "skipped_count": 0}
        for params in asked:
            answer = servers.ask_the_only(command, **params).answer
            for name in total:
                total[name] += answer[name]
            total |= {"kept": answer["kept"], "problem": answer.get("problem")}
            if total["problem"]:
                break
        self._say_done(client.pid, done, total, **options)
        if total["problem"] or (total["skipped_count"] and not is_all):
            sys.exit(REFUSED)

    def _confirm(self, servers: Servers, action: str, reason: str | None, pid: int) -> None:
        asked = {} if reason is None else {"reason": reason}
        answer = servers.ask_the_only("list_dead_letters", limit=1, **asked).answer
        what = f"{number(answer['matching'])} dead letters of pid {pid}"
        what += "" if reason is None else f" of reason {clean(reason)}"
        question = f"Replay the events among {what}?" if action == "replay" else f"Discard {what} for good?"
        if not sys.stdin.isatty():
            raise CommandError(
                f"{question} There is nobody to ask here: add --yes to go on.", returncode=REFUSED
            )
        self.stderr.write(f"{question} [y/N] ", ending="")
        self.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was changed", returncode=REFUSED)

    def _say_done(self, server_pid: int, done: str, total: Mapping[str, Any], **options: Any) -> None:
        if options["json"]:
            self.stdout.write(json.dumps({"pid": server_pid, **total}))
            return
        page = self._page(**options)
        page.paragraph(
            f"pid {server_pid}: {number(total[f'{done}_count'])} {done}, {number(total['kept'])} are still kept.",
            tone="good",
        )
        skipped = total["skipped_count"]
        if total["problem"]:
            page.paragraph(f"{number(skipped)} were kept: {total['problem']}", tone="bad")
        elif skipped:
            why = (
                "state, which can't be replayed, or not kept any more"
                if done == "replayed"
                else "not kept any more"
            )
            which = ", ".join(map(str, total["skipped"][:10])) + (", ..." if skipped > 10 else "")
            page.paragraph(f"{number(skipped)} were skipped ({which}): {why}.", tone="warning")
        self.stdout.write(page.text(), ending="")


def _with_pages(server: Server, servers: Servers, limit: int, asked: dict[str, Any]) -> Server:
    """A list that ended by its size goes on until there are as many letters as were asked for."""
    client = next(client for client in servers.clients if client.pid == server.pid)
    answer = server.answer
    while answer is not None and answer["next_before"] and len(server.answer["letters"]) < limit:
        rest = min(500, limit - len(server.answer["letters"]))
        try:
            answer = client.call(
                "list_dead_letters", **{**asked, "limit": rest, "before": answer["next_before"]}
            )
        except ControlError as error:
            raise CommandError(str(error), returncode=UNREACHABLE) from error
        server.answer["letters"] += answer["letters"]
        server.answer["next_before"] = answer["next_before"]
    return server


def show_letters(page: Terminal, server: Server) -> None:
    """One server's dead letters as a table; the causes below their rows where they don't fit beside them."""
    answer, now = server.answer, time.time()
    letters = answer["letters"]
    counts = f"{number(answer['kept'])} kept of {number(answer['total'])} that ever died"
    if answer["let_go"]:
        counts += f", {number(answer['let_go'])} made room for newer ones"
    page.line(Cell(f"pid {server.pid}: ", "heading"), counts)
    if not letters:
        return
    columns = [
        Column("number", is_right=True),
        Column("died ago", is_right=True),
        Column("priority"),
        Column("agent", least=10),
        Column("type", least=10),
        Column("reason", least=10),
    ]
    rows: list[list[Cell | str]] = [
        [
            str(letter["number"]),
            duration(max(0.0, now - letter["died_at"])),
            letter["priority"],
            letter["agent_id"],
            letter["update_type"],
            Cell(letter["reason"], "warning"),
        ]
        for letter in letters
    ]
    causes = [letter["cause"] for letter in letters]
    with_causes = [[*row, cause] for row, cause in zip(rows, causes, strict=True)]
    if page.has_room_for([*columns, Column("cause")], with_causes):
        page.table([*columns, Column("cause")], with_causes)
    else:  # a cause that is cut off is none: its end says what went wrong
        page.table(columns, rows, below=causes)
    if answer["next_before"]:
        page.line(f"More: --before {answer['next_before']}")


def _at(seconds: float) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    return f"{at} ({duration(max(0.0, time.time() - seconds))} ago)"
