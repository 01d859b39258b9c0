"""Checking and creating a bulk action: everything that is wrong with it is told at once, and nothing is stored then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import msgspec

from gateway.clock import Clock
from gateway.contract import Operation
from gateway.core.ids import ACTION, ActionId, IdSequence, OrgId, format_id
from gateway.core.schedule import Schedule, ScheduleLimits
from gateway.core.selection import OtherAction
from gateway.core.states import FINAL_ACTIONS, ActionStatus
from gateway.engine.action_requests import ActionRequest, Asker
from gateway.engine.catalogue import Catalogue, Org
from gateway.engine.content_checks import check_names
from gateway.engine.contents import TEMPLATE_OVERRIDE, CheckedContent, Contents
from gateway.engine.findings import Findings
from gateway.engine.recipients import CheckedRecipients, Circumstances, read_recipients
from gateway.engine.schedules import read_schedule, warn_of_past_start
from gateway.errors import NotFound, Refused
from gateway.store.action_reads import ActionReads
from gateway.store.actions import ActionStore, NewAction
from gateway.store.codec import to_json
from gateway.store.idempotency import Claim
from gateway.store.previews import SAMPLE_MAX, PreviewStore, Sight, Viewing

T = TypeVar("T")

SEND: Final = "send_message"
LOOKED_AT_MAX: Final = 1_000
"""Recipients that a creation looks at for its warnings, some 5 ms; a preview looks at all of them."""

_SETTLED: Final = FINAL_ACTIONS | {ActionStatus.DELEGATED}


class Convert(Protocol):
    """`gateway.validation.convert`, which this layer is given."""

    def __call__(self, value: object, into: type[T], *, strict: bool = True, at: str = "") -> T: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionLimits:
    """`[limits]`: what callers may ask for."""

    creations_per_minute: int = 10  # creations and retries of an org
    schedule: ScheduleLimits = field(default_factory=ScheduleLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A request that has passed every check."""

    org: Org
    request: ActionRequest
    operation: Operation[Any] | None  # None: it sends messages
    content: CheckedContent | None
    parameters: Mapping[str, Any]
    schedule: Schedule
    recipients: CheckedRecipients
    sight: Sight
    findings: Findings

    @property
    def reaches_deleted(self) -> bool:
        return self.operation is not None and self.operation.reaches_deleted


class Creation:
    """The checks, and the creation itself. One for the life of the daemon; it keeps nothing."""

    def __init__(
        self,
        store: ActionStore,
        reads: ActionReads,
        previews: PreviewStore,
        catalogue: Catalogue,
        contents: Contents,
        convert: Convert,
        clock: Clock,
        ids: IdSequence,
        limits: ActionLimits,
        nudge: Callable[[], None],
    ) -> None:
        self._store = store
        self._reads = reads
        self._previews = previews
        self._catalogue = catalogue
        self._contents = contents
        self._convert = convert
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._nudge = nudge

    async def create(self, asker: Asker, request: ActionRequest, claim: Claim | None) -> ActionId:
        """Check and store it. Invalid with all problems; Refused `bulk_action_rate`."""
        checked = await self.check(asker, request, rows_max=LOOKED_AT_MAX)
        action = ActionId(self._ids.take())
        position = 0
        try:
            for entries, number in checked.recipients.chunks:
                await self._store.add_chunk(action, position, entries)
                position += number
            await self._store.create(self._new(action, asker, checked, claim), self._limits.creations_per_minute)
        except BaseException:
            # It was refused, or whoever asked has gone: the list must not stay. A kill leaves it to the next start.
            await self._store.drop_chunks(action)
            raise
        self._nudge()
        return action

    async def check(self, asker: Asker, request: ActionRequest, *, rows_max: int | None) -> Checked:
        """Every check. `rows_max`: how many recipients to look at; None: at all of them."""
        found, org = Findings(), asker.org
        place = self._catalogue.org_by_id(org)
        check_names(request.label, request.requested_by, found)
        operation = self._operation(request, found)
        content = await self._content(request, asker, place, found)
        parameters = self._parameters(request, operation, found)
        now = self._clock.now()
        schedule = read_schedule(request.schedule, place.time_zone, now, self._limits.schedule, found)
        about = Circumstances(
            channel=content.sender.channel if content else None,
            sends=request.operation == SEND,
            region=place.default_region,
            required=content.required if content else frozenset(),
            reaches_deleted=operation is not None and operation.reaches_deleted,
            channels=self._catalogue.channels,
        )
        recipients = await read_recipients(request.recipients, about, found)
        if recipients is not None and isinstance(recipients.selection, OtherAction):
            await self._check_source(org, recipients.selection, found)
        found.raise_problems()
        assert schedule is not None
        assert recipients is not None
        warn_of_past_start(schedule, now, found)
        sight = await self._look_over(org, request, content, schedule, recipients, about, rows_max)
        if not sight.known:
            found.problem("/recipients", "Nobody matches.", "no_recipients")
            found.raise_problems()
        return Checked(
            org=place,
            request=request,
            operation=operation,
            content=content,
            parameters=parameters,
            schedule=schedule,
            recipients=recipients,
            sight=sight,
            findings=found,
        )

    def _operation(self, request: ActionRequest, found: Findings) -> Operation[Any] | None:
        if request.operation == SEND:
            return None
        operation = self._catalogue.operations.get(request.operation)
        if operation is None:
            known = ", ".join(sorted({SEND, *self._catalogue.operations}))
            detail = f"There is no operation {request.operation!r}; there are: {known}."
            found.problem("/operation", detail, "unknown_operation")
        return operation

    async def _content(self, request: ActionRequest, asker: Asker, org: Org, found: Findings) -> CheckedContent | None:
        if request.operation == SEND and request.message is None:
            found.problem("/message", "Is missing: it says what to send.")
        if request.message is None:
            return None
        if request.operation in self._catalogue.operations:
            found.problem("/message", f"The operation {request.operation!r} sends nothing: leave the message out.")
        any_template = self._catalogue.permits(asker.caller, TEMPLATE_OVERRIDE)
        return await self._contents.read(request.message, org.name, found, bulk=True, any_template=any_template)

    def _parameters(
        self, request: ActionRequest, operation: Operation[Any] | None, found: Findings
    ) -> Mapping[str, Any]:
        if operation is None:
            if request.parameters and request.operation == SEND:
                found.problem("/parameters", f"The operation {SEND!r} takes none; the message says it all.")
            return {}
        try:
            parameters = self._convert(request.parameters, operation.parameters_type, at="/parameters")
        except Refused as refused:
            found.refused("/parameters", refused)
            return {}
        for detail in operation.check(parameters):
            found.problem("/parameters", detail)
        plain: Mapping[str, Any] = msgspec.to_builtins(parameters)
        return plain

    async def _check_source(self, org: OrgId, selection: OtherAction, found: Findings) -> None:
        """Another action's recipients can be taken over once they do not move any more."""
        try:
            source = await self._reads.one(org, selection.action)
        except NotFound:
            name = format_id(ACTION, selection.action)
            found.problem("/recipients/bulk_action", f"There is no bulk action {name!r}.")
            return
        if source.status not in _SETTLED:
            detail = (
                f"This bulk action is {source.status}: cancel it, or wait for its end, then take over its recipients."
            )
            found.problem("/recipients/bulk_action", detail)
        elif source.taking:
            detail = "This bulk action was cancelled while it was still being set up: try again in a moment."
            found.problem("/recipients/bulk_action", detail, "in_progress")

    async def _look_over(
        self,
        org: OrgId,
        request: ActionRequest,
        content: CheckedContent | None,
        schedule: Schedule,
        recipients: CheckedRecipients,
        about: Circumstances,
        rows_max: int | None,
    ) -> Sight:
        own_zones = schedule.drip is not None and schedule.drip.time_zone_mode == "contact"
        return await self._previews.look_over(
            Viewing(
                org=org,
                selection=recipients.selection,
                chunks=tuple(entries for entries, _ in recipients.chunks),
                channel=about.channel,
                category=content.content.category if content else "general",
                skip_duplicates=content is not None and content.content.on_duplicate_address == "skip",
                reaches_deleted=about.reaches_deleted,
                required=about.required,
                zone=schedule.time_zone if own_zones else None,
                rows_max=rows_max,
                values_of=SAMPLE_MAX
                if rows_max is None and content is not None and content.sender.charges_by_unit
                else 0,
            )
        )

    def _new(self, action: ActionId, asker: Asker, checked: Checked, claim: Claim | None) -> NewAction:
        request, content = checked.request, checked.content
        source = checked.recipients.selection
        return NewAction(
            id=action,
            org=asker.org,
            label=request.label,
            operation=request.operation,
            channel=content.sender.channel.name if content else None,
            sender=content.sender.id if content else None,
            selection=source,
            message=to_json(content.content) if content else None,
            parameters=to_json(checked.parameters),
            schedule=to_json(checked.schedule),
            start_at=checked.schedule.start_at,
            warnings=to_json(warnings_of(checked)),
            rerun_of=source.action if isinstance(source, OtherAction) else None,
            origin=asker.origin,
            created_by=asker.caller.key_id if asker.origin == "api" else None,  # elsewhere there is no key
            requested_by=request.requested_by,
            now=self._clock.now(),
            claim=claim,
            made=format_id(ACTION, action),
        )


def warnings_of(checked: Checked) -> list[Mapping[str, Any]]:
    """What is odd about a request: the findings, and what was seen of its recipients."""
    remarks = checked.findings
    sight = checked.sight
    among = "" if sight.complete else f" among the first {sight.total}"
    for name, number in sorted(sight.missing.items()):
        sample = ", ".join(sight.samples["missing_variable"][:3])
        detail = (
            f"{number} recipients{among} have no value for {name!r}, such as {sample}: nothing will be sent to them."
        )
        remarks.warn("missing_variable", detail, number)
    unknown = sight.codes["contact_not_found"]
    if unknown:
        sample = ", ".join(sight.samples["contact_not_found"][:3])
        remarks.warn("contact_not_found", f"{unknown} contacts{among} do not exist, such as {sample}.", unknown)
    if sight.complete and not sight.reachable:
        remarks.warn("nobody_reachable", "Nobody can be reached: see the preview for the reasons.", sight.total)
    if sight.without_zone:
        detail = f"{sight.without_zone} recipients{among} have no time zone: the schedule's is taken."
        remarks.warn("missing_time_zone", detail, sight.without_zone)
    return [msgspec.to_builtins(remark) for remark in remarks.warnings]
