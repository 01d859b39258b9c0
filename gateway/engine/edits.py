"""Editing a bulk action: what is changed by a merge patch, whether that is allowed now, and whether it is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.clock import Clock
from gateway.core.content import MessageContent
from gateway.core.edit import edit_refusal
from gateway.core.ids import ActionId
from gateway.core.schedule import Schedule
from gateway.core.states import ActionStatus
from gateway.engine.action_requests import ActionEdit, Asker, ScheduleRequest, merged, message_request, schedule_request
from gateway.engine.catalogue import Catalogue, Org, Sender
from gateway.engine.content_checks import check_names
from gateway.engine.contents import TEMPLATE_OVERRIDE, Contents
from gateway.engine.creation import ActionLimits, Convert
from gateway.engine.findings import Findings
from gateway.engine.message_templates import kept_template
from gateway.engine.schedules import read_schedule, warn_of_past_start
from gateway.errors import Invalid, Refused
from gateway.store.action_reads import ActionReads, ActionView
from gateway.store.actions import ActionChange, ActionStore, Present
from gateway.store.codec import to_json

ATTEMPTS_MAX: Final = 20  # edits that come in between are rare; each makes one attempt vain

_OF_SCHEDULE: Final = frozenset({"start_in_past"})
_FIXED: Final = frozenset({"recipients", "operation", "parameters"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """What an edit did. `applies_from_batch`: while it is being processed, the first batch that the edit holds for."""

    changed: bool
    applies_from_batch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proposal:
    """An edit, as far as it could be understood. `changed`: the fields that differ, by their dotted names."""

    changed: frozenset[str]
    problems: Invalid | None
    change: ActionChange | None


class Edits:
    """Carries edits out. One for the life of the daemon; it keeps nothing."""

    def __init__(
        self,
        store: ActionStore,
        reads: ActionReads,
        catalogue: Catalogue,
        contents: Contents,
        convert: Convert,
        clock: Clock,
        limits: ActionLimits,
    ) -> None:
        self._store = store
        self._reads = reads
        self._catalogue = catalogue
        self._contents = contents
        self._convert = convert
        self._clock = clock
        self._limits = limits

    async def edit(
        self, asker: Asker, action: ActionId, patch: Mapping[str, Any], check_revision: Callable[[int], None]
    ) -> Edited:
        """Apply a merge patch. Refused in this order: by the state (409), by the revision (412), by the content (422).

        `check_revision` raises for a revision that the caller does not expect. A field equal to its present value is no
        edit. State and revision are tested once more in the transaction that writes.
        """
        for _ in range(ATTEMPTS_MAX):
            view = await self._reads.one(asker.org, action)
            proposal = await self._propose(asker, view, patch)
            _check_allowed(proposal.changed, view.status, view.paused_from)
            check_revision(view.revision)
            if proposal.problems is not None:
                raise proposal.problems
            if proposal.change is None:
                return Edited(changed=False)
            number = await self._store.edit(
                asker.org, action, view.revision, _checker(proposal.changed, check_revision), proposal.change
            )
            if number is not None:
                processing = ActionStatus.PROCESSING in (view.status, view.paused_from)
                return Edited(changed=True, applies_from_batch=number if processing else None)
        raise Refused("in_progress", "Others keep editing this bulk action: try again.")

    async def _propose(self, asker: Asker, view: ActionView, patch: Mapping[str, Any]) -> _Proposal:
        present = _as_request(view)
        wanted = merged(present, {name: value for name, value in patch.items() if name not in _FIXED})
        raw = frozenset(_differences(present, wanted)) - {"requested_by"} | (patch.keys() & _FIXED)
        try:
            edit = self._convert(wanted, ActionEdit)
        except Invalid as invalid:
            return _Proposal(changed=raw, problems=invalid, change=None)
        found = Findings()
        check_names(edit.label, edit.requested_by, found)
        content = await self._content(asker, view, edit, found)
        schedule = self._schedule(self._catalogue.org_by_id(asker.org), view, edit.schedule, found)
        try:
            found.raise_problems()
        except Invalid as invalid:
            return _Proposal(changed=raw, problems=invalid, change=None)
        assert schedule is not None
        sender = None if content is None else self._catalogue.senders.get(content.sender or "")
        return _proposal(view, edit, content, sender, schedule, found, patch.keys() & _FIXED)

    async def _content(
        self, asker: Asker, view: ActionView, edit: ActionEdit, found: Findings
    ) -> MessageContent | None:
        """The content; the stored one as it is where nothing of it was changed, whatever the provider says today."""
        if view.message is None:
            if edit.message is not None:
                found.problem("/message", f"The operation {view.operation!r} sends nothing.")
            return None
        if edit.message is None:
            found.problem("/message", "It says what to send, and cannot be taken away.")
            return None
        if edit.message.channel != view.channel:
            detail = f"The channel is fixed at creation ({view.channel!r}): cancel this one and create another."
            found.problem("/message/channel", detail)
            return None
        stored = msgspec.convert(view.message, MessageContent)
        if edit.message == message_request(stored):
            return stored
        checked = await self._contents.read(
            edit.message,
            self._catalogue.org_by_id(asker.org).name,
            found,
            bulk=True,
            any_template=self._catalogue.permits(asker.caller, TEMPLATE_OVERRIDE),
            chosen=kept_template(stored),
        )
        return None if checked is None else checked.content

    def _schedule(self, org: Org, view: ActionView, asked: ScheduleRequest, found: Findings) -> Schedule | None:
        """The schedule; the stored one as it is where nothing of it was changed, whatever the limits say today."""
        stored = msgspec.json.decode(view.schedule, type=Schedule)
        if asked == schedule_request(stored):
            return stored
        schedule = read_schedule(asked, org.time_zone, self._clock.now(), self._limits.schedule, found)
        if schedule is not None:
            warn_of_past_start(schedule, self._clock.now(), found)
        return schedule


def _proposal(
    view: ActionView,
    edit: ActionEdit,
    content: MessageContent | None,
    sender: Sender | None,
    schedule: Schedule,
    found: Findings,
    fixed: frozenset[str] | set[str],
) -> _Proposal:
    """What really differs: values are compared, not their spelling (`60m` is `1h`)."""
    stored = msgspec.json.decode(view.schedule, type=Schedule)
    after: dict[str, Any] = {"label": edit.label, "schedule": msgspec.to_builtins(schedule_request(schedule))}
    before: dict[str, Any] = {"label": view.label, "schedule": msgspec.to_builtins(schedule_request(stored))}
    if content is not None:
        after["message"] = msgspec.to_builtins(content)
        before["message"] = msgspec.to_builtins(msgspec.convert(view.message, MessageContent))
    changed = frozenset(_differences(before, after)) | fixed
    if not changed:
        return _Proposal(changed=changed, problems=None, change=None)
    change = ActionChange(
        label=edit.label,
        sender=sender.id if sender else view.sender_id,
        message=to_json(content) if content else None,
        schedule=to_json(schedule),
        warnings=to_json(_warnings(view, schedule != stored, found)),
        requested_by=edit.requested_by,
        settle_anew=schedule.mode != "now" and ActionStatus.QUEUED in (view.status, view.paused_from),
    )
    return _Proposal(changed=changed, problems=None, change=change)


def _warnings(view: ActionView, rescheduled: bool, found: Findings) -> list[Any]:
    kept = [warning for warning in view.warnings if not (rescheduled and warning["code"] in _OF_SCHEDULE)]
    return [*kept, *(msgspec.to_builtins(remark) for remark in found.warnings)]


def _as_request(view: ActionView) -> dict[str, Any]:
    """The action as a merge patch sees it."""
    stored = msgspec.json.decode(view.schedule, type=Schedule)
    present: dict[str, Any] = {"label": view.label, "schedule": msgspec.to_builtins(schedule_request(stored))}
    if view.message is not None:
        content = msgspec.convert(view.message, MessageContent)
        present["message"] = msgspec.to_builtins(message_request(content))
    return present


def _differences(before: object, after: object, name: str = "") -> list[str]:
    """The dotted names of the fields that differ; None is the same as absent."""
    if isinstance(before, Mapping) and isinstance(after, Mapping) and name not in _LEAVES:
        return [
            each
            for key in sorted({*before, *after})
            for each in _differences(before.get(key), after.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if before == after else [name]


_LEAVES: Final = frozenset({"message.variables"})


def _check_allowed(changed: frozenset[str], status: ActionStatus, paused_from: ActionStatus | None) -> None:
    refusal = edit_refusal(status, paused_from, changed)
    if refusal is not None:
        code, detail = refusal
        raise Refused(code, detail)


def _checker(changed: frozenset[str], check_revision: Callable[[int], None]) -> Callable[[Present], None]:
    """The same tests, for the state and the revision as the transaction finds them."""

    def check(present: Present) -> None:
        _check_allowed(changed, present.status, present.paused_from)
        check_revision(present.revision)

    return check
