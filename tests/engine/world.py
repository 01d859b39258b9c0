"""A whole engine over a temporary file, a clock that stands still and a provider that answers as it is told."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

import msgspec

from gateway.contract import (
    Accepted,
    Adapter,
    Answer,
    CallbackAnswer,
    CallbackRequest,
    CannotTell,
    Capabilities,
    Channel,
    Event,
    Outbound,
    Outcome,
    Question,
    SendPolicy,
)
from gateway.core.content import MessageContent
from gateway.core.delivery import Reply
from gateway.core.ids import ActionId, IdSequence
from gateway.core.schedule import Schedule
from gateway.core.states import RecipientState
from gateway.core.template import Renderer
from gateway.engine.catalogue import Catalogue, Org, Sender
from gateway.engine.composing import Composer
from gateway.engine.crash import CrashPoints
from gateway.engine.engine import Engine, EngineSettings
from gateway.engine.webhooks import Webhooks
from gateway.store.callbacks import CallbackStore
from gateway.store.codec import to_json, to_micros
from gateway.store.database import Database
from gateway.store.deliveries import DeliveryStore
from gateway.store.releases import Notice
from gateway.store.senders import SenderSetting, SenderStore
from gateway.store.space import Space
from gateway.store.verify import verify
from gateway.testing.clock import FakeClock
from tests.contents import make_templates

T = TypeVar("T")

SETTLE_STEPS = 400  # turns of the event loop and the threads; the bound of every wait


class NoSettings(msgspec.Struct):
    """A provider that needs none."""


@dataclass
class Provider:
    """What the fake provider was sent, and what it answers: by address, else `answer`."""

    answer: Callable[[Outbound], Outcome] = lambda message: Accepted()
    by_address: dict[str, Callable[[Outbound], Outcome]] = field(default_factory=dict)
    sent: list[Outbound] = field(default_factory=list)
    gate: asyncio.Event | None = None  # while set to an unset event, sends hang
    healthy: str | None = None
    says: dict[bytes, Sequence[Event]] = field(default_factory=dict)  # what the body of a callback means
    answers: Callable[[Question], Answer] = lambda question: CannotTell("nobody asked")
    asked: list[Question] = field(default_factory=list)

    @property
    def refs(self) -> Counter[str]:
        return Counter(message.ref for message in self.sent)


class FakeAdapter(Adapter[NoSettings]):
    channel = "email"
    name = "fake"
    settings_type = NoSettings

    def __init__(self, provider: Provider, capabilities: Capabilities) -> None:
        self.provider = provider
        self._capabilities = capabilities

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def send(self, message: Outbound) -> Outcome:
        if self.provider.gate is not None:
            await self.provider.gate.wait()
        self.provider.sent.append(message)
        return self.provider.by_address.get(message.to, self.provider.answer)(message)

    async def check(self) -> str | None:
        return self.provider.healthy

    async def authenticate(self, request: CallbackRequest) -> bool | CallbackAnswer:
        if request.body == b"handshake":
            return CallbackAnswer(body=b"challenge")
        return request.body != b"forged"

    def parse(self, request: CallbackRequest) -> Sequence[Event]:
        if request.body == b"unreadable":
            raise KeyError("a field that was never there")
        return self.provider.says.get(request.body, ())

    async def lookup(self, question: Question) -> Answer:
        self.provider.asked.append(question)
        return self.provider.answers(question)


EMAIL = Channel(
    name="email",
    title="e-mail",
    normalise=lambda address, region: address,
    address_from="email",
    takes=frozenset({"text", "html", "subject"}),
    conversations=False,
)


async def nowhere(url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
    """No receiver of events can be reached."""
    return Reply(status=None)


class Watched(Database):
    """The same open database, telling whether anybody waits for it."""

    def __init__(self, opened: Database) -> None:
        self.__dict__ = opened.__dict__
        self._opened = opened
        self.busy = 0

    async def write(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        self.busy += 1
        try:
            return await super().write(operation)
        finally:
            self.busy -= 1

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        self.busy += 1
        try:
            return await super().read(query)
        finally:
            self.busy -= 1


class World:
    """Starts and stops engines over one file; a restart is a new engine, as after a crash."""

    def __init__(
        self,
        database: Database,
        clock: FakeClock,
        ids: IdSequence,
        *,
        capabilities: Capabilities | None = None,
        policies: Sequence[SendPolicy[Any]] = (),
        operator: str | None = None,
        adapter: type[FakeAdapter] = FakeAdapter,
        **sender: Any,
    ) -> None:
        self.database = Watched(database)
        self.clock = clock
        self.ids = ids
        self.provider = Provider()
        self._capabilities = capabilities or Capabilities(on_unknown="resend")
        self._policies = tuple(policies)
        self._operator = operator
        self._adapter = adapter
        self._sender_settings = sender
        self._task: asyncio.Task[None] | None = None
        self._nodes = itertools.count()
        self._bodies = itertools.count()
        self.engine: Engine
        self.catalogue: Catalogue

    async def start(self) -> None:
        """Build an engine and run it."""
        orgs, senders = await SenderStore(self.database).register(
            ["default"],
            [
                SenderSetting(
                    name="mail",
                    org="default",
                    channel="email",
                    adapter="fake",
                    in_flight_limit=self._sender_settings.get("concurrency", 4),
                )
            ],
        )
        org = Org(id=orgs["default"], name="default", title="Default", time_zone="UTC", default_region=None)
        settings: dict[str, Any] = {
            "rate": 1e6,
            "burst": 1e6,
            "daily_cap": None,
            "concurrency": 4,
            "deadline": timedelta(seconds=30),
            "retry_for": timedelta(hours=12),
            "receipt_deadline": timedelta(hours=24),
            "on_unknown": "resend",
            "dry_run": False,
        }
        sender = Sender(
            id=senders["mail"],
            name="mail",
            org=org,
            channel=EMAIL,
            adapter_name="fake",
            adapter=self._adapter(self.provider, self._capabilities),
            default=True,
            **(settings | self._sender_settings),
        )
        catalogue = Catalogue(
            orgs={"default": org},
            channels={"email": EMAIL},
            senders={"mail": sender},
            operations={},
            send_policies=self._policies,
            filters={},
        )
        self.catalogue = catalogue
        self.engine = Engine(
            self.database,
            catalogue,
            callbacks=CallbackStore(self.database, self.ids),
            templates=make_templates(self.database, catalogue, self.clock, self.ids),
            webhooks=Webhooks(DeliveryStore(self.database), nowhere, self.clock, lambda: 0.5),
            ids=self.ids,
            clock=self.clock,
            composer=Composer(Renderer({})),
            metrics=SilentMetrics(),
            crash=CrashPoints(),
            node=f"node-{next(self._nodes)}",
            space=Space(self.database.path, 0),
            settings=EngineSettings(
                notice=None
                if self._operator is None
                else Notice(sender=sender.id, org=org.id, channel="email", address=self._operator)
            ),
        )
        self._task = asyncio.create_task(self.engine.run())
        await self.settle()

    async def kill(self) -> None:
        """Drop everything that is in memory, in the middle of whatever it is doing."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def settle(self) -> None:
        """Let the loops work until nothing moves any more."""
        quiet = 0
        before: object = None
        for _ in range(SETTLE_STEPS):
            await asyncio.sleep(0.002)
            if self._task is not None and self._task.done():
                self._task.result()
            state = await self.database.read(
                lambda conn: (
                    conn.execute("SELECT * FROM action_counts").fetchall(),
                    conn.execute("SELECT id, status, work, wait_reason FROM bulk_actions").fetchall(),
                    conn.execute("SELECT number, untried FROM batches").fetchall(),
                    conn.execute("SELECT held FROM senders").fetchall(),
                    conn.execute("SELECT count(*), sum(state) FROM callbacks").fetchall(),
                    conn.execute("SELECT count(*), sum(attempt), sum(status) FROM messages").fetchall(),
                )
            )
            still = (state, len(self.provider.sent)) == before and not self.database.busy
            quiet = quiet + 1 if still else 0
            before = (state, len(self.provider.sent))
            swept = any(work is not None for _, _, work, _ in state[1])  # and perhaps at rest between two chunks
            if quiet == (40 if swept else 8):
                return
        raise AssertionError(f"the engine did not come to rest: {before}")

    async def call_back(self, *events: Event, body: bytes | None = None) -> CallbackAnswer | None:
        """The provider calls back with a body that means these events; it is answered before anything is read."""
        raw = body if body is not None else f"callback {next(self._bodies)}".encode()
        if events:
            self.provider.says[raw] = events
        request = CallbackRequest(method="POST", url="", tail="", query=(), headers={}, body=raw)
        return await self.engine.intake.receive(self.catalogue.senders["mail"], request)

    async def advance(self, by: timedelta, step: timedelta | None = None) -> None:
        """Move time in steps, letting the loops work after each."""
        step = step or by
        end = self.clock.now() + by
        while self.clock.now() < end:
            self.clock.move_to(min(end, self.clock.now() + step))
            await self.settle()

    async def contacts(self, number: int, **columns: Any) -> None:
        """Contacts `c1@example.org` and so on."""
        now = to_micros(self.clock.now())

        def operation(conn: Any) -> None:
            (start,) = conn.execute("SELECT COALESCE(max(id), 0) FROM contacts").fetchone()
            for n in range(start + 1, start + number + 1):
                values = {
                    "id": n,
                    "org": 1,
                    "public_id": f"c{n}",
                    "email": f"c{n}@example.org",
                    "created_at": now,
                    "updated_at": now,
                    "seen_at": now,
                } | columns
                names = ", ".join(values)
                marks = ", ".join("?" * len(values))
                conn.execute(f"INSERT INTO contacts ({names}) VALUES ({marks})", tuple(values.values()))

        await self.database.write(operation)

    async def create(self, schedule: Schedule, body: str = "Hi", **content: Any) -> ActionId:
        """A bulk e-mail to everybody, as far as it goes by itself."""
        action = await self.begin(schedule, body, **content)
        await self.settle()
        return action

    async def begin(self, schedule: Schedule, body: str = "Hi", **content: Any) -> ActionId:
        """A bulk e-mail to everybody, just accepted."""
        action = ActionId(self.ids.take())
        message = MessageContent(channel="email", subject="News", body=body, **content)

        def operation(conn: Any) -> None:
            conn.execute(
                "INSERT INTO bulk_actions (id, org, operation, channel, sender, status, work, contact_bound, "
                "selection, message, schedule, origin, created_at) VALUES (?, 1, 'send_message', 'email', 1, 'queued', "
                "'snapshot', "
                '(SELECT max(id) FROM contacts), \'{"kind":"all","deleted":false}\', ?, ?, \'api\', ?)',
                (action, to_json(message), to_json(schedule), to_micros(self.clock.now())),
            )
            conn.execute("INSERT INTO action_counts (action) VALUES (?)", (action,))

        await self.database.write(operation)
        self.engine.nudge()
        return action

    async def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What the rows say."""
        return await self.database.read(lambda conn: conn.execute(statement, parameters).fetchall())

    async def change(self, statement: str, *parameters: Any) -> None:
        """What another part of the gateway would write."""
        await self.database.write(lambda conn: conn.execute(statement, parameters))

    async def status(self, action: ActionId) -> str:
        found: str = (await self.sql("SELECT status FROM bulk_actions WHERE id = ?", action))[0][0]
        return found

    async def states(self, action: ActionId) -> Mapping[str, int]:
        """How many recipients are in each state, those without anybody left out."""
        rows = await self.sql("SELECT state, count(*) FROM recipients WHERE action = ? GROUP BY state", action)
        return {RecipientState(state).label: number for state, number in rows}

    async def assert_books_balance(self) -> None:
        assert (await verify(self.database)).faults == ()


class SilentMetrics:
    """Nobody looks."""

    def called_back(self, sender: str, outcome: Literal["stored", "answered", "refused"], number: int = 1) -> None:
        pass

    def applied(self, merged: int, parked: int, inbound: int) -> None:
        pass

    def answered(self, sender: str, outcome: object, seconds: float) -> None:
        pass

    def in_flight(self, sender: str, number: int) -> None:
        pass

    def held(self, sender: str, held: bool) -> None:
        pass

    def waiting(self, queues: Mapping[str, tuple[int, timedelta]]) -> None:
        pass


def at(text: str) -> datetime:
    """`at("2026-06-01T09:00+00:00")`."""
    return datetime.fromisoformat(text)
