"""Bulk actions as JSON: the shapes of every answer, and the queries of the lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from gateway.contract import Channel
from gateway.core.edit import allowed
from gateway.core.forecast import Forecast
from gateway.core.gate import reason_text
from gateway.core.ids import ACTION, MESSAGE, format_id
from gateway.core.schedule import Schedule
from gateway.core.states import ActionStatus, Counts, RecipientState
from gateway.engine.action_requests import ScheduleRequest, schedule_request
from gateway.engine.preview import Preview
from gateway.http.paging import PageQuery
from gateway.store.action_reads import ActionStats, ActionView, BatchView
from gateway.store.actions import Cancelled
from gateway.store.recipient_reads import RecipientView

Status = Literal["queued", "processing", "delegated", "paused", "completed", "partial", "failed", "cancelled"]
State = Literal["pending", "in_flight", "handed_over", "succeeded", "failed", "skipped", "unknown", "cancelled"]


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """Part of an answer."""


class CountsWire(Wire, frozen=True, kw_only=True):
    """Recipients by state. All but `unconfirmed`, a part of `succeeded`, add up to `total`."""

    total: int
    pending: int
    in_flight: int
    handed_over: int
    succeeded: int
    failed: int
    skipped: int
    unknown: int
    cancelled: int
    unconfirmed: int


class BatchPlace(Wire, frozen=True, kw_only=True):
    """The newest batch, 0 before the first, and how many there will be as far as is known."""

    number: int
    of: int


class WarningWire(Wire, frozen=True, kw_only=True):
    """Something odd that did not stand in the way. `count`: how many it concerns."""

    code: str
    detail: str
    count: int | None = None


class ActionWire(Wire, frozen=True, kw_only=True):
    """A bulk action."""

    id: str
    label: str | None
    operation: str
    channel: str | None
    sender: str | None
    status: Status
    snapshot: Literal["taking", "taken"]
    paused_from: Status | None
    pause_reason: str | None
    pause_detail: str | None
    failure_kind: str | None
    wait_reason: str | None
    next_batch_at: datetime | None
    batch: BatchPlace
    counts: CountsWire
    success_count: int
    failed_count: int
    message: Mapping[str, Any] | None
    parameters: Mapping[str, Any]
    schedule: ScheduleRequest
    warnings: Sequence[WarningWire]
    allowed: Sequence[str]
    origin: str
    created_by: str | None
    requested_by: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    revision: int
    round: int
    rerun_of: str | None
    applies_from_batch: int | msgspec.UnsetType = msgspec.UNSET
    cancelled: int | msgspec.UnsetType = msgspec.UNSET
    in_flight: int | msgspec.UnsetType = msgspec.UNSET
    already_sent: int | msgspec.UnsetType = msgspec.UNSET
    resolved: int | msgspec.UnsetType = msgspec.UNSET


class RecipientWire(Wire, frozen=True, kw_only=True):
    """One recipient. `recipient` is what names it in a retry; `retryable`: trying again may help."""

    recipient: str
    contact_id: str | None
    name: str | None
    address: str | None
    state: State
    code: str | None
    reason: str | None
    provider_code: str | None
    message_id: str | None
    batch: int | None
    round: int
    not_before: datetime | None
    retryable: bool


class BatchWire(Wire, frozen=True, kw_only=True):
    """A batch that was released. `counts` are those of the recipients still in it."""

    number: int
    round: int
    planned_at: datetime
    started_at: datetime
    finished_at: datetime | None
    quantity: int
    revision: int
    counts: CountsWire


class PlannedBatchWire(Wire, frozen=True, kw_only=True):
    """A batch to come; `takes`: seconds from its release to its last first attempt."""

    number: int
    at: datetime
    quantity: int
    takes: float


class ForecastWire(Wire, frozen=True, kw_only=True):
    """What is still to come. `complete` is false if the end is too far away to be looked at."""

    batches: Sequence[PlannedBatchWire]
    batch_count: int
    first_at: datetime | None
    last_at: datetime | None
    ends_at: datetime | None
    complete: bool


class UnreachableWire(Wire, frozen=True, kw_only=True):
    """Who will not be reached for one reason; `sample` names up to 20."""

    code: str
    reason: str
    count: int
    sample: Sequence[str]


class PreviewWire(Wire, frozen=True, kw_only=True):
    """What a bulk action would come to. `segments`: units that the provider counts, null where it counts messages."""

    total: int
    reachable: int
    unreachable: Sequence[UnreachableWire]
    segments: int | None
    forecast: ForecastWire
    warnings: Sequence[WarningWire]


class CodeCount(Wire, frozen=True, kw_only=True):
    """How many recipients are in a state for one reason."""

    state: State
    code: str | None
    reason: str | None
    count: int


class RatePoint(Wire, frozen=True, kw_only=True):
    """Messages handed over in the period that starts at `at`."""

    at: datetime
    count: int


class RateWire(Wire, frozen=True, kw_only=True):
    """Messages over time."""

    period_seconds: int
    points: Sequence[RatePoint]


class StatsWire(Wire, frozen=True, kw_only=True):
    """How it went. `opt_outs`: wishes not to be written to that came as answers to this action's messages."""

    codes: Sequence[CodeCount]
    rate: RateWire
    replies: int
    opt_outs: int
    segments: int | None  # of all messages sent, where the provider counts segments


class ActionQuery(PageQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which bulk actions to list."""

    status: list[Status] | None = None
    operation: str | None = None
    channel: str | None = None
    q: Annotated[str, msgspec.Meta(max_length=200, description="Part of the label.")] | None = None
    created_by: str | None = None
    requested_by: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


class RecipientQuery(PageQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which recipients to list; `state` can be given several times."""

    state: list[State] | None = None


class ForecastQuery(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How many batches to list; all are counted."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 50


HOPELESS = frozenset({"opted_out", "duplicate_address", "already_done", "contact_deleted", "contact_not_found"})
"""Codes that another attempt would only meet again."""


def show_action(view: ActionView, **more: Any) -> ActionWire:
    """The full shape; `more` are the members that single answers add."""
    schedule = msgspec.json.decode(view.schedule, type=Schedule)
    return ActionWire(
        id=format_id(ACTION, view.id),
        label=view.label,
        operation=view.operation,
        channel=view.channel,
        sender=view.sender,
        status=view.status.value,
        snapshot="taking" if view.taking else "taken",
        paused_from=None if view.paused_from is None else view.paused_from.value,
        pause_reason=view.pause_reason,
        pause_detail=view.pause_detail,
        failure_kind=view.failure_kind,
        wait_reason=view.wait_reason,
        next_batch_at=view.next_batch_at,
        batch=_place(view, schedule),
        counts=show_counts(view.counts),
        success_count=view.counts.succeeded,
        failed_count=view.counts.failed,
        message=view.message,
        parameters=view.parameters,
        schedule=schedule_request(schedule),
        warnings=[msgspec.convert(warning, WarningWire) for warning in view.warnings],
        allowed=_allowed(view, schedule),
        origin=view.origin,
        created_by=view.created_by,
        requested_by=view.requested_by,
        created_at=view.created_at,
        started_at=view.started_at,
        completed_at=view.completed_at,
        revision=view.revision,
        round=view.round,
        rerun_of=None if view.rerun_of is None else format_id(ACTION, view.rerun_of),
        **more,
    )


def show_cancelled(cancelled: Cancelled) -> Mapping[str, int]:
    """What a cancel adds to the action."""
    return {
        "cancelled": cancelled.cancelled,
        "in_flight": cancelled.in_flight,
        "already_sent": cancelled.already_sent,
    }


def show_counts(counts: Counts) -> CountsWire:
    return msgspec.convert(counts, CountsWire, from_attributes=True)


def _place(view: ActionView, schedule: Schedule) -> BatchPlace:
    number = 0 if view.last is None else view.last.number
    waiting = view.unreleased + view.not_yet_taken
    if view.status is ActionStatus.CANCELLED or waiting == 0:
        following = 0
    elif schedule.drip is None:
        following = 1
    else:
        following = -(-waiting // schedule.drip.batch_quantity)
    return BatchPlace(number=number, of=number + following)


def _allowed(view: ActionView, schedule: Schedule) -> Sequence[str]:
    can = allowed(view.status, view.paused_from, view.operation, schedule.mode)
    return [each for each in can if each != "resolve" or view.counts.unknown]


def show_recipient(view: RecipientView, channel: Channel | None) -> RecipientWire:
    """One recipient, with its reason in words."""
    ended_badly = view.state >= RecipientState.FAILED
    return RecipientWire(
        recipient=view.recipient,
        contact_id=view.contact_id,
        name=view.name,
        address=view.address,
        state=view.state.label,  # type: ignore[arg-type]  # the labels are the literals; a test holds them together
        code=view.code,
        reason=in_words(view.code, view.reason, channel),
        provider_code=view.provider_code,
        message_id=None if view.message is None else format_id(MESSAGE, view.message),
        batch=view.batch,
        round=view.round,
        not_before=view.not_before,
        retryable=ended_badly and not view.beyond_help and view.code not in HOPELESS,
    )


def in_words(code: str | None, reason: str | None, channel: Channel | None) -> str | None:
    """What a person can read: what was stored with it, else what the code means."""
    if reason is not None or code is None:
        return reason
    return reason_text(code, channel.title if channel else "", channel.address_from if channel else None)


def show_batch(view: BatchView) -> BatchWire:
    return BatchWire(
        number=view.number,
        round=view.round,
        planned_at=view.planned_at,
        started_at=view.started_at,
        finished_at=view.finished_at,
        quantity=view.quantity,
        revision=view.revision,
        counts=show_counts(view.counts),
    )


def show_forecast(forecast: Forecast) -> ForecastWire:
    return ForecastWire(
        batches=[
            PlannedBatchWire(
                number=batch.number, at=batch.at, quantity=batch.quantity, takes=batch.takes.total_seconds()
            )
            for batch in forecast.batches
        ],
        batch_count=forecast.batch_count,
        first_at=forecast.first_at,
        last_at=forecast.last_at,
        ends_at=forecast.ends_at,
        complete=forecast.complete,
    )


def show_preview(preview: Preview) -> PreviewWire:
    return PreviewWire(
        total=preview.total,
        reachable=preview.reachable,
        unreachable=[
            UnreachableWire(
                code=code, reason=in_words(code, None, preview.channel) or code, count=number, sample=sample
            )
            for code, number, sample in preview.unreachable
        ],
        segments=preview.segments,
        forecast=show_forecast(preview.forecast),
        warnings=[msgspec.convert(warning, WarningWire) for warning in preview.warnings],
    )


def show_stats(stats: ActionStats, channel: Channel | None) -> StatsWire:
    return StatsWire(
        codes=[
            CodeCount(
                state=RecipientState(state).label,  # type: ignore[arg-type]  # as in show_recipient
                code=code,
                reason=in_words(code, None, channel),
                count=number,
            )
            for state, code, number in stats.codes
        ],
        rate=RateWire(
            period_seconds=stats.period_seconds,
            points=[RatePoint(at=at, count=number) for at, number in stats.rate],
        ),
        replies=stats.replies,
        opt_outs=stats.opt_outs,
        segments=stats.segments,
    )
