"""The communication log: filters, pages, orgs, histories, and the plans that keep it fast."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gateway.core.ids import ActionId, MessageId, OrgId
from gateway.core.states import MessageStatus
from gateway.store.codec import to_json, to_micros
from gateway.store.database import Database
from gateway.store.messages import DIRECTIONS, LogFilter, MessageLog, _conditions
from gateway.store.turn import SOURCES
from gateway.testing.clock import FakeClock

CHANNELS = ("email", "signal", "sms")


@pytest.fixture
def log(database: Database) -> MessageLog:
    return MessageLog(database)


@pytest.fixture
async def world(database: Database, org: OrgId, clock: FakeClock) -> None:
    """Two orgs with a sender each, two contacts in the first, one bulk action."""
    now = to_micros(clock.now())

    def operation(conn: sqlite3.Connection) -> None:
        conn.execute("INSERT INTO orgs (id, name) VALUES (2, 'other')")
        conn.executemany(
            "INSERT INTO senders (id, org, name, channel, adapter, in_flight_limit) "
            "VALUES (?, ?, ?, 'email', 'fake', 4)",
            [(1, 1, "mail"), (2, 2, "other-mail")],
        )
        conn.executemany(
            "INSERT INTO contacts (id, org, public_id, email, phone, addresses, created_at, updated_at, seen_at) "
            "VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?)",
            [
                (1, "m-1", "ann@example.org", "+2348000000001", '{"signal":"ann.01"}', now, now, now),
                (2, "m-2", "ben@example.org", None, None, now, now, now),
            ],
        )
        conn.execute("INSERT INTO contact_addresses VALUES (1, 'signal', 'ann.01', 1)")
        conn.execute(
            "INSERT INTO bulk_actions (id, org, operation, channel, sender, status, selection, message, schedule, "
            "origin, requested_by, created_at) "
            "VALUES (9, 1, 'send_message', 'email', 1, 'processing', '{}', ?, '{}', 'api', "
            "'user:7', ?)",
            (to_json({"channel": "email", "body": "Hi {{ name }}"}), now),
        )

    await database.write(operation)


async def add(database: Database, clock: FakeClock, id: int, **more: Any) -> MessageId:
    """Store one message; later ones are a second younger."""
    row: dict[str, Any] = {
        "id": id,
        "org": 1,
        "direction": 0,
        "channel": "email",
        "sender": 1,
        "address": "ann@example.org",
        "source": SOURCES.index("api"),
        "status": int(MessageStatus.ACCEPTED),
        "content": to_json({"body": "text"}),
        "created_at": to_micros(clock.now() + timedelta(seconds=id)),
        **more,
    }
    names = ", ".join(row)
    marks = ", ".join("?" * len(row))
    await database.write(
        lambda conn: conn.execute(f"INSERT INTO messages ({names}) VALUES ({marks})", tuple(row.values()))
    )
    return MessageId(id)


async def found(log: MessageLog, wanted: LogFilter, org: int = 1) -> list[int]:
    page = await log.list(OrgId(org), replace(wanted, channels=CHANNELS), limit=100)
    return [message.id for message in page.messages]


async def test_messages_come_newest_first_in_pages_that_inserts_do_not_move(
    log: MessageLog, world: None, database: Database, clock: FakeClock
) -> None:
    for id in range(1, 6):
        await add(database, clock, id)
    first = await log.list(OrgId(1), LogFilter(), limit=2)
    await add(database, clock, 6)
    second = await log.list(OrgId(1), LogFilter(), limit=2, before=first.messages[-1].id)
    assert [message.id for message in [*first.messages, *second.messages]] == [5, 4, 3, 2]


async def test_every_filter_finds_its_own(log: MessageLog, world: None, database: Database, clock: FakeClock) -> None:
    await add(database, clock, 1, contact=1)
    await add(database, clock, 2, contact=2, address="ben@example.org", status=int(MessageStatus.BOUNCED))
    await add(database, clock, 3, contact=1, action=9, seq=1, content=None, source=SOURCES.index("bulk_action"))
    await add(database, clock, 4, direction=DIRECTIONS.index("inbound"), status=int(MessageStatus.RECEIVED), action=9)
    await add(database, clock, 5, channel="sms", address="+15551230000", requested_by="user:42")
    cases: Sequence[tuple[LogFilter, list[int]]] = [
        (LogFilter(contact="m-1"), [3, 1]),
        (LogFilter(contact="nobody"), []),
        (LogFilter(channel="sms"), [5]),
        (LogFilter(direction="inbound"), [4]),
        (LogFilter(direction="outbound"), [5, 3, 2, 1]),
        (LogFilter(status=(MessageStatus.BOUNCED, MessageStatus.RECEIVED)), [4, 2]),
        (LogFilter(source=("bulk_action",)), [3]),
        (LogFilter(action=ActionId(9)), [4, 3]),
        (LogFilter(action=ActionId(9), direction="inbound"), [4]),
        (LogFilter(requested_by="user:42"), [5]),
        (LogFilter(requested_by="user:7"), [4, 3]),
        (LogFilter(created_after=clock.now() + timedelta(seconds=4)), [5, 4]),
        (LogFilter(created_before=clock.now() + timedelta(seconds=2)), [1]),
        (LogFilter(contact="m-1", source=("api",)), [1]),
    ]
    for wanted, expected in cases:
        assert await found(log, wanted) == expected, wanted


async def test_an_address_finds_its_holder_now_and_strangers(
    log: MessageLog, world: None, database: Database, clock: FakeClock
) -> None:
    await add(database, clock, 1, contact=1)
    await add(database, clock, 2, contact=1, channel="sms", address="+2348000000001")
    await add(database, clock, 3, contact=1, channel="signal", address="ann.01")
    await add(database, clock, 4, address="stranger@example.org")
    await add(database, clock, 5, contact=2, address="old@example.org")  # which Ben has given up since
    assert await found(log, LogFilter(addresses=("ann@example.org",))) == [1]
    assert await found(log, LogFilter(addresses=("+2348000000001",))) == [2]
    assert await found(log, LogFilter(addresses=("ann.01",))) == [3]
    assert await found(log, LogFilter(addresses=("stranger@example.org", "STRANGER@example.org"))) == [4]
    assert await found(log, LogFilter(addresses=("old@example.org",))) == []
    assert await found(log, LogFilter(contact="m-2")) == [5]


async def test_another_orgs_messages_do_not_exist(
    log: MessageLog, world: None, database: Database, clock: FakeClock
) -> None:
    await add(database, clock, 1, contact=1, action=9)
    other = await add(database, clock, 2, org=2, sender=2)
    assert await found(log, LogFilter()) == [1]
    assert await found(log, LogFilter(), org=2) == [2]
    for wanted in (LogFilter(contact="m-1"), LogFilter(action=ActionId(9)), LogFilter(addresses=("ann@example.org",))):
        assert 1 not in await found(log, wanted, org=2)
    assert await log.get(OrgId(1), other) is None
    assert await log.get(OrgId(2), other) is not None
    assert await log.has_contact(OrgId(1), "m-1")
    assert not await log.has_contact(OrgId(2), "m-1")


async def test_a_bulk_message_comes_with_its_actions_content_once(
    log: MessageLog, world: None, database: Database, clock: FakeClock
) -> None:
    for id in (1, 2):
        await add(database, clock, id, action=9, seq=id, content=None, variables=to_json({"name": f"N{id}"}))
    page = await log.list(OrgId(1), LogFilter(), limit=10)
    assert list(page.contents) == [9]
    assert [message.variables for message in page.messages] == [{"name": "N2"}, {"name": "N1"}]
    assert page.messages[0].requested_by == "user:7"


async def test_the_history_has_what_was_written_and_the_last_attempt(
    log: MessageLog, world: None, database: Database, clock: FakeClock
) -> None:
    def at(seconds: int) -> int:
        return to_micros(clock.now() + timedelta(seconds=seconds))

    id = await add(database, clock, 1, attempt=2, attempted_at=at(60), accepted_at=at(61), delivered_at=at(90))
    rows = [(id, at(90), "receipt", "delivered", None), (id, at(5), "attempt", "not_sent", "451 later")]
    await database.write(lambda conn: conn.executemany("INSERT INTO message_history VALUES (?, ?, ?, ?, ?)", rows))
    page = await log.get(OrgId(1), id)
    assert page is not None
    assert [(one.kind, one.status, one.detail) for one in page.history] == [
        ("attempt", "not_sent", "451 later"),
        ("attempt", "accepted", None),
        ("receipt", "delivered", None),
    ]
    assert [one.at for one in page.history] == sorted(one.at for one in page.history)


async def test_the_history_of_a_failed_attempt_says_why(
    log: MessageLog, world: None, database: Database, clock: FakeClock
) -> None:
    status = int(MessageStatus.FAILED)
    id = await add(
        database, clock, 1, attempt=1, attempted_at=to_micros(clock.now()), status=status, reason="no such mailbox"
    )
    page = await log.get(OrgId(1), id)
    assert page is not None
    assert [(one.kind, one.status, one.detail) for one in page.history] == [("attempt", "failed", "no such mailbox")]


async def test_a_message_that_waits_has_no_history(
    log: MessageLog, world: None, database: Database, clock: FakeClock
) -> None:
    page = await log.get(OrgId(1), await add(database, clock, 1, status=int(MessageStatus.PENDING)))
    assert page is not None
    assert list(page.history) == []


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (LogFilter(contact="m-1"), "messages_contact"),
        (LogFilter(action=ActionId(9)), "messages_action"),
        (LogFilter(addresses=("a",)), "messages_stranger"),
    ],
)
async def test_people_actions_and_addresses_are_found_by_an_index(
    world: None, database: Database, wanted: LogFilter, index: str
) -> None:
    where, values = _conditions(OrgId(1), wanted, None)
    query = (
        "EXPLAIN QUERY PLAN SELECT m.id FROM messages AS m LEFT JOIN bulk_actions AS a ON a.id = m.action "
        f"WHERE {where} ORDER BY m.id DESC LIMIT 50"
    )
    plan = await database.read(lambda conn: [row[3] for row in conn.execute(query, values)])
    assert any(index in step for step in plan)
    assert not any(step.startswith("SCAN m") for step in plan)
