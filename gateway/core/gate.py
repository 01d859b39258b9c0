"""Saying in words why somebody was not written to."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "already_done": "Nothing to change",
        "contact_deleted": "The contact was deleted",
        "contact_not_found": "There is no such contact",
        "duplicate_address": "Somebody else in this action has the same address",
        "frequency_cap": "Written to often enough",
        "gave_up": "Given up after too many attempts",
        "invalid_address": "The {title} address is not valid",
        "missing_variable": "A variable of the text has no value",
        "no_address": "No {title} address",
        "opted_out": "Opted out of {title}",
        "template_rejected": "The provider refused the template",
        "unconfirmed": "No receipt came in time",
    }
)
_NO_ADDRESS: Final[Mapping[str, str]] = MappingProxyType({"phone": "No phone number", "email": "No e-mail address"})


def reason_text(code: str, channel_title: str, address_from: Literal["phone", "email"] | None = None) -> str:
    """A sentence for a person: `reason_text("opted_out", "SMS")` is `"Opted out of SMS"`; unknown codes as words."""
    if code == "no_address" and address_from is not None:
        return _NO_ADDRESS[address_from]
    if code in REASONS:
        return REASONS[code].format(title=channel_title)
    return code.replace("_", " ").capitalize()
