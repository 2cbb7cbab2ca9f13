"""Paths written plainly, and the protocol that is spoken."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.handshake import choose_protocol, is_plain_path


@pytest.mark.parametrize(
    ("path", "raw", "plain"),
    [
        ("/ws/updates/", b"/ws/updates/", True),
        ("/ws/updates/", None, True),
        ("/ws/updates/", b"/ws/updates/?a=%61", True),
        ("/ws/updates/", b"/root/ws/updates/", True),  # a mount took the prefix off
        ("/ws/updates/admin/", b"/ws/updates/%61dmin/", False),
        ("/ws/updates/admin/", b"/ws/updates%2fadmin/", False),
        ("/ws/updates/admin/", b"/ws/updates/admin%2F", False),
        ("//ws/updates/", b"//ws/updates/", False),
        ("/ws//updates/", b"/ws//updates/", False),
        ("//ws/updates/", None, False),
        ("/ws/updates/\n", b"/ws/updates/%0A", False),
        ("/ws/updates/\x00", None, False),
        ("/ws/\ud800/", None, False),
        ("/ws/ünï/", b"/ws/%C3%BCn%C3%AF/", True),
        ("/ws/a b/", b"/ws/a%20b/", True),
        ("/ws/a b:@!$&'()*+,;=~/", b"/ws/a%20b:@!$&'()*+,;=~/", True),
        ("/ws/ünï/", b"/ws/%C3%BCn%C3%AF%2F", False),
        ("", b"", True),
    ],
)
def test_a_path_is_plain_if_it_is_spelt_in_the_one_way(path: str, raw: bytes | None, plain: bool) -> None:
    assert is_plain_path(path, raw) is plain


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20), st.data())
def test_one_escape_too_many_is_seen_wherever_it_is(name: str, data: Any) -> None:
    """Any letter of any route, written as an escape, reaches the same route by a server's decoding."""
    at = data.draw(st.integers(0, len(name) - 1))
    raw = f"/{name[:at]}%{ord(name[at]):02x}{name[at + 1 :]}/"
    assert unquote(raw) == f"/{name}/"
    assert is_plain_path(f"/{name}/", f"/{name}/".encode())
    assert not is_plain_path(f"/{name}/", raw.encode())


@given(st.text(max_size=30))
def test_no_path_makes_it_fail(path: str) -> None:
    is_plain_path(path, path.encode("utf-8", "surrogatepass"))
    is_plain_path(path, quote(path.encode("utf-8", "surrogatepass")).encode())


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((), "classic"),
        ([], "classic"),
        (["sync.v1"], "sync"),
        (["unknown", "sync.v1"], "sync"),
        (["unknown"], None),
        (["ünbekannt\x00"], None),
        (["x" * 10_000], None),
        ([7, None], "classic"),  # no strings: nothing was offered
        (7, "classic"),
    ],
)
def test_the_first_that_is_spoken_here(offered: Any, chosen: str | None) -> None:
    assert choose_protocol(offered, {None: "classic", "sync.v1": "sync"}) == chosen
