"""What `manage.py pipeline_doctor` looks at, from the settings to a round trip through a socket.

project.py    what this process can see: system checks, versions, the ASGI application, limits of the host
door.py       a round trip through the project's own door, in this process, on a pipeline of its own
running.py    the servers that run on this host, and a round trip through a real socket of one
"""

from __future__ import annotations

from .findings import LEVELS, Examination, Finding, Level, worst

__all__ = ["LEVELS", "Examination", "Finding", "Level", "worst"]
