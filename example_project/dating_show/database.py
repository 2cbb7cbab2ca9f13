"""The demo's database prepares itself, so that a fresh clone needs no `migrate`."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings


def prepare_database() -> None:
    """Applies missing migrations to the demo's SQLite file; does nothing when there are none.

    Runs in a thread of its own, since ASGI servers import the application inside their running event
    loop, where Django refuses database work. Two servers that start at once take turns by a lock file
    beside the database. Takes some 50 ms when nothing is missing, half a second otherwise.

    Raises:
        Whatever the migration raised, in the caller's thread: a server without tables must not start.
    """
    failure: list[BaseException] = []

    def work() -> None:
        try:
            _migrate()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name="prepare-database")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def _migrate() -> None:
    from django.core.management import call_command
    from django.db import connection, connections
    from django.db.migrations.executor import MigrationExecutor

    try:
        with _one_process_at_a_time():
            executor = MigrationExecutor(connection)
            if executor.migration_plan(executor.loader.graph.leaf_nodes()):
                call_command("migrate", interactive=False, verbosity=0)
    finally:
        connections.close_all()


@contextlib.contextmanager
def _one_process_at_a_time() -> Iterator[None]:
    name = str(settings.DATABASES["default"]["NAME"])
    if ":memory:" in name or "mode=memory" in name:
        yield  # No other process can see it.
        return
    with Path(f"{name}.lock").open("a+b") as file:
        lock_file(file.fileno())
        yield  # Closing the file releases the lock, also when the process dies.


if sys.platform == "win32":  # pragma: no cover
    import msvcrt
    import time

    def lock_file(descriptor: int) -> None:
        """Waits until this process holds the lock on an open file."""
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
            except OSError:
                time.sleep(0.1)
            else:
                return
else:
    import fcntl

    def lock_file(descriptor: int) -> None:
        """Waits until this process holds the lock on an open file."""
        fcntl.flock(descriptor, fcntl.LOCK_EX)
