"""One installation, opened: configuration, plugins and database joined into the objects that everything else uses.

The daemon opens it to run it; the command line opens it to read and to change rows, beside a running daemon or without
one. This is the one place that builds and joins.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog

from gateway.clock import Clock, SystemClock
from gateway.config import Config, combined
from gateway.config import Sender as SenderConfig
from gateway.contract import Adapter, Channel, Known, Policy, Tools
from gateway.core.ids import IdSequence
from gateway.core.links import Links
from gateway.core.schedule import ScheduleLimits
from gateway.core.template import Renderer
from gateway.engine.actions import BulkActions
from gateway.engine.catalogue import Catalogue, Org, Sender
from gateway.engine.composing import Composer
from gateway.engine.contents import Contents
from gateway.engine.conversations import Conversations
from gateway.engine.crash import CrashPoints
from gateway.engine.creation import ActionLimits
from gateway.engine.engine import Engine
from gateway.engine.holds import SenderControl
from gateway.engine.log import CommunicationLog
from gateway.engine.provider_templates import ProviderTemplates
from gateway.engine.singles import SingleMessages
from gateway.engine.unsubscribing import Unsubscribing
from gateway.engine.webhooks import Webhooks
from gateway.errors import ConfigError
from gateway.files import FileFetcher
from gateway.http.webhooks import WebhookDesk
from gateway.metrics import Metrics
from gateway.outbound import HttpClient
from gateway.posting import Poster
from gateway.registry import Plugins, load
from gateway.store.callbacks import CallbackStore
from gateway.store.consent import ConsentStore
from gateway.store.contacts import ContactStore
from gateway.store.conversations import ConversationStore
from gateway.store.database import Database
from gateway.store.deliveries import DeliveryStore
from gateway.store.events import EventStore
from gateway.store.keys import PERMISSIONS, KeyStore
from gateway.store.ledger import Ledger
from gateway.store.messages import MessageLog
from gateway.store.releases import Notice
from gateway.store.secrets import Secrets
from gateway.store.senders import SenderSetting, SenderStore
from gateway.store.singles import SingleStore
from gateway.store.templates import TemplateStore
from gateway.store.unsubscribes import UnsubscribeStore
from gateway.store.webhooks import WebhookStore
from gateway.validation import convert


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Everything that is built once. Closing it closes the database; the engine runs only if somebody runs it."""

    config: Config
    plugins: Plugins
    database: Database
    catalogue: Catalogue
    clock: Clock
    metrics: Metrics
    engine: Engine
    bulk_actions: BulkActions
    singles: SingleMessages
    control: SenderControl
    log: CommunicationLog
    callbacks: CallbackStore
    templates: ProviderTemplates
    conversations: Conversations
    unsubscribing: Unsubscribing
    contacts: ContactStore
    consent: ConsentStore
    ledger: Ledger
    events: EventStore
    webhooks: WebhookDesk
    keys: KeyStore


@dataclass(frozen=True, slots=True, kw_only=True)
class TestHooks:
    """What only tests, the demo and the crash harness set; see CONTRIBUTING.md."""

    crash_at: str | None = None
    repeat_after_min: int | None = None  # seconds

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> TestHooks:
        """From `GATEWAY_CRASH_AT` and `GATEWAY_TEST_REPEAT_AFTER_MIN`."""
        shortest = environ.get("GATEWAY_TEST_REPEAT_AFTER_MIN")
        return cls(
            crash_at=environ.get("GATEWAY_CRASH_AT"), repeat_after_min=None if shortest is None else int(shortest)
        )


@dataclass(frozen=True, slots=True)
class Doors:
    """The ways out into the network: those that adapters are given, and that to the receivers of events."""

    files: FileFetcher
    poster: Poster
    clients: list[HttpClient] = field(default_factory=list)

    def client(self, connections: int) -> HttpClient:
        """An HTTP client of one sender's own."""
        self.clients.append(HttpClient(connections))
        return self.clients[-1]

    async def close(self) -> None:
        """Close every connection."""
        await self.files.close()
        await self.poster.close()
        for client in self.clients:
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


@asynccontextmanager
async def open_installation(
    config: Config, *, clock: Clock | None = None, hooks: TestHooks | None = None
) -> AsyncIterator[Installation]:
    """Open the database (migrating it if needed) and build everything over it.

    ConfigError, PluginError, StoreUnavailable, SchemaTooNew. Nothing is sent before the engine runs.
    """
    plugins = read_plugins(config)
    database = Database(config.store_file)
    chosen = clock or SystemClock()
    doors = Doors(
        FileFetcher(chosen, size_max=config.files.size_max_bytes, allow_private=config.files.allow_private),
        Poster(chosen, allow_private=config.webhooks.allow_private),
    )
    try:
        yield await _build(config, plugins, database, chosen, hooks or TestHooks(), doors)
    finally:
        await doors.close()
        await database.close()


async def _build(
    config: Config, plugins: Plugins, database: Database, clock: Clock, hooks: TestHooks, doors: Doors
) -> Installation:
    chance = random.Random(secrets.randbits(64))  # noqa: S311 - ids are no secrets, and the system's takes 20 us
    ids = IdSequence(clock.now, lambda: chance.getrandbits(20))
    catalogue = await _catalogue(config, plugins, database, clock, doors)
    renderer = Renderer(plugins.filters)
    public_url = None if config.server.public_url is None else config.server.public_url.rstrip("/")
    links = Links(await Secrets(database).own(), public_url)
    composer = Composer(renderer, catalogue.senders, catalogue.content_policies, links)
    metrics = Metrics()
    crash = CrashPoints(hooks.crash_at)
    for name in catalogue.senders:
        metrics.expect(name)
    callbacks = CallbackStore(database, ids)
    templates = ProviderTemplates(TemplateStore(database, ids), catalogue, clock)
    deliveries = DeliveryStore(database)
    webhooks = Webhooks(deliveries, doors.poster, clock, chance.random)
    engine = Engine(
        database,
        catalogue,
        callbacks=callbacks,
        templates=templates,
        webhooks=webhooks,
        ids=ids,
        clock=clock,
        composer=composer,
        metrics=metrics,
        crash=crash,
        node=f"{random.SystemRandom().getrandbits(64):016x}",
        link_within=config.conversations.link_within,
        notice=_notice(config, catalogue),
        reconcile_cron=config.reconcile.schedule,
    )
    schedule_limits = ScheduleLimits()
    if hooks.repeat_after_min is not None:
        schedule_limits = ScheduleLimits(repeat_after_min_seconds=hooks.repeat_after_min)
    contents = Contents(catalogue, renderer, templates, doors.files.describe)
    bulk_actions = BulkActions(
        database,
        catalogue,
        composer=composer,
        contents=contents,
        convert=convert,
        clock=clock,
        ids=ids,
        nudge=engine.nudge,
        limits=ActionLimits(creations_per_minute=config.limits.creations_per_minute, schedule=schedule_limits),
        crash=crash,
    )
    singles = SingleMessages(
        catalogue, engine.gatekeepers, SingleStore(database), contents, composer, ids, clock, engine.nudge
    )
    log = CommunicationLog(MessageLog(database), catalogue, composer)
    return Installation(
        config=config,
        plugins=plugins,
        database=database,
        catalogue=catalogue,
        clock=clock,
        metrics=metrics,
        engine=engine,
        bulk_actions=bulk_actions,
        singles=singles,
        control=SenderControl(SenderStore(database), singles, clock, engine.nudge),
        log=log,
        callbacks=callbacks,
        templates=templates,
        conversations=Conversations(ConversationStore(database), log, catalogue, singles),
        unsubscribing=Unsubscribing(links, UnsubscribeStore(database, ids, clock), catalogue),
        contacts=ContactStore(database, ids, clock),
        consent=ConsentStore(database, ids, clock),
        ledger=Ledger(database),
        events=EventStore(database),
        webhooks=WebhookDesk(
            store=WebhookStore(database, ids),
            deliveries=deliveries,
            loop=webhooks,
            clock=clock,
            refusal=doors.poster.refusal,
        ),
        keys=KeyStore(database, clock),
    )


async def _catalogue(config: Config, plugins: Plugins, database: Database, clock: Clock, doors: Doors) -> Catalogue:
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
        http=doors.client(sender.concurrency or 100),
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


def _notice(config: Config, catalogue: Catalogue) -> Notice | None:
    wanted = config.operator.notify
    if wanted is None:
        return None
    sender = catalogue.senders[wanted.sender]
    try:
        address = sender.channel.normalise(wanted.to, sender.org.default_region)
    except ValueError as exc:
        raise ConfigError([config.problem(("operator", "notify", "to"), str(exc))]) from exc
    return Notice(sender=sender.id, org=sender.org.id, channel=sender.channel.name, address=address)
