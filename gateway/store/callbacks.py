"""The inbox of callbacks: what providers sent, raw, until it is read. What was read is applied in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final

import msgspec

from gateway.contract import CallbackRequest, Channel, Consent, Event, Inbound, Receipt, TemplateChange
from gateway.core.ids import IdSequence, MessageId, OrgId, SenderId, first_id
from gateway.store.codec import from_micros, micros_of, micros_or_none, to_json, to_micros
from gateway.store.counters import Moves
from gateway.store.database import Database
from gateway.store.inbound import InboundContext, known_address, store_inbound
from gateway.store.reactions import InboundReaction, react
from gateway.store.receipts import ReceiptContext, merge_receipts, message_meant, purge_parked
from gateway.store.templates import change_template
from gateway.store.wishes import Wish, record_wish

PARKED: Final = timedelta(hours=24)  # a receipt waits for its message for so long
PURGE_STEP: Final = 5_000  # callbacks removed in one transaction

_NOT_KEPT: Final = frozenset(
    {
        *("authorization", "proxy-authorization", "cookie", "x-api-key"),
        *("accept", "accept-encoding", "accept-language", "cache-control", "connection", "content-length", "host"),
        *("keep-alive", "transfer-encoding", "user-agent", "via"),
    }
)
_INSERT_SIZES: Final = (64, 16, 4, 1)  # rows of one statement: few sizes, so that all are prepared once

WAITING, READ, UNREADABLE = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One callback as it is stored."""

    id: int
    sender: SenderId
    request: CallbackRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderContext:
    """What of a sender matters to what its provider calls back with."""

    sender: SenderId
    org: OrgId
    channel: Channel
    awaits_receipts: bool
    receipt_deadline: timedelta
    link_within: timedelta

    def of_receipts(self) -> ReceiptContext:
        """The part that receipts are merged by."""
        return ReceiptContext(
            sender=self.sender,
            org=self.org,
            awaits_receipts=self.awaits_receipts,
            receipt_deadline=micros_of(self.receipt_deadline),
        )

    def of_inbound(self) -> InboundContext:
        """The part that inbound messages are stored by."""
        return InboundContext(
            sender=self.sender, org=self.org, channel=self.channel, link_within=micros_of(self.link_within)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one callback says. `problem`: why it, or a part of it, could not be read, and is not among the events.

    `reactions`: what the policies made of the inbound texts, by their provider ids.
    """

    callback: int
    context: SenderContext | None  # None: its sender is not configured any more
    events: Sequence[Event] = ()
    reactions: Mapping[str, InboundReaction] = field(default_factory=dict)
    problem: str | None = None


@dataclass(slots=True)
class Applied:
    """What came of some readings."""

    looks: bool = False  # the scheduler was asked to look
    merged: int = 0
    parked: int = 0
    inbound: int = 0
    wishes: int = 0
    replies: int = 0  # messages that wait to be sent
    stopped_templates: list[tuple[SenderId, TemplateChange]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFilter:
    """Which stored callbacks to read again."""

    sender: SenderId
    received_after: datetime | None = None
    received_before: datetime | None = None
    unreadable_only: bool = False


class CallbackStore:
    """Use cases of the inbox."""

    def __init__(self, database: Database, ids: IdSequence) -> None:
        self._database = database
        self._ids = ids

    def number(self, requests: Sequence[tuple[SenderId, CallbackRequest]]) -> tuple[Callback, ...]:
        """As they are to be stored."""
        return tuple([Callback(id=self._ids.take(), sender=sender, request=request) for sender, request in requests])

    async def add(self, callbacks: Sequence[Callback], now: datetime) -> None:
        """Store them as they came; on disk when this returns."""
        micros = to_micros(now)
        rows = [(one.id, one.sender, micros, _without_body(one.request), one.request.body) for one in callbacks]
        await self._database.write(lambda conn: _insert(conn, rows))

    async def waiting(self, limit: int) -> tuple[Callback, ...]:
        """The oldest that are still to be read."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT id, sender, request, body FROM callbacks INDEXED BY callbacks_waiting WHERE state = 0 "
                "ORDER BY id LIMIT ?",
                (limit,),
            ).fetchall()
        )
        return tuple(
            Callback(id=id, sender=SenderId(sender), request=_with_body(request, body))
            for id, sender, request, body in rows
        )

    async def apply(self, readings: Sequence[Reading], now: datetime) -> Applied:
        """Write what the readings say, and that they were read: all of it or nothing."""
        micros = to_micros(now)

        def operation(conn: sqlite3.Connection) -> Applied:
            applied, moves = Applied(), Moves()
            _apply_receipts(conn, readings, micros, moves, applied)
            for reading in readings:
                if reading.context is not None:
                    for event in reading.events:
                        _apply(conn, reading, reading.context, event, micros, self._ids.take, applied)
            applied.looks = moves.write(conn, micros)
            _write_outcomes(conn, readings)
            return applied

        return await self._database.write(operation)

    async def replay(self, wanted: ReplayFilter) -> int:
        """Have stored callbacks read again; how many. The daemon does it within a second."""

        def operation(conn: sqlite3.Connection) -> int:
            return conn.execute(
                "UPDATE callbacks SET state = 0 WHERE sender = ? AND state <> 0 AND received_at >= COALESCE(?, 0) "
                "AND received_at < COALESCE(?, 9223372036854775807) AND (state = 2 OR NOT ?)",
                (
                    wanted.sender,
                    micros_or_none(wanted.received_after),
                    micros_or_none(wanted.received_before),
                    wanted.unreadable_only,
                ),
            ).rowcount

        return await self._database.write(operation)

    async def summary(self) -> Mapping[SenderId, Mapping[str, Any]]:
        """By sender: how many callbacks are kept, wait, could not be read, and when the newest came."""
        rows = await self._database.read(
            lambda conn: conn.execute(
                "SELECT sender, count(*), sum(state = 0), sum(state = 2), max(received_at) "
                "FROM callbacks GROUP BY sender"
            ).fetchall()
        )
        return {
            SenderId(sender): {"kept": kept, "waiting": waiting, "unreadable": bad, "newest": from_micros(newest)}
            for sender, kept, waiting, bad, newest in rows
        }

    async def purge(self, now: datetime, kept: timedelta) -> None:
        """Remove what was read long ago, and parked receipts whose message never came."""
        before = first_id(now - kept)
        removed = PURGE_STEP
        while removed == PURGE_STEP:
            removed = await self._database.write(
                lambda conn: (
                    conn.execute(
                        "DELETE FROM callbacks WHERE id IN "
                        "(SELECT id FROM callbacks WHERE id < ? AND state <> 0 ORDER BY id LIMIT ?)",
                        (before, PURGE_STEP),
                    ).rowcount
                )
            )
        await self._database.write(lambda conn: purge_parked(conn, to_micros(now - PARKED)))


def _insert(conn: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Many rows by one statement: the writer gives the interpreter up for each statement, and has to wait for it."""
    start = 0
    while start < len(rows):
        size = next(size for size in _INSERT_SIZES if size <= len(rows) - start)
        values = ", ".join(["(?, ?, ?, ?, ?)"] * size)
        conn.execute(
            f"INSERT INTO callbacks (id, sender, received_at, request, body) VALUES {values}",
            tuple(chain.from_iterable(rows[start : start + size])),
        )
        start += size


def _write_outcomes(conn: sqlite3.Connection, readings: Sequence[Reading]) -> None:
    """That they were read: all that are alike together, and nearly all are."""
    alike: dict[tuple[int, int, str | None], list[int]] = {}
    for one in readings:
        state = READ if one.problem is None else UNREADABLE
        alike.setdefault((state, len(one.events), one.problem), []).append(one.callback)
    for outcome, ids in alike.items():
        conn.execute(
            "UPDATE callbacks SET state = ?, events = ?, problem = ? WHERE id IN (SELECT value FROM json_each(?))",
            (*outcome, to_json(ids)),
        )


def _apply_receipts(
    conn: sqlite3.Connection, readings: Sequence[Reading], now: int, moves: Moves, applied: Applied
) -> None:
    """All receipts of a sender together: they are most of what comes in."""
    by_sender: dict[SenderId, tuple[SenderContext, list[Receipt]]] = {}
    for reading in readings:
        if reading.context is not None:
            receipts = [event for event in reading.events if isinstance(event, Receipt)]
            by_sender.setdefault(reading.context.sender, (reading.context, []))[1].extend(receipts)
    for context, receipts in by_sender.values():
        if receipts:
            merged = merge_receipts(conn, context.of_receipts(), receipts, now, moves)
            applied.merged += merged
            applied.parked += len(receipts) - merged


def _apply(
    conn: sqlite3.Connection,
    reading: Reading,
    context: SenderContext,
    event: Event,
    now: int,
    take_id: Callable[[], int],
    applied: Applied,
) -> None:
    match event:
        case Inbound():
            message = store_inbound(conn, context.of_inbound(), event, now, take_id)
            reaction = reading.reactions.get(event.provider_id)
            applied.inbound += message is not None
            if message is not None and reaction is not None:
                asked = replace(reaction, callback=reading.callback)
                applied.replies += react(conn, context.of_inbound(), message, asked, now, take_id)
        case Consent():
            applied.wishes += _record(conn, reading, context, event, now, take_id)
        case TemplateChange():
            if change_template(conn, context.sender, event, now) and event.status != "approved":
                applied.stopped_templates.append((context.sender, event))


def _record(
    conn: sqlite3.Connection,
    reading: Reading,
    context: SenderContext,
    consent: Consent,
    now: int,
    take_id: Callable[[], int],
) -> bool:
    """A wish about a message is that of whoever it was written to or by, any other that of its address.

    A provider may name a person by another id than we wrote to; and who has neither is nobody.
    """
    message = message_meant(conn, context.sender, consent.ref, consent.provider_ids)
    address = _address_of(conn, message) or known_address(conn, context.of_inbound(), (consent.address,))
    if not address:
        return False
    wish = Wish(
        org=context.org,
        channel=context.channel,
        address=address,
        out=consent.wish == "out",
        category=consent.category or "all",
        source=consent.source,
        reason=consent.reason,
        message=message,
        callback=reading.callback,
    )
    return record_wish(conn, wish, now, take_id)


def _address_of(conn: sqlite3.Connection, message: MessageId | None) -> str | None:
    """None: there is no message, or its contact was erased."""
    if message is None:
        return None
    (address,) = conn.execute("SELECT address FROM messages WHERE id = ?", (message,)).fetchone()
    return address or None


def _without_body(request: CallbackRequest) -> str:
    """Headers of the connection tell nothing, and those that authenticate have done their work: they are not kept."""
    headers = {name: value for name, value in request.headers.items() if name not in _NOT_KEPT}
    return to_json((request.method, request.url, request.tail, request.query, headers))


def _with_body(text: str, body: bytes) -> CallbackRequest:
    method, url, tail, query, headers = msgspec.json.decode(
        text, type=tuple[str, str, str, tuple[tuple[str, str], ...], dict[str, str]]
    )
    return CallbackRequest(method=method, url=url, tail=tail, query=query, headers=headers, body=body)
