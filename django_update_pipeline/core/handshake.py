"""What else a handshake must show: a path written plainly, and a protocol that is spoken here.

The origin and the host are judged in `origin`, the user by the door.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

_T = TypeVar("_T")

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PLAIN_IN_PATHS: Final = "/:@!$&'()*+,;=~"


def is_plain_path(path: str, raw_path: bytes | None) -> bool:
    """Whether a path came as it is written in routes, and not in another spelling of the same.

    Servers decode `/%61dmin/` to `/admin/`, and Channels' router takes `//admin/` for it, so a proxy's rule about
    `/admin/` may not have seen them. A path that needs no escapes must have none, and no doubled slash.

    Args:
        path: ASGI's decoded `path`.
        raw_path: ASGI's `raw_path`; None where the server gives none, and then only `path` is judged.
    """
    if "//" in path or _CONTROL.search(path):
        return False
    raw = (raw_path or b"").partition(b"?")[0]
    # A mounting application may have taken a prefix off the decoded path, and not off the raw one.
    return b"%" not in raw or raw.endswith(quote(path, safe=_PLAIN_IN_PATHS).encode())


def choose_protocol(offered: Any, spoken: Mapping[str | None, _T]) -> _T | None:
    """What a client that offers these subprotocols is answered in; None if nothing of it is spoken here.

    Args:
        offered: ASGI's `subprotocols`, in the client's order of preference. Empty: the protocol without a name.
        spoken: by subprotocol; None is the key of the one without a name.
    """
    names = [name for name in offered if isinstance(name, str)] if isinstance(offered, Iterable) else []
    for name in names:
        if name in spoken:
            return spoken[name]
    return None if names else spoken.get(None)
