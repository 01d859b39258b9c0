"""What nobody foresaw: a defect in a loop, a plugin that cancels itself, a database that fails at the wrong moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from structlog.testing import capture_logs

from gateway.contract import (
    Absent,
    Accepted,
    Answer,
    CallbackAnswer,
    CallbackRequest,
    Capabilities,
    Deliver,
    Misconfigured,
    NotSent,
    Outbound,
    Outcome,
    ProviderTemplate,
    Question,
)
from gateway.core.ids import ActionId, IdSequence
from gateway.core.schedule import Schedule
from gateway.engine.gatekeeper import Gatekeeper
from gateway.errors import StoreUnavailable
from gateway.store.database import Database
from gateway.store.releases import Releases
from gateway.store.senders import SenderStore
from gateway.store.sweeps import Sweeps
from gateway.testing.clock import FakeClock
from tests.engine.world import FakeAdapter, World

NOW = Schedule(mode="now", time_zone="UTC")
SECOND = timedelta(seconds=1)
W = 4


@pytest.fixture
async def world(database: Database, clock: FakeClock, ids: IdSequence) -> AsyncIterator[World]:
    world = World(database, clock, ids, concurrency=W)
    await world.start()
    yield world
    await world.assert_books_balance()
    await world.kill()


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: type[Any], name: str, exc: Exception) -> None:
    """The next call of a method raises; those after it do what they always do."""
    original = getattr(owner, name)

    def failing(self: Any, *args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(owner, name, original)
        raise exc

    monkeypatch.setattr(owner, name, failing)


async def test_a_defect_while_recipients_are_read_is_told_and_loses_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Gatekeeper.judge
    defective = True

    def judging(self: Gatekeeper, content: Any, action: ActionId, candidate: Any, *more: Any) -> Any:
        if defective and candidate.seq == 2:
            raise TypeError("a defect of ours")
        return judge(self, content, action, candidate, *more)

    monkeypatch.setattr(Gatekeeper, "judge", judging)
    await world.contacts(3)
    with capture_logs() as logs:
        action = await world.create(NOW)
        for _ in range(4):
            await world.advance(SECOND)
    told = [line for line in logs if line["event"] == "recipients_not_read"]
    assert len(told) == 1  # it is not tried at full speed
    assert isinstance(told[0]["exc_info"], TypeError)
    assert await world.states(action) == {"succeeded": 1, "pending": 2}
    problem = await world.engine.probe()
    assert problem is not None
    assert "cannot be read: TypeError" in problem
    defective = False
    await world.advance(timedelta(seconds=6), step=SECOND)
    assert await world.states(action) == {"succeeded": 3}
    assert await world.engine.probe() is None


async def test_people_whom_no_turn_grants_are_not_judged_again_at_full_speed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once two checks of duplicates read different addresses: a lane wrote a thousand turns a second for nobody."""
    with monkeypatch.context() as disagreement, capture_logs() as logs:
        disagreement.setattr("gateway.store.sending._eligible", lambda conn, turn, wanted: set())
        await world.contacts(6)
        action = await world.create(NOW)
        for _ in range(1_000):
            if "is granted" in (await world.engine.probe() or ""):
                break
            await asyncio.sleep(0.01)
        await world.settle()
        assert "is granted" in (await world.engine.probe() or "")
        assert world.provider.sent == []
    assert [line["log_level"] for line in logs if line["event"] == "nobody_granted"] == ["warning"]
    await world.advance(5 * SECOND)
    assert await world.states(action) == {"succeeded": 6}
    assert await world.engine.probe() is None


async def test_a_hold_that_could_not_be_written_is_written_before_anything_more_is_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.provider.answer = lambda message: Misconfigured("wrong password")
    world.provider.healthy = "wrong password"
    fail_once(monkeypatch, SenderStore, "hold", StoreUnavailable("The disk does not answer."))
    await world.contacts(W * 5)
    action = await world.create(NOW)
    await world.advance(timedelta(seconds=3), step=SECOND)
    assert await world.sql("SELECT held FROM senders") == [("misconfigured",)]
    # The turn that records the first answers writes the next intents too.
    assert len(world.provider.sent) <= 2 * W
    assert await world.states(action) == {"pending": W * 5}


async def test_attempts_that_reach_nobody_are_counted_once_although_the_hold_could_not_be_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(message: Outbound) -> Outcome:
        raise NotSent("connection refused")

    world.provider.answer = unreachable
    world.provider.healthy = "connection refused"
    fail_once(monkeypatch, SenderStore, "hold", StoreUnavailable("The disk does not answer."))
    await world.contacts(W * 5)
    await world.create(NOW)
    await world.advance(timedelta(seconds=3), step=SECOND)
    assert await world.sql("SELECT held FROM senders") == [("outage",)]
    assert len(world.provider.sent) <= 3 * W


async def test_a_pause_that_could_not_be_written_is_written_before_anything_more_is_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.provider.answer = lambda message: Misconfigured("the template is paused", scope="action")
    fail_once(monkeypatch, Releases, "pause", StoreUnavailable("The disk does not answer."))
    await world.contacts(W * 5)
    action = await world.create(NOW)
    await world.advance(timedelta(seconds=3), step=SECOND)
    assert await world.status(action) == "paused"
    # The turn that records the first answers writes the next intents too.
    assert len(world.provider.sent) <= 2 * W


class Fickle(FakeAdapter):
    """Cancels something of its own in as many calls of a method as are told, or swallows what others cancel."""

    strays: ClassVar[Counter[str]] = Counter()
    runs = 0
    stubborn = False

    async def _perhaps(self, method: str) -> None:
        if Fickle.strays[method]:
            Fickle.strays[method] -= 1
            raise asyncio.CancelledError

    async def open(self) -> None:
        await self._perhaps("open")

    async def send(self, message: Outbound) -> Outcome:
        await self._perhaps("send")
        try:
            return await super().send(message)
        except asyncio.CancelledError:
            if Fickle.stubborn:
                return Accepted()
            raise

    async def check(self) -> str | None:
        await self._perhaps("check")
        return await super().check()

    async def templates(self) -> Sequence[ProviderTemplate]:
        await self._perhaps("templates")
        return ()

    async def authenticate(self, request: CallbackRequest) -> bool | CallbackAnswer:
        await self._perhaps("authenticate")
        return await super().authenticate(request)

    async def lookup(self, question: Question) -> Answer:
        await self._perhaps("lookup")
        return await super().lookup(question)

    async def run(self, deliver: Deliver) -> None:
        Fickle.runs += 1
        await self._perhaps("run")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if Fickle.stubborn:
                raise ValueError("not now") from None
            raise


@pytest.fixture
def fickle(database: Database, clock: FakeClock, ids: IdSequence, monkeypatch: pytest.MonkeyPatch) -> World:
    for name, value in (("strays", Counter()), ("runs", 0), ("stubborn", False)):
        monkeypatch.setattr(Fickle, name, value)
    capabilities = Capabilities(on_unknown="hold", lookup=True, templates=True)
    return World(database, clock, ids, adapter=Fickle, capabilities=capabilities, concurrency=W)


async def test_sends_that_cancel_themselves_are_unknown_and_free_their_places(fickle: World) -> None:
    await fickle.start()
    Fickle.strays["send"] = W
    await fickle.contacts(W * 3)
    with capture_logs() as logs:
        action = await fickle.create(NOW)
    assert await fickle.states(action) == {"unknown": W, "succeeded": W * 2}
    assert [line["event"] for line in logs].count("adapter_cancelled_itself") == W
    await fickle.kill()


async def test_what_cancels_itself_at_the_start_is_tried_again(fickle: World) -> None:
    """Opening the adapter, hearing from its provider, listing its templates: none of them ends for good by it."""
    Fickle.strays.update(open=1, templates=1, run=1)
    await fickle.start()
    await fickle.contacts(1)
    action = await fickle.create(NOW)
    await fickle.advance(timedelta(minutes=70), timedelta(minutes=5))
    assert (Fickle.strays.total(), Fickle.runs) == (0, 2)
    assert await fickle.states(action) == {"succeeded": 1}
    await fickle.kill()


async def test_a_probe_that_cancels_itself_is_made_again(fickle: World) -> None:
    await fickle.start()
    fickle.provider.answer = lambda message: Misconfigured("wrong password")
    await fickle.contacts(3)
    action = await fickle.create(NOW)
    fickle.provider.answer = lambda message: Accepted()
    Fickle.strays["check"] = 1
    await fickle.advance(timedelta(minutes=3), timedelta(seconds=30))
    assert (Fickle.strays.total(), await fickle.states(action)) == (0, {"succeeded": 3})
    await fickle.kill()


async def test_a_question_that_cancels_itself_is_asked_again(fickle: World) -> None:
    def silent(message: Outbound) -> Outcome:
        raise ConnectionResetError

    await fickle.start()
    fickle.provider.answer = silent
    fickle.provider.answers = lambda question: Absent()
    await fickle.contacts(1)
    action = await fickle.create(NOW)
    assert await fickle.states(action) == {"unknown": 1}
    fickle.provider.answer = lambda message: Accepted()
    Fickle.strays["lookup"] = 1
    await fickle.advance(timedelta(hours=2), timedelta(minutes=5))
    assert (Fickle.strays.total(), await fickle.states(action)) == (0, {"succeeded": 1})
    await fickle.kill()


async def test_a_callback_whose_judge_cancels_itself_is_answered_as_not_genuine(fickle: World) -> None:
    """Unanswered it would keep its connection for ever; the provider sends it again."""
    await fickle.start()
    Fickle.strays["authenticate"] = 1
    assert await fickle.call_back(body=b"a receipt") is None
    assert await fickle.call_back(body=b"a receipt") is not None
    await fickle.kill()


@pytest.mark.timeout(20)
async def test_an_adapter_that_swallows_its_cancellation_does_not_outlive_the_engine(fickle: World) -> None:
    Fickle.stubborn = True
    await fickle.start()
    fickle.provider.gate = asyncio.Event()
    await fickle.contacts(W)
    await fickle.create(NOW)
    await fickle.kill()
    fickle.provider.gate = None
    Fickle.stubborn = False


async def test_a_loop_that_fails_says_which_one_it_was_and_ends_the_engine(
    fickle: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fickle.start()
    fail_once(monkeypatch, Sweeps, "step", TypeError("a defect of ours"))
    await fickle.contacts(1)
    await fickle.begin(NOW)
    with capture_logs() as logs:
        (raised,) = await asyncio.gather(fickle.settle(), return_exceptions=True)
    assert [line["loop"] for line in logs if line["event"] == "loop_failed"] == ["sweeper"]
    assert isinstance(raised, ExceptionGroup)
    assert [str(exc) for exc in raised.exceptions] == ["a defect of ours"]


async def test_what_a_lane_says_while_the_scheduler_decides_is_kept(world: World) -> None:
    """A lane says once why it waits. The scheduler, which looked before, must not take that for nothing."""
    await world.contacts(2)
    action = await world.create(Schedule(mode="now", time_zone="UTC"))
    await world.kill()
    await world.database.write(
        lambda conn: conn.execute("UPDATE bulk_actions SET status = 'processing', completed_at = NULL, look_at = 0")
    )
    releases = Releases(world.database, world.ids)
    (look,) = await releases.due(world.clock.now())
    await releases.explain(world.catalogue.senders["mail"].id, "daily_cap", world.clock.now())
    await releases.wait(look, None, None, None)
    assert await world.sql("SELECT wait_reason, look_at FROM bulk_actions") == [("daily_cap", 0)]
    (look,) = await releases.due(world.clock.now())
    await releases.wait(look, None, "sender_down", None)
    assert await world.sql("SELECT wait_reason, look_at, id FROM bulk_actions") == [("sender_down", None, action)]
