"""`manage.py pipeline_doctor`: what is wrong with this deployment, each finding with its mend."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from ..doctor import Examination, Finding, Level, worst
from ..doctor.door import in_process
from ..doctor.project import application, host_limits, system_checks, versions
from ..doctor.running import Running, control_folder

EXIT_CODES: dict[Level, int] = {"good": 0, "note": 0, "warning": 1, "error": 2}

DESCRIPTION = """\
Looks at everything between the settings and a browser's socket, and says what is wrong and what mends it.
Disturbs nothing: the round trip through a running server adds one update on a channel nobody else is on.
"""

EPILOG = "exit codes: 0 nothing to mend, 1 warnings, 2 errors"


class Command(BaseCommand):
    """Examines this deployment."""

    help = DESCRIPTION
    requires_system_checks = ()  # it runs them itself, and goes on

    def create_parser(self, *args: Any, **kwargs: Any) -> Any:
        return super().create_parser(*args, epilog=EPILOG, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--url", help="where a browser connects: ws://127.0.0.1:8000/ws/updates/")
        parser.add_argument("--timeout", type=float, default=5.0, help="seconds for each question (5)")
        parser.add_argument("--json", action="store_true", help="the findings as JSON, on stdout alone")

    def handle(self, *args: Any, **options: Any) -> None:
        timeout_s = max(0.1, options["timeout"])
        running = Running(timeout_s, options["url"])
        examinations = (
            Examination("Settings", system_checks),
            Examination("Versions", versions),
            Examination("ASGI application", application),
            Examination("The door, in this process", lambda: in_process(timeout_s)),
            Examination("Limits of this host", host_limits),
            Examination("Commands", control_folder),
            Examination("Servers", running.servers),
            Examination("A real socket", running.round_trip),
        )
        report: dict[str, list[Finding]] = {}
        for examination in examinations:
            if not options["json"]:
                self.stdout.write(self.style.MIGRATE_HEADING(examination.name))
            report[examination.name] = []
            for finding in examination.findings():
                report[examination.name].append(finding)
                if not options["json"]:
                    self._show(finding)
        everything = [finding for findings in report.values() for finding in findings]
        verdict = worst(everything)
        if options["json"]:
            plain = {name: [finding.as_dict() for finding in findings] for name, findings in report.items()}
            self.stdout.write(json.dumps({"worst": verdict, "examinations": plain}, indent=2))
        else:
            self._conclude(verdict, everything)
        if EXIT_CODES[verdict]:
            raise SystemExit(EXIT_CODES[verdict])

    def _show(self, finding: Finding) -> None:
        paint = {
            "good": self.style.SUCCESS,
            "note": self.style.HTTP_INFO,
            "warning": self.style.WARNING,
            "error": self.style.ERROR,
        }[finding.level]
        label = {"good": "ok", "note": "note", "warning": "warning", "error": "ERROR"}[finding.level]
        self.stdout.write(f"  {paint(f'{label:<8}')}{finding.text}")
        if finding.mend:
            self.stdout.write(f"  {'':<8}-> {finding.mend}")

    def _conclude(self, verdict: Level, findings: list[Finding]) -> None:
        counts = {level: sum(f.level == level for f in findings) for level in ("error", "warning")}
        if EXIT_CODES[verdict]:
            self.stdout.write(
                self.style.ERROR(f"{counts['error']} error(s) and {counts['warning']} warning(s) to mend.")
            )
        else:
            self.stdout.write(self.style.SUCCESS("Nothing to mend."))
