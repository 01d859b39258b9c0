"""Header fields of a mail, written so that no value can become anything but the value of its own field.

The standard library's `email` package is not used for writing: in Python 3.11.7 an encoded word such as
`=?UTF-8?Q?=0A?=Bcc: x` comes out as a new header line (CVE-2024-6923), and it costs a millisecond for each mail.
Here a value is one line before it is looked at, what could be read as an encoded word is encoded itself, and tokens
such as the URLs of List-Unsubscribe are never encoded nor broken.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

LINE_MAX: Final = 78  # characters; RFC 5322 2.1.1, recommended
LINE_LIMIT: Final = 998  # characters; RFC 5322 2.1.1, absolute
ENCODED_LINE_MAX: Final = 76  # of a line with an encoded word; RFC 2047 2
ENCODED_WORD_MAX: Final = 75  # RFC 2047 2
_OPEN: Final = "=?utf-8?b?"
_CLOSE: Final = "?="
_FRAME: Final = len(_OPEN) + len(_CLOSE)

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_SURROGATES: Final = re.compile(r"[\ud800-\udfff]")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ENCODED_WORD: Final = re.compile(r"=\?[^?]*\?[bq]\?.*\?=", re.IGNORECASE)
_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_PHRASE: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_RESERVED: Final = frozenset(
    (
        *("from", "sender", "reply-to", "to", "cc", "bcc", "subject", "date", "message-id", "mime-version"),
        *("received", "return-path", "dkim-signature"),
    )
)


def one_line(text: str) -> str:
    """`text` without line breaks and other control characters (a space instead), and without unpaired surrogates."""
    if text.isprintable():
        return text.strip()
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub(" ", text)).strip()


def unstructured(name: str, value: str) -> str:
    """A field of free text, such as Subject, without the final CRLF. Any text is made harmless, none is refused."""
    value = one_line(value)
    if value.isascii() and "=?" not in value:
        line = f"{name}: {value}"
        if len(line) <= LINE_MAX:
            return line
        folded = _folded(line)
        if max(map(len, folded)) <= LINE_MAX:
            return "\r\n".join(folded)
    return f"{name}: {_encoded(value, len(name) + 2)}"


def mailbox(name: str, display: str, address: str) -> str:
    """A field with one address and perhaps a display name, such as From, without the final CRLF.

    `address` has been validated; `display` may be any text.
    """
    display = one_line(display)
    if not display:
        return f"{name}: {address}"
    phrase = _phrase(display, len(name) + 2)
    last_line = phrase.rpartition("\r\n")[2]
    used = len(last_line) + (len(name) + 2 if last_line == phrase else 0)
    gap = " " if used + len(address) + 3 <= ENCODED_LINE_MAX else "\r\n "
    return f"{name}: {phrase}{gap}<{address}>"


def structured(name: str, value: str) -> str:
    """A further field given from outside, without the final CRLF. Words are kept as they are; foreign ones are encoded.

    ValueError with a sentence: a field that the gateway writes itself, a name or a value that cannot be one.
    """
    if not _FIELD_NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is not the name of a header field.")
    if name.lower() in _RESERVED or name.lower().startswith("content-"):
        raise ValueError(f"The header field {name!r} is written by the gateway itself.")
    if _UNSAFE.search(value) or _ENCODED_WORD.search(value):
        raise ValueError(f"The header field {name!r} has a line break, a control character or an encoded word in it.")
    words = [word if word.isascii() else _encoded_word(name, word) for word in value.strip().split(" ")]
    folded = _folded(f"{name}: {' '.join(words)}")
    if max(map(len, folded)) > LINE_LIMIT:
        raise ValueError(f"The header field {name!r} has a word of more than {LINE_LIMIT} characters.")
    return "\r\n".join(folded)


def _phrase(display: str, used: int) -> str:
    """A display name: as it is, quoted, or encoded (RFC 5322 3.2.5, RFC 2047 5)."""
    if display.isascii() and "=?" not in display and len(display) <= LINE_MAX - used:
        if _PHRASE.fullmatch(display):
            return display
        escaped = display.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return _encoded(display, used)


def _folded(line: str) -> list[str]:
    """The lines of a field, broken before words only and never directly after its name (RFC 5322 2.2.3)."""
    if len(line) <= LINE_MAX:
        return [line]
    name, *words = line.split(" ")
    lines = []
    current = " ".join((name, *words[:1]))
    for word in words[1:]:
        if word and len(current) + 1 + len(word) > LINE_MAX:
            lines.append(current)
            current = f" {word}"
        else:
            current = f"{current} {word}"
    return [*lines, current]


def _encoded_word(name: str, word: str) -> str:
    if "<" in word or ">" in word:
        raise ValueError(f"The header field {name!r} has characters in <> that are not ASCII.")
    return _encoded(word, 1).replace("\r\n", "")


def _encoded(text: str, used: int) -> str:
    """`text` as encoded words on as many lines as it takes, never cutting a character; `used` columns are taken."""
    raw = text.encode("utf-8")
    words = []
    start = 0
    room = (ENCODED_LINE_MAX - used - _FRAME) // 4 * 3
    while start < len(raw):
        end = min(start + max(room, 4), len(raw))
        while end < len(raw) and raw[end] & 0xC0 == 0x80:  # in the middle of a character
            end -= 1
        words.append(_OPEN + binascii.b2a_base64(raw[start:end], newline=False).decode() + _CLOSE)
        start = end
        room = (ENCODED_WORD_MAX - _FRAME) // 4 * 3
    return "\r\n ".join(words)
