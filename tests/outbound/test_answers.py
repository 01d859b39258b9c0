"""Reading answers: the same however they are cut, one error and no other, bounded, and clear about their ends."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract import HttpResponse
from gateway.outbound.answers import (
    BODY_BYTES_MAX,
    CHUNK_LINE_BYTES_MAX,
    CHUNKS_MAX,
    HEAD_BYTES_MAX,
    AnswerReader,
    InvalidAnswer,
)

OK = b"HTTP/1.1 200 OK\r\n"
PACKED = gzip.compress(b"packed " * 40)

ANSWERS: dict[str, tuple[bytes, int, dict[str, str], bytes]] = {
    "a length": (
        OK + b"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
        200,
        {"content-type": "text/plain", "content-length": "5"},
        b"hello",
    ),
    "no octets": (b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n", 429, {"content-length": "0"}, b""),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, {"content-length": "0"}, b""),
    "chunks": (
        OK + b"Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n6;x=1\r\n world\r\n0\r\nT: x\r\n\r\n",
        200,
        {"transfer-encoding": "Chunked"},
        b"hello world",
    ),
    "no chunk but the last": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        200,
        {"transfer-encoding": "chunked"},
        b"",
    ),
    "continue first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\nok",
        200,
        {"content-length": "2"},
        b"ok",
    ),
    "nothing by its status": (
        b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n",
        204,
        {"content-length": "9"},
        b"",
    ),
    "line feeds alone": (
        b"HTTP/1.1 202 OK\nContent-Length: 3\nX: y\n\na\n\n",
        202,
        {"content-length": "3", "x": "y"},
        b"a\n\n",
    ),
    "a folded line": (
        OK + b"X: one\r\n  two\r\nContent-Length: 0\r\n\r\n",
        200,
        {"x": "one two", "content-length": "0"},
        b"",
    ),
    "one name twice": (
        OK + b"X: 1\r\nx:2\r\nContent-Length: 0\r\n\r\n",
        200,
        {"x": "1, 2", "content-length": "0"},
        b"",
    ),
    "letters beyond ASCII": (
        OK + b"X: Zo\xc3\xab \xff\r\nContent-Length: 0\r\n\r\n",
        200,
        {"x": "Zo\u00eb \ufffd", "content-length": "0"},
        b"",
    ),
    "gzip": (
        OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(PACKED), PACKED),
        200,
        {"content-encoding": "gzip", "content-length": str(len(PACKED))},
        b"packed " * 40,
    ),
}


def read(pieces: Iterable[bytes], *, ended: bool = False, bodiless: bool = False) -> tuple[HttpResponse, bool] | None:
    """The answer and whether the connection can be kept; None if more is wanted."""
    reader = AnswerReader(bodiless=bodiless)
    complete = any(reader.feed(piece) for piece in pieces) or (ended and reader.end())
    assert complete is (reader.answer is not None)
    return None if reader.answer is None else (reader.answer, reader.keep)


def halves(wire: bytes) -> Iterable[tuple[bytes, bytes]]:
    return ((wire[:at], wire[at:]) for at in range(1, len(wire)))


def singly(wire: bytes) -> list[bytes]:
    return [wire[at : at + 1] for at in range(len(wire))]


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_the_same_wherever_it_is_cut(name: str) -> None:
    wire, status, headers, body = ANSWERS[name]
    expected = HttpResponse(status=status, headers=headers, body=body), True
    assert read([wire]) == expected
    assert all(read(pieces) == expected for pieces in halves(wire))
    assert read(singly(wire)) == expected
    assert all(read([first]) is None for first, _ in halves(wire)), "nothing is complete before its last octet"


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_without_a_length_the_body_lasts_as_long_as_the_connection(version: bytes) -> None:
    wire = version + b" 200 OK\r\n\r\nall that\r\ncomes"
    expected = HttpResponse(status=200, headers={}, body=b"all that\r\ncomes"), False
    assert read([wire]) is None
    assert all(read(pieces, ended=True) == expected for pieces in halves(wire))


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: foo, CLOSE\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n", True),
        (b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=100\r\n", True),
    ],
)
def test_the_other_side_says_whether_the_connection_goes_on(head: bytes, kept: bool) -> None:
    found = read([head + b"Content-Length: 1\r\n\r\nx"])
    assert found is not None
    assert found[1] is kept


def test_an_announced_time_of_keeping_is_read() -> None:
    reader = AnswerReader(bodiless=False)
    assert reader.feed(OK + b"Keep-Alive: timeout=5, max=100\r\nContent-Length: 0\r\n\r\n")
    assert reader.keep_seconds == 5


def test_a_connection_with_something_behind_the_answer_is_not_kept() -> None:
    for name, (wire, *_) in ANSWERS.items():
        found = read([wire + b"HTTP"])
        assert found is not None, name
        assert found[1] is False, name


def test_the_answer_to_head_has_no_body_whatever_its_length() -> None:
    found = read([OK + b"Content-Length: 5000\r\n\r\n"], bodiless=True)
    assert found == (HttpResponse(status=200, headers={"content-length": "5000"}, body=b""), True)


INVALID: dict[str, bytes] = {
    "a page": b"<html>\r\n\r\n</html>",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "a newer version": b"HTTP/2 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a line without a colon": OK + b"Content-Length 5\r\n\r\nhello",
    "a space before the colon": OK + b"Content-Length : 5\r\n\r\nhello",
    "a lone carriage return": OK + b"X: a\rContent-Length: 5\r\n\r\nhello",
    "a NUL": OK + b"X: a\0b\r\n\r\n",
    "an empty line first": b"\r\n\r\n" + OK + b"\r\n",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "one length twice": OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a negative length": OK + b"Content-Length: -5\r\n\r\nhello",
    "a length with a sign": OK + b"Content-Length: +5\r\n\r\nhello",
    "a length of other digits": OK + "Content-Length: ٥\r\n\r\nhello".encode(),
    "no length at all": OK + b"Content-Length:\r\n\r\nhello",
    "a length of twenty digits": OK + b"Content-Length: 10000000000000000000\r\n\r\nhello",
    "length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a chunk without a size": OK + b"Transfer-Encoding: chunked\r\n\r\n\r\nhello",
    "a chunk of negative size": OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello",
    "a chunk in another notation": OK + b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello",
    "a chunk longer than its size": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n",
    "another protocol on request": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "no gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    "half of gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 30\r\n\r\n" + PACKED[:30],
}


@pytest.mark.parametrize("name", INVALID)
def test_what_is_no_answer_or_ends_unclearly_is_refused_wherever_it_is_cut(name: str) -> None:
    wire = INVALID[name]
    for pieces in ([wire], singly(wire), *halves(wire)):
        with pytest.raises(InvalidAnswer):
            read(pieces)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        OK + b"Content-Length: 5\r\n\r\nhell",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_an_answer_that_breaks_off_is_none(wire: bytes) -> None:
    with pytest.raises(InvalidAnswer):
        read([wire], ended=True)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda body: zlib.compress(body, wbits=-15)])
def test_a_body_that_unfolds_without_end_stops_at_the_limit(pack: Any) -> None:
    bomb = pack(bytes(64 * BODY_BYTES_MAX))
    kind = b"gzip" if pack is gzip.compress else b"deflate"
    wire = OK + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(bomb), bomb)
    tracemalloc.start()
    found = read([wire])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found is not None
    assert found[0].body == bytes(BODY_BYTES_MAX)
    assert peak < 6 * BODY_BYTES_MAX


def test_what_is_encoded_in_another_way_is_handed_on_as_it_is() -> None:
    found = read([OK + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\n\x00\x01\x02"])
    assert found is not None
    assert (found[0].body, found[0].headers["content-encoding"]) == (b"\x00\x01\x02", "br")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3000000000\r\n\r\n",
        b"\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n40000000\r\n",
    ],
)
def test_no_more_than_a_megabyte_of_a_body_is_kept(head: bytes) -> None:
    reader = AnswerReader(bodiless=False)
    tracemalloc.start()
    assert not reader.feed(OK + head)
    fed = 0
    while not reader.feed(b"x" * 65_536):
        fed += 65_536
        assert fed <= BODY_BYTES_MAX
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reader.answer is not None
    assert reader.answer.body == b"x" * BODY_BYTES_MAX
    assert reader.keep is False
    assert peak < 4 * BODY_BYTES_MAX


def test_a_body_in_too_many_chunks_is_refused() -> None:
    reader = AnswerReader(bodiless=False)
    assert not reader.feed(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    assert not reader.feed(b"1\r\nx\r\n" * CHUNKS_MAX)
    with pytest.raises(InvalidAnswer):
        reader.feed(b"1\r\nx\r\n")


@pytest.mark.parametrize(
    ("start", "more", "most"),
    [
        (OK, b"X: y\r\n", HEAD_BYTES_MAX),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n", HEAD_BYTES_MAX),
        (b"HTTP/1.1 200 ", b"x" * 100, HEAD_BYTES_MAX),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5;", b"x" * 100, CHUNK_LINE_BYTES_MAX),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n", HEAD_BYTES_MAX),
    ],
)
def test_lines_without_end_are_refused(start: bytes, more: bytes, most: int) -> None:
    reader = AnswerReader(bodiless=False)
    reader.feed(start)
    with pytest.raises(InvalidAnswer):
        any(reader.feed(more) for _ in range(2 * most // len(more)))


SCRAPS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 404",
        b"HTTP/1.1 100 Continue",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Content-Encoding: deflate",
        b"Connection: close",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"hello",
        b" ",
        b":",
        b"\0",
    ]
)


@given(st.lists(SCRAPS | st.binary(max_size=12), max_size=14), st.data())
@settings(max_examples=400, deadline=None)
def test_whatever_comes_gives_one_answer_or_one_error_wherever_it_is_cut(
    scraps: list[bytes], data: st.DataObject
) -> None:
    wire = b"".join(scraps)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert ending(pieces) == ending([wire])


def ending(pieces: Iterable[bytes]) -> object:
    """What becomes of it at the end of the connection. Any other exception is a fault of the reader."""
    try:
        found = read([piece for piece in pieces if piece], ended=True)
    except InvalidAnswer:
        return "invalid"
    assert found is not None
    return found[0]
