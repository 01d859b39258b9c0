"""One simulated machine: the file outlives every process, the processes come and go."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Literal

from gateway.contract import CallbackRequest, Caller, Capabilities, Event, Outbound, SendPolicy
from gateway.core.ids import IdSequence, OrgId, SenderId
from gateway.core.template import Renderer
from gateway.engine.action_requests import Asker
from gateway.engine.actions import BulkActions
from gateway.engine.catalogue import Catalogue, Org, Sender
from gateway.engine.composing import Composer
from gateway.engine.crash import CrashPoints
from gateway.engine.creation import ActionLimits
from gateway.engine.engine import Engine
from gateway.engine.holds import SenderControl
from gateway.engine.intake import Intake
from gateway.engine.singles import SingleMessages
from gateway.engine.webhooks import Webhooks
from gateway.errors import Invalid, NotFound, Refused, StoreUnavailable
from gateway.store.callbacks import CallbackStore
from gateway.store.consent import ConsentStore
from gateway.store.contacts import ContactStore
from gateway.store.deliveries import DeliveryStore
from gateway.store.keys import KeyStore
from gateway.store.senders import SenderSetting, SenderStore
from gateway.store.singles import SingleStore
from gateway.store.space import Space
from gateway.store.webhooks import WebhookStore
from gateway.validation import convert
from gateway_contacts import DeleteContacts, RestoreContacts
from gateway_permissions.frequency_cap import FrequencyCap, FrequencyCapSettings
from gateway_permissions.hours import Hours
from gateway_permissions.quiet_hours import QuietHours, QuietHoursSettings
from tests.contents import make_contents, make_templates
from tests.engine.world import SilentMetrics
from tests.simulation.database import SimulatedDatabase
from tests.simulation.disk import PATH, Disk
from tests.simulation.invariants import Bounds, Invariants
from tests.simulation.loop import SimulatedClock, SimulatedLoop, Timeline
from tests.simulation.provider import SMS, Anybody, Keywords, NoSettings, Provider, SimulatedAdapter
from tests.simulation.receivers import Receiver

NIGHT: Final = Hours.parse(["21:00", "08:00"])
STEPS_MAX: Final = 50_000  # callbacks until nothing is ready: beyond that something spins
ORG: Final = Org(id=OrgId(1), name="default", title="Default", time_zone="UTC", default_region=None)
OPERATOR: Final = Asker(
    caller=Caller(key_id="k", org="default", permissions=frozenset(), roles=frozenset(), acting_for=None),
    org=ORG.id,
    origin="cli",
)
KEY: Final = "key"
KEYED: Final = Asker(
    caller=Caller(key_id=KEY, org="default", permissions=frozenset(), roles=frozenset(), acting_for=None), org=ORG.id
)


class Broken(AssertionError):
    """A promise was not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a seed has drawn for the whole run."""

    disorder: float
    lag: float
    faults: float
    trouble: float
    limit: int  # W
    rate: float
    daily_cap: int | None
    receipts: bool
    lookup: bool
    on_unknown: Literal["hold", "resend"]
    zone: str = "UTC"  # the org's: when a day begins for its caps
    spare: bool = False  # there is a second sender
    quiet: bool = False  # nobody is written to in the night, by their own clocks
    per_day: int | None = None  # messages to one person in 24 hours


@dataclass(frozen=True, slots=True)
class Life:
    """One process, from its start to its end."""

    loop: SimulatedLoop
    database: SimulatedDatabase
    engine: Engine
    actions: BulkActions
    singles: SingleMessages
    consent: ConsentStore
    contacts: ContactStore
    control: SenderControl
    keys: KeyStore
    webhooks: WebhookStore
    senders: Mapping[str, Sender]


class World:
    """Carries out what a scenario asks for, and looks at the promises after every single callback."""

    def __init__(self, disk: Disk, chance: random.Random, conditions: Conditions) -> None:
        """Whatever was on the disk is gone."""
        disk.wipe()
        self._disk = disk
        self.chance = chance
        self.conditions = conditions
        self.org = replace(ORG, time_zone=conditions.zone)
        self.timeline = Timeline()
        self.steps = 0
        self.lives = 0
        self.refused = 0
        self.well = False  # nothing goes wrong any more
        self.invariants = Invariants(disk, self.timeline)
        self.provider = Provider(chance, conditions.trouble, self._called)
        self.receiver = Receiver(
            chance, conditions.trouble, self._published, self.invariants.faults.append, lambda: self._alive
        )
        self._clock = SimulatedClock(self.timeline)
        self._ids = IdSequence(self._clock.now, lambda: chance.getrandbits(20))
        self._alive = False
        self._bodies = 0
        self.start()

    def start(self) -> None:
        """A process starts; it registers what its configuration names, and its loops take over."""
        loop = SimulatedLoop(self.chance, self.timeline, self.conditions.disorder, self.conditions.lag)
        drawn = self.conditions
        bounds = Bounds(limit=drawn.limit, daily_cap=drawn.daily_cap)
        self.invariants.bounds = {id: bounds for id, _ in enumerate(self._names(), 1)}
        self.invariants.quiet = drawn.quiet
        self.invariants.per_day = drawn.per_day
        database = SimulatedDatabase(self._disk, loop, self.chance, self.invariants.look, self._faults)
        registering = loop.spawn(self._register(database))
        loop.run_ready(STEPS_MAX, lambda: None)
        self.life = self._build(loop, database, registering.result())
        self.lives += 1
        self._alive = True
        self._engine = loop.spawn(self.life.engine.run())

    def crash(self) -> None:
        """Everything in memory is gone, in the middle of whatever it was doing; what was committed stays."""
        self._alive = False
        self.life.database.kill()
        self.life.loop.unwind(self._engine)

    def step(self, most: int) -> int:
        """So many callbacks, or all that are ready. Broken says which promise one of them broke."""
        before = self.steps
        self.life.loop.run_ready(most, self._check)
        return self.steps - before

    def settle(self) -> None:
        """Until nothing is ready at this moment."""
        if self.step(STEPS_MAX) == STEPS_MAX:
            raise Broken("the loops do not come to rest")

    def _check(self) -> None:
        """After each callback: raise what was found."""
        self.steps += 1
        if self.invariants.faults:
            raise Broken("\n".join(self.invariants.faults[:5]))
        if self.life.loop.failures:
            raise self.life.loop.failures[0]
        if self._engine.done():
            self._engine.result()
            raise Broken("the engine has ended by itself")

    def _faults(self) -> float:
        """A disk that is full at the start is systemd's to try again."""
        return self.conditions.faults if self._alive and self.life.engine.running and not self.well else 0.0

    def pass_by(self, seconds: float) -> None:
        """Time passes; timers fire late if it is much."""
        self.life.loop.pass_by(seconds)

    def ask(self, request: Coroutine[Any, Any, Any]) -> None:
        """A caller asks for something; the answer comes when it comes. Being refused is an answer."""
        task = self.life.loop.spawn(self._answered(request))
        task.add_done_callback(lambda _: request.close())  # a crash may come before it has begun

    def call_back(self, sender: str, *events: Event) -> None:
        """The provider reports; where that is not stored, it reports again later."""
        body = f"callback {self._bodies}".encode()
        self._bodies += 1
        self.provider.says[body] = events
        request = CallbackRequest(method="POST", url="", tail="", query=(), headers={}, body=body)
        self.ask(self._reported(self.life.engine.intake, self.life.senders[sender], request, events))

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What is committed, read past the loops."""
        return self._disk.conn.execute(query, parameters).fetchall()

    async def _reported(
        self, intake: Intake, sender: Sender, request: CallbackRequest, events: Sequence[Event]
    ) -> None:
        """What was answered is remembered: it must not be lost."""
        await intake.receive(sender, request)
        if self._alive:
            self.invariants.reported(events)

    async def _answered(self, request: Coroutine[Any, Any, Any]) -> None:
        try:
            await request
        except (Refused, Invalid, NotFound, StoreUnavailable):
            self.refused += 1

    def _called(self, message: Outbound) -> None:
        if self._alive:
            self.invariants.called(message)

    def _names(self) -> Sequence[str]:
        return ("main", "spare") if self.conditions.spare else ("main",)

    async def _register(self, database: SimulatedDatabase) -> Mapping[str, SenderId]:
        settings = [
            SenderSetting(
                name=name,
                org="default",
                channel="sms",
                adapter="simulated",
                in_flight_limit=self.conditions.limit,
            )
            for name in self._names()
        ]
        _, senders = await SenderStore(database).register(["default"], settings)
        return senders

    def _build(self, loop: SimulatedLoop, database: SimulatedDatabase, registered: Mapping[str, SenderId]) -> Life:
        senders = {name: self._sender(name, id) for name, id in registered.items()}
        clock, ids = self._clock, self._ids
        catalogue = Catalogue(
            orgs={"default": self.org},
            channels={"sms": SMS},
            senders=senders,
            operations={"delete_contacts": DeleteContacts(), "restore_contacts": RestoreContacts()},
            send_policies=self._policies(),
            access_policies=(Anybody(NoSettings()),),
            inbound_policies=(Keywords(NoSettings()),),
            filters={},
        )
        composer, contents = Composer(Renderer({})), make_contents(database, catalogue, clock, ids)
        engine = Engine(
            database,
            catalogue,
            callbacks=CallbackStore(database, ids),
            templates=make_templates(database, catalogue, clock, ids),
            webhooks=Webhooks(DeliveryStore(database), self.receiver.post, clock, self.chance.random),
            ids=ids,
            clock=clock,
            composer=composer,
            metrics=SilentMetrics(),
            crash=CrashPoints(),
            space=Space(PATH, 0),
            node=f"node-{self.lives}",
            chance=self.chance.random,
        )
        actions = BulkActions(
            database,
            catalogue,
            composer=composer,
            contents=contents,
            convert=convert,
            clock=clock,
            ids=ids,
            nudge=engine.nudge,
            limits=ActionLimits(creations_per_minute=1_000),
        )
        singles = SingleMessages(
            catalogue, engine.gatekeepers, SingleStore(database), contents, composer, ids, clock, engine.nudge_sender
        )
        return Life(
            loop,
            database,
            engine,
            actions,
            singles,
            ConsentStore(database, ids, clock),
            ContactStore(database, ids, clock),
            SenderControl(SenderStore(database), singles, clock, engine.nudge),
            KeyStore(database, clock),
            WebhookStore(database, ids),
            senders,
        )

    def _policies(self) -> tuple[SendPolicy[Any], ...]:
        drawn = self.conditions
        quiet = (QuietHours(QuietHoursSettings(between=NIGHT)),) if drawn.quiet else ()
        often = (FrequencyCap(FrequencyCapSettings(per_day=drawn.per_day)),) if drawn.per_day is not None else ()
        return (*quiet, *often)

    def _published(self) -> int:
        ((newest,),) = self.rows("SELECT last_event FROM orgs WHERE id = ?", ORG.id)
        return int(newest)

    def _sender(self, name: str, id: SenderId) -> Sender:
        drawn = self.conditions
        capabilities = Capabilities(receipts=drawn.receipts, lookup=drawn.lookup, on_unknown=drawn.on_unknown)
        return Sender(
            id=id,
            name=name,
            org=self.org,
            channel=SMS,
            adapter_name="simulated",
            adapter=SimulatedAdapter(name, self.provider, capabilities),
            default=name == "main",
            rate=drawn.rate,
            burst=max(1.0, drawn.rate),
            daily_cap=drawn.daily_cap,
            concurrency=drawn.limit,
            deadline=timedelta(seconds=30),
            retry_for=timedelta(hours=1),
            receipt_deadline=timedelta(hours=24),
            on_unknown=drawn.on_unknown,
            dry_run=False,
        )
