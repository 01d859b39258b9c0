"""Bulk actions as a service: everything that a person can do with one. The API and the command line call it.

It writes rows and nudges the loops; the loops act on the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.clock import Clock
from gateway.contract import Channel
from gateway.core.forecast import Forecast
from gateway.core.ids import ActionId, IdSequence, OrgId
from gateway.core.schedule import Schedule
from gateway.core.states import FINAL_ACTIONS, RecipientState
from gateway.engine.action_requests import (
    ActionRequest,
    Asker,
    ResolveRequest,
    RetryRequest,
    ScheduleRequest,
)
from gateway.engine.caps import DailyCaps
from gateway.engine.catalogue import Catalogue
from gateway.engine.composing import Composer
from gateway.engine.contents import Contents
from gateway.engine.crash import CrashPoints
from gateway.engine.creation import ActionLimits, Convert, Creation
from gateway.engine.edits import Edited, Edits
from gateway.engine.findings import Findings
from gateway.engine.outlook import Outlook
from gateway.engine.preview import Preview, Previewing
from gateway.engine.schedules import read_schedule, warn_of_past_start
from gateway.errors import Refused
from gateway.store.action_reads import ActionFilter, ActionReads, ActionStats, ActionView, BatchView
from gateway.store.actions import ActionStore, Cancelled
from gateway.store.allowances import Allowances
from gateway.store.database import Database
from gateway.store.idempotency import Claim
from gateway.store.previews import PreviewStore
from gateway.store.recipient_reads import RecipientReads, RecipientView
from gateway.store.resolutions import ResolutionStore
from gateway.store.senders import SenderStore

RETRYABLE: Final = (
    RecipientState.FAILED,
    RecipientState.SKIPPED,
    RecipientState.UNKNOWN,
    RecipientState.CANCELLED,
)


class BulkActions:
    """One for the life of the daemon. `nudge` is called after each commit that gives the loops something to do."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        *,
        composer: Composer,
        contents: Contents,
        convert: Convert,
        clock: Clock,
        ids: IdSequence,
        nudge: Callable[[], None],
        limits: ActionLimits | None = None,
        crash: CrashPoints | None = None,
    ) -> None:
        self._crash = crash or CrashPoints()
        self._store = ActionStore(database)
        self._reads = ActionReads(database)
        self._recipients = RecipientReads(database)
        self._resolutions = ResolutionStore(database)
        self._catalogue = catalogue
        self._clock = clock
        self._limits = limits or ActionLimits()
        self._nudge = nudge
        caps = DailyCaps(Allowances(database, clock), catalogue, clock)
        self._outlook = Outlook(self._reads, catalogue, caps, SenderStore(database))
        self._creation = Creation(
            self._store,
            self._reads,
            PreviewStore(database),
            catalogue,
            contents,
            convert,
            clock,
            ids,
            self._limits,
            nudge,
        )
        self._previewing = Previewing(self._outlook, composer, clock)
        self._edits = Edits(self._store, self._reads, catalogue, contents, convert, clock, self._limits)

    async def clean_up(self) -> int:
        """At start, before anything is created: remove lists whose creation was killed. How many."""
        return await self._store.remove_orphan_chunks()

    async def create(self, asker: Asker, request: ActionRequest, claim: Claim | None = None) -> ActionView:
        """Create it. Invalid with all problems at once; Refused `bulk_action_rate`."""
        return await self.show(asker.org, await self._creation.create(asker, request, claim))

    async def preview(self, asker: Asker, request: ActionRequest) -> Preview:
        """What creating it would come to; nothing is stored, and everybody is looked at."""
        checked = await self._creation.check(asker, request, rows_max=None)
        return await self._previewing.preview(checked)

    async def show(self, org: OrgId, action: ActionId) -> ActionView:
        """One of the org's. NotFound."""
        return await self._reads.one(org, action)

    async def listed(
        self, org: OrgId, wanted: ActionFilter, before: ActionId | None, limit: int
    ) -> tuple[ActionView, ...]:
        """A page, newest first."""
        return await self._reads.listed(org, wanted, before, limit)

    async def edit(
        self, asker: Asker, action: ActionId, patch: Mapping[str, Any], check_revision: Callable[[int], None]
    ) -> Edited:
        """Apply a merge patch, see `Edits.edit`."""
        edited = await self._edits.edit(asker, action, patch, check_revision)
        if edited.changed:
            self._crash.passed("edit_committed")
            self._nudge()
        return edited

    async def cancel(self, asker: Asker, action: ActionId) -> Cancelled:
        """Stop it for good. Refused `not_cancellable`."""
        cancelled = await self._store.cancel(asker.org, action, self._clock.now())
        self._nudge()
        return cancelled

    async def pause(self, asker: Asker, action: ActionId) -> None:
        """Refused `not_pausable`."""
        await self._store.pause(asker.org, action, self._clock.now())
        self._nudge()

    async def resume(self, asker: Asker, action: ActionId) -> None:
        """Refused `not_resumable`."""
        await self._store.resume(asker.org, action, self._clock.now())
        self._nudge()

    async def retry(self, asker: Asker, action: ActionId, request: RetryRequest, claim: Claim | None = None) -> int:
        """Start the next round with those asked for; its number.

        Refused `nothing_to_retry`, `in_progress`, `bulk_action_rate`; Invalid for names that are not to be retried.
        """
        view = await self._reads.one(asker.org, action)
        if view.status not in FINAL_ACTIONS:
            detail = f"A bulk action that is {view.status} has not ended: cancel it, or wait for its end."
            raise Refused("nothing_to_retry", detail)
        found = Findings()
        if request.states is None and request.recipients is None:
            found.problem("", "Give `states`, `recipients` or both.")
        states: Sequence[RecipientState] = RETRYABLE
        if request.states is not None:
            states = tuple(sorted({RecipientState[name.upper()] for name in request.states}))
        schedule = self._retry_schedule(view, request.schedule, found)
        seqs = None
        if request.recipients is not None:
            seqs = await self._named(action, request.recipients, states, found)
        found.raise_problems()
        if seqs is None and not await self._recipients.any_retryable(action, states):
            names = ", ".join(state.label for state in states)
            raise Refused("nothing_to_retry", f"Nobody who is {names} can be tried again.")
        number = await self._store.retry(
            asker.org,
            action,
            self._clock.now(),
            self._limits.creations_per_minute,
            states=states,
            seqs=seqs,
            schedule=None if schedule is None else msgspec.json.encode(schedule).decode(),
            settle_anew=schedule is not None and schedule.mode != "now",
            requested_by=request.requested_by,
            claim=claim,
        )
        self._nudge()
        return number

    async def resolve(self, asker: Asker, action: ActionId, request: ResolveRequest) -> int:
        """Settle unknown recipients by a person's word; how many. Refused `nothing_to_resolve`.

        Many are settled in several transactions, each of which leaves the books in balance.
        """
        view = await self._reads.one(asker.org, action)
        if view.counts.unknown == 0:
            raise Refused("nothing_to_resolve", "No recipient of this bulk action is unknown.")
        seqs = None
        if request.recipients != "all":
            found = Findings()
            seqs = await self._named(action, request.recipients, (RecipientState.UNKNOWN,), found)
            found.raise_problems()
        total = 0
        by = asker.caller.acting_for or asker.caller.key_id
        while number := await self._resolutions.resolve(
            asker.org, action, seqs, request.verdict, self._clock.now(), by
        ):
            total += number
        self._nudge()
        return total

    async def recipients(
        self, org: OrgId, action: ActionId, states: Sequence[RecipientState], after: int, limit: int
    ) -> tuple[RecipientView, ...]:
        """A page in the order of the snapshot, behind the seq `after`."""
        view = await self._reads.one(org, action)
        return await self._recipients.page(action, self.channel_of(view), states, after, limit)

    async def batches(self, org: OrgId, action: ActionId, before: int | None, limit: int) -> tuple[BatchView, ...]:
        """The released batches, newest first."""
        await self._reads.one(org, action)
        return await self._reads.batches(action, before, limit)

    async def forecast(self, org: OrgId, action: ActionId, limit: int) -> Forecast:
        """The batches still to come."""
        return await self._outlook.of_action(await self._reads.one(org, action), self._clock.now(), limit)

    async def stats(self, org: OrgId, action: ActionId) -> ActionStats:
        """How it went."""
        await self._reads.one(org, action)
        return await self._reads.stats(org, action)

    def channel_of(self, view: ActionView) -> Channel | None:
        """The channel of an action that sends, unless its plugin is gone."""
        return None if view.channel is None else self._catalogue.channels.get(view.channel)

    def _retry_schedule(self, view: ActionView, asked: ScheduleRequest | None, found: Findings) -> Schedule | None:
        if asked is None:
            return None
        zone = self._catalogue.org_by_id(view.org).time_zone
        schedule = read_schedule(asked, zone, self._clock.now(), self._limits.schedule, found)
        if schedule is not None:
            warn_of_past_start(schedule, self._clock.now(), found)
        return schedule

    async def _named(
        self, action: ActionId, names: Sequence[str], states: Sequence[RecipientState], found: Findings
    ) -> list[int]:
        """The seqs of recipients named by contact id or address, with a problem for each that does not fit."""
        known = await self._recipients.ended(action, names)
        seqs = []
        for index, name in enumerate(names):
            entries = known.get(name, [])
            fitting = [seq for seq, state, beyond_help in entries if state in states and not beyond_help]
            seqs += fitting
            if not fitting:
                found.problem(f"/recipients/{index}", _why_not(name, entries, states))
        return sorted(set(seqs))


def _why_not(name: str, entries: Sequence[tuple[int, RecipientState, bool]], states: Sequence[RecipientState]) -> str:
    wanted = ", ".join(state.label for state in states)
    if not entries:
        return f"{name!r} is no recipient of this bulk action that is {wanted}."
    if any(beyond_help for _, _, beyond_help in entries):
        return f"There is nobody behind {name!r} who could be tried again."
    return f"{name!r} is {entries[0][1].label}, not {wanted}."
