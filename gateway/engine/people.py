"""Contacts of an org as the API and the command line write them: read, checked, stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.contract import Channel
from gateway.core.people import ContactReader
from gateway.engine.catalogue import Catalogue, Org
from gateway.store.contacts import BadChannels

_OWN_COLUMN = frozenset({"email", "sms", "whatsapp"})


def reader_for(org: Org, catalogue: Catalogue) -> ContactReader:
    """What reads a contact's fields, with the spelling rules of the channels that are installed."""
    others = {name: channel.normalise for name, channel in catalogue.channels.items() if name not in _OWN_COLUMN}
    return ContactReader(org.default_region, others)


def bad_channels(org: Org, catalogue: Catalogue) -> BadChannels:
    """Which channels refuse a contact's address, although it may be kept."""
    channels = tuple(catalogue.channels.values())

    def judge(columns: Mapping[str, Any]) -> list[str]:
        return [channel.name for channel in channels if _refuses(channel, _address(channel, columns), org)]

    return judge


def _address(channel: Channel, columns: Mapping[str, Any]) -> str | None:
    own = columns["whatsapp"] if channel.name == "whatsapp" else columns["addresses"].get(channel.name)
    found: str | None = own or (columns[channel.address_from] if channel.address_from else None)
    return found


def _refuses(channel: Channel, address: str | None, org: Org) -> bool:
    if address is None:
        return False
    try:
        channel.normalise(address, org.default_region)
    except ValueError:
        return True
    return False
