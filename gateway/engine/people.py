"""Contacts of an org as the API and the command line write them: what reads them, and what judges their addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from gateway.contract import Channel
from gateway.core.contact_merge import ContactContent
from gateway.core.people import FIELDS, ContactReader, Fault, escaped
from gateway.engine.catalogue import Catalogue, Org
from gateway.store.contact_writes import BadChannels
from gateway.wording import JSON, unknown

_OWN_COLUMN: Final = frozenset({"email", "sms", "whatsapp"})


def addressed(channels: Iterable[Channel]) -> list[Channel]:
    """Those whose addresses stand in a contact's `addresses`; the others' are fields of their own."""
    return [channel for channel in channels if channel.name not in _OWN_COLUMN]


def reader_for(org: Org, catalogue: Catalogue) -> ContactReader:
    """What reads a contact's fields, with the spelling rules of the channels that are installed."""
    others = {channel.name: channel.normalise for channel in addressed(catalogue.channels.values())}
    return ContactReader(org.default_region, others)


def unknown_fields(fields: Mapping[str, object]) -> list[Fault]:
    """A fault for every member that no contact has."""
    if fields.keys() <= FIELDS:
        return []
    known = sorted(FIELDS)
    return [
        Fault(pointer=f"/{escaped(name)}", detail=unknown(name[:100], known, JSON.member))
        for name in fields
        if name not in FIELDS
    ]


def bad_channels(org: Org, catalogue: Catalogue) -> BadChannels:
    """Which channels refuse a contact's address, although it may be kept."""
    channels = tuple(catalogue.channels.values())

    def judge(content: ContactContent) -> Sequence[str]:
        return [channel.name for channel in channels if _refuses(channel, _address(channel, content), org)]

    return judge


def _address(channel: Channel, content: ContactContent) -> str | None:
    own = content.scalars["whatsapp"] if channel.name == "whatsapp" else content.addresses.get(channel.name)
    return own or (content.scalars[channel.address_from] if channel.address_from else None)


def _refuses(channel: Channel, address: str | None, org: Org) -> bool:
    if address is None:
        return False
    try:
        channel.normalise(address, org.default_region)
    except ValueError:
        return True
    return False
