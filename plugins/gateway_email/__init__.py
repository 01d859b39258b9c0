"""The e-mail channel and its SMTP adapter, as a plugin of the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway import Adapter, Channel, hookimpl
from gateway_email.channel import EMAIL
from gateway_email.smtp import SmtpAdapter


@hookimpl
def gateway_channels() -> Sequence[Channel]:
    """`email`."""
    return (EMAIL,)


@hookimpl
def gateway_adapters() -> Sequence[type[Adapter[Any]]]:
    """`smtp`."""
    return (SmtpAdapter,)
