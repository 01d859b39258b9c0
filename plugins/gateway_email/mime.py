"""Building the mail: headers and bodies as the bytes that go over the wire.

About 15 microseconds a mail (`EmailMessage` takes a millisecond): what is the same in all mails of a sender is made
once, bodies are encoded by `binascii`.
"""

from __future__ import annotations

import binascii
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from gateway import Code, Outbound, Rejected, ascii_domain
from gateway_email import headers
from gateway_email.dkim import Signer
from gateway_email.mailbox import Mailbox
from gateway_email.unsubscribe import Unsubscribe

SIZE_MAX: Final = 10_000_000  # octets of text and HTML together; common relays stop at 10 to 25 MB
LINE_LIMIT: Final = 998  # octets; RFC 5321 4.5.3.1.6
QUOTED_MAX: Final = 6  # one octet in so many may be quoted (three for one) before base64 (four for three) is shorter
_NO_BODY: Final = "An e-mail needs a text or an HTML body."
_BASE64_LINE: Final = 76  # RFC 2045 6.8
_PLAIN: Final = bytes((0x09, 0x0A, *range(0x20, 0x7F)))  # what a 7bit body may consist of


class Composer:
    """Builds the mails of one sender."""

    def __init__(
        self,
        sender: Mailbox,
        reply_to: Mailbox | None,
        *,
        unsubscribe: Unsubscribe | None = None,
        signer: Signer | None = None,
    ) -> None:
        local, _, domain = sender.address.rpartition("@")
        self.envelope_from = f"{local}@{ascii_domain(domain)}".encode("ascii")
        self._fixed = headers.mailbox("From", sender.name, self.envelope_from.decode()) + "\r\nMIME-Version: 1.0\r\n"
        self._domain = ascii_domain(domain)
        self._reply_to = _reply_to(reply_to) if reply_to else ""
        self._unsubscribe = unsubscribe or Unsubscribe(None, None)
        self._signer = signer or Signer(())
        self._dated = (-1, "")  # a second, and how it is written

    def refusal(self, message: Outbound) -> Rejected | None:
        """What can be known to be impossible before building. Pure; about a microsecond."""
        bodies = [body for body in (message.text, message.html) if body is not None]
        if not bodies:
            return Rejected(Code.CONTENT, _NO_BODY)
        if sum(map(len, bodies)) > SIZE_MAX:
            return Rejected(Code.TOO_LONG, f"The text is longer than {SIZE_MAX:,} characters.")
        try:
            for body in bodies:
                _octets(body)
            self._further(message)
        except ValueError as exc:
            return Rejected(Code.CONTENT, str(exc))
        return None

    def build(self, message: Outbound, now: datetime) -> bytes:
        """The whole mail in lines that end with CRLF, none of them longer than 998 octets.

        ValueError with a sentence if it cannot be built: see `refusal`. All octets are ASCII, except in the To field of
        an address that needs SMTPUTF8.
        """
        subject = "" if message.subject is None else headers.unstructured("Subject", message.subject) + "\r\n"
        head = (
            f"Message-ID: <{message.ref}@{self._domain}>\r\nDate: {self._date_of(now)}\r\n{self._fixed}"
            f"To: {wire_address(message.to)}\r\n{subject}{self._further(message)}"
        )
        return self._signer.signed(head.encode("utf-8") + self._content(message), now)

    def _content(self, message: Outbound) -> bytes:
        if message.html is None:
            if message.text is None:
                raise ValueError(_NO_BODY)
            return _part(b"plain", message.text)
        if message.text is None:
            return _part(b"html", message.html)
        text, html = _part(b"plain", message.text), _part(b"html", message.html)
        # "=_" is in no quoted-printable and in no base64, and a reference is nobody's to guess: this ends at once.
        boundary = b"=_" + message.ref.encode("ascii")
        while boundary in text or boundary in html:
            boundary += b"_"
        return (b'Content-Type: multipart/alternative; boundary="%b"\r\n\r\n--%b\r\n%b\r\n--%b\r\n%b\r\n--%b--\r\n') % (
            boundary,
            boundary,
            text,
            boundary,
            html,
            boundary,
        )

    def _further(self, message: Outbound) -> str:
        """Reply-To, the fields that came with the message, and how to unsubscribe."""
        fields = _reply_to(Mailbox.parse(message.reply_to)) if message.reply_to else self._reply_to
        if message.headers:
            if len({name.lower() for name in message.headers}) < len(message.headers):
                raise ValueError("A header field is given twice, in large and in small letters.")
            fields += "".join(headers.structured(*field) + "\r\n" for field in message.headers.items())
        return fields + self._unsubscribe.fields(message)

    def _date_of(self, now: datetime) -> str:
        second = int(now.timestamp())
        if second != self._dated[0]:
            self._dated = (second, format_datetime(now.astimezone(UTC)))
        return self._dated[1]


def wire_address(address: str) -> str:
    """The address with its domain as DNS knows it. What is before the @ may still need SMTPUTF8."""
    if address.isascii():
        return address
    local, _, domain = address.rpartition("@")
    return f"{local}@{ascii_domain(domain)}"


def on_the_wire(mail: bytes) -> bytes:
    """A mail as DATA wants it: dots doubled at the beginning of lines, the final dot added (RFC 5321 4.5.2)."""
    if b"\r\n." in mail:
        mail = mail.replace(b"\r\n.", b"\r\n..")
    return mail + b".\r\n"


def _reply_to(address: Mailbox) -> str:
    return headers.mailbox("Reply-To", address.name, wire_address(address.address)) + "\r\n"


def _octets(body: str) -> bytes:
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


def _part(subtype: bytes, body: str) -> bytes:
    """A text part with its own headers, in the encoding that leaves it most readable."""
    raw = _octets(body)
    special = len(raw.translate(None, _PLAIN))
    if special == 0 and (len(raw) <= LINE_LIMIT or max(map(len, raw.split(b"\n"))) <= LINE_LIMIT):
        encoding, encoded = b"7bit", raw.replace(b"\n", b"\r\n")
    elif special * QUOTED_MAX > len(raw):
        encoding, encoded = b"base64", _base64(raw.replace(b"\n", b"\r\n"))
    else:
        encoding, encoded = b"quoted-printable", binascii.b2a_qp(raw).replace(b"\n", b"\r\n")
    return b"Content-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (
        subtype,
        encoding,
        encoded,
    )


def _base64(raw: bytes) -> bytes:
    line = binascii.b2a_base64(raw, newline=False)
    return b"".join([line[at : at + _BASE64_LINE] + b"\r\n" for at in range(0, len(line), _BASE64_LINE)])
