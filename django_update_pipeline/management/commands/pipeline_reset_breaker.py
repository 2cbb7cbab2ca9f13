"""`manage.py pipeline_reset_breaker`: closes the circuit breaker of running servers; what waits is tried at once."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from ..servers import REFUSED, UNREACHABLE, Server, Servers, add_server_options, end_with_problems, exit_codes
from ..terminal import Terminal


class Command(BaseCommand):
    """Tells what the breaker was and what it is now."""

    help = (
        "Closes the circuit breaker of a running server: what waits is tried at once. If the transport is still down "
        "it opens again after failure_threshold failures in a row. "
        + exit_codes(
            [
                (0, "closed"),
                (REFUSED, "not carried out, for example because several servers run and none was chosen"),
                (UNREACHABLE, "no server, or one that gave no answer"),
            ]
        )
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_server_options(parser)
        parser.add_argument("--all", action="store_true", help="of all servers of this project on this host")
        parser.add_argument("--json", action="store_true", help="write JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        with Servers(options["timeout"], options["pid"]) as servers:
            if not options["all"]:
                servers.the_only("choose one with --pid, or --all")
            answers = servers.ask("reset_circuit_breaker")
        if options["json"]:
            rows = [{"pid": one.pid, "problem": one.problem or None, **(one.answer or {})} for one in answers]
            self.stdout.write(json.dumps({"servers": rows}))
        else:
            page = Terminal(self.stdout, self.style, force_color=options.get("force_color", False))
            for one in answers:
                if one.answer is not None:
                    page.paragraph(_told(one), tone="good")
            self.stdout.write(page.text(), ending="")
        end_with_problems(self, answers)


def _told(server: Server) -> str:
    before, after = server.answer["before"], server.answer["after"]
    failures = before.get("failure_count", 0)
    held = ", held by an operator" if before.get("is_held_open") else ""
    was = f"{before['state']} ({failures} failures in a row{held})"
    return f"pid {server.pid}: the breaker was {was}, and is {after['state']} now."
