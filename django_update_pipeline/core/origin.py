"""May this handshake open a socket here? Decided from its raw headers alone.

A browser lets any page open a WebSocket to any server and sends that server's cookies along (cross-site
WebSocket hijacking, CWE-1385). All that tells such a socket from our own page's is the `Origin` header, and
all that makes `Origin` comparable is a `Host` we believe. So both are judged, before a session is looked up.

    Host      once, well-formed, in ALLOWED_HOSTS (Django's patterns)                       else refused
    Origin    absent: accepted without cookies (a program), refused with (a browser always sends it)
              once, well-formed, the same host and port as Host, or listed                  else refused

Only `Host` is read: behind a proxy that replaces it, list the public origin in `allowed_origins`.
Sources: RFC 6454 section 7 (Origin), RFC 9110 section 7.2 (Host), django.http.request (patterns).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from .names import reflected

LOCAL_HOSTS: Final = (".localhost", "127.0.0.1", "[::1]")
"""What Django allows where ALLOWED_HOSTS is empty and DEBUG is on; the caller decides that."""

Rule = Literal[
    "host_missing",
    "host_repeated",
    "host_malformed",
    "host_not_allowed",
    "origin_missing",
    "origin_repeated",
    "origin_null",
    "origin_malformed",
    "origin_foreign",
]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_NAME = r"[a-z0-9.-]*[a-z0-9-]\.?|\[[a-f0-9]*:[a-f0-9.:]+\]"
_HOST = re.compile(rf"({_NAME})(?::([0-9]{{1,5}}))?")
_ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://({_NAME})(?::([0-9]{{1,5}}))?")
_WILDCARD = re.compile(r"(https?://)\*(\.[^*]+)")


class Origin(NamedTuple):
    """Where a page came from, in lower case; `port` is None if none is known."""

    scheme: str
    host: str
    port: int | None


@dataclass(frozen=True, slots=True)
class Allowed:
    """The handshake may go on. `origin` is None for a program that sent none (and no cookies)."""

    origin: Origin | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The handshake ends here: 403, or accepted and closed with FORBIDDEN, nothing sent.

    `rule` is one of a small closed set (a metric's label); `reason` is for the log and names the mend.
    """

    rule: Rule
    reason: str


def parse_origin(text: str) -> Origin | None:
    """Reads a serialised origin such as `https://example.com:8443`; None if it is none. Never raises."""
    match = _ORIGIN.fullmatch(text.lower()) if text.isascii() else None
    if match is None:
        return None
    scheme, host, port = match.groups()
    number = int(port) if port else _DEFAULT_PORTS.get(scheme)
    return Origin(scheme, host, number) if number is None or number <= 65535 else None


def valid_allowed_origin(text: str) -> bool:
    """True for what `allowed_origins` may hold: an origin, or one with `*.` before the host's name."""
    return _pattern(text) is not None


def host_allowed(host: str, allowed_hosts: Iterable[str]) -> bool:
    """Django's rule: `*` is any host, `.example.com` that domain and those below, else the name itself.

    `host` has no port. One final dot does not count.
    """
    name = host.lower().removesuffix(".")
    for allowed in allowed_hosts:
        pattern = allowed.lower()
        if pattern in ("*", name) or (
            pattern.startswith(".") and (name.endswith(pattern) or name == pattern[1:])
        ):
            return True
    return False


def check_handshake(
    headers: Iterable[tuple[bytes, bytes]],
    allowed_hosts: Sequence[str],
    allowed_origins: Sequence[str] = (),
    secure: bool | None = None,
) -> Allowed | Refused:
    """Judges a handshake by its headers; never raises, whatever the bytes.

    Args:
        headers: raw ASGI headers.
        allowed_hosts: patterns as in Django's ALLOWED_HOSTS. Empty means none.
        allowed_origins: further origins: `https://app.example.com`, or `https://*.example.com` for all below
            a domain. Entries that are neither match nothing.
        secure: whether the socket is known to be encrypted (True: only an https page is at home here). A
            Host without a port stands for 443 or 80 accordingly. None, the safe answer wherever a proxy may
            have ended the encryption, lets it stand for the port of the page's own scheme.
    """
    hosts: list[bytes] = []
    origins: list[bytes] = []
    has_cookie = False
    for name, value in headers:
        match name.lower():
            case b"host":
                hosts.append(value)
            case b"origin":
                origins.append(value)
            case b"cookie":
                has_cookie = True

    host = _check_host(hosts, allowed_hosts)
    if isinstance(host, Refused):
        return host
    if not origins:
        if has_cookie:
            return Refused(
                "origin_missing", "cookies without an Origin: a browser sends both, a program neither"
            )
        return Allowed(None)
    origin = _check_origin(origins)
    if isinstance(origin, Refused):
        return origin
    if _at_home(origin, host, secure) or _listed(origin, allowed_origins):
        return Allowed(origin)
    return Refused(
        "origin_foreign",
        f"Origin {_shown(origins[0])} is not Host {_shown(hosts[0])}: add it to allowed_origins if meant",
    )


def check_request(
    headers: Iterable[tuple[bytes, bytes]], allowed_hosts: Sequence[str], allowed_origins: Sequence[str] = ()
) -> Allowed | Refused:
    """Judges a plain GET by its headers, as `check_handshake` does a socket's; never raises.

    A browser sends no Origin with a GET of the page's own, so here `Sec-Fetch-Site` (Fetch Metadata) speaks where it
    is there: only the same origin, or nobody's page, may go on without an Origin. Where neither is sent (a program, an
    old browser), the answer carries no CORS header (`cross_origin`), so no other page could read it.
    """
    given = list(headers)
    names = {name.lower() for name, _ in given}
    if b"origin" not in names:
        sites = [value.lower() for name, value in given if name.lower() == b"sec-fetch-site"]
        if any(site not in (b"same-origin", b"none") for site in sites):
            return Refused(
                "origin_foreign", f"Sec-Fetch-Site is {_shown(sites[0])}: another site's page asks"
            )
        given = [(name, value) for name, value in given if name.lower() != b"cookie"]
    return check_handshake(given, allowed_hosts, allowed_origins)


def cross_origin(headers: Iterable[tuple[bytes, bytes]], allowed_origins: Sequence[str]) -> bytes | None:
    """The Origin of a listed page that is not the host's own, as it came: what an answer's CORS header names.

    None for everybody else: a page of ours needs no header, and a foreign one gets none.
    """
    origins = [value for name, value in headers if name.lower() == b"origin"]
    origin = _check_origin(origins) if origins else None
    return origins[0] if isinstance(origin, Origin) and _listed(origin, allowed_origins) else None


def _check_host(hosts: list[bytes], allowed_hosts: Sequence[str]) -> tuple[str, int | None] | Refused:
    """The Host's name and port (None if it gives none), in lower case."""
    if not hosts:
        return Refused("host_missing", "no Host header: the request can't be placed")
    if len(hosts) > 1:
        return Refused("host_repeated", f"{len(hosts)} Host headers: a request has one")
    match = _HOST.fullmatch(hosts[0].decode("latin-1").lower())
    if match is None or (port := int(match[2] or 0)) > 65535:
        return Refused(
            "host_malformed", f"Host {_shown(hosts[0])} is not a host's name with an optional port"
        )
    if not host_allowed(match[1], allowed_hosts):
        return Refused(
            "host_not_allowed", f"Host {_shown(hosts[0])} is not in ALLOWED_HOSTS: add it if it is meant"
        )
    return match[1], port if match[2] else None


def _check_origin(origins: list[bytes]) -> Origin | Refused:
    if len(origins) > 1:
        return Refused("origin_repeated", f"{len(origins)} Origin headers: a request has one")
    text = origins[0].decode("latin-1")
    if text.lower() == "null":
        return Refused("origin_null", "Origin is null: a sandboxed or local page is nobody's own")
    origin = parse_origin(text)
    if origin is None:
        return Refused(
            "origin_malformed", f"Origin {_shown(origins[0])} is not scheme://host with an optional port"
        )
    return origin


def _at_home(origin: Origin, host: tuple[str, int | None], secure: bool | None) -> bool:
    """True if the page came from the host and port it now connects to."""
    if origin.scheme not in _DEFAULT_PORTS or (secure and origin.scheme != "https"):
        return False
    name, port = host
    if port is None:
        port = (
            _DEFAULT_PORTS[origin.scheme] if secure is None else _DEFAULT_PORTS["https" if secure else "http"]
        )
    return (origin.host, origin.port) == (name, port)


def _listed(origin: Origin, allowed_origins: Sequence[str]) -> bool:
    for text in allowed_origins:
        pattern = _pattern(text)
        if pattern is None or (pattern.scheme, pattern.port) != (origin.scheme, origin.port):
            continue
        if origin.host == pattern.host or (
            pattern.host.startswith(".") and origin.host.endswith(pattern.host)
        ):
            return True
    return False


def _pattern(text: str) -> Origin | None:
    """An entry of `allowed_origins`; the host of `https://*.example.com` is kept as `.example.com`."""
    wildcard = _WILDCARD.fullmatch(text)
    if wildcard is None:
        exact = parse_origin(text)
        return None if exact is None or exact.host.startswith(".") else exact
    return parse_origin(wildcard[1] + wildcard[2])


def _shown(value: bytes) -> str:
    return reflected(value[:200].decode("latin-1"))
