"""What goes over the wire: one request, whatever stands in URLs, headers and bodies."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract import NotSent
from gateway.outbound.pool import Origin
from gateway.outbound.requests import FORM_TYPE, HEADS_MAX, Requests, form_body

URL = "http://provider.example/send"


def wire(url: str = URL, method: str = "GET", body: bytes | None = None, **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Requests().make(method, url, None if body is None else FORM_TYPE, body or b"", named).wire


def lines(request: bytes) -> list[bytes]:
    return request.partition(b"\r\n\r\n")[0].split(b"\r\n")


def test_a_request_says_what_it_must_and_what_it_was_told() -> None:
    assert lines(wire(body=b"a=1", method="POST", Authorization="Basic eA==")) == [
        b"POST /send HTTP/1.1",
        b"Host: provider.example",
        b"Accept: */*",
        b"Accept-Encoding: identity",
        b"User-Agent: dripgate",
        b"Content-Type: application/x-www-form-urlencoded",
        b"Authorization: Basic eA==",
        b"Content-Length: 3",
    ]
    assert wire(body=b"a=1", method="POST").endswith(b"\r\n\r\na=1")


def test_a_header_that_is_given_replaces_ours_in_whatever_case_it_is_written() -> None:
    request = wire(body=b"{}", method="POST", content_type="application/json", ACCEPT="text/plain")
    names = [line.partition(b":")[0].lower() for line in lines(request)[1:]]
    assert len(names) == len(set(names))
    assert b"content-type: application/json" in lines(request)
    assert b"ACCEPT: text/plain" in lines(request)


@pytest.mark.parametrize(("method", "says"), [("POST", True), ("PUT", True), ("GET", False), ("DELETE", False)])
def test_only_methods_that_have_a_body_say_that_there_is_none(method: str, says: bool) -> None:
    assert (b"Content-Length: 0" in lines(wire(method=method))) is says


@pytest.mark.parametrize(
    ("url", "target", "origin"),
    [
        ("http://a.example", b"/", Origin(False, "a.example", 80)),
        ("HTTPS://A.example:443/x", b"/x", Origin(True, "a.example", 443)),
        ("http://[::1]:8080/x?y#z", b"/x?y", Origin(False, "::1", 8080)),
        ("http://a.example/b;c=1/d?e=f;g#h", b"/b;c=1/d?e=f;g", Origin(False, "a.example", 80)),
        ("http://a.example/%2F%7e?q=%41+b", b"/%2F%7e?q=%41+b", Origin(False, "a.example", 80)),
        ("http://a.example?x=1", b"/?x=1", Origin(False, "a.example", 80)),
        ("http://a.example/a b?c=\u00e9&d=100%", b"/a%20b?c=%C3%A9&d=100%25", Origin(False, "a.example", 80)),
        ("http://b\u00fccher.example/", b"/", Origin(False, "xn--bcher-kva.example", 80)),
    ],
)
def test_urls_are_sent_as_they_are_and_quoted_where_they_must_be(url: str, target: bytes, origin: Origin) -> None:
    requests = Requests()
    for _ in range(2):  # the second time from what was kept
        request = requests.make("GET", url, None, b"", {})
        assert (lines(request.wire)[0], request.origin) == (b"GET " + target + b" HTTP/1.1", origin)


def test_credentials_in_a_url_are_sent_as_a_header_and_nowhere_else() -> None:
    request = wire("http://user:pass%40word@a.example/x")
    assert b"Authorization: Basic dXNlcjpwYXNzQHdvcmQ=" in lines(request)
    assert lines(request)[:2] == [b"GET /x HTTP/1.1", b"Host: a.example"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "no url",
        "/path",
        "ftp://a.example/",
        "http://",
        "http:///x",
        "http://a:0/",
        "http://a:99999/",
        "http://[x]/",
    ],
)
def test_a_url_of_anything_else_is_certainly_not_sent(url: str) -> None:
    with pytest.raises(NotSent) as raised:
        wire(url)
    assert url not in str(raised.value) or not url, "it may hold a password"


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "a\x7f"])
def test_no_value_can_begin_another_line(value: str) -> None:
    with pytest.raises(ValueError, match="may"):
        wire(X=value)


@pytest.mark.parametrize("name", ["X\r\nY", "X:", "", "X Y", "\u00e9"])
def test_no_name_can_begin_another_line(name: str) -> None:
    with pytest.raises(ValueError, match="may"):
        Requests().make("GET", URL, None, b"", {name: "x"})


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Expect"])
def test_where_a_request_ends_is_not_for_adapters_to_say(name: str) -> None:
    with pytest.raises(ValueError, match="client"):
        Requests().make("POST", URL, FORM_TYPE, b"a=1", {name: "5"})


@pytest.mark.parametrize("method", ["", "get", "GET /", "G\r\nET", "CONNECT"])
def test_a_method_is_a_word(method: str) -> None:
    with pytest.raises(ValueError, match="method"):
        wire(method=method)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_whatever_stands_in_a_url_stays_within_its_line(text: str) -> None:
    try:
        request = wire(f"http://a.example/{text}")
    except NotSent:
        return
    first, *others = lines(request)
    assert len(first.split(b" ")) == 3
    assert others == lines(wire("http://a.example/"))[1:]


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=5))
def test_a_form_is_read_as_it_was_meant(pairs: list[tuple[str, str]]) -> None:
    try:
        "".join(name + value for name, value in pairs).encode()
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            form_body(pairs)
        return
    assert parse_qsl(form_body(pairs).decode("ascii"), keep_blank_values=True, max_num_fields=10) == pairs


def test_what_is_kept_of_heads_is_bounded() -> None:
    requests = Requests()
    for number in range(3 * HEADS_MAX):
        target = lines(requests.make("GET", f"{URL}/{number}", None, b"", {}).wire)[0].split(b" ")[1].decode()
        assert target == f"{urlsplit(URL).path}/{number}"
    assert len(requests.__dict__["_heads"]) <= HEADS_MAX
