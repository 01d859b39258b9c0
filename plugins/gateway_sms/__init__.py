"""The SMS channel, and an adapter for the operator's own Kannel, as a plugin of the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway import Adapter, Channel, hookimpl
from gateway_sms.channel import SMS
from gateway_sms.kannel import Kannel


@hookimpl
def gateway_channels() -> Sequence[Channel]:
    """`sms`."""
    return (SMS,)


@hookimpl
def gateway_adapters() -> Sequence[type[Adapter[Any]]]:
    """`kannel`."""
    return (Kannel,)
