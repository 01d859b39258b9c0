"""Bodies as MIME parts: texts in the encoding that leaves them most readable, octets in base64."""

from __future__ import annotations

import binascii
from typing import Final

LINE_LIMIT: Final = 998  # octets; RFC 5321 4.5.3.1.6
QUOTED_MAX: Final = 6  # one octet in so many may be quoted (three for one) before base64 (four for three) is shorter
_BASE64_LINE: Final = 76  # RFC 2045 6.8
_PLAIN: Final = bytes((0x09, 0x0A, *range(0x20, 0x7F)))  # what a 7bit body may consist of


def text_octets(body: str) -> bytes:
    """A body in UTF-8, its lines ended by LF alone, the last one too. ValueError for what no mail can carry."""
    if "\r" in body:
        body = body.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in body:
        raise ValueError("The text has a NUL character in it, which no mail can carry.")
    try:
        raw = body.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise ValueError(
            f"The text has half a character in it ({body[exc.start]!r}), which no mail can carry."
        ) from exc
    return raw if raw.endswith(b"\n") else raw + b"\n"


def text_part(subtype: bytes, body: str) -> bytes:
    """A text part with its own headers, in the encoding that leaves it most readable."""
    raw = text_octets(body)
    special = len(raw.translate(None, _PLAIN))
    if special == 0 and (len(raw) <= LINE_LIMIT or max(map(len, raw.split(b"\n"))) <= LINE_LIMIT):
        encoding, encoded = b"7bit", raw.replace(b"\n", b"\r\n")
    elif special * QUOTED_MAX > len(raw):
        encoding, encoded = b"base64", base64_lines(raw.replace(b"\n", b"\r\n"))
    else:
        encoding, encoded = b"quoted-printable", binascii.b2a_qp(raw).replace(b"\n", b"\r\n")
    return b"Content-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (
        subtype,
        encoding,
        encoded,
    )


def base64_lines(raw: bytes) -> bytes:
    """In lines of 76 characters that end with CRLF."""
    line = binascii.b2a_base64(raw, newline=False)
    return b"".join([line[at : at + _BASE64_LINE] + b"\r\n" for at in range(0, len(line), _BASE64_LINE)])
