"""An address with the name of its owner, as it is written in settings: `Grace Church <news@grace.example>`."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from gateway import strict_email

NAME_MAX: Final = 200  # characters of a display name; more is no name
_FORM: Final = re.compile(r"\s*(?:(?P<name>[^<>]*?)\s*<(?P<bracketed>[^<>]+)>|(?P<bare>[^<>]+))\s*")
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Mailbox(str):
    """The text as it was given; `name` and `address` are its parts."""

    __slots__ = ("address", "name")
    expected: ClassVar[str] = 'an address such as "news@grace.example" or "Grace Church <news@grace.example>"'
    address: str
    name: str

    @classmethod
    def parse(cls, value: object) -> Mailbox:
        """Read it from a setting or a request. ValueError with a sentence."""
        found = _FORM.fullmatch(value) if isinstance(value, str) else None
        if not isinstance(value, str) or found is None or _UNSAFE.search(value):
            raise ValueError(f"Must be {cls.expected}.")
        name = found["name"] or ""
        if len(name) >= 2 and name[0] == name[-1] == '"':
            name = re.sub(r"\\(.)", r"\1", name[1:-1])
        if len(name) > NAME_MAX:
            raise ValueError(f"The name before the address is longer than {NAME_MAX} characters.")
        mailbox = cls(value)
        mailbox.name = name
        mailbox.address = strict_email(found["bracketed"] or found["bare"])
        if not mailbox.address.rpartition("@")[0].isascii():
            raise ValueError(f"The part before the @ of {mailbox.address!r} must be ASCII: few servers would take it.")
        return mailbox
