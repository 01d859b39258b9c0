"""The plugin contract, first half: the hooks. The second half, the types they speak of, is `contract.py`.

A plugin is a module, named by an entry point of its distribution:

    [project.entry-points."gateway.plugins"]
    signal = "my_signal_plugin"

It holds functions of the names below, each marked `@gateway.hookimpl`. Every hook is optional, synchronous, takes
nothing and returns descriptions: it says what there is. The work is done by the objects described, later. The gateway
calls each hook once, when it starts and before anything is sent; a hook that raises keeps it from starting, with a
message that names the plugin.

Every installed plugin is loaded, unless `[plugins] disabled` names it. What it offers acts at different times: a
channel or an adapter when a sender names it, a policy as soon as it is installed, an operation when a bulk action asks
for it. Two plugins that offer the same channel, adapter, policy, operation or filter are an error at start that names
both.

A module may say which contract it was written for, `CONTRACT = "1.0"`: the gateway refuses one of another major version
and one that is newer than its own.
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
    """New kinds of route. `email` and all others come from plugins by this same hook."""


@hookspec
def gateway_adapters() -> Sequence[type[Adapter[Any]]]:  # type: ignore[empty-body]
    """Ways to send on a channel, this plugin's own or another's.

    The classes, not objects: the gateway makes one object for each `[senders.NAME]` that names the adapter.
    """


@hookspec
def gateway_policies() -> Sequence[type[Policy[Any]]]:  # type: ignore[empty-body]
    """Send, access and inbound policies: classes, of which the gateway makes one object each.

    The suppression list itself is the gateway's own and cannot be switched off by a plugin's absence.
    """


@hookspec
def gateway_operations() -> Sequence[type[Operation[Any]]]:  # type: ignore[empty-body]
    """What a bulk action can do to contacts, beside `send_message`, which is the gateway's own."""


@hookspec
def gateway_template_filters() -> dict[str, Callable[[Any], str]]:  # type: ignore[empty-body]
    """Filters for message templates: name to a pure function of one plain value, `{"titlecase": str.title}`.

    An exception in one fails that recipient with `content_rejected`.
    """
