"""What is read as a plain request is read as aiohttp reads it; everything else is left to aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.plain_requests import BODY_BYTES_MAX, PlainRequest, Unfinished, read_plain

POST = b"POST /callbacks/sms?ref=m HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\na=b"

methods = st.sampled_from(["GET", "POST", "PATCH", "HEAD", "DELETE", "OPTIONS", "get", "P OST", "CONNECT"])
targets = st.sampled_from(
    [
        "/callbacks/sms",
        "/callbacks/sms?a=%20b&c",
        "/a/../b",
        "/a#b",
        "*",
        "http://here/a",
        "/%zz",
        "/é",
        "//a",
        "/a b",
        "/",
    ]
)
versions = st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "http/1.1", "HTTP/1.1 "])
names = st.sampled_from(
    [
        *("Host", "HOST", "Content-Length", "Content-Type", "X-Signature", "X-Signature", "Connection", "Accept"),
        *("Transfer-Encoding", "Content-Encoding", "Expect", "Upgrade", "X Y", " X", "X ", "", "X\0", "X:Y", "é"),
    ]
)
values = st.sampled_from(
    [
        *("here", "here:80", "3", "+3", "3,3", "03", "0", "99999999999", "chunked", "identity", "close", "keep-alive"),
        *("upgrade", "100-continue", "", " x ", "\tx", "a\x00b", "a\rb", "a\nb", "caf\xe9", "a, b", "\x7f"),
    ]
)
fields = st.lists(st.tuples(names, values), max_size=6)
bodies = st.sampled_from([b"", b"a=b", b"a=bc", b"\xff\x00\r", b"3\r\na=b\r\n0\r\n\r\n", POST])
ends = st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r"])


@given(methods, targets, versions, fields, bodies, ends)
def test_a_plain_request_is_what_aiohttp_reads(
    method: str, target: str, version: str, headers: Sequence[tuple[str, str]], body: bytes, end: str
) -> None:
    lines = [f"{method} {target} {version}", "Host: here", f"Content-Length: {len(body)}"]
    written = end.join([*lines, *(f"{name}:{value}" for name, value in headers), "", ""])
    check(written.encode("latin-1") + body)


@given(st.integers(0, len(POST)), st.binary(max_size=4), st.integers(0, 3))
def test_so_is_one_that_was_spoilt(at: int, put: bytes, cut: int) -> None:
    check(POST[:at] + put + POST[at + cut :])


def check(data: bytes) -> None:
    plain = read_plain(data)
    if not isinstance(plain, PlainRequest):
        return
    method, target, headers, body = as_aiohttp_reads(data)
    assert (plain.method, plain.target, plain.body) == (method, target, body)
    assert plain.headers == headers


def as_aiohttp_reads(data: bytes) -> tuple[str, str, dict[str, str], bytes]:
    """The only request in these bytes, which must be whole."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16, max_line_size=8190)
        messages, upgraded, rest = parser.feed_data(data)
        ((message, payload),) = messages
        assert payload.is_eof()
        assert not upgraded
        assert rest == b""
        body = payload.read_nowait()
    finally:
        loop.close()
    headers: dict[str, str] = {}
    for name, value in message.headers.items():
        lowered = name.lower()
        headers[lowered] = f"{headers[lowered]}, {value}" if lowered in headers else value
    return message.method, message.path, headers, body


def test_the_usual_callback_is_plain() -> None:
    request = read_plain(POST)
    assert isinstance(request, PlainRequest)
    assert (request.method, request.target, request.body) == ("POST", "/callbacks/sms?ref=m", b"a=b")
    assert request.headers == {"host": "here", "content-length": "3"}


def test_one_whose_body_is_still_to_come_says_how_long_it_will_be() -> None:
    head = POST.removesuffix(b"a=b")
    assert read_plain(head) == Unfinished(len(POST))
    assert read_plain(head + b"a") == Unfinished(len(POST))


def _with(line: bytes) -> bytes:
    return POST.replace(b"Host: here\r\n", b"Host: here\r\n" + line + b"\r\n")


@pytest.mark.parametrize(
    "data",
    [
        POST[:20],
        POST + b"GET",
        POST.replace(b"Host: here\r\n", b""),
        POST.replace(b"Content-Length: 3\r\n", b""),
        POST.replace(b": 3", b": %d" % (BODY_BYTES_MAX + 1)) + b"x" * BODY_BYTES_MAX,
        _with(b"Host: there"),
        _with(b"Content-Length: 3"),
        _with(b"Transfer-Encoding: chunked"),
        _with(b"Content-Encoding: gzip"),
        _with(b"Expect: 100-continue"),
        _with(b"Upgrade: h2c"),
        _with(b"Connection: keep-alive, Upgrade"),
        _with(b" folded"),
        _with(b"X-Name : x"),
        _with(b"X-Name: caf\xc3\xa9"),
        _with(b"X-Long: " + b"x" * 9000),
    ],
)
def test_what_could_be_read_in_two_ways_is_not_plain(data: bytes) -> None:
    assert read_plain(data) is None


def test_aiohttp_refuses_what_the_comparison_takes_for_refused() -> None:
    with pytest.raises(HttpProcessingError):
        as_aiohttp_reads(_with(b"Content-Length: 4"))
