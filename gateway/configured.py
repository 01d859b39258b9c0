"""What gateway.toml and the plugins make together: senders with their adapters, policies with their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog

from gateway.clock import Clock
from gateway.config import Config, combined
from gateway.config import Sender as SenderConfig
from gateway.contract import Adapter, Channel, Known, Policy, Tools
from gateway.engine.catalogue import Catalogue, Org, Sender
from gateway.errors import ConfigError
from gateway.files import FileFetcher
from gateway.outbound.client import HttpClient
from gateway.posting import Poster
from gateway.registry import Plugins, load
from gateway.store.database import Database
from gateway.store.keys import PERMISSIONS
from gateway.store.senders import SenderSetting, SenderStore


@dataclass(frozen=True, slots=True)
class Doors:
    """The ways out into the network: those that adapters are given, and that to the receivers of events."""

    files: FileFetcher
    poster: Poster
    clients: dict[str, HttpClient] = field(default_factory=dict)  # by sender

    def client(self, sender: str, connections: int) -> HttpClient:
        """An HTTP client of one sender's own."""
        client = self.clients[sender] = HttpClient(connections)
        return client

    def connections(self, sender: str) -> int:
        """How many its client has, or is making."""
        return self.clients[sender].connections

    async def close(self) -> None:
        """Close every connection."""
        await self.files.close()
        await self.poster.close()
        for client in self.clients.values():
            await client.close()


def read_plugins(config: Config) -> Plugins:
    """Load the plugins and hold every setting that they alone understand to their types.

    PluginError, or ConfigError with all problems of all senders and plugins.
    """
    plugins = load(config.plugins.disabled)
    errors: list[ConfigError] = []
    for name, sender in config.senders.items():
        try:
            config.sender_settings(name, _adapter_type(config, plugins, sender).settings_type)
        except ConfigError as exc:
            errors.append(exc)
    for policy_type in _policy_types(plugins).values():
        try:
            _check_policy(config, plugins, policy_type)
        except ConfigError as exc:
            errors.append(exc)
    known = {source.name for source in plugins.sources} | _policy_types(plugins).keys()
    strays = [
        config.problem(("plugins", name), f"There is no plugin or policy {name!r}; installed: {sorted(known)}.")
        for name in config.plugin_tables
        if name not in known
    ]
    if strays:
        errors.append(ConfigError(strays))
    if errors:
        raise combined(errors)
    return plugins


async def build_catalogue(
    config: Config, plugins: Plugins, database: Database, clock: Clock, doors: Doors
) -> Catalogue:
    """Orgs and senders, each with its row in the database, and every policy with its settings."""
    adapters = {name: _adapter(config, plugins, sender, clock, doors) for name, sender in config.senders.items()}
    org_ids, sender_ids = await SenderStore(database).register(
        list(config.orgs),
        [
            SenderSetting(
                name=name,
                org=sender.org,
                channel=sender.channel,
                adapter=sender.adapter,
                in_flight_limit=sender.concurrency or adapters[name].capabilities.concurrency,
            )
            for name, sender in config.senders.items()
        ],
    )
    orgs = {
        name: Org(
            id=org_ids[name],
            name=name,
            title=org.title or name,
            # Plain texts: msgspec does not write the configuration's own classes.
            time_zone=str(org.time_zone),
            default_region=None if org.default_region is None else str(org.default_region),
            daily_cap=org.daily_cap,
        )
        for name, org in config.orgs.items()
    }
    senders = {
        name: _sender(sender, sender_ids[name], orgs[sender.org], plugins.channels[sender.channel], adapters[name])
        for name, sender in config.senders.items()
    }
    return Catalogue(
        orgs=orgs,
        channels=plugins.channels,
        senders=senders,
        operations=plugins.operations,
        send_policies=tuple(policy for policy in _policies(config, plugins.send_policies) if policy.active),
        access_policies=tuple(_policies(config, plugins.access_policies)),
        inbound_policies=tuple(_policies(config, plugins.inbound_policies)),
        content_policies=tuple(_policies(config, plugins.content_policies)),
        filters=plugins.filters,
    )


def _check_policy(config: Config, plugins: Plugins, policy_type: type[Policy[Any]]) -> None:
    """ConfigError with all that is wrong with `[plugins.NAME]`: types first, then names of what there is not."""
    policy = policy_type(config.plugin_settings(policy_type.name, policy_type.settings_type))
    known = Known(orgs=frozenset(config.orgs), channels=frozenset(plugins.channels), permissions=frozenset(PERMISSIONS))
    faults = [config.problem(("plugins", policy.name, *fault.keys), fault.detail) for fault in policy.faults(known)]
    if faults:
        raise ConfigError(faults)


def _adapter_type(config: Config, plugins: Plugins, sender: SenderConfig) -> type[Adapter[Any]]:
    """ConfigError if no plugin offers the channel, or the adapter on it."""
    keys = ("senders", sender.name)
    if sender.channel not in plugins.channels:
        detail = f"No installed plugin offers the channel {sender.channel!r}; offered: {sorted(plugins.channels)}."
        raise ConfigError([config.problem((*keys, "channel"), detail)])
    offered = {name: adapter for (channel, name), adapter in plugins.adapters.items() if channel == sender.channel}
    if sender.adapter not in offered:
        detail = f"Channel {sender.channel!r} has no adapter {sender.adapter!r}; installed: {sorted(offered)}."
        raise ConfigError([config.problem((*keys, "adapter"), detail)])
    return offered[sender.adapter]


def _adapter(config: Config, plugins: Plugins, sender: SenderConfig, clock: Clock, doors: Doors) -> Adapter[Any]:
    adapter = _adapter_type(config, plugins, sender)
    public_url = config.server.public_url
    tools = Tools(
        http=doors.client(sender.name, sender.concurrency or 100),
        files=doors.files,
        log=structlog.get_logger(f"gateway.adapter.{sender.adapter}").bind(sender=sender.name),
        sender=sender.name,
        now=clock.now,
        callback_url=None if public_url is None else f"{public_url.rstrip('/')}/callbacks/{sender.name}",
    )
    return adapter(config.sender_settings(sender.name, adapter.settings_type), tools)


def _sender(config: SenderConfig, id: Any, org: Org, channel: Channel, adapter: Adapter[Any]) -> Sender:
    """The common keys over the adapter's own defaults."""
    own = adapter.capabilities
    rate = float(config.rate) if config.rate is not None else own.rate
    return Sender(
        id=id,
        name=config.name,
        org=org,
        channel=channel,
        adapter_name=config.adapter,
        adapter=adapter,
        default=config.default,
        rate=rate,
        burst=config.burst or max(1.0, rate),
        daily_cap=config.daily_cap,
        concurrency=config.concurrency or own.concurrency,
        deadline=timedelta(seconds=config.deadline.total_seconds()),
        retry_for=config.retry_for,
        receipt_deadline=config.receipt_deadline or own.receipt_deadline,
        on_unknown=config.on_unknown or own.on_unknown,
        dry_run=config.dry_run,
    )


def _policy_types(plugins: Plugins) -> dict[str, type[Policy[Any]]]:
    return {
        **plugins.send_policies,
        **plugins.access_policies,
        **plugins.inbound_policies,
        **plugins.content_policies,
    }


def _policies(config: Config, types: Mapping[str, type[Any]]) -> list[Any]:
    return [policy(config.plugin_settings(name, policy.settings_type)) for name, policy in types.items()]
