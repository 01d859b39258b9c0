"""The SMS channel, as a plugin of the gateway."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import Channel, hookimpl
from gateway_sms.channel import SMS


@hookimpl
def gateway_channels() -> Sequence[Channel]:
    """`sms`."""
    return (SMS,)
