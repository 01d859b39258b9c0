"""Reading an answer of HTTP/1.1 as its bytes come in, however they are cut, and never more of it than is kept.

Sources: RFC 9112 (framing: 6.3, chunks: 7.1) and RFC 9110 (1xx: 15.2, field lines: 5.3). What says two different things
about where an answer ends is refused, for the next answer on the connection would begin somewhere else.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.contract import HttpResponse

HEAD_BYTES_MAX: Final = 64 * 1024  # of status line and header, together with those of 1xx answers before it
BODY_BYTES_MAX: Final = 1024 * 1024  # of an answer; the rest is not read
CHUNK_LINE_BYTES_MAX: Final = 4 * 1024  # of a chunk's size and its extensions
KNOWN_LINES_MAX: Final = 512  # of headers that are kept as they were read,
KNOWN_LINE_BYTES_MAX: Final = 200  # and their length
CHUNKS_MAX: Final = 64 * 1024  # of a body: a megabyte in single octets would keep the loop busy for seconds

# Twenty digits would not be a length that anybody has; int() of thousands would be slow.
_LENGTH: Final = re.compile(r"[0-9]{1,19}")
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\0]*+)?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]++):([^\r\n\0]*+)")
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n\0]*)?\r?")
_KEEP_SECONDS: Final = re.compile(r"\btimeout=([0-9]{1,6})")
_NO_BODY: Final = frozenset({204, 304})
_COMPRESSIONS: Final = frozenset({"gzip", "x-gzip", "deflate"})


class InvalidAnswer(Exception):
    """What came back is no answer of HTTP/1.1, or was cut off. The request may have arrived all the same."""


class Head(NamedTuple):
    """What stands before a body."""

    status: int
    headers: Mapping[str, str]
    length: int | None  # octets of the body; None: up to the last chunk, or to the end of the connection
    chunked: bool
    keep: bool  # the connection may serve another request
    keep_seconds: float | None  # how long the other side will keep it idle, where it says so


class AnswerReader:
    """The answer to one request. `feed` it until it says that the answer is complete; then `keep` and the rest hold."""

    __slots__ = ("_bodiless", "_chunks", "_compressed", "_head", "_left", "_pending", "_spent", "answer", "keep")

    def __init__(self, *, bodiless: bool) -> None:
        """`bodiless`: no body follows whatever the header says, for the request was HEAD."""
        self.answer: HttpResponse | None = None
        self.keep = False  # whether the connection is in order afterwards
        self._bodiless = bodiless
        self._pending = bytearray()  # of the head until that is complete, then of the body
        self._spent = 0  # octets of heads that are behind us
        self._head: Head | None = None
        self._left = 0  # octets of the body that are still to come
        self._chunks: _Chunks | None = None
        self._compressed: str | None = None

    @property
    def keep_seconds(self) -> float | None:
        """How long the connection may be idle by the other side's own words."""
        return None if self._head is None else self._head.keep_seconds

    def feed(self, data: bytes) -> bool:
        """Take what came; True as soon as the answer is complete. InvalidAnswer."""
        while self._head is None:
            known = len(self._pending)
            self._pending += data
            end = _end_of_head(self._pending, max(0, known - 3))
            if self._spent + (len(self._pending) if end is None else end) > HEAD_BYTES_MAX:
                raise InvalidAnswer(f"the head of the answer is longer than {HEAD_BYTES_MAX:,} octets")
            if end is None:
                return False
            data, self._pending = bytes(self._pending), bytearray()
            self._spent += end
            head, data = read_head(data[:end]), data[end:]
            if head.status >= 200:
                self._begin(head)
        return self._take(data)

    def end(self) -> bool:
        """The other side has ended the connection in order; True if that completes the answer. InvalidAnswer."""
        if self._head is None:
            raise InvalidAnswer("the connection ended in the head of the answer")
        if self._chunks is not None or self._head.length is not None:
            raise InvalidAnswer("the connection ended before the body did")
        return self._complete(bytes(self._pending), whole=True)

    @property
    def begun(self) -> bool:
        """Whether anything of an answer has come."""
        return bool(self._pending or self._spent)

    def _begin(self, head: Head) -> None:
        if self._bodiless or head.status in _NO_BODY:
            head = head._replace(length=0, chunked=False)
        self._head = head
        self._chunks = _Chunks() if head.chunked else None
        self._left = BODY_BYTES_MAX if head.length is None else min(head.length, BODY_BYTES_MAX)
        encoding = head.headers.get("content-encoding")
        self._compressed = encoding.strip().lower() if encoding is not None else None

    def _take(self, data: bytes) -> bool:
        """More of the body."""
        if self._chunks is not None:
            return self._take_chunks(self._chunks, data)
        assert self._head is not None
        length = self._head.length
        if len(data) >= self._left:
            body = data[: self._left] if not self._pending else bytes(self._pending + data[: self._left])
            whole = length is not None and length <= BODY_BYTES_MAX
            return self._complete(body, whole=whole, keep=whole and len(data) == self._left)
        self._pending += data
        self._left -= len(data)
        return False

    def _take_chunks(self, chunks: _Chunks, data: bytes) -> bool:
        ended = chunks.feed(data)
        if not ended and len(chunks.body) < BODY_BYTES_MAX:
            return False
        return self._complete(bytes(chunks.body[:BODY_BYTES_MAX]), whole=ended, keep=ended and not chunks.surplus)

    def _complete(self, body: bytes, *, whole: bool, keep: bool = False) -> bool:
        assert self._head is not None
        if self._compressed in _COMPRESSIONS and body:
            body = _decompressed(body, whole=whole)
        self.answer = HttpResponse(status=self._head.status, headers=self._head.headers, body=body)
        self.keep = keep and self._head.keep
        return True


class _Chunks:
    """The chunks of a body, put together as they come."""

    __slots__ = ("_expects", "_left", "_pending", "_room", "_trailer_bytes", "body", "surplus")

    def __init__(self) -> None:
        self.body = bytearray()
        self.surplus = False  # something came behind the end
        self._pending = b""  # of a line that is not complete
        self._left = 0  # octets of the present chunk that are still to come
        self._expects: str = "size"  # size, data, end (the line break behind a chunk), trailer
        self._room = CHUNKS_MAX  # how many more chunks there may be
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> bool:
        """Take what came; True at the end of the last chunk and its trailer. It stops taking where enough is there."""
        data = self._pending + data
        self._pending = b""
        at = 0
        while len(self.body) < BODY_BYTES_MAX:
            if self._expects == "data":
                piece = data[at : at + self._left]
                self.body += piece
                self._left -= len(piece)
                at += len(piece)
                if self._left:
                    return False
                self._expects = "end"
            end = data.find(b"\n", at)
            if (len(data) if end < 0 else end) - at > CHUNK_LINE_BYTES_MAX:
                raise InvalidAnswer(f"a line between chunks is longer than {CHUNK_LINE_BYTES_MAX:,} octets")
            if end < 0:
                self._pending = data[at:]
                return False
            line, at = data[at:end], end + 1
            if self._line(line):
                self.surplus = at < len(data)
                return True
        return False

    def _line(self, line: bytes) -> bool:
        """One line, without its \\n; True for the empty one behind the trailer."""
        if self._expects == "size":
            found = _CHUNK_SIZE.fullmatch(line)
            if found is None:
                raise InvalidAnswer("a chunk has no size")
            self._left = int(found[1], 16)
            self._room -= 1
            if self._room < 0:
                raise InvalidAnswer(f"the answer has more than {CHUNKS_MAX:,} chunks")
            self._expects = "data" if self._left else "trailer"
        elif self._expects == "end":
            if line not in (b"", b"\r"):
                raise InvalidAnswer("a chunk is longer than its size")
            self._expects = "size"
        else:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > HEAD_BYTES_MAX:
                raise InvalidAnswer(f"the trailer is longer than {HEAD_BYTES_MAX:,} octets")
            return line in (b"", b"\r")
        return False


def _end_of_head(data: bytearray, start: int) -> int | None:
    """Where the body begins, by what stands from `start` on. A lone \\n ends a line too (RFC 9112, 2.2)."""
    end = data.find(b"\n\r\n", start)
    bare = data.find(b"\n\n", start, end) if end >= 0 else data.find(b"\n\n", start)
    if bare >= 0:
        return bare + 2
    return end + 3 if end >= 0 else None


def read_head(data: bytes) -> Head:
    """A head with the empty line behind it. InvalidAnswer."""
    if b"\n " in data or b"\n\t" in data:
        data = _FOLD.sub(b" ", data)
    lines = data.split(b"\n")[:-2]
    current, status = (_known_status if len(lines[0]) <= KNOWN_LINE_BYTES_MAX else _status)(lines[0])
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, value = _known_field(line) if len(line) <= KNOWN_LINE_BYTES_MAX else _field(line)
        # Lines of one name are one value, with commas (RFC 9110, 5.3).
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    length, chunked = _framing(headers)
    # Who does not know 1.1 does not know chunks: they are read, and nothing after them (RFC 9112, 6.1).
    keep = _keeps(headers.get("connection", ""), current=current) and (current or not chunked)
    asked = _KEEP_SECONDS.search(headers["keep-alive"]) if "keep-alive" in headers else None
    return Head(status, headers, length, chunked, keep, None if asked is None else float(asked[1]))


def _keeps(connection: str, *, current: bool) -> bool:
    """Whether the header `Connection` lets it serve another request."""
    if not connection:
        return current
    options = {option.strip() for option in connection.lower().split(",")}
    return "close" not in options and (current or "keep-alive" in options)


def _status(line: bytes) -> tuple[bool, int]:
    """Whether the other side speaks 1.1, and the status."""
    found = _STATUS.fullmatch(line.removesuffix(b"\r"))
    if found is None:
        raise InvalidAnswer("what came back is no answer of HTTP/1.1")
    status = int(found[2])
    if status == 101:  # nobody asked for another protocol
        raise InvalidAnswer("the answer changes the protocol")
    return found[1] == b"1", status


def _field(line: bytes) -> tuple[str, str]:
    """One line, without its \\n: the name in lower case, and the value."""
    found = _FIELD.fullmatch(line.removesuffix(b"\r"))
    if found is None:
        raise InvalidAnswer("a line of the header is none")
    return found[1].decode().lower(), found[2].decode("utf-8", "replace").strip(" \t")


# Most lines are the same in every answer of a provider: looking them up takes a tenth of reading them.
_known_field = lru_cache(maxsize=KNOWN_LINES_MAX)(_field)
_known_status = lru_cache(maxsize=KNOWN_LINES_MAX)(_status)


def _framing(headers: Mapping[str, str]) -> tuple[int | None, bool]:
    """Octets of the body and whether it comes in chunks. InvalidAnswer where it could be read in two ways."""
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if length is not None or coding.lower() != "chunked":
            raise InvalidAnswer("the answer does not say clearly where it ends")
        return None, True
    if length is None:
        return None, False
    if not _LENGTH.fullmatch(length):
        raise InvalidAnswer("the answer has no clear length")
    return int(length), False


def _decompressed(body: bytes, *, whole: bool) -> bytes:
    """Never more than is kept of any answer, whatever it would unfold to. InvalidAnswer."""
    wrapped = body[:2] == b"\x1f\x8b" or body[0] & 0x0F == zlib.DEFLATED
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32 if wrapped else -zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(body, BODY_BYTES_MAX)
    except zlib.error as exc:
        raise InvalidAnswer("the body is not compressed as its header says") from exc
    if whole and not unpacker.eof and len(unpacked) < BODY_BYTES_MAX:
        raise InvalidAnswer("the compressed body breaks off")
    return unpacked
