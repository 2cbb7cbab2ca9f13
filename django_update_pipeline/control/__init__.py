"""How a management command reaches the servers that run on this host, with nothing configured.

A command runs in a process of its own and sees nothing of a server's memory. So each server process listens
on a Unix socket in a folder only its user can enter (`sockets`), and a command of the same user finds it
there by the project's key. Decision and alternatives: docs/adr/0003-how-commands-reach-a-running-server.md.

    server  {"hello": {"pid": 4711, "commands": ["action", ...]}}
    client  {"id": 1, "command": "action", "params": {...}}
    server  {"id": 1, "result": ...}   or   {"id": 1, "error": {"code": "...", "message": "..."}}

One JSON object a line, at most 1 MiB each, one request at a time on a connection. `ControlServer` lives on
the loop that started it; `ControlClient` is synchronous. Django is needed for nothing but `project_key`.
"""

from __future__ import annotations

from .client import CommandFailed, ControlClient, ControlTimeout, ServerUnreachable
from .server import ControlServer
from .sockets import ControlError, project_key

__all__ = [
    "CommandFailed",
    "ControlClient",
    "ControlError",
    "ControlServer",
    "ControlTimeout",
    "ServerUnreachable",
    "project_key",
]
