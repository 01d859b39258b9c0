"""Where SQL finds a contact's address on a channel, and the contacts behind an address.

Three channels' addresses have columns of their own (`email`, `phone`, `whatsapp`); all others are in the JSON column
`addresses` and, for finding people, in the table `contact_addresses`.
"""

from __future__ import annotations

import re
from typing import Final, Literal, Protocol

from gateway.contract import Channel

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


class Addressed(Protocol):
    """What says where addresses on a channel are: the channel itself, or what a selection keeps of it."""

    @property
    def name(self) -> str:
        """The channel's."""

    @property
    def address_from(self) -> Literal["phone", "email"] | None:
        """The column that stands in for an address of its own."""


def address_sql(channel: Addressed, contact: str = "c") -> str:
    """A SQL expression: the address of the contact with alias `contact` on this channel, or NULL.

    The channel's own address wins; without one, the column that `address_from` names.
    """
    own = f"{contact}.whatsapp" if channel.name == "whatsapp" else f"{contact}.addresses ->> '$.{_checked(channel)}'"
    if channel.address_from is None:
        return f"({own})"
    return f"COALESCE({own}, {contact}.{channel.address_from})"


def is_bad_sql(channel: Channel, contact: str = "c") -> str:
    """A SQL condition: the channel's own spelling rules refuse this contact's address."""
    return (
        f"({contact}.bad IS NOT NULL AND EXISTS "
        f"(SELECT 1 FROM json_each({contact}.bad) WHERE value = '{_checked(channel)}'))"
    )


def holders_sql(channel: Channel, org: str, address: str) -> str:
    """A SQL query: the keys of the contacts that can be reached at `address` on this channel.

    `org` and `address` are SQL expressions. Each part is one probe of an index.
    """
    parts = [
        f"SELECT contact AS id FROM contact_addresses "
        f"WHERE org = {org} AND channel = '{_checked(channel)}' AND address = {address}"
    ]
    columns = {"whatsapp"} if channel.name == "whatsapp" else set()
    if channel.address_from is not None:
        columns.add(channel.address_from)
    parts += [f"SELECT id FROM contacts WHERE org = {org} AND {column} = {address}" for column in sorted(columns)]
    return " UNION ALL ".join(parts)


def _checked(channel: Addressed) -> str:
    """The channel's name, which goes into SQL text. The registry has checked it; this is the second lock."""
    if not _NAME.fullmatch(channel.name):
        raise ValueError(f"{channel.name!r} is not a channel name: expected [a-z][a-z0-9_]*")
    return channel.name
