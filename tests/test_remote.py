"""Where a web page lives, and whether that is here."""

import pytest

from realtime.remote import Remote, is_own_page, page_origin


@pytest.mark.parametrize(
    ("origin", "place"),
    [
        ("http://a.example", ("http", "a.example", 80)),
        ("https://a.example", ("https", "a.example", 443)),
        ("https://a.example:443", ("https", "a.example", 443)),
        ("HTTPS://A.Example:8443", ("https", "a.example", 8443)),
        ("http://127.0.0.1:3000", ("http", "127.0.0.1", 3000)),
        ("http://[::1]:3000", ("http", "::1", 3000)),
        ("https://[2001:DB8::1]", ("https", "2001:db8::1", 443)),
        ("http://a.example:", ("http", "a.example", 80)),
    ],
)
def test_the_place_of_a_page(origin: str, place: tuple[str, str, int]) -> None:
    assert page_origin(origin) == place


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "*",
        "a.example",
        "//a.example",
        "http:",
        "http://",
        "http://:80",
        "file://",
        "file:///etc/hosts",
        "ftp://a.example",
        "ws://a.example",
        "chrome-extension://abcdef",
        "javascript:alert(1)",
        "http://a.example:port",
        "http://a.example:-1",
        "http://a.example:65536",
        "http://a.example:80:80",
        "http://[::1",
        "http://::1]",
        "http://[garbage]",
    ],
)
def test_what_is_no_web_page(origin: str) -> None:
    assert page_origin(origin) is None
    assert not is_own_page(origin, Remote("127.0.0.1", None, "a.example"))
    assert not is_own_page(origin, Remote("127.0.0.1", None, origin))


@pytest.mark.parametrize(
    ("origin", "scheme", "host", "own"),
    [
        ("http://a.example", None, "a.example", True),
        ("https://a.example", None, "a.example", True),
        ("http://a.example", "http", "a.example", True),
        ("http://a.example", "https", "a.example", False),
        ("https://a.example", "http", "a.example", False),
        ("https://a.example", "https", "a.example", True),
        ("HTTPS://A.EXAMPLE", "https", "a.example", True),
        ("https://a.example", "https", "A.Example", True),
        ("https://a.example:443", "https", "a.example", True),
        ("https://a.example", "https", "a.example:443", True),
        ("https://a.example", "https", "a.example:80", False),
        ("http://a.example:80", "http", "a.example", True),
        ("http://a.example:443", None, "a.example", False),
        ("http://a.example:3000", None, "a.example:3000", True),
        ("http://a.example:3001", None, "a.example:3000", False),
        ("http://a.example", None, "a.example:3000", False),
        ("http://b.example", None, "a.example", False),
        ("http://a.example.evil", None, "a.example", False),
        ("http://sub.a.example", None, "a.example", False),
        ("http://[::1]:3000", None, "[::1]:3000", True),
        ("http://[::1]", "http", "[::1]:80", True),
        ("http://[::1]:3000", None, "[::2]:3000", False),
        ("http://a.example", None, "", False),
        ("http://a.example", None, "a.example:port", False),
        ("http://a.example", None, "[::1", False),
        ("http://a.example", None, "evil.example@a.example:81", False),
    ],
)
def test_whether_a_page_is_the_servers_own(origin: str, scheme: str | None, host: str, *, own: bool) -> None:
    assert is_own_page(origin, Remote("127.0.0.1", scheme, host)) is own
