"""What the reconcile loop does by its cron, over a whole engine: books that drifted are set right, and it is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from gateway.contract import Capabilities, Receipt, Status
from gateway.core.ids import ACTION, IdSequence, format_id
from gateway.core.schedule import Schedule
from gateway.store.database import Database
from gateway.testing.clock import FakeClock
from tests.engine.world import World

NOW = Schedule(mode="now", start_at=None, time_zone="UTC", drip=None)
UNTIL_RECONCILED = timedelta(minutes=20)  # more than one turn of the default cron


@pytest.fixture
async def world(database: Database, clock: FakeClock, ids: IdSequence) -> AsyncIterator[World]:
    world = World(database, clock, ids, capabilities=Capabilities(receipts=True, on_unknown="hold"))
    await world.start()
    yield world
    await world.settle()
    await world.assert_books_balance()
    await world.kill()


async def test_counters_that_drifted_are_set_right_and_logged_as_a_defect_and_the_action_ends(world: World) -> None:
    await world.contacts(2)
    action = await world.create(NOW)
    await world.settle()
    await world.change("UPDATE action_counts SET handed_over = handed_over + 1 WHERE action = ?", action)
    for message in list(world.provider.sent):
        await world.call_back(Receipt(status=Status.DELIVERED, ref=message.ref))
    await world.settle()
    assert await world.status(action) == "delegated", "the counter still waits for somebody who is not there"
    with capture_logs() as logs:
        await world.advance(UNTIL_RECONCILED, timedelta(minutes=1))
    repaired = [line for line in logs if line["event"] == "books_repaired"]
    assert [(line["log_level"], line["action"]) for line in repaired] == [("error", format_id(ACTION, action))]
    assert await world.status(action) == "completed"


async def test_books_that_balance_are_left_alone_and_nothing_is_said(world: World) -> None:
    await world.contacts(2)
    action = await world.create(NOW)
    await world.settle()
    with capture_logs() as logs:
        await world.advance(UNTIL_RECONCILED, timedelta(minutes=1))
    assert [line for line in logs if line["event"] == "books_repaired"] == []
    assert await world.states(action) == {"handed_over": 2}
