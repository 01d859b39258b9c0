"""The delivery loop: what happens is told to every webhook that asks for it, as long as it takes.

It looks at levels, not at signals: whoever has events behind the position, or a retry that is due, gets a round. A
round starts its events in their order, up to ten at once, and writes down what became of them. One webhook's troubles
keep no other waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from gateway.clock import Clock
from gateway.core.delivery import Health, Reply, retry_after
from gateway.core.ids import WEBHOOK, OrgId, WebhookId, format_id
from gateway.core.webhook_signing import headers
from gateway.errors import StoreUnavailable
from gateway.store.deliveries import Attempt, Delivery, DeliveryStore, Job, Outcome, Result, Round, Target
from gateway.store.events import Event
from gateway.store.webhooks import FAILING, GONE

POLL: Final = timedelta(seconds=1)
AT_ONCE: Final = 10  # deliveries to one webhook
# Of a webhook whose round a defect ended: what was posted in it is posted again, and the receiver is not to blame.
FAULT_RETRY: Final = timedelta(minutes=1)

Post = Callable[[str, bytes, Mapping[str, str]], Awaitable[Reply]]
"""What posts a body with headers to a URL, and raises nothing: `gateway.posting.Poster`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One post."""

    at: datetime
    reply: Reply
    milliseconds: int


class Courier:
    """Signs events and posts them."""

    def __init__(self, post: Post, clock: Clock) -> None:
        self._post = post
        self._clock = clock

    async def deliver(self, target: Target, event: Event) -> Sent:
        """Post one event, once."""
        body = msgspec.json.encode(
            {"type": event.type, "timestamp": event.time, "data": event.data, "seq": event.seq, "id": event.id}
        )
        at = self._clock.now()
        signed = headers(target.secrets, event.id, int(at.timestamp()), body)
        loop = asyncio.get_running_loop()
        started = loop.time()
        reply = await self._post(target.url, body, signed)
        return Sent(at=at, reply=reply, milliseconds=round((loop.time() - started) * 1_000))


class Webhooks:
    """Runs until cancelled. `chance`: random numbers from [0, 1)."""

    def __init__(self, store: DeliveryStore, post: Post, clock: Clock, chance: Callable[[], float]) -> None:
        self._store = store
        self._courier = Courier(post, clock)
        self._clock = clock
        self._chance = chance
        self._rounds: dict[WebhookId, asyncio.Task[None]] = {}
        self._faults: dict[WebhookId, tuple[str, datetime]] = {}  # what ended the last round, and when it rests until
        self._nudge = asyncio.Event()
        self._draining = False
        self._log = structlog.get_logger("gateway.webhooks")

    @property
    def faults(self) -> list[str]:
        """For readiness: the webhooks that a defect keeps from being served, a sentence for each."""
        return [f"{format_id(WEBHOOK, id)} cannot be served: {fault}" for id, (fault, _) in self._faults.items()]

    async def run(self) -> None:
        """Start a round for every webhook that is due and has none under way."""
        async with asyncio.TaskGroup() as group:
            while True:
                now = self._clock.now()
                for id in await self._due(now):
                    if id not in self._rounds and not self._draining and not self._rests(id, now):
                        self._rounds[id] = group.create_task(self._round(id))
                await self._clock.wait(self._nudge, now + POLL)

    async def drain(self) -> None:
        """Start nothing more; return once what was started has been written down."""
        self._draining = True
        if self._rounds:
            await asyncio.wait(self._rounds.values())

    async def test(self, org: OrgId, id: WebhookId) -> Delivery:
        """Deliver one event of the type `webhook.test`, now, whatever else is under way. NotFound."""
        target, event = await self._store.begin_test(org, id, self._clock.now())
        sent = await self._courier.deliver(target, event)
        attempt = Attempt(
            job=Job(event=event),
            at=sent.at,
            reply=sent.reply,
            milliseconds=sent.milliseconds,
            result="delivered" if sent.reply.ok else "failed",
        )
        delivery = await self._store.end_test(target, attempt)
        self._nudge.set()
        return delivery

    async def _due(self, now: datetime) -> tuple[WebhookId, ...]:
        try:
            return await self._store.due(now)
        except StoreUnavailable as exc:
            self._log.warning("store_unavailable", detail=str(exc))
            return ()

    async def _round(self, id: WebhookId) -> None:
        try:
            found = await self._store.plan(id, self._clock.now())
            if found is not None:
                outcome = await Delivering(found, self._courier, self._clock, self._chance, self._stopping).run()
                await self._record(outcome)
            self._faults.pop(id, None)
            self._nudge.set()
        except StoreUnavailable as exc:
            self._log.warning("store_unavailable", detail=str(exc))
        # A defect, perhaps in what is stored about this webhook alone: it must not end the others' rounds.
        except Exception as exc:  # noqa: BLE001
            self._faults[id] = (type(exc).__name__, self._clock.now() + FAULT_RETRY)
            self._log.error("webhook_round_failed", webhook=format_id(WEBHOOK, id), exc_info=exc, may_quote=True)
        finally:
            del self._rounds[id]

    def _rests(self, id: WebhookId, now: datetime) -> bool:
        """Also by a clock that was set back, no longer than it was meant to."""
        until = self._faults[id][1] if id in self._faults else now
        return now < until <= now + FAULT_RETRY

    def _stopping(self) -> bool:
        return self._draining

    async def _record(self, outcome: Outcome) -> None:
        """Not until it is written does anything more go to this webhook: it would be the same events again."""
        while True:
            try:
                await self._store.record(outcome, self._clock.now())
                self._tell(outcome)
                return
            except StoreUnavailable as exc:
                self._log.warning("store_unavailable", detail=str(exc))
                await self._clock.wait(asyncio.Event(), self._clock.now() + POLL)

    def _tell(self, outcome: Outcome) -> None:
        before = outcome.round.target.health
        log = self._log.bind(webhook=format_id(WEBHOOK, outcome.round.target.id))
        if outcome.round.missed or outcome.round.lost:
            log.warning("webhook_events_missed", number=outcome.round.missed + len(outcome.round.lost))
        if outcome.disabled is not None:
            log.warning("webhook_disabled", reason=outcome.disabled)
        elif outcome.health.held and not before.held:
            log.warning("webhook_held", until=outcome.health.probe_at)
        elif before.held and not outcome.health.held:
            log.info("webhook_released")


class Delivering:
    """One round under way."""

    def __init__(
        self,
        found: Round,
        courier: Courier,
        clock: Clock,
        chance: Callable[[], float],
        stopping: Callable[[], bool],
    ) -> None:
        self._found = found
        self._courier = courier
        self._clock = clock
        self._chance = chance
        self._stopping = stopping
        self._probing = found.target.health.held
        self._health = found.target.health
        self._gone = False
        self._jobs = iter(found.jobs)
        self._attempts: list[Attempt] = []

    async def run(self) -> Outcome:
        """Start the events in their order until all are started, or the receiver is down; wait for those started."""
        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(self._found.jobs))):
                group.create_task(self._work())
        left = [job.event.seq for job in self._jobs if job.new]
        failed = any(not attempt.reply.ok for attempt in self._attempts)
        hopeless = failed and self._health.hopeless(self._clock.now())
        return Outcome(
            round=self._found,
            attempts=self._attempts,
            position=left[0] - 1 if left else self._found.position,
            health=self._health,
            disabled=GONE if self._gone else FAILING if hopeless else None,
        )

    async def _work(self) -> None:
        while self._goes_on() and (job := next(self._jobs, None)) is not None:
            self._judge(job, await self._courier.deliver(self._found.target, job.event))

    def _goes_on(self) -> bool:
        return not (self._gone or self._stopping() or (self._health.held and not self._probing))

    def _judge(self, job: Job, sent: Sent) -> None:
        """A failed probe says nothing against its event, and takes none of its attempts; nor does an end."""
        if sent.reply.ok:
            self._health = Health()
            self._note(job, sent, "delivered")
            return
        now = self._clock.now()
        self._gone = self._gone or sent.reply.gone
        self._health = self._health.failed(sent.reply, now, self._chance(), probe=self._probing)
        if self._probing or sent.reply.gone:
            self._note(job, sent, "failed", attempts=job.attempts, again_at=self._health.probe_at)
            return
        wait = retry_after(job.attempts + 1, sent.reply, self._chance())
        if wait is None:
            self._note(job, sent, "given_up")
        else:
            self._note(job, sent, "failed", attempts=job.attempts + 1, again_at=now + wait)

    def _note(
        self, job: Job, sent: Sent, result: Result, *, attempts: int = 0, again_at: datetime | None = None
    ) -> None:
        self._attempts.append(
            Attempt(
                job=job,
                at=sent.at,
                reply=sent.reply,
                milliseconds=sent.milliseconds,
                result=result,
                attempts=attempts,
                again_at=again_at,
            )
        )
