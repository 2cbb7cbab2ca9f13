"""`manage.py pipeline_health`: how the running servers do, for an operator's eyes or a monitoring system."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import ArgumentParser
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError

from ..health_screen import STATUS_TONES, show_server, status_of, summary_line
from ..servers import UNREACHABLE, Server, Servers, add_server_options, exit_codes, positive
from ..terminal import Cell, Terminal

EXIT_CODES: Final = {"healthy": 0, "degraded": 1, "critical": 2, "unreachable": UNREACHABLE}
"""What a status is as an exit code; of several servers the worst decides."""


class Command(BaseCommand):
    """Asks each running server for its status."""

    help = (
        "Shows how this project's running servers on this host do: score, issues with their mends, breaker, queues, "
        "latencies, connections, account, plugins. "
        + exit_codes([(code, status) for status, code in EXIT_CODES.items()])
        + " Of several servers the worst decides; one that hangs is unreachable, and so is a project of which none "
        "runs. A wrong option exits with 2, too."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_server_options(parser)
        parser.add_argument("--json", action="store_true", help="write JSON, one object a line")
        parser.add_argument(
            "--watch",
            nargs="?",
            type=positive(float),
            const=2.0,
            metavar="SECONDS",
            help="show it again and again, each 2 seconds by default, until Ctrl-C, which exits with 0; where the "
            "output is no terminal, one line for each server",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["watch"]:
            self._watch(**options)
            return
        servers, problem = self._asked(**options)
        worst = max((EXIT_CODES[status_of(server)] for server in servers), default=UNREACHABLE)
        if options["json"]:
            self.stdout.write(self._as_json(servers, problem))
        elif servers:
            self.stdout.write(self._screen(servers, **options).text(), ending="")
        if problem:
            raise CommandError(problem, returncode=UNREACHABLE)
        if worst:
            sys.exit(worst)

    def _asked(self, pid: int | None, timeout: float, **_: Any) -> tuple[list[Server], str]:
        try:
            with Servers(timeout, pid) as servers:
                return servers.ask("get_status"), ""
        except CommandError as error:
            return [], str(error)

    def _as_json(self, servers: list[Server], problem: str) -> str:
        rows = [
            {
                "pid": server.pid,
                "status": status_of(server),
                "problem": server.problem or None,
                "answered_in_s": round(server.took_s, 6),
                **(server.answer or {}),
            }
            for server in servers
        ]
        statuses = [status_of(server) for server in servers] or ["unreachable"]
        worst = max(statuses, key=lambda status: EXIT_CODES[status])
        return json.dumps(
            {
                "status": worst,
                "exit_code": EXIT_CODES[worst],
                "problem": problem or None,
                "timestamp": round(time.time(), 3),
                "servers": rows,
            }
        )

    def _screen(self, servers: list[Server], **options: Any) -> Terminal:
        page = Terminal(self.stdout, self.style, force_color=options.get("force_color", False))
        for place, server in enumerate(servers):
            if place:
                page.blank()
            show_server(page, server)
        if len(servers) > 1:
            counts = dict.fromkeys(EXIT_CODES, 0)
            for server in servers:
                counts[status_of(server)] += 1
            page.blank()
            said = [Cell(f"{len(servers)} servers: ", "heading")]
            for status, count in counts.items():
                if count:
                    said.append(
                        Cell(f"{', ' if len(said) > 1 else ''}{count} {status}", STATUS_TONES[status])
                    )
            page.line(*said)
        return page

    # watching

    def _watch(self, **options: Any) -> None:
        interval_s = options["watch"]
        is_drawn = self.stdout.isatty() and os.environ.get("TERM") != "dumb" and not options["json"]
        try:
            while True:
                began = time.monotonic()
                servers, problem = self._asked(**options)
                if is_drawn:
                    self._draw(servers, problem, **options)
                elif options["json"]:
                    self.stdout.write(self._as_json(servers, problem))
                else:
                    at = time.strftime("%Y-%m-%dT%H:%M:%S")
                    lines = [summary_line(server) for server in servers] or [problem.partition("\n")[0]]
                    page = Terminal(self.stdout, self.style, size=(10_000, 24))
                    for line in lines:
                        page.line(f"{at}  {line}")
                    self.stdout.write(page.text(), ending="")
                self.stdout.flush()
                time.sleep(max(0.1, interval_s - (time.monotonic() - began)))
        except KeyboardInterrupt:
            if is_drawn:
                self.stdout.write("")

    def _draw(self, servers: list[Server], problem: str, **options: Any) -> None:
        """Writes over the last screen: line by line, so that nothing flickers."""
        page = self._screen(servers, **options)
        if problem:
            for line in problem.splitlines():
                page.paragraph(line, tone="bad")
        head = Terminal(self.stdout, self.style, force_color=options.get("force_color", False))
        head.line(f"{time.strftime('%H:%M:%S')}  every {options['watch']:g} s, Ctrl-C ends it")
        lines = [*head.lines, "", *page.lines]
        if len(lines) > page.height - 1:
            more = len(lines) - (page.height - 2)
            lines = [
                *lines[: page.height - 2],
                f"... {more} more lines: make the window higher, or choose a --pid",
            ]
        text = "".join(f"{line}\x1b[K\n" for line in lines)
        self.stdout.write(f"\x1b[H{text}\x1b[J", ending="")
