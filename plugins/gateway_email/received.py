"""Reading mails that strangers sent, whatever they are: in one pass, with limits, and without an exception.

The standard library's parser is made for mails that mean well: it goes as deep as a mail is nested and looks at every
open boundary for every line, so that a megabyte can keep it busy for minutes. Here depth and number of parts, fields
and their lengths are limited; what is beyond a limit is left as it is.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

MAIL_OCTETS_MAX: Final = 1024 * 1024  # what a callback may have; more is not looked at
DEPTH_MAX: Final = 5  # multiparts within one another; reports have one, lists and scanners wrap one or two around it
PARTS_MAX: Final = 40  # of a mail, at all depths
HEADER_OCTETS_MAX: Final = 131_072
FIELDS_MAX: Final = 300  # of one header
VALUE_OCTETS_MAX: Final = 4_096  # of one field that are read
_HEADERS_END: Final = re.compile(rb"\r?\n\r?\n")
_NAME: Final = re.compile(rb"([!-9;-~]{1,100})[ \t]*:")
_PARAMETER: Final = re.compile(r';\s*([\w*-]{1,40})\s*=\s*("(?:[^"\\]|\\.){0,300}"|[^\s;"]{0,300})')
_BREAKS: Final = re.compile(rb"\r?\n[ \t]+")


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a header, or of a block in a report, unfolded, in their order. Names in small letters."""

    all: tuple[tuple[str, str], ...] = ()

    def first(self, *names: str) -> str:
        """The value of the first field of one of these names, or ""."""
        return next((value for name, value in self.all if name in names), "")

    def every(self, *names: str) -> Iterator[str]:
        return (value for name, value in self.all if name in names)


@dataclass(frozen=True, slots=True)
class Part:
    """A mail, or a part of one. `raw`: its body as it was transferred. `parts`: of a multipart."""

    fields: Fields
    media_type: str  # "text/plain", in small letters
    parameters: Mapping[str, str]
    raw: bytes
    parts: tuple[Part, ...] = field(default=())

    def body(self) -> bytes:
        """Its octets; as they were transferred where they cannot be decoded."""
        encoding = self.fields.first("content-transfer-encoding").strip().lower()
        try:
            if encoding == "base64":
                return binascii.a2b_base64(self.raw)
            if encoding == "quoted-printable":
                return binascii.a2b_qp(self.raw)
        except (binascii.Error, ValueError):
            pass
        return self.raw

    def text(self) -> str:
        """Its body as text; what is no UTF-8 is replaced, which leaves addresses and codes readable."""
        return self.body().decode("utf-8", "replace")

    def walk(self) -> Iterator[Part]:
        """This part and all inside it, in their order. Mails that are attached stay closed."""
        yield self
        for part in self.parts:
            yield from part.walk()


class _Budget:
    """How many parts may still be read of a mail."""

    def __init__(self) -> None:
        self.parts = PARTS_MAX


def read_mail(raw: bytes) -> Part:
    """A mail from its octets, its lines ended by CRLF or LF. A first line of an mbox file is passed over."""
    raw = raw[:MAIL_OCTETS_MAX]
    if raw.startswith((b"From ", b">From ")):
        raw = raw.partition(b"\n")[2]
    return _part(raw, 0, _Budget())


def read_fields(raw: bytes) -> Fields:
    """The fields at the beginning of `raw`, up to an empty line."""
    head, _ = _split(raw)
    fields: list[tuple[str, str]] = []
    for line in _BREAKS.sub(b" ", head).split(b"\n")[: FIELDS_MAX * 2]:
        found = _NAME.match(line)
        if found is not None and len(fields) < FIELDS_MAX:
            value = line[found.end() : found.end() + VALUE_OCTETS_MAX].decode("utf-8", "replace")
            fields.append((found[1].decode("ascii").lower(), value.strip()))
    return Fields(tuple(fields))


def read_blocks(raw: bytes) -> list[Fields]:
    """The blocks of fields of a report, which empty lines part (RFC 3464 2.1)."""
    blocks: list[Fields] = []
    while raw.strip(b"\r\n") and len(blocks) < PARTS_MAX:
        head, raw = _split(raw.lstrip(b"\r\n"))
        blocks.append(read_fields(head))
    return blocks


def _split(raw: bytes) -> tuple[bytes, bytes]:
    """Header and body. A header without an end ends at its limit, and there is no body."""
    if raw.startswith((b"\n", b"\r\n")):
        return b"", raw.partition(b"\n")[2]
    found = _HEADERS_END.search(raw)
    if found is None:
        return raw[:HEADER_OCTETS_MAX], b""
    return raw[: min(found.start(), HEADER_OCTETS_MAX)], raw[found.end() :]


def _part(raw: bytes, depth: int, budget: _Budget) -> Part:
    budget.parts -= 1
    head, body = _split(raw)
    fields = read_fields(head)
    media_type, parameters = _content_type(fields.first("content-type"))
    boundary = parameters.get("boundary", "").encode("utf-8", "replace")
    parts: list[Part] = []
    if media_type.startswith("multipart/") and boundary and depth < DEPTH_MAX:
        for piece in _pieces(body, boundary):
            if budget.parts <= 0:
                break
            parts.append(_part(piece, depth + 1, budget))
    return Part(fields, media_type, parameters, body, tuple(parts))


def _content_type(value: str) -> tuple[str, dict[str, str]]:
    media_type = value.partition(";")[0].strip().lower() or "text/plain"
    parameters: dict[str, str] = {}
    for name, text in _PARAMETER.findall(value):
        plain = re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
        parameters.setdefault(name.lower(), plain)
    return media_type, parameters


def _pieces(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """What stands between the delimiters (RFC 2046 5.1.1). A last delimiter that is missing is the end."""
    delimiter = re.compile(rb"(?:^|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    start = -1
    for found in delimiter.finditer(body):
        if start >= 0:
            yield body[start : found.start()]
        if found[1]:
            return
        start = found.end() + (2 if body[found.end() : found.end() + 1] == b"\r" else 1)
    if start >= 0:
        yield body[start:]
