"""Messages by carrier pigeon, as a plugin of dripgate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway import Adapter, Channel, hookimpl

from carrier_pigeon.adapter import LoftAdapter
from carrier_pigeon.coops import PIGEON

CONTRACT = "1.0"


@hookimpl
def gateway_channels() -> Sequence[Channel]:
    """`pigeon`."""
    return (PIGEON,)


@hookimpl
def gateway_adapters() -> Sequence[type[Adapter[Any]]]:
    """`loft`."""
    return (LoftAdapter,)
