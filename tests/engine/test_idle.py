"""What the loops ask again and again while nothing is due is answered by indexes, however much waits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from gateway.core.ids import IdSequence
from gateway.core.schedule import Drip, Schedule, parse_every
from gateway.store.database import Database
from gateway.testing.clock import FakeClock
from tests.engine.world import World
from tests.explaining import Explaining

DAILY = Schedule(mode="drip", time_zone="UTC", drip=Drip(batch_quantity=1, repeat_after=parse_every("1d")))
SECONDS = 90  # some loops look once a minute
WALKS = re.compile(r"(SCAN|SEARCH) (\w+)$")  # by no index and no key
SHORT = frozenset({"senders", "orgs", "meta", "webhooks", "w", "s", "o"})  # as long as the configuration


@pytest.fixture
async def world(database: Database, clock: FakeClock, ids: IdSequence) -> AsyncIterator[World]:
    world = World(database, clock, ids)
    await world.start()
    yield world
    await world.kill()


async def test_loops_with_nothing_to_do_walk_through_no_table(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: dict[str, list[str]] = {}
    reader: Callable[[Database], Any] = Database._reader

    await world.contacts(3)
    await world.create(DAILY)
    monkeypatch.setattr(Database, "_reader", lambda self: Explaining(reader(self), plans))
    for _ in range(SECONDS):
        world.clock.move_to(world.clock.now() + timedelta(seconds=1))
        await asyncio.sleep(0.01)
    monkeypatch.undo()
    assert any("min(look_at)" in statement for statement in plans)
    walks = {
        (plan, " ".join(statement.split()))
        for statement, lines in plans.items()
        for plan in lines
        if (found := WALKS.search(plan)) is not None and found[2] not in SHORT
    }
    assert not walks
