"""One installation, opened: configuration, plugins and database joined into the objects that everything else uses.

The daemon opens it to run it; the command line opens it to read and to change rows, beside a running daemon or without
one. This is the one place that builds and joins; what the configuration names is built in `gateway.configured`.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from gateway.clock import Clock, SystemClock
from gateway.config import Config
from gateway.configured import Doors, build_catalogue, read_plugins
from gateway.core.ids import IdSequence
from gateway.core.links import Links
from gateway.core.schedule import ScheduleLimits
from gateway.core.template import Renderer
from gateway.engine.actions import BulkActions
from gateway.engine.catalogue import Catalogue
from gateway.engine.composing import UNSUBSCRIBE_URL, Composer
from gateway.engine.contents import Contents
from gateway.engine.conversations import Conversations
from gateway.engine.crash import CrashPoints
from gateway.engine.creation import ActionLimits
from gateway.engine.engine import Engine, EngineSettings
from gateway.engine.holds import SenderControl
from gateway.engine.log import CommunicationLog
from gateway.engine.message_templates import MessageTemplates
from gateway.engine.provider_templates import ProviderTemplates
from gateway.engine.singles import SingleMessages
from gateway.engine.template_desk import TemplateDesk
from gateway.engine.template_senders import TemplateSenders
from gateway.engine.template_trials import TemplateTrials
from gateway.engine.unsubscribing import Unsubscribing
from gateway.engine.webhooks import Webhooks
from gateway.errors import ConfigError
from gateway.files import FileFetcher
from gateway.http.webhooks import WebhookDesk
from gateway.metrics import Metrics
from gateway.posting import Poster
from gateway.registry import Plugins
from gateway.store.callbacks import CallbackStore
from gateway.store.consent import ConsentStore
from gateway.store.contacts import ContactStore
from gateway.store.conversations import ConversationStore
from gateway.store.database import Database
from gateway.store.deliveries import DeliveryStore
from gateway.store.erasure import Erasure
from gateway.store.events import EventStore
from gateway.store.keys import KeyStore
from gateway.store.ledger import Ledger
from gateway.store.message_templates import MessageTemplateStore
from gateway.store.messages import MessageLog
from gateway.store.releases import Notice
from gateway.store.retention import Kept
from gateway.store.secrets import Secrets
from gateway.store.senders import SenderStore
from gateway.store.singles import SingleStore
from gateway.store.space import Space
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
    space: Space
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
    template_desk: TemplateDesk
    template_trials: TemplateTrials
    conversations: Conversations
    unsubscribing: Unsubscribing
    contacts: ContactStore
    erasure: Erasure
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
        space = Space(config.store_file, config.store.free_bytes_min)
        yield await _build(config, plugins, database, chosen, hooks or TestHooks(), doors, space)
    finally:
        await doors.close()
        await database.close()


async def _build(
    config: Config, plugins: Plugins, database: Database, clock: Clock, hooks: TestHooks, doors: Doors, space: Space
) -> Installation:
    chance = random.Random(secrets.randbits(64))  # noqa: S311 - ids are no secrets, and the system's takes 20 us
    ids = IdSequence(clock.now, lambda: chance.getrandbits(20))
    catalogue = await build_catalogue(config, plugins, database, clock, doors)
    renderer, links = Renderer(plugins.filters), await _links(config, database)
    composer = Composer(renderer, catalogue.senders, catalogue.content_policies, links)
    metrics, crash, callbacks = _metrics(doors), CrashPoints(hooks.crash_at), CallbackStore(database, ids)
    templates = ProviderTemplates(TemplateStore(database, ids), catalogue, clock)
    webhooks = _webhooks(database, doors.poster, ids, clock, chance)
    engine = Engine(
        database,
        catalogue,
        callbacks=callbacks,
        templates=templates,
        webhooks=webhooks.loop,
        ids=ids,
        clock=clock,
        composer=composer,
        metrics=metrics,
        crash=crash,
        node=f"{random.SystemRandom().getrandbits(64):016x}",
        space=space,
        settings=_engine_settings(config, catalogue),
    )
    people, own_templates = SingleStore(database), MessageTemplateStore(database, ids)
    contents = _contents(catalogue, renderer, templates, own_templates, doors.files, links)
    bulk_actions = BulkActions(
        database,
        catalogue,
        composer=composer,
        contents=contents,
        convert=convert,
        clock=clock,
        ids=ids,
        nudge=engine.nudge,
        limits=_limits(config, hooks),
        crash=crash,
    )
    singles = SingleMessages(catalogue, engine.gatekeepers, people, contents, composer, ids, clock, engine.nudge_sender)
    desk, trials = _template_work(own_templates, templates, contents, composer, singles, people, catalogue, clock)
    log = CommunicationLog(MessageLog(database), catalogue, composer)
    return Installation(
        config=config,
        plugins=plugins,
        database=database,
        space=space,
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
        template_desk=desk,
        template_trials=trials,
        conversations=Conversations(ConversationStore(database), log, catalogue, singles),
        unsubscribing=Unsubscribing(links, UnsubscribeStore(database, ids, clock), catalogue),
        contacts=ContactStore(database, ids, clock),
        erasure=Erasure(database, clock, catalogue.channels),
        consent=ConsentStore(database, ids, clock),
        ledger=Ledger(database),
        events=EventStore(database),
        webhooks=webhooks,
        keys=KeyStore(database, clock),
    )


def _metrics(doors: Doors) -> Metrics:
    metrics = Metrics()
    for sender in doors.clients:
        metrics.expect(sender, partial(doors.connections, sender))
    return metrics


async def _links(config: Config, database: Database) -> Links:
    public_url = config.server.public_url
    return Links(await Secrets(database).own(), None if public_url is None else public_url.rstrip("/"))


def _contents(
    catalogue: Catalogue,
    renderer: Renderer,
    provided: ProviderTemplates,
    own: MessageTemplateStore,
    files: FileFetcher,
    links: Links,
) -> Contents:
    supplied = frozenset() if links.public_url is None else frozenset({UNSUBSCRIBE_URL})
    return Contents(catalogue, renderer, provided, MessageTemplates(own, provided), files.describe, supplied)


def _template_work(
    own: MessageTemplateStore,
    provided: ProviderTemplates,
    contents: Contents,
    composer: Composer,
    singles: SingleMessages,
    people: SingleStore,
    catalogue: Catalogue,
    clock: Clock,
) -> tuple[TemplateDesk, TemplateTrials]:
    senders = TemplateSenders(catalogue, provided)
    desk = TemplateDesk(own, senders, contents, composer, catalogue, clock)
    return desk, TemplateTrials(desk, provided, senders, contents, composer, people, singles, catalogue)


def _limits(config: Config, hooks: TestHooks) -> ActionLimits:
    schedule = ScheduleLimits()
    if hooks.repeat_after_min is not None:
        schedule = ScheduleLimits(repeat_after_min_seconds=hooks.repeat_after_min)
    return ActionLimits(creations_per_minute=config.limits.creations_per_minute, schedule=schedule)


def _webhooks(database: Database, poster: Poster, ids: IdSequence, clock: Clock, chance: random.Random) -> WebhookDesk:
    deliveries = DeliveryStore(database)
    return WebhookDesk(
        store=WebhookStore(database, ids),
        deliveries=deliveries,
        loop=Webhooks(deliveries, poster, clock, chance.random),
        clock=clock,
        refusal=poster.refusal,
    )


def _engine_settings(config: Config, catalogue: Catalogue) -> EngineSettings:
    kept = config.retention
    return EngineSettings(
        link_within=config.conversations.link_within,
        notice=_notice(config, catalogue),
        reconcile_cron=config.reconcile.schedule,
        kept=Kept(messages=kept.messages, events=kept.events, callbacks=kept.callbacks),
    )


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
