"""Events are written in the transaction of the fact that they tell: nobody hears of what was not committed.

Many alike are one row: a turn that hands over a hundred messages writes one row of a hundred events. Readers see each
by itself (`gateway.store.events`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from gateway.core.event_types import check
from gateway.core.ids import ACTION, MESSAGE, format_id
from gateway.core.states import NEGATIVE, MessageStatus
from gateway.store.codec import to_json

SUBJECTS_MAX: Final = 1_000  # of one row: a reader that starts in its middle reads all of it

_OF_STATUS: Final[Mapping[MessageStatus, str]] = {
    MessageStatus.ACCEPTED: "message.accepted",
    MessageStatus.SENT: "message.sent",
    MessageStatus.DELIVERED: "message.delivered",
    MessageStatus.READ: "message.read",
    MessageStatus.UNKNOWN: "message.unknown",
    **dict.fromkeys(NEGATIVE, "message.failed"),
}


def publish(conn: sqlite3.Connection, org: int, kind: str, at: int, data: Mapping[str, Any]) -> int:
    """Write one event; its number. `data`: ids and what has changed, never texts of messages."""
    return _write(conn, org, kind, at, 1, to_json(data), None)


def publish_each(
    conn: sqlite3.Connection, org: int, kind: str, at: int, subjects: Sequence[int | str], data: Mapping[str, Any]
) -> None:
    """Write one event for each of `subjects`: messages by their keys, contacts by their public ids."""
    text = to_json(data)
    for start in range(0, len(subjects), SUBJECTS_MAX):
        some = subjects[start : start + SUBJECTS_MAX]
        _write(conn, org, kind, at, len(some), text, to_json(some))


def publish_statuses(
    conn: sqlite3.Connection,
    org: int,
    status: MessageStatus,
    at: int,
    messages: Sequence[int],
    *,
    action: int | None,
    code: str | None = None,
) -> None:
    """Tell that messages have reached a status; nothing where it is one that nobody waits for."""
    kind = _OF_STATUS.get(status)
    if kind is None or not messages:
        return
    data = {
        "status": status.label,
        "code": code,
        "bulk_action_id": None if action is None else format_id(ACTION, action),
    }
    publish_each(conn, org, kind, at, messages, data)


def publish_of_action(conn: sqlite3.Connection, action: int, what: str, at: int, **more: Any) -> None:
    """Tell what has become of a bulk action: `bulk_action.{what}`, with its status as it is now."""
    org, status = conn.execute("SELECT org, status FROM bulk_actions WHERE id = ?", (action,)).fetchone()
    data = {"bulk_action_id": format_id(ACTION, action), "status": status, **more}
    publish(conn, org, f"bulk_action.{what}", at, data)


def publish_wish(
    conn: sqlite3.Connection,
    org: int,
    wish: Literal["out", "in"],
    at: int,
    *,
    channel: str,
    category: str,
    source: str,
    contact: int | None,
    message: int | None,
) -> None:
    """Tell that somebody left, or came back."""
    data = {
        "channel": channel,
        "category": category,
        "source": source,
        "contact_id": public_id_of(conn, contact),
        "message_id": None if message is None else format_id(MESSAGE, message),
    }
    publish(conn, org, "opt_out.recorded" if wish == "out" else "opt_out.removed", at, data)


def public_id_of(conn: sqlite3.Connection, contact: int | None) -> str | None:
    """The id under which callers know a contact."""
    row = conn.execute("SELECT public_id FROM contacts WHERE id = ?", (contact,)).fetchone()
    return None if row is None else str(row[0])


def _write(conn: sqlite3.Connection, org: int, kind: str, at: int, number: int, data: str, subjects: str | None) -> int:
    check(kind)
    (last,) = conn.execute(
        "UPDATE orgs SET last_event = last_event + ? WHERE id = ? RETURNING last_event", (number, org)
    ).fetchone()
    conn.execute(
        "INSERT INTO events (org, last, number, type, at, data, subjects) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (org, last, number, kind, at, data, subjects),
    )
    newest: int = last
    return newest
