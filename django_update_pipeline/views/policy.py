"""The staff page's Content-Security-Policy, and the import map that lets its modules be hashed.

Nothing inline runs but the import map, which is named by its hash. Texts reach the page as text: with Trusted Types
required, and no policy for them allowed, a browser refuses `innerHTML` and its kin altogether.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from urllib.parse import urljoin, urlsplit

from django.http import HttpRequest
from django.templatetags.static import static

#: Headers beside the policy. A project's own middleware may add to them.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def import_map(entry: str, modules: Iterable[str]) -> str:
    """The import map for modules beside `entry`, as JSON; empty where the storage leaves names as they are.

    Modules import each other by relative path. Where the storage of static files changes names (as
    ManifestStaticFilesStorage does) or signs addresses, those paths would miss the files it serves; the map leads
    from the one to the other.
    """
    base = static(entry)
    folder = entry.rpartition("/")[0]
    moved = {urljoin(base, name): static(f"{folder}/{name}") for name in modules}
    moved = {asked: served for asked, served in moved.items() if asked != served}
    if not moved:
        return ""
    return json.dumps({"imports": moved}, separators=(",", ":")).replace("<", "\\u003c")


def content_security_policy(request: HttpRequest, static_url: str, inline: str = "") -> str:
    """The header's value.

    Args:
        static_url: the address of one of the page's files; another host than ours is allowed by its origin.
        inline: the text of the one inline script (the import map), or empty.
    """
    host = request.get_host()
    parts = urlsplit(static_url)
    scheme = parts.scheme or ("https" if request.is_secure() else "http")
    files = f"{scheme}://{parts.netloc}" if parts.netloc and parts.netloc != host else "'self'"
    scripts = files if not inline else f"{files} '{_hash(inline)}'"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {scripts}",
            f"style-src {files}",
            f"img-src {files}",
            # 'self' covers the page's own socket in today's browsers; older ones want it by name.
            f"connect-src 'self' ws://{host} wss://{host}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
