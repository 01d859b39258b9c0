"""Bulk actions as they are shown: one, a page of them, their batches, and what a forecast starts from."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from gateway.core.ids import ActionId, OrgId, SenderId
from gateway.core.selection import AddressList, ContactList, Selection
from gateway.core.states import ActionStatus, Counts
from gateway.errors import NotFound
from gateway.store.codec import from_json, from_micros, instant_or_none, micros_or_none, to_json
from gateway.store.counters import COLUMNS
from gateway.store.database import Database
from gateway.store.selections import selection_from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """A batch that was released. `counts` are those of the recipients that are still in it."""

    number: int
    round: int
    planned_at: datetime
    started_at: datetime
    finished_at: datetime | None
    quantity: int
    revision: int
    untried: int
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionView:
    """All of a bulk action but its recipients. `schedule` is JSON of `core.schedule.Schedule`, `message` its content.

    `unreleased` is the part of `counts.pending` in no batch; `deferred` the part of those that must not go yet.
    `expected`: how many entries its list has, None for other selections.
    """

    id: ActionId
    org: OrgId
    label: str | None
    operation: str
    channel: str | None
    sender: str | None
    sender_id: SenderId | None
    status: ActionStatus
    taking: bool
    paused_from: ActionStatus | None
    pause_reason: str | None
    pause_detail: str | None
    failure_kind: str | None
    wait_reason: str | None
    next_batch_at: datetime | None
    counts: Counts
    unreleased: int
    last: BatchView | None
    selection: Selection
    message: Mapping[str, Any] | None
    parameters: Mapping[str, Any]
    schedule: str
    settled: bool
    warnings: Sequence[Mapping[str, Any]]
    origin: str
    created_by: str | None
    requested_by: str | None
    created_at: datetime
    started_at: datetime | None
    resumed_at: datetime | None
    completed_at: datetime | None
    revision: int
    round: int
    rerun_of: ActionId | None

    @property
    def not_yet_taken(self) -> int:
        """Entries of a list that the snapshot has not come to; of other selections nobody knows."""
        if not self.taking or not isinstance(self.selection, ContactList | AddressList):
            return 0
        return max(0, self.selection.total - self.counts.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFilter:
    """Which bulk actions to list. `query` is part of the label, in any case."""

    statuses: Sequence[str] = ()
    operation: str | None = None
    channel: str | None = None
    query: str | None = None
    created_by: str | None = None
    requested_by: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


_BATCH_COLUMNS: Final = "number, round, planned_at, released_at, finished_at, quantity, revision, untried"

_ACTIONS: Final = f"""
    SELECT a.id, a.org, a.label, a.operation, a.channel, s.name, a.sender, a.status, a.work, a.paused_from,
        a.pause_reason, a.pause_detail, a.failure_kind, a.wait_reason, a.next_batch_at, a.selection, a.message,
        a.parameters, a.schedule, a.settled, a.warnings, a.origin, a.created_by, a.requested_by, a.created_at,
        a.started_at, a.resumed_at, a.completed_at, a.revision, a.round, a.rerun_of, n.unreleased, n.unconfirmed,
        {", ".join(f"n.{column}" for column in COLUMNS)},
        {", ".join(f"b.{column}" for column in (*_BATCH_COLUMNS.split(", "), *COLUMNS))}
    FROM bulk_actions AS a JOIN action_counts AS n ON n.action = a.id LEFT JOIN senders AS s ON s.id = a.sender
    LEFT JOIN batches AS b ON b.action = a.id AND b.number = (SELECT max(number) FROM batches WHERE action = a.id)"""


Places = Mapping[str, Sequence[int]]
"""By time zone: places in the snapshot, ascending."""


class ActionReads:
    """Reads of bulk actions. Every method takes the org."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def one(self, org: OrgId, action: ActionId) -> ActionView:
        """NotFound if there is none in this org."""
        row = self._database.read_now(
            lambda conn: conn.execute(f"{_ACTIONS} WHERE a.id = ? AND a.org = ?", (action, org)).fetchone()
        )
        if row is None:
            raise NotFound("bulk action", str(action))
        return _view(row)

    async def listed(
        self, org: OrgId, wanted: ActionFilter, before: ActionId | None, limit: int
    ) -> tuple[ActionView, ...]:
        """Newest first, older than `before`."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                f"""{_ACTIONS} WHERE a.org = :org AND (:before IS NULL OR a.id < :before)
                    AND (:statuses IS NULL OR a.status IN (SELECT value FROM json_each(:statuses)))
                    AND (:operation IS NULL OR a.operation = :operation)
                    AND (:channel IS NULL OR a.channel = :channel)
                    AND (:query IS NULL OR a.label LIKE :query ESCAPE '\\')
                    AND (:created_by IS NULL OR a.created_by = :created_by)
                    AND (:requested_by IS NULL OR a.requested_by = :requested_by)
                    AND (:after IS NULL OR a.created_at > :after) AND (:until IS NULL OR a.created_at < :until)
                    ORDER BY a.id DESC LIMIT :limit""",
                {
                    "org": org,
                    "before": before,
                    "statuses": to_json(wanted.statuses) if wanted.statuses else None,
                    "operation": wanted.operation,
                    "channel": wanted.channel,
                    "query": None if wanted.query is None else f"%{_escaped(wanted.query)}%",
                    "created_by": wanted.created_by,
                    "requested_by": wanted.requested_by,
                    "after": micros_or_none(wanted.created_after),
                    "until": micros_or_none(wanted.created_before),
                    "limit": limit,
                },
            ).fetchall()
        )
        return tuple(_view(row) for row in rows)

    async def batches(self, action: ActionId, before: int | None, limit: int) -> tuple[BatchView, ...]:
        """The released batches, newest first. The caller has found the action in its org."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                f"SELECT {_BATCH_COLUMNS}, {', '.join(COLUMNS)} FROM batches "
                "WHERE action = ?1 AND (?2 IS NULL OR number < ?2) ORDER BY number DESC LIMIT ?3",
                (action, before, limit),
            ).fetchall()
        )
        return tuple(_batch(row) for row in rows)

    async def waiting_by_zone(self, action: ActionId, zone: str) -> tuple[Places, Places]:
        """Who is in no batch yet, and who is in one without having been tried, by the recipients' own time zones.

        `zone` stands for a missing one. About half a second for a million.
        """
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT COALESCE(r.zone, c.time_zone, ?2), r.batch IS NOT NULL, json_group_array(r.seq) "
                "FROM recipients AS r LEFT JOIN contacts AS c ON c.id = r.contact "
                "WHERE r.action = ?1 AND r.state = 0 AND (r.batch IS NULL OR r.attempts = 0) GROUP BY 1, 2",
                (action, zone),
            ).fetchall()
        )
        places: tuple[dict[str, list[int]], dict[str, list[int]]] = ({}, {})
        for name, released, seqs in rows:
            places[released][name] = sorted(from_json(seqs))
        return places

    async def stats(self, org: OrgId, action: ActionId) -> ActionStats:
        """How it went. Reads every message of the action: about a second for a million."""
        return await self._database.read(lambda conn: _stats(conn, org, action))


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionStats:
    """`codes`: (state, code, number). `rate`: (start of a period, messages handed over in it), in order of time."""

    codes: Sequence[tuple[int, str | None, int]]
    period_seconds: int
    rate: Sequence[tuple[datetime, int]]
    replies: int
    opt_outs: int
    segments: int | None  # of all messages, where the provider counts them


PERIODS: Final = (60, 300, 900, 3_600, 21_600, 86_400)
"""Seconds. The shortest that makes at most `PERIODS_MAX` points is taken."""
PERIODS_MAX: Final = 200


def _stats(conn: sqlite3.Connection, org: OrgId, action: ActionId) -> ActionStats:
    codes = conn.execute(
        "SELECT state, code, count(*) FROM recipients WHERE action = ? GROUP BY state, code ORDER BY state, code",
        (action,),
    ).fetchall()
    first, last, replies, segments = conn.execute(
        "SELECT min(accepted_at), max(accepted_at), count(*) FILTER (WHERE direction = 1), sum(segments) "
        "FROM messages WHERE action = ?",
        (action,),
    ).fetchone()
    span = 0 if first is None else (last - first) // 1_000_000
    period = next((period for period in PERIODS if span // period < PERIODS_MAX), PERIODS[-1])
    rate = conn.execute(
        "SELECT accepted_at / :period * :period, count(*) FROM messages "
        "WHERE action = :action AND accepted_at IS NOT NULL AND direction = 0 GROUP BY 1 ORDER BY 1",
        {"action": action, "period": period * 1_000_000},
    ).fetchall()
    (opt_outs,) = conn.execute(
        "SELECT count(*) FROM consent_ledger AS l JOIN messages AS m ON m.id = l.message "
        "WHERE l.org = ? AND l.wish = 'out' AND m.action = ?",
        (org, action),
    ).fetchone()
    return ActionStats(
        codes=codes,
        period_seconds=period,
        rate=[(from_micros(at), number) for at, number in rate],
        replies=replies,
        opt_outs=opt_outs,
        segments=segments,
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _view(row: tuple[Any, ...]) -> ActionView:
    (id, org, label, operation, channel, sender, sender_id, status, work, paused_from, *rest) = row
    (pause_reason, pause_detail, failure_kind, wait_reason, next_batch_at, selection, message, *rest) = rest
    (parameters, schedule, settled, warnings, origin, created_by, requested_by, created_at, *rest) = rest
    (started_at, resumed_at, completed_at, revision, round_, rerun_of, unreleased, unconfirmed, *rest) = rest
    states, batch = rest[: len(COLUMNS)], rest[len(COLUMNS) :]
    return ActionView(
        id=id,
        org=org,
        label=label,
        operation=operation,
        channel=channel,
        sender=sender,
        sender_id=sender_id,
        status=ActionStatus(status),
        taking=work == "snapshot",
        paused_from=None if paused_from is None else ActionStatus(paused_from),
        pause_reason=pause_reason,
        pause_detail=pause_detail,
        failure_kind=failure_kind,
        wait_reason=wait_reason,
        next_batch_at=instant_or_none(next_batch_at),
        counts=Counts(**dict(zip(COLUMNS, states, strict=True)), unconfirmed=unconfirmed),
        unreleased=unreleased,
        last=None if batch[0] is None else _batch(batch),
        selection=selection_from_json(selection),
        message=from_json(message),
        parameters=from_json(parameters),
        schedule=schedule,
        settled=bool(settled),
        warnings=from_json(warnings),
        origin=origin,
        created_by=created_by,
        requested_by=requested_by,
        created_at=from_micros(created_at),
        started_at=instant_or_none(started_at),
        resumed_at=instant_or_none(resumed_at),
        completed_at=instant_or_none(completed_at),
        revision=revision,
        round=round_,
        rerun_of=rerun_of,
    )


def _batch(row: Sequence[Any]) -> BatchView:
    number, round_, planned_at, released_at, finished_at, quantity, revision, untried, *states = row
    return BatchView(
        number=number,
        round=round_,
        planned_at=from_micros(planned_at),
        started_at=from_micros(released_at),
        finished_at=instant_or_none(finished_at),
        quantity=quantity,
        revision=revision,
        untried=untried,
        counts=Counts(**dict(zip(COLUMNS, states, strict=True))),
    )
