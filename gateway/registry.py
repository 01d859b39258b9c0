"""Finding the installed plugins and joining what they offer; every contradiction names the plugins it is between."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Final, NewType

import pluggy

from gateway import hookspecs
from gateway.contract import (
    CONTRACT_VERSION,
    AccessPolicy,
    Adapter,
    Channel,
    ContentPolicy,
    InboundPolicy,
    Operation,
    Policy,
    SendPolicy,
)
from gateway.errors import PluginError

GROUP: Final = "gateway.plugins"
PluginName = NewType("PluginName", str)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED_OPERATION: Final = "send_message"  # the engine's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One installed plugin and what it brought, for `gateway plugin list`."""

    name: PluginName
    distribution: str
    version: str
    module: str
    enabled: bool
    channels: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()  # "email/smtp"
    policies: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution} {self.version})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugins:
    """Everything that the enabled plugins offer."""

    sources: tuple[Source, ...]
    channels: Mapping[str, Channel]
    adapters: Mapping[tuple[str, str], type[Adapter[Any]]]  # by (channel, name)
    send_policies: Mapping[str, type[SendPolicy[Any]]]
    access_policies: Mapping[str, type[AccessPolicy[Any]]]
    inbound_policies: Mapping[str, type[InboundPolicy[Any]]]
    content_policies: Mapping[str, type[ContentPolicy[Any]]]
    operations: Mapping[str, Operation[Any]]
    filters: Mapping[str, Callable[[Any], str]]


def installed() -> tuple[EntryPoint, ...]:
    """The entry points of every installed distribution, in the order of their names."""
    return tuple(sorted(entry_points(group=GROUP), key=lambda point: point.name))


def load(disabled: Collection[str] = (), found: Iterable[EntryPoint] | None = None) -> Plugins:
    """Load every installed plugin that is not disabled, and join what they offer.

    PluginError: one cannot be imported or registered, is written against another contract, has a hook that does not
    exist, or offers what another one offers already. `found` is for tests; by default what is installed.
    """
    points = installed() if found is None else tuple(found)
    names = {point.name for point in points}
    for name in sorted(set(disabled) - names):
        raise PluginError(f"[plugins] disabled names {name!r}, installed: {sorted(names)}")
    manager = pluggy.PluginManager("gateway")
    manager.add_hookspecs(hookspecs)
    offers = [_offer(manager, point) for point in points if point.name not in disabled]
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as exc:
        raise PluginError(f"{_described(exc, offers)}: {exc}. The hooks are in gateway/hookspecs.py.") from exc
    unused = [_source(point, enabled=False) for point in points if point.name in disabled]
    return _joined(offers, unused)


@dataclass(frozen=True, slots=True)
class _Offer:
    source: Source
    module: ModuleType
    channels: tuple[Channel, ...]
    adapters: tuple[type[Adapter[Any]], ...]
    policies: tuple[type[Policy[Any]], ...]
    operations: tuple[type[Operation[Any]], ...]
    filters: Mapping[str, Callable[[Any], str]]


def _source(point: EntryPoint, *, enabled: bool) -> Source:
    return Source(
        name=PluginName(point.name),
        distribution=point.dist.name if point.dist is not None else point.module,
        version=point.dist.version if point.dist is not None else "unknown",
        module=point.value,
        enabled=enabled,
    )


def _offer(manager: pluggy.PluginManager, point: EntryPoint) -> _Offer:
    source = _source(point, enabled=True)
    try:
        module = point.load()
    # A plugin may fail to import in any way; the operator must learn which one it is.
    except Exception as exc:
        raise PluginError(
            f"Plugin {source} cannot be imported: {type(exc).__name__}: {exc}. "
            f'Repair or uninstall it, or add {source.name!r} to "disabled" under [plugins].'
        ) from exc
    _check_contract(source, module)
    _check_synchronous(source, module)
    try:
        manager.register(module, name=source.name)
    except pluggy.PluginValidationError as exc:
        raise PluginError(f"Plugin {source} has a hook with the wrong arguments: {exc}") from exc
    return _Offer(
        source,
        module,
        tuple(_asked(source, module, "gateway_channels")),
        tuple(_asked(source, module, "gateway_adapters")),
        tuple(_asked(source, module, "gateway_policies")),
        tuple(_asked(source, module, "gateway_operations")),
        dict(_asked(source, module, "gateway_template_filters", {})),
    )


def _asked(source: Source, module: ModuleType, hook: str, default: Any = ()) -> Any:
    """What one plugin's hook answers. Each is asked by itself, so that an error is known to be its own."""
    implementation = getattr(module, hook, None)
    if implementation is None:
        return default
    try:
        return implementation()
    # A stranger's code; the operator must learn whose.
    except Exception as exc:
        raise PluginError(f"Plugin {source}: {hook} raised {type(exc).__name__}: {exc}") from exc


def _check_contract(source: Source, module: ModuleType) -> None:
    """A plugin may say which contract it needs (`CONTRACT = "1.2"`): ours must be of that major and not older."""
    wanted = getattr(module, "CONTRACT", None)
    if wanted is None:
        return
    major, _, minor = str(wanted).partition(".")
    own_major, _, own_minor = CONTRACT_VERSION.partition(".")
    if major != own_major or int(minor or 0) > int(own_minor):
        raise PluginError(
            f"Plugin {source} is written for contract {wanted}, this gateway has {CONTRACT_VERSION}: "
            "install versions of both that fit."
        )


def _check_synchronous(source: Source, module: ModuleType) -> None:
    for name, value in vars(module).items():
        if name.startswith("gateway_") and inspect.iscoroutinefunction(value):
            raise PluginError(
                f"Plugin {source}: hook {name} is asynchronous. Hooks return descriptions; do the work in the adapter."
            )


def _described(exc: pluggy.PluginValidationError, offers: Iterable[_Offer]) -> str:
    for offer in offers:
        if exc.plugin is offer.module:
            return f"Plugin {offer.source}"
    return "A plugin"


class _Shelf:
    """What is offered of one kind, by key, and by whom."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._by: dict[Any, Source] = {}
        self.things: dict[Any, Any] = {}

    def put(self, key: Any, thing: Any, source: Source) -> None:
        spelled = key if isinstance(key, str) else "/".join(key)
        if not all(_NAME.fullmatch(part) for part in spelled.split("/")):
            raise PluginError(f"Plugin {source}: {spelled!r} is no name for a {self._kind}, expected [a-z][a-z0-9_]*")
        if key in self._by:
            raise PluginError(
                f"The {self._kind} {spelled!r} is offered by plugin {self._by[key]} and by plugin {source}: "
                'add one of them to "disabled" under [plugins], or uninstall it.'
            )
        self._by[key] = source
        self.things[key] = thing


_POLICY_KINDS: Final[tuple[type[Policy[Any]], ...]] = (SendPolicy, AccessPolicy, InboundPolicy, ContentPolicy)


def _joined(offers: Iterable[_Offer], unused: Iterable[Source]) -> Plugins:
    channels, adapters, policies = _Shelf("channel"), _Shelf("adapter"), _Shelf("policy")
    operations, filters = _Shelf("operation"), _Shelf("template filter")
    offers = tuple(offers)
    for offer in offers:
        for channel in offer.channels:
            channels.put(channel.name, channel, offer.source)
        for policy in offer.policies:
            _check_policy(policy, offer.source)
            policies.put(policy.name, policy, offer.source)
        for operation in offer.operations:
            if operation.name == _RESERVED_OPERATION:
                raise PluginError(f"Plugin {offer.source}: {_RESERVED_OPERATION!r} is the gateway's own operation")
            operations.put(operation.name, operation(), offer.source)
        for name, function in offer.filters.items():
            filters.put(name, function, offer.source)
    for offer in offers:
        for adapter in offer.adapters:
            if adapter.channel not in channels.things:
                raise PluginError(
                    f"Plugin {offer.source}: adapter {adapter.name!r} is for channel {adapter.channel!r}, "
                    f"which no plugin offers; offered: {sorted(channels.things)}"
                )
            adapters.put((adapter.channel, adapter.name), adapter, offer.source)
    return Plugins(
        sources=tuple(sorted((*map(_with_offers, offers), *unused), key=lambda source: source.name)),
        channels=channels.things,
        adapters=adapters.things,
        send_policies={n: p for n, p in policies.things.items() if issubclass(p, SendPolicy)},
        access_policies={n: p for n, p in policies.things.items() if issubclass(p, AccessPolicy)},
        inbound_policies={n: p for n, p in policies.things.items() if issubclass(p, InboundPolicy)},
        content_policies={n: p for n, p in policies.things.items() if issubclass(p, ContentPolicy)},
        operations=operations.things,
        filters=filters.things,
    )


def _check_policy(policy: type[Policy[Any]], source: Source) -> None:
    if not issubclass(policy, _POLICY_KINDS):
        kinds = ", ".join(kind.__name__ for kind in _POLICY_KINDS)
        raise PluginError(
            f"Plugin {source}: policy {policy.__name__} is of no kind that is asked; the kinds are {kinds}"
        )


def _with_offers(offer: _Offer) -> Source:
    source = offer.source
    return Source(
        name=source.name,
        distribution=source.distribution,
        version=source.version,
        module=source.module,
        enabled=True,
        channels=tuple(channel.name for channel in offer.channels),
        adapters=tuple(f"{adapter.channel}/{adapter.name}" for adapter in offer.adapters),
        policies=tuple(policy.name for policy in offer.policies),
        operations=tuple(operation.name for operation in offer.operations),
        filters=tuple(offer.filters),
    )
