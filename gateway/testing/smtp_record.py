"""What the SMTP server for tests has received, as values and as lines of a file."""

from __future__ import annotations

import email.header
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail for one recipient, as the server took it."""

    message_id: str  # with its angle brackets; "" if the mail has none
    recipient: str  # of the envelope
    subject: str  # unfolded and decoded
    sender: str = ""  # of the envelope; not part of a record file
    content: bytes = b""  # headers and body, dots unstuffed; empty unless the server keeps messages
    options: str = ""  # parameters of MAIL FROM: "SIZE=300 SMTPUTF8"


def record_line(message_id: bytes, recipient: bytes, subject: bytes) -> bytes:
    """`message_id<TAB>recipient<TAB>subject`, the subject unfolded but still encoded."""
    return b"%b\t%b\t%b\n" % (message_id, recipient, subject.replace(b"\t", b" "))


def read_record(path: Path) -> list[Mail]:
    """All mails of a record file, in the order of their acceptance. A last line that was cut off is left out."""
    if not path.exists():
        return []
    text = path.read_bytes().decode("utf-8", "replace")
    return [_mail(line) for line in text.split("\n")[:-1]]


def _mail(line: str) -> Mail:
    message_id, recipient, subject = line.split("\t", 2)
    return Mail(message_id=message_id, recipient=recipient, subject=decoded(subject))


def decoded(subject: str) -> str:
    """The text behind RFC 2047 encoded words."""
    if "=?" not in subject:
        return subject
    return str(email.header.make_header(email.header.decode_header(subject)))


def header_field(headers: bytes, name: bytes) -> bytes:
    """The unfolded value of the first field `name` (lower case, with colon) of a header block, b"" without one."""
    lowered = headers.lower()
    start = 0 if lowered.startswith(name) else lowered.find(b"\n" + name) + 1
    if start == 0 and not lowered.startswith(name):
        return b""
    start += len(name)
    end = headers.find(b"\n", start)
    while 0 <= end < len(headers) - 1 and headers[end + 1] in b" \t":
        end = headers.find(b"\n", end + 1)
    value = headers[start : end if end >= 0 else len(headers)]
    return value.replace(b"\r", b"").replace(b"\n", b"").strip()
