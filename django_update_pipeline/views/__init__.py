"""What is answered over HTTP: two probes for machines, a report and a page for staff.

`probes` has `live`, `ready` and `health`, `page` the staff page, `policy` its Content-Security-Policy. All are
coroutines: under ASGI they run on the server's loop without a thread hop, and Django runs them under WSGI too, where no
pipeline runs in the process and `ready` says so.
"""

from __future__ import annotations

from .page import dashboard
from .probes import health, live, ready

__all__ = ["dashboard", "health", "live", "ready"]
