"""The dispatcher of one sender: claim, gate, intent, send, record.

One coroutine assembles turns and commits them; W long-lived workers call the adapter. A turn is one transaction: it
records what has come back since the last one and writes the next intents, so that messages between intent and record
are never more than W, whatever happens to the process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from gateway.clock import Clock
from gateway.core.ids import ActionId
from gateway.core.states import RecipientEvent
from gateway.engine.catalogue import Sender
from gateway.engine.composing import Composer
from gateway.engine.consequences import Consequences
from gateway.engine.crash import CrashPoints
from gateway.engine.feed import Feed, Settling
from gateway.engine.gatekeeper import Gatekeeper, Prepared
from gateway.engine.holds import Hold
from gateway.engine.metrics import SendMetrics
from gateway.engine.pace import Pace
from gateway.engine.rulings import Decision, Rulings
from gateway.engine.singles import SingleFeed
from gateway.engine.turns import Wanted, intent_of, result_of
from gateway.engine.workers import Attempt, Workers
from gateway.errors import StoreUnavailable
from gateway.store.candidates import Candidates
from gateway.store.codec import from_micros, micros_of, to_micros
from gateway.store.receipts import ReceiptContext
from gateway.store.releases import Releases
from gateway.store.turn import ActionIntents, Granted, Turn
from gateway.store.turns import TurnStore

POLL: Final = timedelta(seconds=1)  # rows written by another process are noticed within this
LEASE_SPARE: Final = timedelta(seconds=60)  # a lease outlives the deadline of its attempt by this much
STORE_RETRY: Final = timedelta(seconds=1)  # a full or locked disk is tried again this often


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneTools:
    """What every lane shares."""

    clock: Clock
    candidates: Candidates
    turns: TurnStore
    releases: Releases
    composer: Composer
    crash: CrashPoints
    metrics: SendMetrics
    chance: Callable[[], float]  # from [0, 1); spreads retries
    look: Callable[[], None]  # a turn has left something for the scheduler
    node: str


class Lane:
    """Owns one sender's connection to the world. `run` until cancelled; `drain` first for a clean end."""

    def __init__(
        self, sender: Sender, tools: LaneTools, gatekeeper: Gatekeeper, singles: SingleFeed, hold: Hold
    ) -> None:
        self.sender = sender
        self._tools = tools
        self._gatekeeper = gatekeeper
        self._singles = singles
        self._hold = hold
        self._rulings = Rulings(sender)
        self._receipts = ReceiptContext(
            sender=sender.id,
            org=sender.org.id,
            awaits_receipts=sender.awaits_receipts,
            receipt_deadline=micros_of(sender.receipt_deadline),
        )
        self._feeds: dict[ActionId, Feed] = {}
        self._order: deque[ActionId] = deque()
        self._nudge = asyncio.Event()
        self._workers = Workers(sender, tools.crash, tools.metrics, self._nudge.set)
        self._pace = Pace(sender, tools.clock.now(), tools.turns.pace)
        self._consequences = Consequences(hold, tools.releases)
        self._in_flight = 0
        self._draining = False
        self._drained = asyncio.Event()
        self._poll_at: datetime | None = None
        self._said: str | None = ""  # nothing yet: what the last process said may be over
        self._log = structlog.get_logger("gateway.lane").bind(sender=sender.name)

    def wake(self) -> None:
        """Something may be there to send: look again."""
        self._poll_at = None
        for feed in self._feeds.values():
            feed.rouse()
        self._nudge.set()

    def wake_for_single(self) -> None:
        """A single message was accepted: nothing else has changed."""
        self._singles.rouse()
        self._nudge.set()

    def rewind(self, action: ActionId) -> None:
        """Recipients of this action went back to pending by another hand than this lane's."""
        if (feed := self._feeds.get(action)) is not None:
            feed.rewind()
        self._nudge.set()

    async def drain(self) -> None:
        """Write no more intents; return when everything in flight is recorded."""
        self._draining = True
        self._nudge.set()
        await self._drained.wait()

    @property
    def faults(self) -> list[str]:
        """For readiness: the actions whose recipients cannot be read, a sentence for each."""
        return [feed.fault for feed in self._feeds.values() if feed.fault is not None]

    async def run(self) -> None:
        """Run until cancelled. Attempts that are cancelled with it are recorded as unknown at the next start."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._workers.run())
            group.create_task(self._turns())

    async def _turns(self) -> None:
        while True:
            now = self._tools.clock.now()
            try:
                await self._look_around(now)
                await self._pause_faulty(now)
                if await self._consequences.carry_out(now):
                    self._poll_at = None
                busy = await self._turn(now)
                if not busy:
                    await self._tell_rest()
            except StoreUnavailable as exc:
                self._log.warning("store_unavailable", detail=str(exc))
                await self._tools.clock.wait(asyncio.Event(), now + STORE_RETRY)
                continue
            if self._draining and self._in_flight == 0 and self._consequences.over:
                self._drained.set()
                await asyncio.Event().wait()
            if not busy:
                await self._tools.clock.wait(self._nudge, self._wake_at(now))

    async def _look_around(self, now: datetime) -> None:
        """Which actions are being sent, is the sender held: at a nudge, and once a second, also by a clock set back."""
        if self._draining or (self._poll_at is not None and now < self._poll_at <= now + POLL):
            return
        self._poll_at = now + POLL
        await self._hold.refresh()
        actions = {action.id: action for action in await self._tools.candidates.actions(self.sender.id)}
        for id, feed in list(self._feeds.items()):
            if id not in actions or actions[id].round != feed.action.round:
                del self._feeds[id]
                self._order.remove(id)
                await feed.close()
        for id, action in actions.items():
            if id in self._feeds:
                self._feeds[id].update(action)
            else:
                self._feeds[id] = Feed(
                    action,
                    self.sender,
                    self._gatekeeper,
                    self._tools.candidates,
                    self._tools.composer,
                    self._nudge.set,
                )
                self._order.append(id)
            self._feeds[id].rouse()
        self._singles.rouse()
        await self._explain(now)

    async def _explain(self, now: datetime) -> None:
        """Say on the actions why they wait for this sender, when that changes."""
        fronts = [feed.ready[0].cost for feed in self._feeds.values() if feed.ready]
        reason, until = (None, None)
        if fronts and not self._hold.held:
            reason, until = self._pace.why_waiting(now, min(fronts))
        if reason != self._said:
            self._said = reason
            await self._tools.releases.explain(self.sender.id, reason, until)

    async def _tell_rest(self) -> None:
        """Have the scheduler look at actions in which everybody left waits for something."""
        resting = [feed for feed in self._feeds.values() if feed.at_rest]
        if resting:
            await self._tools.releases.want_look([feed.action.id for feed in resting])
            for feed in resting:
                feed.rest_told()
            self._tools.look()

    async def _turn(self, now: datetime) -> bool:
        """One transaction, if there is anything to write. True if there was."""
        finished = self._workers.take_finished()
        try:
            decisions = self._decide(finished, now)
            batch = await self._choose(now, self.sender.concurrency - self._in_flight + len(finished))
            settled = [feed.settling() for feed in self._feeds.values() if feed.refused or feed.deferred]
            if not finished and not batch.count and not settled:
                return False
            turn = self._assemble(now, decisions, batch, settled)
            granted = await self._commit(turn, batch)
        except StoreUnavailable:
            self._workers.put_back(finished)
            raise
        self._after_commit(now, decisions, batch, granted, settled)
        self._consequences.add(decisions)
        return True

    def _decide(self, finished: Sequence[Attempt], now: datetime) -> list[tuple[Prepared, Decision]]:
        return [
            (
                prepared,
                self._rulings.decide(
                    outcome, prepared.outbound.attempt, prepared.first_attempt_at or now, now, self._tools.chance()
                ),
            )
            for prepared, outcome in finished
        ]

    async def _choose(self, now: datetime, places: int) -> Wanted:
        """What may leave now: within the free places, the rate, the daily cap and the windows; singles first."""
        batch = Wanted([], {}, await self._pace.begin(now))
        if self._draining or self._hold.held:
            return batch
        places = self._pace.left_today(places)
        await self._singles.refill(now)
        while places > 0 and self._singles.ready and batch.affords(self._singles.ready[0]):
            prepared = self._singles.ready.popleft()
            batch.singles.append(prepared)
            batch.cost += prepared.cost
            places -= 1
        self._choose_bulk(now, places, batch)
        return batch

    def _choose_bulk(self, now: datetime, places: int, batch: Wanted) -> None:
        """The actions take turns, each giving a fair part of the places."""
        active = [id for id in self._order if self._prepare(self._feeds[id], now)]
        self._order.rotate(-1)
        share = max(1, places // max(1, len(active)))
        while places > 0 and active:
            for id in list(active):
                taken = self._take(self._feeds[id], min(share, places), now, batch)
                places -= taken
                if taken < min(share, places + taken) or not self._feeds[id].ready:
                    active.remove(id)
                if places == 0:
                    return

    def _prepare(self, feed: Feed, now: datetime) -> bool:
        feed.refill(now)
        return bool(feed.ready) and (feed.by_own_zone or feed.open_now(now, None))

    def _take(self, feed: Feed, most: int, now: datetime, batch: Wanted) -> int:
        taken = 0
        wanted = batch.bulk.setdefault(feed.action.id, [])
        while taken < most and (prepared := feed.front(now)) is not None:
            if not batch.affords(prepared):
                break
            feed.ready.popleft()
            assert prepared.candidate is not None
            if prepared.candidate.zone is not None and not feed.open_now(now, prepared.candidate.zone):
                feed.defer_until_open(prepared.candidate, now)
                continue
            wanted.append(prepared)
            batch.cost += prepared.cost
            taken += 1
        return taken

    def _assemble(
        self, now: datetime, decisions: Sequence[tuple[Prepared, Decision]], batch: Wanted, settled: Sequence[Settling]
    ) -> Turn:
        bulk = [
            ActionIntents(
                action=feed.action.id,
                round=feed.action.round,
                category=feed.content.content.category,
                skip_duplicates=feed.skips_duplicates,
                intents=[
                    intent_of(prepared, feed, segmented=self._gatekeeper.charges_by_unit)
                    for prepared in batch.bulk[feed.action.id]
                ],
            )
            for feed in self._feeds.values()
            if batch.bulk.get(feed.action.id)
        ]
        return Turn(
            sender=self.sender.id,
            org=self.sender.org.id,
            channel=self.sender.channel,
            receipts=self._receipts,
            now=to_micros(now),
            day=self._pace.day,
            org_cap=self.sender.org.daily_cap,
            node=self._tools.node,
            lease_until=to_micros(now + self.sender.deadline + LEASE_SPARE),
            results=[result_of(prepared, decision) for prepared, decision in decisions],
            refused=[refusal for part in settled for refusal in part.refused],
            deferred=[deferral for part in settled for deferral in part.deferred],
            bulk=bulk,
            singles=[prepared.message for prepared in batch.singles],
            tokens=batch.spent.tokens,
            dry_run=self.sender.dry_run,
        )

    async def _commit(self, turn: Turn, batch: Wanted) -> Granted:
        try:
            return await self._tools.turns.take(turn)
        except StoreUnavailable:
            self._singles.put_back(batch.singles)
            for feed in self._feeds.values():
                feed.put_back(batch.bulk.get(feed.action.id, []))
            raise

    def _after_commit(
        self,
        now: datetime,
        decisions: Sequence[tuple[Prepared, Decision]],
        batch: Wanted,
        granted: Granted,
        settled: Sequence[Settling],
    ) -> None:
        if decisions:
            self._tools.crash.passed("outcome_committed")
        if granted.messages:
            self._tools.crash.passed("intent_committed")
        if granted.look:
            self._tools.look()
        self._pace.spent(batch.spent.spent(-batch.refund(granted)), granted)
        self._in_flight += len(granted.messages) - len(decisions)
        self._tools.metrics.in_flight(self.sender.name, self._in_flight)
        for prepared, decision in decisions:
            self._release_place(prepared, decision)
        for part in settled:
            part.feed.settled(part, granted.changed)
        self._poll_at = None if granted.changed else self._poll_at  # look for rounds and batches before judging anew
        for prepared in batch.singles:
            if prepared.message in granted.messages:
                self._workers.submit(prepared)
            else:
                self._singles.done_with(prepared.message, again=True)
        for wanted in batch.bulk.values():
            self._hand_out(wanted, granted, now)

    def _hand_out(self, wanted: Sequence[Prepared], granted: Granted, now: datetime) -> None:
        feed, anybody = self._feed_of(wanted[0]) if wanted else None, False
        for prepared in wanted:
            if prepared.message in granted.messages:
                self._workers.submit(prepared)
                anybody = True
                continue
            if feed is not None:
                feed.forget(prepared)
            self._poll_at = None  # most likely the action was paused or cancelled: look which ones still run
        if feed is not None:
            feed.was_granted(anybody, now)

    def _release_place(self, prepared: Prepared, decision: Decision) -> None:
        """After the commit: the place is free, and whoever goes back to pending can be read again."""
        if prepared.candidate is None:
            self._singles.done_with(prepared.message, again=decision.ruling.event is RecipientEvent.RETURN)
            return
        if (feed := self._feed_of(prepared)) is None:
            return
        feed.done_with(prepared.candidate.seq)
        if decision.not_before is not None:
            feed.waits_until(from_micros(decision.not_before))
        elif decision.ruling.event is RecipientEvent.RETURN:
            feed.rewind(prepared.candidate.seq)

    async def _pause_faulty(self, now: datetime) -> None:
        """Pause the actions whose messages a policy could not judge, several times in a row."""
        for feed in self._feeds.values():
            fault = feed.policy_fault
            if fault is not None:
                detail = f"Policy {fault.policy!r} failed: {fault.detail}"
                await self._tools.releases.pause(feed.action.id, "policy_error", detail, now)
                feed.policy_fault = None
                self._poll_at = None

    def _feed_of(self, prepared: Prepared) -> Feed | None:
        return None if prepared.action is None else self._feeds.get(prepared.action)

    def _wake_at(self, now: datetime) -> datetime:
        """When to look again if nobody nudges: the next poll, retry, token, or midnight where a cap is spent."""
        sources: list[Feed | SingleFeed] = [self._singles, *self._feeds.values()]
        instants = [now + POLL]
        instants += [at for source in sources if (at := source.later_at) is not None and at > now]
        fronts = [source.ready[0].cost for source in sources if source.ready]
        if fronts and self._in_flight < self.sender.concurrency and not self._hold.held:
            ready = self._pace.ready_at(now, min(fronts))
            instants += [ready] if ready > now else []
        return min(instants)
