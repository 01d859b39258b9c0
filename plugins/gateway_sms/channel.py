"""The SMS channel: what every adapter that sends SMS shares."""

from __future__ import annotations

from typing import Final

from gateway import Channel, phone

SMS: Final = Channel(
    name="sms",
    title="SMS",
    normalise=phone,
    address_from="phone",
    takes=frozenset({"text", "media"}),
)
