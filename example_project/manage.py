#!/usr/bin/env python
"""Django's command line for the example project."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command of the command line with the settings of the example."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dating_show.settings")
    from django.core.management import execute_from_command_line

    if sys.argv[1:2] == ["runserver"]:
        # It looks for missing tables before it loads asgi.py, which would prepare them.
        import django

        django.setup()
        from dating_show.database import prepare_database

        prepare_database()
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
