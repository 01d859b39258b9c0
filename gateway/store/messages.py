"""The communication log: reading messages, newest first, and the history of one."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gateway.core.ids import ActionId, MessageId, OrgId
from gateway.core.states import MessageStatus
from gateway.store.codec import from_json, from_micros, instant_or_none, to_json, to_micros
from gateway.store.conversations import MESSAGES_OF
from gateway.store.database import Database
from gateway.store.turn import SOURCES

DIRECTIONS: Final = ("outbound", "inbound")
"""The column holds the position."""

_COLUMNS: Final = (
    "m.id, m.direction, m.channel, s.name, m.address, c.public_id, m.status, m.source, m.action, m.round, m.attempt, "
    "m.category, m.content, m.variables, m.template, m.dry_run, m.code, m.reason, m.provider_code, m.provider_ids, "
    "m.segments, COALESCE(m.requested_by, a.requested_by), m.created_at, m.attempted_at, m.accepted_at, m.sent_at, "
    "m.delivered_at, m.read_at, m.in_reply_to, m.link_reason"
)
_JOINED: Final = (
    "messages AS m LEFT JOIN senders AS s ON s.id = m.sender LEFT JOIN contacts AS c ON c.id = m.contact "
    "LEFT JOIN bulk_actions AS a ON a.id = m.action"
)
# Whoever has one of the addresses now, on any channel; each part is one probe of an index per address.
_HOLDERS: Final = (
    "SELECT id FROM contacts WHERE org = :org AND email IN (SELECT value FROM json_each(:addresses)) "
    "UNION SELECT id FROM contacts WHERE org = :org AND phone IN (SELECT value FROM json_each(:addresses)) "
    "UNION SELECT id FROM contacts WHERE org = :org AND whatsapp IN (SELECT value FROM json_each(:addresses)) "
    "UNION SELECT contact FROM contact_addresses WHERE org = :org "
    "AND channel IN (SELECT value FROM json_each(:channels)) AND address IN (SELECT value FROM json_each(:addresses))"
)
_BY_ADDRESS: Final = (
    f"m.id IN (SELECT id FROM messages WHERE contact IN ({_HOLDERS}) "
    "AND address IN (SELECT value FROM json_each(:addresses)) "
    "UNION ALL SELECT id FROM messages WHERE contact IS NULL AND org = :org "
    "AND address IN (SELECT value FROM json_each(:addresses)))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFilter:
    """Which messages are wanted; None is no condition.

    `addresses` are spellings of one address. They find messages to people who have that address now and messages to
    addresses that belonged to nobody. What was sent to a contact under an address that it has since given up is found
    by `contact` only: an index over every message's address would cost each send more than such a search is worth.
    """

    ids: tuple[MessageId, ...] | None = None
    conversation: int | None = None
    contact: str | None = None  # public id
    addresses: tuple[str, ...] | None = None
    channels: tuple[str, ...] = ()  # the channels whose addresses `addresses` may be
    channel: str | None = None
    direction: str | None = None
    status: tuple[MessageStatus, ...] = ()
    source: tuple[str, ...] = ()
    action: ActionId | None = None
    requested_by: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedMessage:
    """One message as it is stored.

    `content` are the texts of a single message or an inbound one; a bulk message has the frozen `variables` of its
    action's templates instead.
    """

    id: MessageId
    direction: str
    channel: str
    sender: str | None
    address: str
    contact_id: str | None
    status: MessageStatus
    source: str
    action: ActionId | None
    round: int
    attempts: int
    category: str | None
    content: Mapping[str, Any] | None
    variables: Mapping[str, Any]
    template: str | None
    dry_run: bool
    code: str | None
    reason: str | None
    provider_code: str | None
    provider_ids: tuple[str, ...]
    segments: int | None
    requested_by: str | None
    created_at: datetime
    attempted_at: datetime | None
    accepted_at: datetime | None
    sent_at: datetime | None
    delivered_at: datetime | None
    read_at: datetime | None
    in_reply_to: MessageId | None
    link_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One thing that happened to a message. `kind`: `attempt`, `receipt` or `resolve`."""

    at: datetime
    kind: str
    status: str
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Messages, with the content (JSON of MessageContent) of each bulk action that one of them needs for its text."""

    messages: Sequence[LoggedMessage]
    contents: Mapping[ActionId, str] = field(default_factory=dict)
    history: Sequence[HistoryEntry] = ()  # of a single message asked for by id


class MessageLog:
    """Reads of `messages` and `message_history`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, org: OrgId, wanted: LogFilter, *, limit: int, before: MessageId | None = None) -> LogPage:
        """At most `limit` messages, newest first, older than `before`."""
        where, values = _conditions(org, wanted, before)

        def query(conn: sqlite3.Connection) -> LogPage:
            rows = conn.execute(
                f"SELECT {_COLUMNS} FROM {_JOINED} WHERE {where} ORDER BY m.id DESC LIMIT :limit",
                values | {"limit": limit},
            ).fetchall()
            messages = [_message(row) for row in rows]
            return LogPage(messages=messages, contents=_contents(conn, messages))

        return await self._database.read(query)

    async def get(self, org: OrgId, message: MessageId) -> LogPage | None:
        """One message with its history; None if there is none, or it is another org's."""

        def query(conn: sqlite3.Connection) -> LogPage | None:
            row = conn.execute(
                f"SELECT {_COLUMNS} FROM {_JOINED} WHERE m.org = ? AND m.id = ?", (org, message)
            ).fetchone()
            if row is None:
                return None
            found = _message(row)
            past = conn.execute(
                "SELECT at, kind, status, detail FROM message_history WHERE message = ? ORDER BY at, rowid", (message,)
            ).fetchall()
            return LogPage(messages=[found], contents=_contents(conn, [found]), history=_history(found, past))

        return self._database.read_now(query)

    async def has_contact(self, org: OrgId, public_id: str) -> bool:
        """Whether the org knows a contact, deleted or not, by this id."""
        row = await self._database.read(
            lambda conn: conn.execute(
                "SELECT EXISTS (SELECT 1 FROM contacts WHERE org = ? AND public_id = ?)", (org, public_id)
            ).fetchone()
        )
        return bool(row[0])


def _conditions(org: OrgId, wanted: LogFilter, before: MessageId | None) -> tuple[str, dict[str, Any]]:
    """The WHERE clause of a filter and its values. Only names and constants go into the text."""
    source = [SOURCES.index(one) for one in wanted.source]
    candidates: list[tuple[str, str, Any]] = [
        ("m.id < :before", "before", before),
        ("m.id IN (SELECT value FROM json_each(:ids))", "ids", None if wanted.ids is None else to_json(wanted.ids)),
        (MESSAGES_OF, "conversation", wanted.conversation),
        (_BY_ADDRESS, "addresses", None if wanted.addresses is None else to_json(wanted.addresses)),
        ("m.contact = (SELECT id FROM contacts WHERE org = :org AND public_id = :contact)", "contact", wanted.contact),
        ("m.action = :action", "action", wanted.action),
        ("m.channel = :channel", "channel", wanted.channel),
        ("m.direction = :direction", "direction", wanted.direction and DIRECTIONS.index(wanted.direction)),
        (
            "m.status IN (SELECT value FROM json_each(:status))",
            "status",
            to_json(wanted.status) if wanted.status else None,
        ),
        ("m.source IN (SELECT value FROM json_each(:source))", "source", to_json(source) if source else None),
        ("COALESCE(m.requested_by, a.requested_by) = :requested_by", "requested_by", wanted.requested_by),
        ("m.created_at >= :after", "after", wanted.created_after and to_micros(wanted.created_after)),
        ("m.created_at < :until", "until", wanted.created_before and to_micros(wanted.created_before)),
    ]
    used = [(text, name, value) for text, name, value in candidates if value is not None]
    where = " AND ".join(["m.org = :org", *(text for text, _, _ in used)])
    values = {"org": org, "channels": to_json(wanted.channels), **{name: value for _, name, value in used}}
    return where, values


def _contents(conn: sqlite3.Connection, messages: Sequence[LoggedMessage]) -> Mapping[ActionId, str]:
    """The contents of the bulk actions behind these messages, each read once."""
    needed = sorted({message.action for message in messages if message.action is not None and message.content is None})
    if not needed:
        return {}
    rows = conn.execute(
        "SELECT id, message FROM bulk_actions WHERE id IN (SELECT value FROM json_each(?)) AND message IS NOT NULL",
        (to_json(needed),),
    ).fetchall()
    return {ActionId(action): message for action, message in rows}


def _history(message: LoggedMessage, past: Sequence[tuple[int, str, str, str | None]]) -> Sequence[HistoryEntry]:
    """What was written down, with the last attempt, which only the message's own row tells of."""
    entries = [
        HistoryEntry(at=from_micros(at), kind=kind, status=status, detail=detail) for at, kind, status, detail in past
    ]
    told = sum(entry.kind == "attempt" for entry in entries)
    if message.attempted_at is not None and message.attempts > told:
        accepted = message.accepted_at is not None
        entries.append(
            HistoryEntry(
                at=message.accepted_at or message.attempted_at,
                kind="attempt",
                status=MessageStatus.ACCEPTED.label if accepted else message.status.label,
                detail=None if accepted else message.reason,
            )
        )
    # A receipt may come in the microsecond of its hand-over; it is about what was handed over.
    return sorted(entries, key=lambda entry: (entry.at, entry.kind != "attempt"))


def _message(row: Sequence[Any]) -> LoggedMessage:
    (id, direction, channel, sender, address, contact_id, status, source, action, round, attempts, *rest) = row
    (category, content, variables, template, dry_run, code, reason, provider_code, provider_ids, segments, *last) = rest
    requested_by, created_at, attempted_at, accepted_at, sent_at, delivered_at, read_at, in_reply_to, link_reason = last
    return LoggedMessage(
        id=MessageId(id),
        direction=DIRECTIONS[direction],
        channel=channel,
        sender=sender,
        address=address,
        contact_id=contact_id,
        status=MessageStatus(status),
        source=SOURCES[source],
        action=action,
        round=round,
        attempts=attempts,
        category=category,
        content=from_json(content),
        variables=from_json(variables) or {},
        template=template,
        dry_run=bool(dry_run),
        code=code,
        reason=reason,
        provider_code=provider_code,
        provider_ids=tuple(from_json(provider_ids) or ()),
        segments=segments,
        requested_by=requested_by,
        created_at=from_micros(created_at),
        attempted_at=instant_or_none(attempted_at),
        accepted_at=instant_or_none(accepted_at),
        sent_at=instant_or_none(sent_at),
        delivered_at=instant_or_none(delivered_at),
        read_at=instant_or_none(read_at),
        in_reply_to=in_reply_to,
        link_reason=link_reason,
    )
