"""`manage.py pipeline_plugins`: the parts an update meets, in their order, and which plugin provides each."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...assembly import build_pipeline
from ...conf import read_settings
from ...exceptions import ConfigurationError
from ...runtime.inventory import inventory
from ..servers import (
    REFUSED,
    UNREACHABLE,
    NoServer,
    Servers,
    add_server_options,
    end_with_problems,
    exit_codes,
)
from ..terminal import Cell, Column, Terminal, clean, number


class Command(BaseCommand):
    """From the running server where there is one, else from the settings."""

    help = (
        "Lists the parts an update meets in their order, which plugin provides each, how often it failed and whether "
        "it is switched off: of a running server, or where none runs (and with --settings-only) those that the "
        "settings name. "
        + exit_codes(
            [
                (0, "listed"),
                (REFUSED, "the settings or a plugin are wrong, or a part is switched off"),
                (UNREACHABLE, "a server runs but gave no answer"),
            ]
        )
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_server_options(parser)
        parser.add_argument(
            "--enable",
            metavar="PLUGIN",
            help="switch the parts of this plugin on again, in each server or that of --pid, instead of listing",
        )
        parser.add_argument("--settings-only", action="store_true", help="ask no server")
        parser.add_argument("--json", action="store_true", help="write JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["enable"] is not None:
            self._enable(**options)
            return
        pid, answer = None, None
        if not options["settings_only"]:
            try:
                with Servers(options["timeout"], options["pid"]) as servers:
                    # Any server will do, the newest first: all were made from the same settings.
                    one = next((one for one in servers.ask("get_plugins") if one.answer is not None), None)
                    if one is None:
                        raise CommandError("no server gave an answer", returncode=UNREACHABLE)
                    pid, answer = one.pid, one.answer
            except NoServer:
                if options["pid"] is not None:
                    raise
        if answer is None:
            answer = self._from_settings()
        is_off = any(part["is_off"] for part in answer["parts"])
        if options["json"]:
            source = {"source": "settings" if pid is None else "server", "pid": pid}
            self.stdout.write(json.dumps({**source, **answer}))
        else:
            page = Terminal(self.stdout, self.style, force_color=options.get("force_color", False))
            show_parts(page, answer, pid)
            self.stdout.write(page.text(), ending="")
        if is_off:
            sys.exit(REFUSED)

    def _enable(self, enable: str, timeout: float, pid: int | None, **options: Any) -> None:
        with Servers(timeout, pid) as servers:
            answers = servers.ask("enable_plugin", name=enable)
        if options["json"]:
            rows = [{"pid": one.pid, "problem": one.problem or None, **(one.answer or {})} for one in answers]
            self.stdout.write(json.dumps({"servers": rows}))
        else:
            page = Terminal(self.stdout, self.style, force_color=options.get("force_color", False))
            for one in answers:
                if one.answer is not None:
                    parts = ", ".join(one.answer["enabled"])
                    told = f"switched on: {parts}" if parts else "nothing of it was off"
                    page.paragraph(f"pid {one.pid}: {told}.", tone="good")
            self.stdout.write(page.text(), ending="")
        end_with_problems(self, answers)

    @staticmethod
    def _from_settings() -> dict[str, Any]:
        try:
            return inventory(build_pipeline(read_settings()))
        except ConfigurationError as error:
            raise CommandError(clean(error), returncode=REFUSED) from error


def show_parts(page: Terminal, answer: Mapping[str, Any], pid: int | None) -> None:
    """The parts as a table, then what is wrong with any."""
    if pid is None:
        settings = os.environ.get("DJANGO_SETTINGS_MODULE", "the settings")
        page.line(Cell(f"From {settings}; no server was asked.", "heading"))
    else:
        page.line(Cell(f"pid {pid}", "heading"))
    page.blank()
    rows = []
    for part in answer["parts"]:
        state = Cell("off", "bad") if part["is_off"] else Cell("")
        failures = part["failures"]
        rows.append(
            [
                part["kind"],
                part["name"],
                part["plugin"],
                Cell(number(failures) if failures else "", "warning"),
                state,
            ]
        )
    columns = [
        Column("kind"),
        Column("part", least=16),
        Column("provided by", least=16),
        Column("failures", is_right=True),
        Column(""),
    ]
    if not any(part["failures"] or part["is_off"] for part in answer["parts"]):
        columns, rows = columns[:3], [row[:3] for row in rows]
    page.table(columns, rows)
    for part in answer["parts"]:
        if part["is_off"]:
            page.paragraph(
                f"{part['kind']} {part['name']} is switched off: {part['off_because']}. "
                f"Mend it, then restart, or: manage.py pipeline_plugins --enable {part['plugin']}",
                tone="bad",
            )
        elif part["last_error"]:
            page.paragraph(
                f"{part['kind']} {part['name']} failed last with: {part['last_error']}", tone="warning"
            )
