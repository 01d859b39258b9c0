"""Candidates of one bulk action, read, gated and rendered ahead of the turns that send them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import structlog

from gateway.core.content import MessageContent
from gateway.core.drip import claimable
from gateway.core.ids import ACTION, ActionId, format_id
from gateway.core.schedule import Schedule
from gateway.core.window import next_opening, zone_named
from gateway.engine.catalogue import Sender
from gateway.engine.composing import Composer
from gateway.engine.gatekeeper import Deferred, Gatekeeper, PolicyFailed, Prepared
from gateway.engine.standing import Declined
from gateway.errors import StoreUnavailable
from gateway.store.candidates import Candidate, CandidateQuery, Candidates, SendingAction
from gateway.store.codec import from_micros, to_micros
from gateway.store.turn import DeferredRecipient, RefusedRecipient

READ_AHEAD: Final = 512  # candidates per read: large enough that reading costs little, small enough to stay fresh
LOW_WATER: Final = 256  # read on when fewer are prepared
AT_ONCE: Final = 32  # candidates judged before others have their turn: about a millisecond
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
FRESH: Final = timedelta(seconds=10)  # so long what the policies said holds: a slow sender has minutes of work ahead
STORE_RETRY: Final = timedelta(seconds=1)  # a database that could not be read is read again after this
FAULT_RETRY: Final = timedelta(seconds=5)  # a defect that stopped a read may strike again: not at full speed
IN_VAIN_MAX: Final = 20  # turns in a row that grant nobody; then it reads on after a pause
POLICY_FAILURES_MAX: Final = 5  # in a row; then the action pauses


class Feed:
    """One action in one round. In memory only: after a restart it starts again at the first pending recipient."""

    def __init__(
        self,
        action: SendingAction,
        sender: Sender,
        gatekeeper: Gatekeeper,
        candidates: Candidates,
        composer: Composer,
        wake: Callable[[], None],
    ) -> None:
        self.action = action
        self.schedule = msgspec.json.decode(action.schedule, type=Schedule)
        content = msgspec.json.decode(action.message, type=MessageContent)
        self.content = composer.compile(content)
        self.ready: deque[Prepared] = deque()
        self.refused: list[RefusedRecipient] = []
        self.deferred: list[DeferredRecipient] = []
        self.policy_fault: PolicyFailed | None = None
        self._unread: str | None = None  # why nobody can be read, as a sentence; until a read succeeds
        self._ungranted: str | None = None  # that nobody is granted; until somebody is
        self._policy_failures = 0
        self._sender = sender
        self._gatekeeper = gatekeeper
        self._candidates = candidates
        self._wake = wake
        self._floor = 0
        self._rewinds = 0  # a read that a rewind overtook must not move the floor past it
        self._dry = False
        self._later_at: datetime | None = LONG_AGO  # somebody may have been waiting since before this process
        self._taken: set[int] = set()
        self._moved = False  # somebody was taken since it last came to rest
        self._reading: asyncio.Task[None] | None = None
        self._resumes_at: datetime | None = None  # nothing is read before
        self._in_vain = 0
        self._log = structlog.get_logger("gateway.feed")

    @property
    def fault(self) -> str | None:
        """For readiness: why it does not go on, as a sentence."""
        return self._unread or self._ungranted

    @property
    def dripped(self) -> bool:
        return self.schedule.mode == "drip"

    @property
    def by_own_zone(self) -> bool:
        """Each recipient has a window of its own."""
        return self.schedule.drip is not None and self.schedule.drip.time_zone_mode == "contact"

    @property
    def skips_duplicates(self) -> bool:
        return self.content.content.on_duplicate_address == "skip"

    @property
    def later_at(self) -> datetime | None:
        """When the next of those who wait for a retry may go."""
        return self._later_at

    def open_now(self, now: datetime, zone: str | None) -> bool:
        """The window, tested at each claim."""
        return not self.dripped or claimable(self.schedule, now, zone)

    def update(self, action: SendingAction) -> None:
        """A batch may have been released; it need not begin where the last one ended."""
        if action.batch != self.action.batch:
            self.rewind(action.first_seq)
        self.action = action

    def rouse(self) -> None:
        """Recipients may have come in behind the last read: a snapshot chunk, a batch."""
        self._dry = False

    def rewind(self, seq: int = 0) -> None:
        """Read again from `seq` on: recipients went back to pending."""
        self._floor = min(self._floor, max(0, seq - 1))
        self._rewinds += 1
        self._dry = False

    def waits_until(self, instant: datetime) -> None:
        """A recipient waits for its retry until then."""
        if self._later_at is None or instant < self._later_at:
            self._later_at = instant

    def defer_until_open(self, candidate: Candidate, now: datetime) -> None:
        """The recipient's own window has closed since it was released: it goes back to its place in the snapshot.

        One that waits for a retry keeps its batch, and waits until the window opens again.
        """
        drip = self.schedule.drip
        zone = zone_named(candidate.zone or "") or zone_named(self.schedule.time_zone)
        assert drip is not None
        assert zone is not None
        opening = next_opening(drip.process_between, drip.send_on, now, zone) or now
        self.deferred.append(self._deferral(candidate, Deferred(until=opening, reason="window"), returns=True))

    def done_with(self, seq: int) -> None:
        """The recipient is neither prepared nor in flight any more."""
        self._taken.discard(seq)

    def front(self, now: datetime) -> Prepared | None:
        """Who goes next, if anybody is prepared. Policies judge by the clock: what they said long ago is asked anew."""
        stale = False
        while self.ready:
            judged_at = self.ready[0].judged_at
            if judged_at is None or abs(now - judged_at) <= FRESH:
                return self.ready[0]
            self.forget(self.ready.popleft())
            stale = True
        if stale:
            self._wake()
        return None

    @property
    def at_rest(self) -> bool:
        """Nobody is left but those who wait, and the scheduler has still to be told so that it can say for what.

        In a drip they leave their batches, and the scheduler looks by itself.
        """
        if not self._moved or self._taken or self._reading is not None or not self._dry:
            return False
        return not self.dripped and self._gatekeeper.has_policies

    def rest_told(self) -> None:
        """The scheduler knows."""
        self._moved = bool(self._taken)  # somebody may have been taken in the meantime

    def settling(self) -> Settling:
        """The refused and the deferred, as they go into a turn. They stay here until it is committed."""
        return Settling(self, tuple(self.refused), tuple(self.deferred))

    def settled(self, part: Settling, changed: Collection[tuple[ActionId, int]]) -> None:
        """What a turn held of them is committed, but for those `changed` since they were read: they are judged anew."""
        for seq in (*(refusal.seq for refusal in part.refused), *(deferral.seq for deferral in part.deferred)):
            self.done_with(seq)
            if (self.action.id, seq) in changed:
                self.rewind(seq)
        for deferral in part.deferred:
            self.waits_until(from_micros(deferral.not_before))  # not earlier: a read in the meantime goes by the rows
        del self.refused[: len(part.refused)], self.deferred[: len(part.deferred)]

    def put_back(self, prepared: list[Prepared]) -> None:
        """A turn that could not be written gives back what it wanted to send."""
        self.ready.extendleft(reversed(prepared))

    def forget(self, prepared: Prepared) -> None:
        """It was not granted, something it was prepared from has changed; or it was judged long ago. Judge it anew."""
        assert prepared.candidate is not None
        self.done_with(prepared.candidate.seq)
        self.rewind(prepared.candidate.seq)
        self.waits_until(LONG_AGO)  # it may be one of those who waited

    def was_granted(self, anybody: bool, now: datetime) -> None:
        """Whether a turn granted any of those it was given.

        If many in a row grant nobody, what is judged and what is granted disagree: a defect, or an action that is about
        to be paused. Judging the same people again at full speed would mend neither.
        """
        self._in_vain = 0 if anybody else self._in_vain + 1
        self._ungranted = None if anybody else self._ungranted
        if self._in_vain >= IN_VAIN_MAX:
            self._in_vain = 0
            self._ungranted = f"nobody of {format_id(ACTION, self.action.id)} is granted"
            self._resumes_at = now + FAULT_RETRY
            self._log.warning("nobody_granted", action=format_id(ACTION, self.action.id), turns=IN_VAIN_MAX)

    def refill(self, now: datetime) -> None:
        """Start reading on, if little is prepared and there is something to read."""
        if self._reading is not None or len(self.ready) >= LOW_WATER or self.policy_fault is not None:
            return
        # A clock that was set back must not make the pause longer than it was meant.
        if self._resumes_at is not None and now < self._resumes_at <= now + FAULT_RETRY:
            return
        over = self._later_at is not None and self._later_at <= now
        if over or not self._dry:
            self._reading = asyncio.create_task(self._read(now, over))

    async def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self, now: datetime, over: bool) -> None:
        try:
            if over:
                await self._read_later(now)
            if not self._dry:
                await self._read_on(now)
        except StoreUnavailable:
            self.waits_until(now + STORE_RETRY)  # whoever was waiting still does
            self._dry = True  # until it is roused, at the next look around
        # Whatever else it is, it would end in this task unheard, and with it whoever was read and not yet judged.
        except Exception as exc:  # noqa: BLE001
            self._note_fault(exc, now)
        else:
            self._unread = None
        finally:
            self._reading = None
            self._wake()

    def _note_fault(self, exc: Exception, now: datetime) -> None:
        """A defect, ours or a plugin's: everybody who waits is read again after a pause, until it is gone."""
        action = format_id(ACTION, self.action.id)
        self._unread = f"the recipients of {action} cannot be read: {type(exc).__name__}"
        self._resumes_at = now + FAULT_RETRY
        self.rewind()
        self.waits_until(LONG_AGO)
        self._log.error("recipients_not_read", action=action, exc_info=exc, may_quote=True)

    async def _read_on(self, now: datetime) -> None:
        self._dry = True  # before the read, so that a `rouse` in the meantime is not lost
        rewinds = self._rewinds
        found = await self._candidates.after(self._query(now, self._floor))
        if self._rewinds == rewinds and found:
            self._floor = found[-1].seq
        if len(found) == READ_AHEAD:
            self._dry = False
        await self._judge_all(found, now)

    async def _read_later(self, now: datetime) -> None:
        self._later_at = None  # before the reads, so that a wait which begins in the meantime is not lost
        found = await self._candidates.later(self._query(now, 0))
        if len(found) == READ_AHEAD:
            self.waits_until(now)
        # Those that are taken from here stay due until they are sent: only who comes after them is waited for.
        upcoming = await self._candidates.next_wait(self.action.id, self.dripped, to_micros(now))
        if upcoming is not None:
            self.waits_until(from_micros(upcoming))
        await self._judge_all(found, now)

    def _query(self, now: datetime, floor: int) -> CandidateQuery:
        return CandidateQuery(
            action=self.action.id,
            channel=self._sender.channel,
            category=self.content.content.category,
            dripped=self.dripped,
            skip_duplicates=self.skips_duplicates,
            wants_tags=self._gatekeeper.has_policies,
            now=to_micros(now),
            floor=floor,
            limit=READ_AHEAD,
        )

    async def _judge_all(self, found: tuple[Candidate, ...], now: datetime) -> None:
        waiting = [candidate for candidate in found if candidate.seq not in self._taken]
        try:
            histories = await self._gatekeeper.histories([(each.contact, each.address or "") for each in waiting], now)
        except StoreUnavailable:
            self.rewind(min(candidate.seq for candidate in waiting))  # the floor is behind them already
            raise
        for place, (candidate, history) in enumerate(zip(waiting, histories, strict=True)):
            if place % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)  # judging all of them would hold up what is in flight, and every request
            judgement = self._gatekeeper.judge(self.content, self.action.id, candidate, history, now)
            if isinstance(judgement, PolicyFailed):
                self._note_policy_failure(judgement, candidate)
                return
            self._policy_failures = 0
            self._taken.add(candidate.seq)
            self._moved = True
            if isinstance(judgement, Prepared):
                self.ready.append(judgement)
            elif isinstance(judgement, Declined):
                self.refused.append(self._refusal(candidate, judgement))
            else:
                self.deferred.append(self._deferral(candidate, judgement))

    def _note_policy_failure(self, failure: PolicyFailed, candidate: Candidate) -> None:
        """The recipient stays pending; it and those behind it are judged again, until there were too many in a row."""
        self._policy_failures += 1
        self.rewind(candidate.seq)
        if self._policy_failures >= POLICY_FAILURES_MAX:
            self.policy_fault = failure

    def _refusal(self, candidate: Candidate, declined: Declined) -> RefusedRecipient:
        return RefusedRecipient(
            action=self.action.id,
            round=self.action.round,
            seq=candidate.seq,
            seen_batch=candidate.batch,
            batch=candidate.batch or self.action.batch,
            event=declined.event,
            code=declined.code,
            reason=declined.reason,
        )

    def _deferral(self, candidate: Candidate, deferred: Deferred, *, returns: bool = False) -> DeferredRecipient:
        return DeferredRecipient(
            action=self.action.id,
            seq=candidate.seq,
            batch=candidate.batch,
            leaves=self.dripped,
            not_before=to_micros(deferred.until),
            returns=returns,
        )


@dataclass(frozen=True, slots=True)
class Settling:
    """What one turn settles of a feed. Reading goes on while it is written: who is judged then is for the next one."""

    feed: Feed
    refused: Sequence[RefusedRecipient]
    deferred: Sequence[DeferredRecipient]
