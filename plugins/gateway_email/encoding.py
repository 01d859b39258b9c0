"""Bodies as MIME parts: texts in the encoding that leaves them most readable, octets in base64."""

from __future__ import annotations

import binascii
from functools import lru_cache
from typing import Final, Literal

NUL, CR = 0x00, 0x0D  # numbers: looking for bytes in bytes takes five times as long
LINE_LIMIT: Final = 998  # octets; RFC 5321 4.5.3.1.6
QUOTED_MAX: Final = 6  # one octet in so many may be quoted (three for one) before base64 (four for three) is shorter
PART_KEPT_MAX: Final = 200_000  # characters of a body that is remembered; longer ones are few at once
LINES_KEPT: Final = 2_048  # some newsletters; at most 10 MB
KEPT_LINE_MAX: Final = 2_000  # octets of a line that is remembered
SHORT_LINE: Final = 200  # octets on average: longer lines have too much in them to be the same for everybody
_BASE64_LINE: Final = 76  # RFC 2045 6.8
_HEADERS: Final = {
    (subtype, encoding): (
        f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    ).encode("ascii")
    for subtype in ("plain", "html")
    for encoding in ("7bit", "base64", "quoted-printable")
}
Subtype = Literal["plain", "html"]
_PLAIN: Final = bytes((0x09, 0x0A, *range(0x20, 0x7F)))  # what a 7bit body may consist of


def check_text(body: str) -> None:
    """ValueError as `text_octets`, sooner."""
    if "\0" in body or not body.isascii():
        text_octets(body)


def text_octets(body: str) -> bytes:
    """A body in UTF-8, its lines ended by LF alone, the last one too. ValueError for what no mail can carry."""
    try:
        raw = body.encode("utf-8")  # octets are searched several times faster than characters
    except UnicodeEncodeError as exc:
        raise ValueError(
            f"The text has half a character in it ({body[exc.start]!r}), which no mail can carry."
        ) from exc
    if NUL in raw:
        raise ValueError("The text has a NUL character in it, which no mail can carry.")
    if CR in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return raw if raw.endswith(b"\n") else raw + b"\n"


class TextParts:
    """Makes text parts of the mails of one sender.

    Most lines of a bulk action's mails are the same for everybody: quoting one costs more than remembering it. A
    newsletter of 28 kB takes 80 microseconds instead of 240. Often the whole body is, and then the last one will do:
    two texts that differ mostly differ in length or soon, so that comparing them is cheaper than a hash.
    """

    def __init__(self) -> None:
        self._quoted = lru_cache(LINES_KEPT)(_quoted)
        self._last: dict[str, tuple[str, bytes]] = {}  # by subtype: a body, and its part

    def check(self, subtype: Subtype, body: str) -> None:
        """ValueError as `part`, sooner. Remembers nothing."""
        last = self._last.get(subtype)
        if last is None or last[0] != body:
            check_text(body)

    def part(self, subtype: Subtype, body: str) -> bytes:
        """With its own headers, in the encoding that leaves it most readable. ValueError as `text_octets`."""
        last = self._last.get(subtype)  # body and part in one: mails with large files are built in threads
        if last is not None and last[0] == body:
            return last[1]
        part = self._encoded(subtype, body)
        if len(body) <= PART_KEPT_MAX:
            self._last[subtype] = (body, part)
        return part

    def _encoded(self, subtype: Subtype, body: str) -> bytes:
        raw = text_octets(body)
        special = len(raw.translate(None, _PLAIN))
        if special == 0 and (len(raw) <= LINE_LIMIT or max(map(len, raw.split(b"\n"))) <= LINE_LIMIT):
            return _HEADERS[subtype, "7bit"] + raw.replace(b"\n", b"\r\n")
        if special * QUOTED_MAX > len(raw):
            return _HEADERS[subtype, "base64"] + base64_lines(raw.replace(b"\n", b"\r\n"))
        return _HEADERS[subtype, "quoted-printable"] + self._quoted_printable(raw)

    def _quoted_printable(self, raw: bytes) -> bytes:
        lines = raw.split(b"\n")
        if len(lines) * SHORT_LINE < len(raw) or max(map(len, lines)) > KEPT_LINE_MAX:
            return _quoted(raw)
        return b"\r\n".join(map(self._quoted, lines))


def _quoted(raw: bytes) -> bytes:
    return binascii.b2a_qp(raw).replace(b"\n", b"\r\n")


def base64_lines(raw: bytes) -> bytes:
    """In lines of 76 characters that end with CRLF."""
    line = binascii.b2a_base64(raw, newline=False)
    return b"".join([line[at : at + _BASE64_LINE] + b"\r\n" for at in range(0, len(line), _BASE64_LINE)])
