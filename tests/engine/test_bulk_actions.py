"""The service of bulk actions together with the loops that act on its rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from typing import Any

import pytest

from gateway.contract import Accepted, Caller, Code, Rejected
from gateway.core.ids import ACTION, IdSequence, format_id
from gateway.core.states import FINAL_ACTIONS, ActionStatus
from gateway.core.template import Renderer
from gateway.engine.action_requests import (
    ActionRequest,
    Asker,
    RetryRequest,
    merged,
)
from gateway.engine.actions import BulkActions
from gateway.engine.composing import Composer
from gateway.engine.creation import ActionLimits
from gateway.errors import Refused
from gateway.store.action_reads import ActionView
from gateway.store.database import Database
from gateway.store.turn import Granted, Turn
from gateway.store.turns import TurnStore
from gateway.testing.clock import FakeClock
from gateway.validation import convert
from tests.contents import make_contents
from tests.engine.world import World

DRIP = {"mode": "drip", "drip": {"batch_quantity": 4, "repeat_after": "1h"}}


class Office:
    """A world with its service, and somebody who asks."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.service = BulkActions(
            world.database,
            world.catalogue,
            composer=Composer(Renderer()),
            contents=make_contents(world.database, world.catalogue, world.clock, world.ids),
            convert=convert,
            clock=world.clock,
            ids=world.ids,
            nudge=world.engine.nudge,
            limits=ActionLimits(creations_per_minute=1000),
        )
        caller = Caller(key_id="cli", org="default", permissions=frozenset(), roles=frozenset(), acting_for=None)
        self.asker = Asker(caller=caller, org=world.catalogue.orgs["default"].id, origin="cli")

    async def create(self, **changes: Any) -> ActionView:
        whole: dict[str, Any] = {
            "operation": "send_message",
            "recipients": {"all": True},
            "message": {"channel": "email", "body": "Hi"},
        }
        view = await self.service.create(self.asker, convert(whole | changes, ActionRequest))
        await self.world.settle()
        return view

    async def edit(self, view: ActionView, **patch: Any) -> Any:
        return await self.service.edit(self.asker, view.id, patch, lambda revision: None)

    async def retry(self, view: ActionView, **asked: Any) -> None:
        await self.service.retry(self.asker, view.id, convert(asked, RetryRequest))
        await self.world.settle()

    async def now(self, view: ActionView) -> ActionView:
        return await self.service.show(self.asker.org, view.id)

    async def ended(self, view: ActionView) -> ActionView:
        """The action once it has ended, and its recipients too; on a busy machine that takes more than one look."""
        present = await self.now(view)
        for _ in range(50):
            swept = await self.world.sql("SELECT 1 FROM bulk_actions WHERE id = ? AND work IS NOT NULL", view.id)
            if present.status in FINAL_ACTIONS and not swept:
                return present
            await self.world.settle()
            present = await self.now(view)
        raise AssertionError(f"it did not end: {present}")

    async def sending(self, number: int) -> None:
        """Wait until this many messages have left."""
        for _ in range(50):
            if len(self.world.provider.sent) >= number:
                return
            await self.world.settle()
        raise AssertionError(f"{len(self.world.provider.sent)} messages have left, not {number}")

    @property
    def sent(self) -> Counter[str]:
        return Counter(message.to for message in self.world.provider.sent)


@pytest.fixture
async def office(database: Database, clock: FakeClock, ids: IdSequence) -> AsyncIterator[Office]:
    world = World(database, clock, ids)
    await world.start()
    yield Office(world)
    await world.kill()


def refuse(message: object) -> Rejected:
    return Rejected(code=Code.UNREACHABLE, reason="550 nobody there")


def accept(message: object) -> Accepted:
    return Accepted()


def everybody(number: int) -> Counter[str]:
    return Counter(f"c{n}@example.org" for n in range(1, number + 1))


async def test_a_created_action_is_sent_to_everybody_and_completes(office: Office) -> None:
    await office.world.contacts(10)
    ended = await office.ended(await office.create())
    assert office.sent == everybody(10)
    assert (ended.status, ended.counts.succeeded) == (ActionStatus.COMPLETED, 10)
    await office.world.assert_books_balance()


async def test_a_list_with_strangers_is_sent_to_those_who_are_known(office: Office) -> None:
    await office.world.contacts(3)
    ended = await office.ended(await office.create(recipients={"contacts": ["c3", "nobody", "c1"]}))
    assert [message.to for message in office.world.provider.sent] == ["c3@example.org", "c1@example.org"]
    assert (ended.status, ended.counts.failed) == (ActionStatus.PARTIAL, 1)
    await office.world.assert_books_balance()


async def test_a_retry_of_the_failed_sends_to_nobody_else(office: Office) -> None:
    await office.world.contacts(5)
    office.world.provider.by_address = {"c2@example.org": refuse, "c4@example.org": refuse}
    view = await office.create(recipients={"contacts": ["c1", "c2", "c3", "c4", "c5", "nobody"]})
    assert (await office.ended(view)).counts.failed == 3
    office.world.provider.by_address = {}
    await office.retry(view, states=["failed"])
    again = await office.ended(view)
    assert (again.status, again.round, again.counts.succeeded, again.counts.failed) == (ActionStatus.PARTIAL, 1, 5, 1)
    assert office.sent == everybody(5) + Counter(["c2@example.org", "c4@example.org"])
    await office.world.assert_books_balance()


async def test_a_retry_by_name_may_drip_the_second_round(office: Office) -> None:
    await office.world.contacts(6)
    office.world.provider.answer = refuse
    view = await office.create()
    await office.ended(view)
    office.world.provider.answer = accept
    office.world.provider.sent.clear()
    drip = {"mode": "drip", "drip": {"batch_quantity": 2, "repeat_after": "1h"}}
    await office.retry(view, recipients=["c6", "c1", "c3"], schedule=drip)
    await office.sending(2)
    assert office.sent == Counter(["c1@example.org", "c3@example.org"])
    await office.world.advance(timedelta(hours=1))
    await office.sending(3)
    assert office.sent == Counter(["c1@example.org", "c3@example.org", "c6@example.org"])
    assert (await office.ended(view)).status is ActionStatus.PARTIAL
    await office.world.assert_books_balance()


async def test_what_a_cancel_left_over_is_sent_by_another_action(office: Office) -> None:
    await office.world.contacts(10)
    view = await office.create(schedule=DRIP)
    await office.sending(4)
    await office.world.settle()
    stopped = await office.service.cancel(office.asker, view.id)
    assert (stopped.cancelled, stopped.already_sent) == (6, 4)
    states = {"bulk_action": format_id(ACTION, view.id), "states": ["cancelled"]}
    rest = await office.create(recipients=states)
    assert (await office.ended(rest)).status is ActionStatus.COMPLETED
    assert office.sent == everybody(10)
    assert (await office.now(view)).counts.cancelled == 6
    await office.world.assert_books_balance()


async def test_an_edit_between_batches_applies_to_the_next_batch(office: Office) -> None:
    await office.world.contacts(10)
    view = await office.create(schedule=DRIP)
    await office.sending(4)
    edited = await office.edit(view, schedule={"drip": {"batch_quantity": 5}})
    assert (edited.changed, edited.applies_from_batch) == (True, 2)
    for sent in (9, 10):
        await office.world.advance(timedelta(hours=1))
        await office.sending(sent)
    batches = await office.service.batches(office.asker.org, view.id, None, 10)
    assert [(batch.number, batch.quantity, batch.revision) for batch in batches] == [(3, 1, 2), (2, 5, 2), (1, 4, 1)]


async def test_an_edit_and_a_start_cannot_both_win(office: Office) -> None:
    """Whichever commits first: either everybody gets the new text, or the edit is refused and nobody does."""
    await office.world.contacts(3)
    outcomes = set()
    for turns in range(12):
        office.world.provider.sent.clear()
        start = office.world.clock.now() + timedelta(hours=1)
        view = await office.create(schedule={"mode": "at", "start_at": start.isoformat()})
        office.world.clock.move_to(start)
        for _ in range(turns):
            await asyncio.sleep(0.001)
        edited, code = await _try(office.edit(view, message={"body": "New"}))
        assert edited or code in ("only_batch_quantity_editable", "completed_not_editable")
        expected = {"New"} if edited else {"Hi"}
        outcomes |= expected
        assert (await office.ended(view)).status is ActionStatus.COMPLETED
        assert {message.text for message in office.world.provider.sent} == expected
    assert "New" in outcomes


async def test_what_is_forecast_is_what_runs(office: Office) -> None:
    await office.world.contacts(11)
    drip = {"batch_quantity": 3, "repeat_after": "6h", "send_on": ["mon", "wed"], "process_between": ["09:00", "16:00"]}
    view = await office.create(schedule={"mode": "drip", "time_zone": "Africa/Lagos", "drip": drip})
    await office.sending(3)
    forecast = await office.service.forecast(office.asker.org, view.id, 50)
    for number in (6, 9, 11):
        while len(office.world.provider.sent) < number:
            await office.world.advance(timedelta(hours=2))
    batches = await office.service.batches(office.asker.org, view.id, None, 50)
    ran = [(batch.number, batch.planned_at, batch.quantity) for batch in reversed(batches)]
    assert ran[1:] == [(batch.number, batch.at, batch.quantity) for batch in forecast.batches]
    assert sum(quantity for _, _, quantity in ran) == 11
    assert (await office.service.forecast(office.asker.org, view.id, 50)).batch_count == 0


async def test_a_paused_action_is_forecast_as_if_resumed_now_and_then_runs_so(office: Office) -> None:
    await office.world.contacts(8)
    view = await office.create(schedule=DRIP)
    await office.sending(4)
    await office.world.settle()
    await office.service.pause(office.asker, view.id)
    await office.world.advance(timedelta(hours=5, minutes=20))
    forecast = await office.service.forecast(office.asker.org, view.id, 50)
    await office.service.resume(office.asker, view.id)
    while len(office.world.provider.sent) < 8:
        await office.world.advance(timedelta(minutes=20))
    (batch,) = await office.service.batches(office.asker.org, view.id, None, 1)
    assert [(one.number, one.at, one.quantity) for one in forecast.batches] == [
        (batch.number, batch.planned_at, batch.quantity)
    ]


async def test_a_request_that_is_given_up_leaves_no_list_behind(office: Office) -> None:
    await office.world.contacts(1)
    names = ["c1", *(f"x{n}" for n in range(60_000))]
    creation = asyncio.create_task(office.create(recipients={"contacts": names}))
    for _ in range(2_000):
        if await office.world.sql("SELECT 1 FROM selection_chunks LIMIT 1"):
            break
    creation.cancel()
    await asyncio.gather(creation, return_exceptions=True)
    actions = await office.world.sql("SELECT count(*) FROM bulk_actions")
    assert (actions, await office.world.sql("SELECT count(*) FROM selection_chunks")) == ([(0,)], [(0,)])


async def test_lists_of_killed_creations_are_cleaned_up_at_the_start(office: Office) -> None:
    await office.world.change("INSERT INTO selection_chunks VALUES (7, 0, '[]')")
    assert await office.service.clean_up() == 1
    assert await office.world.sql("SELECT count(*) FROM selection_chunks") == [(0,)]


async def _try(edit: Awaitable[object]) -> tuple[bool, str | None]:
    """Whether it was done, or the code of the refusal."""
    try:
        await edit
    except Refused as refused:
        return False, refused.code
    return True, None


def test_a_merge_patch_follows_the_examples_of_its_standard() -> None:
    """RFC 7396, appendix A."""
    cases: list[tuple[Any, Any, Any]] = [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ]
    for present, patch, expected in cases:
        assert merged(present, patch) == expected


async def test_a_retry_that_takes_many_chunks_keeps_the_books_of_its_batch(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.sweeps.CHUNK", 3)
    await office.world.contacts(20)
    office.world.provider.answer = refuse
    view = await office.create()
    assert (await office.ended(view)).counts.failed == 20
    office.world.provider.answer = accept
    await office.retry(view, states=["failed"])
    again = await office.ended(view)
    assert (again.status, again.counts.succeeded) == (ActionStatus.COMPLETED, 20)
    batches = await office.service.batches(office.asker.org, view.id, None, 10)
    second = [batch for batch in batches if batch.round == 1]
    assert sum(batch.quantity for batch in second) == 20
    assert [(batch.counts.pending, batch.untried, batch.finished_at is not None) for batch in second] == [
        (0, 0, True) for _ in second
    ]
    await office.world.assert_books_balance()


async def test_a_retry_waits_for_the_start_that_was_asked_for(office: Office) -> None:
    await office.world.contacts(3)
    office.world.provider.answer = refuse
    view = await office.create()
    await office.ended(view)
    office.world.provider.answer = accept
    office.world.provider.sent.clear()
    start = office.world.clock.now() + timedelta(hours=2)
    await office.retry(view, states=["failed"], schedule={"mode": "at", "start_at": start.isoformat()})
    await office.world.advance(timedelta(minutes=119))
    assert (await office.now(view)).wait_reason == "scheduled"
    assert office.sent == Counter()
    await office.world.advance(timedelta(minutes=1))
    assert (await office.ended(view)).status is ActionStatus.COMPLETED
    assert office.sent == everybody(3)


async def test_a_refusal_of_an_earlier_round_is_not_one_of_the_next(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the judgement and the turn that settles it the action is cancelled and tried again, with a name now."""
    take, held, retried = TurnStore.take, asyncio.Event(), asyncio.Event()

    async def taken(self: TurnStore, turn: Turn) -> Granted:
        if turn.refused and not held.is_set():
            held.set()
            await asyncio.wait_for(retried.wait(), 10)
        return await take(self, turn)

    monkeypatch.setattr(TurnStore, "take", taken)
    await office.world.contacts(1)
    view = await office.create(message={"channel": "email", "body": "Hi {{ first_name }}"})
    assert held.is_set()
    await office.service.cancel(office.asker, view.id)
    await office.ended(view)
    await office.world.change("UPDATE contacts SET first_name = 'Ada'")
    await office.retry(view, states=["cancelled"])
    retried.set()
    again = await office.ended(view)
    assert (again.status, again.counts.failed, again.counts.succeeded) == (ActionStatus.COMPLETED, 0, 1)
    await office.world.assert_books_balance()
