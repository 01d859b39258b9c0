"""The e-mail channel: what every adapter that sends e-mail shares."""

from __future__ import annotations

from typing import Final

from gateway import Channel, strict_email


def normalise(address: str, region: str | None) -> str:
    """The one spelling of an address: the domain in small letters, the part before the @ as it was given.

    `region` means nothing here. ValueError says what is wrong with an address that SMTP cannot carry.
    """
    return strict_email(address)


EMAIL: Final = Channel(
    name="email",
    title="E-mail",
    normalise=normalise,
    address_from="email",
    takes=frozenset({"text", "html", "subject", "media"}),
    conversations=False,  # answers go to the reply-to address, where people read their mail
)
