"""Building the mail: headers and bodies as the bytes that go over the wire.

Some 15 microseconds a mail of 1.5 kB with text and HTML, a seventieth of what `EmailMessage` takes: what is the same in
all mails of a sender is made once, bodies are encoded by `binascii`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from gateway import Code, Outbound, Rejected, ascii_domain
from gateway_email import headers
from gateway_email.attachments import Attached
from gateway_email.dkim import Signer
from gateway_email.encoding import TextParts
from gateway_email.mailbox import Mailbox
from gateway_email.unsubscribe import Unsubscribe

SIZE_MAX: Final = 10_000_000  # octets of text and HTML together; common relays stop at 10 to 25 MB
_NO_FILES: Final = Attached(None)
_NO_BODY: Final = "An e-mail needs a text, an HTML body or a file."


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
        self.domain = ascii_domain(domain)
        self.envelope_from = f"{local}@{self.domain}".encode("ascii")
        self._fixed = headers.mailbox("From", sender.name, self.envelope_from.decode()) + "\r\nMIME-Version: 1.0\r\n"
        self._reply_to = _reply_to(reply_to) if reply_to else ""
        self._unsubscribe = unsubscribe or Unsubscribe(None, None)
        self._signer = signer or Signer(())
        self._texts = TextParts()
        self._dated = (-1, "")  # a second, and how it is written

    def refusal(self, message: Outbound) -> Rejected | None:
        """What can be known to be impossible before building. Pure; about a microsecond."""
        text, html = message.text, message.html
        if text is None and html is None and not message.media:
            return Rejected(Code.CONTENT, _NO_BODY)
        if len(text or "") + len(html or "") > SIZE_MAX:
            return Rejected(Code.TOO_LONG, f"The text is longer than {SIZE_MAX:,} characters.")
        try:
            if text is not None:
                self._texts.check("plain", text)
            if html is not None:
                self._texts.check("html", html)
            self._further(message)
        except ValueError as exc:
            return Rejected(Code.CONTENT, str(exc))
        return None

    def build(self, message: Outbound, now: datetime, attached: Attached | None = None) -> bytes:
        """The whole mail in lines that end with CRLF, none of them longer than 998 octets.

        `attached`: its files, fetched. ValueError with a sentence if it cannot be built: see `refusal`. All octets are
        ASCII, except in the To field of an address that needs SMTPUTF8.
        """
        subject = "" if message.subject is None else headers.unstructured("Subject", message.subject) + "\r\n"
        head = (
            f"Message-ID: <{message.ref}@{self.domain}>\r\nDate: {self._date_of(now)}\r\n{self._fixed}"
            f"To: {wire_address(message.to)}\r\n{subject}{self._further(message)}"
        )
        return self._signer.signed(head.encode("utf-8") + self._content(message, attached), now)

    def _content(self, message: Outbound, attached: Attached | None) -> bytes:
        """The bodies and files: mixed(alternative(text, related(HTML, images)), files), or what there is of it."""
        texts = [self._texts.part("plain", message.text)] if message.text is not None else []
        html = message.html if attached is None else attached.html
        if html is not None:
            texts.append(self._texts.part("html", html))
        boundary = _boundary(message.ref, texts)
        if attached is None:
            attached = _NO_FILES
        if attached.shown:
            texts[-1] = _multipart(b"related", boundary + b".r", (texts[-1], *attached.shown))
        if len(texts) > 1:
            texts = [_multipart(b"alternative", boundary + b".a", texts)]
        if attached.apart:
            return _multipart(b"mixed", boundary + b".m", (*texts, *attached.apart))
        if not texts:
            raise ValueError(_NO_BODY)
        return texts[0]

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


def _boundary(ref: str, texts: Sequence[bytes]) -> bytes:
    """What none of the texts has in it.

    "=_" is in no quoted-printable and in no base64, and a reference is nobody's to guess: this ends at once.
    """
    boundary = b"=_" + ref.encode("ascii")
    for text in texts:
        while boundary in text:
            boundary += b"_"
    return boundary


def _multipart(subtype: bytes, boundary: bytes, parts: Sequence[bytes]) -> bytes:
    """Parts, each with its header and a final CRLF, as one part.

    No boundary of a mail is the beginning of another: some readers look no further.
    """
    delimiter = b"--%b\r\n" % boundary
    pieces = [b'Content-Type: multipart/%b; boundary="%b"\r\n\r\n' % (subtype, boundary)]
    for part in parts:
        pieces += (delimiter, part, b"\r\n")
    pieces.append(b"--%b--\r\n" % boundary)
    return b"".join(pieces)


def wire_address(address: str) -> str:
    """The address with its domain as DNS knows it. What is before the @ may still need SMTPUTF8."""
    if address.isascii():
        return address
    local, _, domain = address.rpartition("@")
    return f"{local}@{ascii_domain(domain)}"


def on_the_wire(mail: bytes) -> bytes:
    """A mail as DATA wants it: dots doubled at the beginning of lines, the final dot added (RFC 5321 4.5.2)."""
    return mail.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def _reply_to(address: Mailbox) -> str:
    return headers.mailbox("Reply-To", address.name, wire_address(address.address)) + "\r\n"
