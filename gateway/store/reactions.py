"""What an inbound text asked for is done in the transaction that stores it: the wish, and the one answer to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from gateway.core.ids import MessageId
from gateway.store.codec import micros_of, to_json
from gateway.store.inbound import InboundContext
from gateway.store.turn import SOURCES
from gateway.store.wishes import Wish, record_wish

REPLIES_MAX: Final = (
    5  # automatic answers to one address a day that no wish limits: two machines may talk to each other
)
REPLIES_PERIOD: Final = timedelta(days=1)
CATEGORY: Final = "opt_out_reply"

_REPLY: Final = SOURCES.index("opt_out_reply")


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundReaction:
    """What the policies made of a text. `segments` of the reply, where the provider counts them."""

    wish: Literal["out", "in"] | None
    category: str
    reply: str | None
    segments: int | None = None
    callback: int | None = None  # that brought the text


def react(
    conn: sqlite3.Connection,
    context: InboundContext,
    message: MessageId,
    reaction: InboundReaction,
    now: int,
    take_id: Callable[[], int],
) -> bool:
    """Record the wish that `message` says, and have it answered. True if there is an answer to send.

    A wish that stood there already is not confirmed again.
    """
    address, contact = conn.execute("SELECT address, contact FROM messages WHERE id = ?", (message,)).fetchone()
    if reaction.wish is not None:
        wish = Wish(
            org=context.org,
            channel=context.channel,
            address=address,
            out=reaction.wish == "out",
            category=reaction.category,
            source="reply",
            message=message,
            callback=reaction.callback,
        )
        if not record_wish(conn, wish, now, take_id):
            return False
    elif _answered(conn, context, address, contact, now) >= REPLIES_MAX:
        return False
    if reaction.reply is None:
        return False
    conn.execute(
        "INSERT INTO messages (id, org, channel, sender, address, contact, source, status, category, content, "
        "in_reply_to, segments, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
        (
            take_id(),
            context.org,
            context.channel.name,
            context.sender,
            address,
            contact,
            _REPLY,
            CATEGORY,
            to_json({"body": reaction.reply}),
            message,
            reaction.segments,
            now,
        ),
    )
    return True


def _answered(conn: sqlite3.Connection, context: InboundContext, address: str, contact: int | None, now: int) -> int:
    """How many automatic answers this address has had of late. Two probes: with a contact, and without one."""
    of_person = (
        "messages_contact WHERE contact = :contact"
        if contact is not None
        else ("messages_stranger WHERE org = :org AND contact IS NULL")
    )
    (number,) = conn.execute(
        f"SELECT count(*) FROM messages INDEXED BY {of_person} AND address = :address AND source = :source "
        "AND created_at > :since",
        {
            "contact": contact,
            "org": context.org,
            "address": address,
            "source": _REPLY,
            "since": now - micros_of(REPLIES_PERIOD),
        },
    ).fetchone()
    found: int = number
    return found
