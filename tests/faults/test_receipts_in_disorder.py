"""Receipts come three times, in any order, before the send's own result, and for messages that nobody sent."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from typing import Final

import pytest

from gateway.contract import Accepted, CallbackRequest, Capabilities, Event, Outbound, Outcome, Receipt, Status
from gateway.core.ids import IdSequence
from gateway.core.schedule import Schedule
from gateway.core.states import MessageStatus, RecipientState
from gateway.store.database import Database, connect
from gateway.testing.clock import FakeClock
from tests.engine.world import FakeAdapter, World
from tests.faults.figures import Figures, size
from tests.faults.people import until

RECEIPTS = size(6_000, 1_000_000)  # different ones
COPIES = 3
EARLY = 10  # of so many messages one is reported on before its send has been answered
UNKNOWN = 100  # of so many receipts one is about a message that nobody sent
POSTERS = 32
ACKNOWLEDGED_CHECKED = 500
SECONDS_MAX = size(100, 10_000)

LIVES: Final = (
    (),
    ("sent",),
    ("sent", "delivered"),
    ("sent", "delivered", "read"),
    ("delivered",),
    ("sent", "failed"),
    ("sent", "undelivered"),
    ("failed", "bounced"),
    ("sent", "expired", "delivered"),  # late good news
    ("delivered", "undelivered"),  # bad news that is not true any more
    ("read", "failed"),
)
"""What happens to a message, as its provider tells it."""
RECEIPTS_EACH = sum(len(life) for life in LIVES) / len(LIVES)

WORST_LAST: Final = ("failed", "expired", "undelivered", "bounced")


def oracle(life: Sequence[str]) -> tuple[str, str]:
    """How a message and its recipient must end, said without the gateway's tables."""
    for good in ("read", "delivered"):
        if good in life:
            return good, "succeeded"
    bad = [status for status in WORST_LAST if status in life]
    if bad:
        return bad[-1], "failed"
    return ("sent" if "sent" in life else "accepted"), "handed_over"


def life_of(number: int) -> Sequence[str]:
    return LIVES[number % len(LIVES)]


class Telling(FakeAdapter):
    """An adapter whose provider knows messages by ids of its own, and tells what became of them."""

    network: Network

    async def send(self, message: Outbound) -> Outcome:
        number = int(message.to.partition("@")[0][1:])
        told = [f"p{number} {status}".encode() for status in life_of(number)] * COPIES
        if number % EARLY == 0:
            self.network.chance.shuffle(told)
            for body in told:
                await self.network.post(body)
        else:
            self.network.waiting += told
            self.network.more.set()
        return Accepted((f"p{number}",))

    def parse(self, request: CallbackRequest) -> Sequence[Event]:
        provider_id, _, status = request.body.decode().partition(" ")
        return (Receipt(status=Status(status), provider_ids=(provider_id,)),)


class Network:
    """Brings receipts in disorder."""

    def __init__(self, world: World, unknown: int) -> None:
        self.world = world
        self.chance = random.Random(13)
        self.waiting = [f"x{number} delivered".encode() for number in range(unknown)] * COPIES
        self.more = asyncio.Event()
        self.acknowledged = 0
        self.too_early = 0  # acknowledged and not on disk
        self._requests = itertools.count()

    async def post(self, body: bytes) -> None:
        assert await self.world.call_back(body=body) is not None
        self.acknowledged += 1
        if self.acknowledged <= ACKNOWLEDGED_CHECKED:
            acknowledged = self.acknowledged
            with closing(connect(self.world.database.path, readonly=True)) as conn:
                (stored,) = conn.execute("SELECT count(*) FROM callbacks").fetchone()
            self.too_early += stored < acknowledged

    async def bring(self) -> None:
        """One of those who bring them, until cancelled."""
        while True:
            if not self.waiting:
                self.more.clear()
                await self.more.wait()
                continue
            at = self.chance.randrange(len(self.waiting))
            self.waiting[at], self.waiting[-1] = self.waiting[-1], self.waiting[at]
            await self.post(self.waiting.pop())


@pytest.fixture
async def world(database: Database, clock: FakeClock, ids: IdSequence) -> AsyncIterator[World]:
    capabilities = Capabilities(receipts=True, on_unknown="hold")
    world = World(database, clock, ids, capabilities=capabilities, adapter=Telling, concurrency=64, burst=1e9)
    await world.start()
    yield world
    await world.kill()


@pytest.mark.timeout(SECONDS_MAX)
async def test_receipts_in_any_order_and_number_end_where_the_oracle_says(world: World, figures: Figures) -> None:
    messages = int(RECEIPTS / RECEIPTS_EACH)
    network = Telling.network = Network(world, RECEIPTS // UNKNOWN)
    await world.contacts(messages)
    action = await world.begin(Schedule(mode="now", time_zone="UTC"))
    posters = [asyncio.create_task(network.bring()) for _ in range(POSTERS)]
    expected = COPIES * (sum(len(life_of(n)) for n in range(1, messages + 1)) + RECEIPTS // UNKNOWN)

    async def over() -> bool:
        if network.acknowledged < expected:
            return False
        ((waiting,),) = await world.sql("SELECT count(*) FROM callbacks WHERE state = 0")
        ((pending,),) = await world.sql("SELECT pending + in_flight FROM action_counts")
        return (waiting, pending) == (0, 0)

    await until(over, SECONDS_MAX, "the last receipt")
    for poster in posters:
        poster.cancel()
    await asyncio.gather(*posters, return_exceptions=True)
    rows = await world.sql(
        "SELECT m.address, m.status, r.state FROM messages AS m JOIN recipients AS r ON r.message = m.id"
    )
    wrong: Counter[str] = Counter()
    for address, status, state in rows:
        said = (MessageStatus(status).label, RecipientState(state).label)
        number = int(address.partition("@")[0][1:])
        if said != oracle(life_of(number)):
            wrong[f"{life_of(number)}: {said}"] += 1
    ((parked,),) = await world.sql("SELECT count(*) FROM parked_receipts WHERE provider_id LIKE 'x%'")
    ((forgotten,),) = await world.sql("SELECT count(*) FROM parked_receipts WHERE provider_id LIKE 'p%'")
    assert len(rows) == messages
    assert parked == COPIES * (RECEIPTS // UNKNOWN)
    assert await world.states(action)
    await world.assert_books_balance()
    figures.hold(
        "F13 receipts in disorder",
        "final state equals the oracle's; acknowledged only after the commit",
        f"{network.acknowledged:,} receipts for {messages:,} messages, {wrong.total()} differ, "
        f"{forgotten} still parked, {network.too_early} acknowledged before the commit",
        (wrong.total(), forgotten, network.too_early) == (0, 0, 0),
    )
