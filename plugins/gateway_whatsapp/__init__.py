"""The WhatsApp channel, as a plugin of the gateway."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import Channel, hookimpl
from gateway_whatsapp.channel import WHATSAPP


@hookimpl
def gateway_channels() -> Sequence[Channel]:
    """`whatsapp`."""
    return (WHATSAPP,)
