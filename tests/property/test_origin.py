"""Laws of the handshake's check: total, and no browser's page gets in but from home or the list."""

from __future__ import annotations

from django.http.request import split_domain_port, validate_host
from hypothesis import given
from hypothesis import strategies as st

from django_update_pipeline.core.origin import Allowed, Refused, check_handshake, host_allowed

pieces = st.sampled_from(
    [
        b"\n",
        b" ",
        b"9" * 4000,
        *b"http https :// : / [ ] ::1 example . com 80 443 @ * null , - A \xff \x00".split(),
    ]
)
values = st.binary(max_size=60) | st.lists(pieces, max_size=12).map(b"".join)
names = st.sampled_from([b"host", b"origin", b"cookie", b"Host", b"ORIGIN", b"x"]) | st.binary(max_size=10)
headers = st.lists(st.tuples(names, values), max_size=6)
patterns = st.lists(
    st.text(max_size=20) | st.sampled_from(["*", ".example.com", "[::1]", "http://*.a", "https://["])
)
hosts = st.from_regex(r"\A([a-z0-9]{1,3}\.){0,2}[a-z]{1,3}\Z")
ports = st.none() | st.integers(1, 65535)


@given(headers, patterns, patterns, st.none() | st.booleans())
def test_any_bytes_get_a_verdict(raw, allowed_hosts, allowed_origins, secure):
    verdict = check_handshake(raw, allowed_hosts, allowed_origins, secure)
    assert isinstance(verdict, (Allowed, Refused))
    if isinstance(verdict, Refused):
        assert verdict.reason.isascii()
        assert verdict.reason.isprintable()


@given(values, st.lists(values, max_size=2), st.booleans())
def test_what_is_allowed_has_the_hosts_own_name_in_its_origin(host, origins, cookie):
    """With nothing listed, an Allowed is a program, or the Origin's text ends in the Host's name."""
    raw = [(b"host", host), *((b"origin", origin) for origin in origins)]
    if cookie:
        raw.append((b"cookie", b"a=b"))
    verdict = check_handshake(raw, ("*",))
    if isinstance(verdict, Allowed):
        if verdict.origin is None:
            assert not origins
            assert not cookie
        else:
            assert len(origins) == 1
            name = host.lower().rsplit(b":", 1)[0] if b"]" not in host else host.lower().split(b"]")[0] + b"]"
            assert verdict.origin.host.encode() == name


@given(hosts, ports, st.sampled_from(["http", "https"]))
def test_a_page_is_always_at_home_where_it_came_from(host, port, scheme):
    place = host if port is None else f"{host}:{port}"
    raw = [(b"host", place.encode()), (b"origin", f"{scheme}://{place}".encode())]
    assert isinstance(check_handshake(raw, ("*",)), Allowed)


@given(hosts | st.text("ab.*:[]", max_size=8), st.lists(st.text("ab.*", max_size=6) | hosts, max_size=4))
def test_hosts_are_judged_as_django_does(host, allowed):
    """Compared with Django's own functions, on all that Django calls a host."""
    domain, port = split_domain_port(host)
    if domain and not port:
        assert host_allowed(host, [p for p in allowed if p]) == validate_host(
            domain, [p for p in allowed if p]
        )
