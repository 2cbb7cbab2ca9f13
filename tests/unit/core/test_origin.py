"""Which handshakes may open a socket."""

from __future__ import annotations

import pytest

from django_update_pipeline.core.origin import (
    LOCAL_HOSTS,
    Allowed,
    Origin,
    Refused,
    check_handshake,
    check_request,
    cross_origin,
    host_allowed,
    parse_origin,
    valid_allowed_origin,
)

HOSTS = ("example.com", ".villa.example", "localhost", "127.0.0.1", "[::1]")


def judge(
    *headers: tuple[str, str],
    hosts: tuple[str, ...] = HOSTS,
    origins: tuple[str, ...] = (),
    secure: bool | None = None,
) -> str:
    """`allowed`, or the rule that refused."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    verdict = check_handshake(raw, hosts, origins, secure)
    return verdict.rule if isinstance(verdict, Refused) else "allowed"


def page(origin: str, host: str = "example.com", **options) -> str:
    return judge(("host", host), ("origin", origin), ("cookie", "sessionid=1"), **options)


def test_a_program_without_origin_and_cookies_is_accepted():
    assert check_handshake([(b"user-agent", b"curl"), (b"host", b"example.com")], HOSTS) == Allowed(None)


def test_cookies_without_an_origin_are_refused():
    assert judge(("host", "example.com"), ("cookie", "sessionid=1")) == "origin_missing"
    assert judge(("host", "example.com"), ("cookie", "")) == "origin_missing"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://example.com", "example.com"),
        ("https://example.com", "example.com"),
        ("http://example.com", "example.com:80"),
        ("https://example.com:443", "example.com"),
        ("https://example.com", "example.com:443"),
        ("http://localhost:8001", "localhost:8001"),
        ("http://127.0.0.1:8001", "127.0.0.1:8001"),
        ("http://[::1]:8001", "[::1]:8001"),
        ("HTTP://Example.COM", "eXample.com"),
        ("http://a.villa.example", "a.villa.example"),
        ("http://villa.example", "villa.example"),
    ],
)
def test_a_page_of_the_same_host_and_port_is_at_home(origin, host):
    assert page(origin, host) == "allowed"


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://evil.example", "example.com"),
        ("http://example.com.evil.example", "example.com"),
        ("http://evilexample.com", "example.com"),
        ("http://sub.example.com", "example.com"),
        ("http://example.com:8002", "example.com"),
        ("http://example.com", "example.com:8001"),
        ("https://example.com", "example.com:80"),
        ("http://localhost:8001", "127.0.0.1:8001"),
        ("http://example.com.", "example.com"),
        ("ws://example.com", "example.com"),
        ("file://example.com", "example.com"),
        ("chrome-extension://example.com", "example.com"),
    ],
)
def test_a_page_from_elsewhere_is_foreign(origin, host):
    assert page(origin, host) == "origin_foreign"


@pytest.mark.parametrize(
    "origin",
    [
        "",
        " ",
        "http://[::1",
        "http://::1",
        "http://",
        "http:example.com",
        "://example.com",
        "example.com",
        "http://example.com/",
        "http://example.com/path",
        "http://example.com?",
        "http://example.com#",
        "http://user@example.com",
        "http://example.com:",
        "http://example.com:80:80",
        "http://example.com:99999",
        "http://example.com:٣",
        "http://example.com, http://example.com",
        "http://example.com http://example.com",
        "http://example.com\n",
        "http://exa\x00mple.com",
        "http://ex\xe4mple.com",
        "http://example.com\\.evil.example",
        "http://.",
        "*",
    ],
)
def test_an_origin_that_is_none_is_refused(origin):
    raw = [(b"host", b"example.com"), (b"origin", origin.encode())]
    verdict = check_handshake(raw, ("*",))
    assert isinstance(verdict, Refused)
    assert verdict.rule == "origin_malformed"


def test_null_is_nobodys_origin_even_if_listed():
    assert page("null", origins=("null",)) == "origin_null"
    assert page("NULL") == "origin_null"


def test_repeated_headers_are_refused_even_if_equal():
    host, origin = ("host", "example.com"), ("origin", "http://example.com")
    assert judge(host, origin, origin) == "origin_repeated"
    assert judge(host, host, origin) == "host_repeated"
    assert judge(("Host", "example.com"), host) == "host_repeated"


def test_a_request_without_host_is_refused():
    assert judge() == "host_missing"
    assert judge(("origin", "http://example.com")) == "host_missing"


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "a b",
        "example.com:",
        "example.com:x",
        "example.com:99999",
        "example.com:1:1",
        "[::1",
        "::1",
        "a/b",
        "user@example.com",
        "example.com\n",
        "exam\xe4ple.com",
        ".",
        "..",
        ":80",
        "[]",
        "[x]",
        "example.com,example.com",
    ],
)
def test_a_host_that_is_none_is_refused_even_where_any_is_allowed(host):
    assert judge(("host", host), hosts=("*",)) == "host_malformed"


@pytest.mark.parametrize(
    "host", ["evil.example", "sub.example.com", "evilvilla.example", "example.com.evil.example"]
)
def test_a_host_outside_allowed_hosts_is_refused(host):
    """Also with an Origin that matches it: that is what DNS rebinding looks like."""
    assert page(f"http://{host}", host) == "host_not_allowed"
    assert judge(("host", host)) == "host_not_allowed"


def test_no_host_is_allowed_by_an_empty_list():
    assert judge(("host", "localhost"), hosts=()) == "host_not_allowed"


@pytest.mark.parametrize(
    "host", ["localhost", "villa.localhost", "127.0.0.1", "[::1]", "LOCALHOST", "localhost."]
)
def test_djangos_local_names(host):
    assert host_allowed(host, LOCAL_HOSTS)


@pytest.mark.parametrize(
    ("host", "patterns", "allowed"),
    [
        ("anything", ("*",), True),
        ("example.com.", ("example.com",), True),
        ("EXAMPLE.com", ("example.COM",), True),
        ("example.com", (".example.com",), True),
        ("a.b.example.com", (".example.com",), True),
        ("badexample.com", (".example.com",), False),
        ("example.com", ("*.example.com",), False),
        ("example.com", ("",), False),
    ],
)
def test_host_patterns_are_djangos(host, patterns, allowed):
    assert host_allowed(host, patterns) is allowed


def test_listed_origins_are_accepted_exactly():
    origins = ("https://app.example.net", "http://dev.example.net:3000", "capacitor://localhost")
    assert page("https://app.example.net", origins=origins) == "allowed"
    assert page("https://app.example.net:443", origins=origins) == "allowed"
    assert page("http://dev.example.net:3000", origins=origins) == "allowed"
    assert page("capacitor://localhost", origins=origins) == "allowed"
    for foreign in (
        "http://app.example.net",
        "https://app.example.net:444",
        "https://x.app.example.net",
        "http://dev.example.net",
        "capacitor://localhost:1",
    ):
        assert page(foreign, origins=origins) == "origin_foreign"


def test_a_star_before_the_name_lists_all_below_a_domain():
    origins = ("https://*.example.net",)
    assert page("https://a.example.net", origins=origins) == "allowed"
    assert page("https://a.b.example.net", origins=origins) == "allowed"
    for foreign in (
        "https://example.net",
        "http://a.example.net",
        "https://a-example.net",
        "https://a.example.net:1",
    ):
        assert page(foreign, origins=origins) == "origin_foreign"


@pytest.mark.parametrize(
    "entry", ["*", "https://*", "https://.example.net", "example.net", "https://a.*.net", "https:///"]
)
def test_an_entry_that_is_no_origin_matches_nothing(entry):
    assert not valid_allowed_origin(entry)
    assert page("https://a.example.net", origins=(entry,)) == "origin_foreign"


def test_where_encryption_is_known_the_pages_scheme_counts():
    """An http page of the same host may be anyone's on the way; it does not reach an encrypted socket."""
    assert page("https://example.com", secure=True) == "allowed"
    assert page("http://example.com", secure=True) == "origin_foreign"
    assert page("http://example.com:443", "example.com:443", secure=True) == "origin_foreign"
    assert page("http://example.com", secure=False) == "allowed"
    assert page("https://example.com", secure=False) == "origin_foreign"


def test_reasons_name_what_came_and_the_mend_but_escape_it():
    verdict = check_handshake([(b"host", b"example.com"), (b"origin", b"http://evil.example")], HOSTS)
    assert isinstance(verdict, Refused)
    assert verdict.reason == (
        "Origin 'http://evil.example' is not Host 'example.com': add it to allowed_origins if meant"
    )
    verdict = check_handshake([(b"host", b"\x1b[31m\r\n<b>" * 1000)], HOSTS)
    assert isinstance(verdict, Refused)
    assert verdict.reason.isprintable()
    assert len(verdict.reason) < 200


def test_the_page_that_came_is_told():
    raw = [(b"host", b"[::1]:8001"), (b"origin", b"http://[::1]:8001")]
    assert check_handshake(raw, HOSTS) == Allowed(Origin("http", "[::1]", 8001))
    assert parse_origin("https://example.com") == Origin("https", "example.com", 443)
    assert parse_origin("app://x") == Origin("app", "x", None)


@pytest.mark.parametrize(
    ("headers", "rule", "reason"),
    [
        ([], "host_missing", "no Host header: the request can't be placed"),
        ([("host", "a"), ("host", "b")], "host_repeated", "2 Host headers: a request has one"),
        ([("host", "[")], "host_malformed", "Host '[' is not a host's name with an optional port"),
        (
            [("host", "evil.example")],
            "host_not_allowed",
            "Host 'evil.example' is not in ALLOWED_HOSTS: add it if it is meant",
        ),
        (
            [("host", "example.com"), ("cookie", "a=b")],
            "origin_missing",
            "cookies without an Origin: a browser sends both, a program neither",
        ),
        (
            [("host", "example.com"), *[("origin", "http://example.com")] * 3],
            "origin_repeated",
            "3 Origin headers: a request has one",
        ),
        (
            [("host", "example.com"), ("origin", "null")],
            "origin_null",
            "Origin is null: a sandboxed or local page is nobody's own",
        ),
        (
            [("host", "example.com"), ("origin", "http://")],
            "origin_malformed",
            "Origin 'http://' is not scheme://host with an optional port",
        ),
    ],
)
def test_the_log_is_told_the_rule_and_the_mend(headers, rule, reason):
    """Word for word: it is all an operator sees of a refused handshake."""
    raw = [(name.encode(), value.encode()) for name, value in headers]
    assert check_handshake(raw, HOSTS) == Refused(rule, reason)


def test_ports_end_at_65535():
    assert parse_origin("http://a:65535") == Origin("http", "a", 65535)
    assert parse_origin("http://a:65536") is None
    assert judge(("host", "localhost:65535")) == "allowed"
    assert judge(("host", "localhost:65536")) == "host_malformed"


# plain requests


def ask(*headers: tuple[bytes, bytes], origins: tuple[str, ...] = ()) -> Allowed | Refused:
    return check_request(((b"HOST", b"example.com"), *headers), HOSTS, origins)


@pytest.mark.parametrize("site", [b"same-origin", b"none", b"Same-Origin", b"NONE"])
def test_a_request_of_the_own_page_or_of_nobodys_needs_no_origin(site):
    assert ask((b"Sec-Fetch-Site", site), (b"Cookie", b"sessionid=1")) == Allowed(None)


@pytest.mark.parametrize("site", [b"cross-site", b"same-site", b"", b"Cross-Site"])
def test_a_request_of_another_sites_page_is_refused(site):
    shown = site.lower().decode()
    assert ask((b"Sec-Fetch-Site", site)) == Refused(
        "origin_foreign", f"Sec-Fetch-Site is '{shown}': another site's page asks"
    )
    twice = ask((b"sec-fetch-site", site), (b"sec-fetch-site", b"none"))
    assert twice == ask((b"sec-fetch-site", site)), "each of several must be one of these"


def test_a_request_without_both_comes_from_a_program_or_an_old_browser():
    assert ask((b"cookie", b"sessionid=1")) == Allowed(None)
    assert ask() == Allowed(None)
    assert ask((b"x-other", b"cross-site")) == Allowed(None)


def test_where_there_is_an_origin_it_speaks_for_the_request_as_for_a_handshake():
    home = (b"Origin", b"http://example.com")
    assert ask(home, (b"cookie", b"sessionid=1")) == Allowed(Origin("http", "example.com", 80))
    assert ask(home, (b"sec-fetch-site", b"cross-site")) == Allowed(Origin("http", "example.com", 80))
    foreign = ask((b"origin", b"https://evil.example"), (b"sec-fetch-site", b"none"))
    assert isinstance(foreign, Refused)
    assert foreign.rule == "origin_foreign"
    assert "evil.example" in foreign.reason
    allowed = ask((b"origin", b"https://evil.example"), origins=("https://evil.example",))
    assert allowed == Allowed(Origin("https", "evil.example", 443))


def test_a_requests_host_is_judged_as_a_handshakes():
    elsewhere = check_request(iter([(b"host", b"evil.example")]), HOSTS)
    assert isinstance(elsewhere, Refused)
    assert elsewhere == check_handshake([(b"host", b"evil.example")], HOSTS)
    assert check_request(iter([(b"host", b"evil.example")]), ("*",)) == Allowed(None)
    assert isinstance(check_request([], HOSTS), Refused)


@pytest.mark.parametrize(
    ("origins", "named"),
    [
        ([b"https://app.example"], b"https://app.example"),
        ([b"HTTPS://APP.example:443"], b"HTTPS://APP.example:443"),
        ([b"https://eu.pages.example"], b"https://eu.pages.example"),
        ([b"http://example.com"], None),
        ([b"https://pages.example"], None),
        ([b"http://app.example"], None),
        ([b"null"], None),
        ([b"*"], None),
        ([b"https://app.example\r\nset-cookie: a=b"], None),
        ([b"https://app.example", b"https://app.example"], None),
        ([], None),
    ],
)
def test_the_origin_that_an_answer_names_is_a_listed_one(origins, named):
    headers = [(b"host", b"example.com"), *((b"Origin", origin) for origin in origins)]
    assert cross_origin(headers, ("https://app.example", "https://*.pages.example")) == named
