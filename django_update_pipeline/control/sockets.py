"""Where the sockets of running servers are, and whom they belong to.

    <XDG_RUNTIME_DIR or temp>/django-update-pipeline-<uid>/<hash of project>-<pid>-<random>.sock

The folder is 0700 and used only if it is a real one and ours, so nobody else can listen or connect in it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..exceptions import UpdatePipelineError

MAX_LINE_BYTES: Final = 1024 * 1024
MAX_PATH_BYTES: Final = 100
"""Below `sun_path` everywhere: 108 bytes on Linux, 104 on macOS, each with a final zero."""
_BACKLOG: Final = 128
_STALE_AFTER_S: Final = 5.0


class ControlError(UpdatePipelineError):
    """A command could not be carried out by a running server."""


def project_key() -> str:
    """The key of the configured Django project: its settings module and the folder it lies in.

    The folder is BASE_DIR, else the settings module's own, else the current one, so a command finds the
    server from any folder unless the settings were configured by hand.
    """
    from django.conf import settings

    module = getattr(settings, "SETTINGS_MODULE", None) or os.environ.get("DJANGO_SETTINGS_MODULE", "")
    folder = getattr(settings, "BASE_DIR", None)
    if folder is None:
        path = getattr(sys.modules.get(module), "__file__", None)
        folder = Path(path).parent if path else Path.cwd()
    return f"{module}:{Path(folder).resolve()}"


def candidate_directories() -> tuple[Path, ...]:
    """Where a server may have its socket, best first.

    A server started by init may lack the XDG_RUNTIME_DIR and TMPDIR of the shell a command runs in, or the
    other way round; so a server takes the first it can use, a client looks into all of them. Where
    UPDATE_PIPELINE_RUNTIME_DIR names a folder, both use that one alone: so two set-ups of one project on one
    host can be kept apart.
    """
    uid = os.getuid()
    if named := os.environ.get("UPDATE_PIPELINE_RUNTIME_DIR", ""):
        return (Path(named).absolute() / f"django-update-pipeline-{uid}",)
    bases = (os.environ.get("XDG_RUNTIME_DIR", ""), os.environ.get("TMPDIR", ""), "/tmp", f"/run/user/{uid}")  # noqa: S108
    usable = [base for base in bases if os.path.isabs(base) and os.path.isdir(base)]
    return tuple(dict.fromkeys(Path(base) / f"django-update-pipeline-{uid}" for base in usable))


def listen(directory: Path, project: str) -> tuple[socket.socket, Path]:
    """Listens on a fresh socket, in a folder made if need be and cleared of what dead servers left.

    Raises:
        OSError, ControlError: this folder can't be used.
    """
    path = directory / f"{_prefix(project)}-{os.getpid()}-{secrets.token_hex(4)}.sock"
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise ControlError(f"{path} is longer than a socket's path may be ({MAX_PATH_BYTES} bytes)")
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        pass
    if (distrust := _distrust(directory)) is not None:
        raise ControlError(distrust)
    for other, pid, _ in _sockets(directory):
        if not _is_running(pid):
            remove(other)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        os.chmod(path, 0o600)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        remove(path)
        raise
    return listener, path


def connections(project: str, pid: int | None = None) -> tuple[list[tuple[socket.socket, int]], list[str]]:
    """Connects to all servers of a project, newest first; never waits.

    Returns:
        Non-blocking sockets with their servers' pids, and sentences on what was passed over. Sockets that
        nobody listens on any more are removed.
    """
    found: list[tuple[float, socket.socket, int]] = []
    passed_over: list[str] = []
    for directory in candidate_directories():
        try:
            if (distrust := _distrust(directory)) is not None:
                passed_over.append(distrust)
                continue
            sockets = list(_sockets(directory, project))
        except FileNotFoundError:
            continue
        except OSError as error:
            passed_over.append(str(error))
            continue
        for path, server_pid, made in sockets:
            if pid is not None and pid != server_pid:
                continue
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.setblocking(False)
            problem = connection.connect_ex(os.fspath(path))
            if problem == 0:
                found.append((made, connection, server_pid))
                continue
            connection.close()
            if problem == errno.ECONNREFUSED:
                # Nobody listens: its server is dead, or is just between bind() and listen().
                if not _is_running(server_pid) or time.time() - made > _STALE_AFTER_S:
                    remove(path)
            elif problem != errno.ENOENT:
                passed_over.append(f"pid {server_pid} can't be reached: {os.strerror(problem)}")
    found.sort(key=lambda entry: entry[0], reverse=True)
    return [(connection, server_pid) for _, connection, server_pid in found], passed_over


def remove(path: Path) -> None:
    """Removes a socket. One that can't be removed is found stale again by the next to look."""
    try:
        path.unlink()
    except OSError:
        pass


def is_own_user(connection: socket.socket) -> bool:
    """True unless the kernel says that another user (not root) is at the other end."""
    if not hasattr(socket, "SO_PEERCRED"):  # macOS and the BSDs: the folder's mode keeps others out
        return True
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid in (os.getuid(), 0)


def _distrust(directory: Path) -> str | None:
    """Why a folder must not be used, None if it is a real one, ours, and nobody else's. Raises OSError."""
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode):
        return f"{directory} is not a folder: remove it"
    if found.st_uid != os.getuid():
        return f"{directory} belongs to user {found.st_uid}: remove it"
    if found.st_mode & 0o077:
        return f"{directory} is open to others (mode {stat.S_IMODE(found.st_mode):o}): chmod 700 or remove it"
    return None


def _prefix(project: str) -> str:
    return hashlib.sha256(project.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _sockets(directory: Path, project: str | None = None) -> Iterator[tuple[Path, int, float]]:
    """Our sockets in a folder we trust: path, pid, and when each was made (Unix s)."""
    pattern = re.compile(
        rf"{_prefix(project) if project is not None else '[0-9a-f]{16}'}-([0-9]+)-[0-9a-f]+\.sock"
    )
    for entry in sorted(os.listdir(directory)):
        match = pattern.fullmatch(entry)
        if match is None:
            continue
        path = directory / entry
        try:
            found = os.lstat(path)
        except FileNotFoundError:  # its server has just stopped
            continue
        if stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid():
            yield path, int(match[1]), found.st_mtime


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
