"""The plugin contract: the hooks. Synchronous, called once at start, each optional; they return descriptions, not work.

A plugin is a module named by `[project.entry-points."gateway.plugins"] NAME = "module"`, with functions marked `@gateway.hookimpl`.
Every installed plugin is loaded unless `[plugins] disabled` names it. A channel or adapter acts only when a sender names it, a policy
as soon as it is installed. Two plugins offering the same channel, (channel, adapter) or policy name: an error at start naming both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pluggy

from gateway.contract import Adapter, Channel, Operation, Policy

hookspec = pluggy.HookspecMarker("gateway")
hookimpl = pluggy.HookimplMarker("gateway")


@hookspec
def gateway_channels() -> Sequence[Channel]:  # type: ignore[empty-body]
    """New kinds of route. `whatsapp`, `sms` and `email` come from in-tree plugins by this same hook."""


@hookspec
def gateway_adapters() -> Sequence[type[Adapter[Any]]]:  # type: ignore[empty-body]
    """Ways to send on a channel, this plugin's own or another's."""


@hookspec
def gateway_policies() -> Sequence[type[Policy[Any]]]:  # type: ignore[empty-body]
    """Send, access and inbound policies. The suppression list itself is the core's and cannot be switched off."""


@hookspec
def gateway_template_filters() -> dict[str, Callable[[Any], str]]:  # type: ignore[empty-body]
    """Name -> pure function of one plain value, e.g. {"titlecase": str.title}."""


@hookspec
def gateway_operations() -> Sequence[type[Operation[Any]]]:  # type: ignore[empty-body]
    """What a bulk action can do to contacts, beside sending messages, which is the gateway's own."""
