"""The WhatsApp channel, and Meta's own adapter for it, as a plugin of the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway import Adapter, Channel, hookimpl
from gateway_whatsapp.channel import WHATSAPP
from gateway_whatsapp.cloud import WhatsAppCloud


@hookimpl
def gateway_channels() -> Sequence[Channel]:
    """`whatsapp`."""
    return (WHATSAPP,)


@hookimpl
def gateway_adapters() -> Sequence[type[Adapter[Any]]]:
    """`cloud`."""
    return (WhatsAppCloud,)
