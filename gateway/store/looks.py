"""All that the scheduler decides by about one bulk action, read in one state of the database."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.core.ids import ActionId, OrgId, SenderId
from gateway.core.states import ActionStatus, Counts
from gateway.store.codec import from_micros, instant_or_none
from gateway.store.counters import COLUMNS


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as it was released. `untried`: how many of it have not had their first attempt yet."""

    number: int
    round: int
    planned_at: datetime
    released_at: datetime
    untried: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionLook:
    """All that the scheduler decides by, read in one state of the database."""

    id: ActionId
    org: OrgId
    sender: SenderId | None
    operation: str
    status: ActionStatus
    revision: int
    round: int
    work: str | None
    settled: bool
    schedule: str
    created_at: datetime
    resumed_at: datetime | None
    started_at: datetime | None
    created_by: str | None
    failing: int
    counts: Counts
    unreleased: int
    deferred: int  # the part of `unreleased` that must not go yet
    deferred_until: datetime | None  # when the first of those may
    last: Batch | None
    sender_held: str | None
    taken: int  # the `look_at` that marks this look as taken
    wait_reason: str | None
    next_batch_at: datetime | None


LOOK = f"""
    SELECT a.id, a.org, a.sender, a.operation, a.status, a.revision, a.round, a.work, a.settled, a.schedule,
        a.created_at, a.resumed_at, a.started_at, a.created_by, n.failing, n.unreleased,
        s.held, a.wait_reason, a.next_batch_at, n.unconfirmed, {", ".join(f"n.{column}" for column in COLUMNS)}
    FROM bulk_actions AS a JOIN action_counts AS n ON n.action = a.id LEFT JOIN senders AS s ON s.id = a.sender"""


def read_look(conn: sqlite3.Connection, row: tuple[Any, ...], now: int, taken: int) -> ActionLook:
    (id, org, sender, operation, status, revision, round_, work, settled, schedule, *rest) = row
    (created_at, resumed_at, started_at, created_by, failing, unreleased, held, wait_reason, next_batch_at, *counts) = (
        rest
    )
    last = conn.execute(
        "SELECT number, round, planned_at, released_at, untried FROM batches WHERE action = ? "
        "ORDER BY number DESC LIMIT 1",
        (id,),
    ).fetchone()
    deferred, until = conn.execute(
        "SELECT count(*), min(not_before) FROM recipients INDEXED BY recipients_later "
        "WHERE action = ? AND not_before > ? AND state = 0 AND batch IS NULL",
        (id, now),
    ).fetchone()
    unconfirmed, *states = counts
    return ActionLook(
        id=id,
        org=org,
        sender=sender,
        operation=operation,
        status=ActionStatus(status),
        revision=revision,
        round=round_,
        work=work,
        settled=bool(settled),
        schedule=schedule,
        created_at=from_micros(created_at),
        resumed_at=instant_or_none(resumed_at),
        started_at=instant_or_none(started_at),
        created_by=created_by,
        failing=failing,
        counts=Counts(**dict(zip(COLUMNS, states, strict=True)), unconfirmed=unconfirmed),
        unreleased=unreleased,
        deferred=deferred,
        deferred_until=instant_or_none(until),
        last=None
        if last is None
        else Batch(
            number=last[0],
            round=last[1],
            planned_at=from_micros(last[2]),
            released_at=from_micros(last[3]),
            untried=last[4],
        ),
        sender_held=held,
        taken=taken,
        wait_reason=wait_reason,
        next_batch_at=instant_or_none(next_batch_at),
    )
