"""Events: one sequence for each org, alike ones in one row, read each by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.core.ids import MESSAGE, OrgId, format_id
from gateway.core.states import MessageStatus
from gateway.store.codec import to_micros
from gateway.store.database import Database
from gateway.store.events import Event, EventStore
from gateway.store.outbox import publish, publish_each, publish_statuses

ORG, OTHER = OrgId(1), OrgId(2)
NOW = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
AT = to_micros(NOW)


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "gateway.db") as opened:
        await opened.write(lambda conn: conn.execute("INSERT INTO orgs (id, name) VALUES (1, 'one'), (2, 'two')"))
        yield opened


async def tell(database: Database, org: OrgId, kind: str, **data: str) -> None:
    await database.write(lambda conn: publish(conn, org, kind, AT, data))


async def tell_each(database: Database, org: OrgId, kind: str, subjects: list[int | str]) -> None:
    await database.write(lambda conn: publish_each(conn, org, kind, AT, subjects, {}))


async def everything(store: EventStore, org: OrgId, *types: str, limit: int = 3) -> list[Event]:
    """Read as a caller does, page by page."""
    events: list[Event] = []
    position = 0
    for _ in range(1_000):
        page = await store.after(org, position, types, limit)
        events += page.events
        if page.position == position:
            return events
        position = page.position
    raise AssertionError("the pages do not end")


async def test_each_org_has_its_own_sequence_without_gaps(database: Database) -> None:
    for number in range(5):
        for org in (ORG, OTHER):
            await tell(database, org, "sender.held", sender=f"{org}-{number}")
    store = EventStore(database)
    for org in (ORG, OTHER):
        events = await everything(store, org)
        assert [event.seq for event in events] == [1, 2, 3, 4, 5]
        assert [event.data["sender"] for event in events] == [f"{org}-{number}" for number in range(5)]
    assert await store.last(ORG) == 5


async def test_ids_are_unique_in_the_installation(database: Database) -> None:
    for org in (ORG, OTHER):
        await tell_each(database, org, "message.sent", [1, 2, 3])
    store = EventStore(database)
    events = [*await everything(store, ORG), *await everything(store, OTHER)]
    assert len({event.id for event in events}) == 6


async def test_many_alike_are_read_one_by_one_from_any_place(database: Database) -> None:
    messages = list(range(1, 2_501))
    await database.write(lambda conn: publish_statuses(conn, ORG, MessageStatus.DELIVERED, AT, messages, action=None))
    (rows,) = await database.read(lambda conn: conn.execute("SELECT count(*) FROM events").fetchone())
    assert rows == 3, "a row holds a thousand"
    store = EventStore(database)
    page = await store.after(ORG, 1_500, (), 3)
    assert [event.seq for event in page.events] == [1_501, 1_502, 1_503]
    assert [event.data["message_id"] for event in page.events] == [format_id(MESSAGE, n) for n in (1_501, 1_502, 1_503)]
    assert {event.data["status"] for event in page.events} == {"delivered"}
    assert len(await everything(store, ORG, limit=200)) == 2_500


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ((), ["sender.held", "message.sent", "message.read", "bulk_action.paused"]),
        (("message.*",), ["message.sent", "message.read"]),
        (("message.read", "bulk_action.*"), ["message.read", "bulk_action.paused"]),
        (("contact.*",), []),
    ],
)
async def test_only_the_types_asked_for_are_read(
    database: Database, types: tuple[str, ...], expected: list[str]
) -> None:
    await tell(database, ORG, "sender.held")
    await tell_each(database, ORG, "message.sent", [1])
    await tell_each(database, ORG, "message.read", [1])
    await tell(database, ORG, "bulk_action.paused")
    store = EventStore(database)
    assert [event.type for event in await everything(store, ORG, *types)] == expected
    assert (await store.after(ORG, 0, types, 50)).position == 4, "what was not asked for has been looked through"


async def test_what_is_undone_leaves_no_event_and_no_gap(database: Database) -> None:
    def broken(conn: object) -> None:
        publish(conn, ORG, "sender.held", AT, {})  # type: ignore[arg-type]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.write(broken)
    await tell(database, ORG, "sender.released")
    events = await everything(EventStore(database), ORG)
    assert [(event.seq, event.type) for event in events] == [(1, "sender.released")]


async def test_old_events_are_forgotten_and_the_numbers_go_on(database: Database) -> None:
    store = EventStore(database)
    await tell(database, ORG, "sender.held")
    await database.write(lambda conn: publish(conn, ORG, "sender.released", to_micros(NOW + timedelta(days=2)), {}))
    assert await store.purge(NOW + timedelta(days=1)) == 1
    assert [event.seq for event in await everything(store, ORG)] == [2]


async def test_a_page_says_what_is_kept_and_what_there_is(database: Database) -> None:
    store = EventStore(database)
    page = await store.after(ORG, 0, (), 10)
    assert (page.first, page.newest, page.position) == (1, 0, 0)
    await tell_each(database, ORG, "message.sent", [1, 2, 3])
    await database.write(lambda conn: publish(conn, ORG, "sender.released", to_micros(NOW + timedelta(days=2)), {}))
    page = await store.after(ORG, 1, (), 10)
    assert (page.first, page.newest, page.position) == (1, 4, 4)
    await store.purge(NOW + timedelta(days=1))
    assert (await store.after(ORG, 1, (), 10)).first == 4
    await store.purge(NOW + timedelta(days=3))
    assert (await store.after(ORG, 1, (), 10)).first == 5


async def test_a_page_looks_through_a_limited_number_of_rows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.events.ROWS_AT_ONCE", 3)
    for kind in ["sender.held"] * 4 + ["sender.released"]:
        await tell(database, ORG, kind)
    store = EventStore(database)
    page = await store.after(ORG, 0, ("sender.released",), 10)
    assert (page.events, page.position) == ((), 3)
    page = await store.after(ORG, 3, ("sender.released",), 10)
    assert ([event.seq for event in page.events], page.position) == ([5], 5)


async def test_a_type_that_nobody_knows_is_not_published(database: Database) -> None:
    with pytest.raises(ValueError, match="no type of event"):
        await tell(database, ORG, "sender.lost")
