"""List-Unsubscribe: how a reader leaves by the button of the mail program (RFC 2369, and RFC 8058 for one click).

The settings give one address for all mails, with placeholders; a message that brings the fields itself keeps its own.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final
from urllib.parse import quote, urlsplit

from gateway import Outbound, strict_email
from gateway_email import headers

ONE_CLICK: Final = "List-Unsubscribe=One-Click"  # RFC 8058 3.1: the one value that the field may have
TEMPLATE_MAX: Final = 900  # characters: with its name the field must stay within 998, and placeholders grow
_LINK: Final = "List-Unsubscribe"
_POST: Final = "List-Unsubscribe-Post"
_PLACEHOLDER: Final = re.compile(r"\{(ref|address)\}")
_UNSAFE: Final = re.compile(r'[^\x21-\x7e]|[<>"\\{}]')


class _Template(str):
    """A URL with `{ref}` and `{address}` in it."""

    __slots__ = ()

    def filled(self, message: Outbound) -> str:
        """For one message; what is put in is percent-encoded, so that it stays one part of the URL."""
        values = {"ref": message.ref, "address": message.to}
        return _PLACEHOLDER.sub(lambda found: quote(values[found[1]], safe=""), self)


class UnsubscribeUrl(_Template):
    """Where one click is posted to."""

    __slots__ = ()
    expected: ClassVar[str] = 'an https address such as "https://grace.example/unsubscribe?m={ref}&a={address}"'

    @classmethod
    def parse(cls, value: object) -> UnsubscribeUrl:
        """ValueError with a sentence."""
        if not isinstance(value, str) or len(value) > TEMPLATE_MAX or _UNSAFE.search(_PLACEHOLDER.sub("x", value)):
            raise ValueError(f"Must be {cls.expected}.")
        try:
            parts = urlsplit(value)
        except ValueError as exc:
            raise ValueError(f"Must be {cls.expected}.") from exc
        # RFC 8058 3.1 wants HTTPS. What a placeholder stands for is no host.
        if parts.scheme != "https" or not parts.hostname or "{" in parts.netloc:
            raise ValueError(f"Must be {cls.expected}.")
        return cls(value)


class UnsubscribeMailto(_Template):
    """Whom a mail is written to for leaving."""

    __slots__ = ()
    expected: ClassVar[str] = 'an address such as "leave@grace.example" or "leave@grace.example?subject=leave%20{ref}"'

    @classmethod
    def parse(cls, value: object) -> UnsubscribeMailto:
        """ValueError with a sentence."""
        if not isinstance(value, str):
            raise ValueError(f"Must be {cls.expected}.")
        template = value.removeprefix("mailto:")
        example = _PLACEHOLDER.sub("x", template)
        if len(template) > TEMPLATE_MAX or _UNSAFE.search(example):
            raise ValueError(f"Must be {cls.expected}.")
        strict_email(example.partition("?")[0])
        return cls(template)


class Unsubscribe:
    """Writes the fields as the settings say."""

    def __init__(self, url: UnsubscribeUrl | None, mailto: UnsubscribeMailto | None) -> None:
        self._url = url
        self._mailto = mailto

    def fields(self, message: Outbound) -> str:
        """Both fields, or none, each with its CRLF.

        A message with a List-Unsubscribe of its own has said all that there is to say: `List-Unsubscribe-Post` speaks
        of that one, and there may be only one of each (RFC 8058 3.1). ValueError if the URL gets too long.
        """
        if self._url is None and self._mailto is None:
            return ""
        given = {name.lower() for name in message.headers}
        if _LINK.lower() in given or _POST.lower() in given:
            return ""
        links = [f"<{self._url.filled(message)}>"] if self._url is not None else []
        if self._mailto is not None:
            links.append(f"<mailto:{self._mailto.filled(message)}>")
        field = headers.structured(_LINK, ", ".join(links)) + "\r\n"
        return field if self._url is None else f"{field}{_POST}: {ONE_CLICK}\r\n"
