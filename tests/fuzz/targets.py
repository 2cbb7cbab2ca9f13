"""What is fuzzed: each target takes bytes and raises if a promise is broken. Importable without atheris."""

from __future__ import annotations

from collections.abc import Callable

from django_update_pipeline.core.codes import CODES
from django_update_pipeline.core.names import unsafe_text
from django_update_pipeline.core.origin import Allowed, Refused, check_handshake
from django_update_pipeline.core.wire import FrameError, FrameLimits, Ping, decode_client_frame

from ..hostile import oracle

LIMITS = FrameLimits(max_frame_bytes=2048, max_depth=16)
SAME = oracle.Limits(2048, 16)
HOSTS = (".example.com", "localhost", "[::1]")
ORIGINS = ("https://app.example.net:8443", "https://*.example.org")


def decoder(data: bytes) -> None:
    """The decoder agrees with the oracle, raises nothing but FrameError, and shows little of what it was sent."""
    verdict = oracle.read(data, SAME)
    found = None
    try:
        frame = decode_client_frame(data, LIMITS)
    except FrameError as error:
        found = error
    if found is not None:
        assert found.code in CODES, found.code
        assert "error" in verdict.types, f"{data!r} refused: {found.code}"
        assert verdict.codes is None or found.code in verdict.codes, (
            f"{data!r}: {found.code}, not {verdict.codes}"
        )
        assert found.message.isascii(), found.message
        assert len(found.message) < 600, found.message
        assert not unsafe_text(found.message), found.message
        assert "<" not in found.message, found.message
        return
    assert verdict.types != {"error"} or verdict.value is not None, f"{data!r} accepted: {frame!r}"
    if isinstance(frame, Ping):
        assert verdict.types == {"pong"}, f"{data!r} is no ping"
        assert frame.timestamp == verdict.value.get("timestamp"), data


def handshake(data: bytes) -> None:
    """Never raises, answers Allowed or Refused, and lets in no origin but its own and the listed ones."""
    headers = []
    for line in data.split(b"\n"):
        name, _, value = line.partition(b":")
        headers.append((name, value))
    verdict = check_handshake(headers, HOSTS, ORIGINS)
    if isinstance(verdict, Refused):
        assert verdict.reason.isascii(), verdict.reason
        assert not unsafe_text(verdict.reason), verdict.reason
        return
    assert isinstance(verdict, Allowed)
    hosts = [value.decode("latin-1").lower() for name, value in headers if name.lower() == b"host"]
    origins = [value.decode("latin-1").lower() for name, value in headers if name.lower() == b"origin"]
    assert len(hosts) == 1, headers
    assert _is_ours(hosts[0].rpartition(":")[0] if hosts[0].rpartition(":")[2].isdigit() else hosts[0]), hosts
    if not origins:
        assert not any(name.lower() == b"cookie" for name, _ in headers), "cookies without an origin"
        return
    scheme, _, place = origins[0].partition("://")
    assert len(origins) == 1, headers
    assert not set(place) & set("/@?#\\ \t\x00,"), place
    is_listed = origins[0] == ORIGINS[0] or (
        scheme == "https" and place.removesuffix(":443").endswith(".example.org")
    )
    assert is_listed or _name(place) == _name(hosts[0]), (origins, hosts)


def _name(place: str) -> str:
    return place.rpartition(":")[0] if place.rpartition(":")[2].isdigit() else place.removesuffix(":")


def _is_ours(host: str) -> bool:
    name = host.removesuffix(".")
    return name in ("localhost", "[::1]", "example.com") or name.endswith(".example.com")


TARGETS: dict[str, Callable[[bytes], None]] = {"decoder": decoder, "handshake": handshake}
