"""Snapshots of every kind of selection, and bulk actions as a person changes them, held against the books."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.contract import Channel
from gateway.core.ids import ActionId, IdSequence, OrgId
from gateway.core.schedule import Schedule
from gateway.core.selection import (
    AddressList,
    AllContacts,
    ContactFilter,
    ContactList,
    OtherAction,
    Reachable,
    Selection,
)
from gateway.core.states import ActionStatus, RecipientState
from gateway.errors import NotFound, Refused
from gateway.store.action_reads import ActionFilter, ActionReads
from gateway.store.actions import ActionChange, ActionStore, NewAction, Present
from gateway.store.codec import to_json, to_micros
from gateway.store.database import Database
from gateway.store.recipient_reads import RecipientReads
from gateway.store.resolutions import ResolutionStore
from gateway.store.selections import selection_from_json, selection_json, snapshot_chunk
from gateway.store.sweeps import Sweeps
from gateway.store.verify import verify
from gateway.testing.clock import FakeClock

ORG = OrgId(1)
OTHER_ORG = OrgId(2)
EMAIL = Channel(name="email", title="e-mail", normalise=lambda text, region: text, address_from="email")
NOW = Schedule(mode="now", time_zone="UTC")
PENDING, FAILED, CANCELLED = RecipientState.PENDING, RecipientState.FAILED, RecipientState.CANCELLED


@dataclass
class Desk:
    """The stores over one file, and the rows a test begins with."""

    database: Database
    clock: FakeClock
    ids: IdSequence
    store: ActionStore = field(init=False)
    reads: ActionReads = field(init=False)
    recipients: RecipientReads = field(init=False)
    sweeps: Sweeps = field(init=False)

    def __post_init__(self) -> None:
        self.store = ActionStore(self.database)
        self.reads = ActionReads(self.database)
        self.recipients = RecipientReads(self.database)
        self.sweeps = Sweeps(self.database, {"email": EMAIL})

    async def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return await self.database.read(lambda conn: conn.execute(statement, parameters).fetchall())

    async def change(self, statement: str, *parameters: Any) -> None:
        await self.database.write(lambda conn: conn.execute(statement, parameters))

    async def contact(self, id: int, *, org: int = 1, tags: Sequence[str] = (), **columns: Any) -> None:
        values = {"id": id, "org": org, "public_id": f"m-{id}", "email": f"m{id}@example.org"}
        values |= {"created_at": 1, "updated_at": 1, "seen_at": 1} | columns

        def operation(conn: sqlite3.Connection) -> None:
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            conn.execute(f"INSERT INTO contacts ({names}) VALUES ({marks})", tuple(values.values()))
            conn.executemany("INSERT INTO contact_tags VALUES (?, ?, ?)", [(id, tag, org) for tag in tags])

        await self.database.write(operation)

    async def create(
        self,
        selection: Selection,
        chunks: Sequence[Sequence[object]] = (),
        *,
        operation: str = "send_message",
        channel: str | None = "email",
        schedule: Schedule = NOW,
        rate_max: int = 1000,
        start_at: datetime | None = None,
    ) -> ActionId:
        action = ActionId(self.ids.take())
        position = 0
        for chunk in chunks:
            await self.store.add_chunk(action, position, to_json(chunk))
            position += len(chunk)
        new = NewAction(
            id=action,
            org=ORG,
            label="News",
            operation=operation,
            channel=channel,
            sender=None,
            selection=selection,
            message=to_json({"channel": channel, "body": "Hi"}),
            parameters="{}",
            schedule=to_json(schedule),
            start_at=start_at,
            warnings="[]",
            rerun_of=None,
            origin="api",
            created_by="gwk_a",
            requested_by="user:1",
            now=self.clock.now(),
        )
        await self.store.create(new, rate_max)
        return action

    async def expand(self, action: ActionId) -> int:
        """Take the whole snapshot; how many chunks it took."""
        chunks = 1
        while not (await self.database.write(lambda conn: snapshot_chunk(conn, action))).done:
            chunks += 1
        await self.change("UPDATE bulk_actions SET work = NULL, work_position = 0 WHERE id = ?", action)
        return chunks

    async def rows(self, action: ActionId) -> list[tuple[Any, ...]]:
        """(seq, contact, given, state, code) in the order of the snapshot."""
        return await self.sql(
            "SELECT seq, contact, given, state, code FROM recipients WHERE action = ? ORDER BY seq", action
        )

    async def contacts_of(self, selection: Selection) -> list[int]:
        action = await self.create(selection)
        await self.expand(action)
        await self.assert_books_balance()
        return [contact for _, contact, *_ in await self.rows(action)]

    async def set_status(self, action: ActionId, status: str, **columns: Any) -> None:
        names = "".join(f", {name} = ?" for name in columns)
        await self.change(
            f"UPDATE bulk_actions SET status = ?, work = NULL{names} WHERE id = ?", status, *columns.values(), action
        )

    async def set_states(self, action: ActionId, states: Sequence[RecipientState]) -> None:
        """Put the recipients, in the order of the snapshot, into these states, and the books with them."""

        def operation(conn: sqlite3.Connection) -> None:
            for seq, state in enumerate(states, start=1):
                conn.execute("UPDATE recipients SET state = ? WHERE action = ? AND seq = ?", (state, action, seq))
            for state in RecipientState:
                conn.execute(
                    f"UPDATE action_counts SET {state.label} = ? WHERE action = ?", (list(states).count(state), action)
                )
            waiting = list(states).count(PENDING)
            conn.execute("UPDATE action_counts SET unreleased = ? WHERE action = ?", (waiting, action))

        await self.database.write(operation)

    async def assert_books_balance(self) -> None:
        assert (await verify(self.database)).faults == ()


@pytest.fixture
async def desk(database: Database, clock: FakeClock, ids: IdSequence, org: OrgId) -> Desk:
    await database.write(lambda conn: conn.execute("INSERT INTO orgs (id, name) VALUES (2, 'other')"))
    return Desk(database, clock, ids)


# What is selected


async def test_all_contacts_come_in_the_order_of_creation_without_the_deleted_and_without_other_orgs(
    desk: Desk,
) -> None:
    for id in (30, 10, 20):
        await desk.contact(id)
    await desk.contact(15, deleted_at=5)
    await desk.contact(25, org=2)
    assert await desk.contacts_of(AllContacts()) == [10, 20, 30]
    assert await desk.contacts_of(AllContacts(deleted=True)) == [10, 15, 20, 30]


async def test_contacts_created_after_the_action_are_never_in_it(desk: Desk) -> None:
    await desk.contact(1)
    everybody = await desk.create(AllContacts())
    listed = await desk.create(ContactList(total=2), [["m-1", "m-2"]])
    await desk.contact(2)
    await desk.expand(everybody)
    await desk.expand(listed)
    assert [contact for _, contact, *_ in await desk.rows(everybody)] == [1]
    assert await desk.rows(listed) == [(1, 1, None, 0, None), (2, None, "m-2", 4, "contact_not_found")]


async def test_a_filter_selects_who_has_an_address_on_a_channel(desk: Desk) -> None:
    await desk.contact(1, phone="+14155550101")
    await desk.contact(2, email="a@example.org", tags=["a"])
    await desk.contact(3, phone="+14155550103", addresses='{"pigeon":"loft 3"}', tags=["a"])
    sms, pigeon = Reachable(name="sms", address_from="phone"), Reachable(name="pigeon", address_from=None)
    assert await desk.contacts_of(ContactFilter(reachable=sms)) == [1, 3]
    assert await desk.contacts_of(ContactFilter(reachable=sms, tags_any=("a",))) == [3]
    assert await desk.contacts_of(ContactFilter(reachable=pigeon)) == [3]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"tags_any": ("a", "b")}, [1, 2, 3]),
        ({"tags_all": ("a", "b")}, [3]),
        ({"tags_none": ("a",)}, [2, 4, 5]),
        ({"tags_any": ("a", "b"), "tags_none": ("b",)}, [1]),
        ({"tags_any": ("nobody",)}, []),
        ({"attributes": {"city": "Lagos"}}, [1]),
        ({"attributes": {"age": 7}}, [2]),
        ({"attributes": {"age": "7"}}, [3]),
        ({"attributes": {"vip": True}}, [4]),
        ({"attributes": {"vip": 1}}, [5]),
        ({"attributes": {"city": None}}, [2, 3, 4, 5]),
        ({"attributes": {'we"ird.key': "x"}}, [2]),
        ({"seen_before": datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=3)}, [1, 2]),
    ],
)
async def test_a_filter_selects_by_tags_attributes_and_last_sight(
    desk: Desk, conditions: dict[str, Any], expected: list[int]
) -> None:
    await desk.contact(1, tags=["a"], attributes='{"city":"Lagos"}', seen_at=1)
    await desk.contact(2, tags=["b"], attributes='{"age":7,"we\\"ird.key":"x","city":null}', seen_at=2)
    await desk.contact(3, tags=["a", "b"], attributes='{"age":"7"}', seen_at=3)
    await desk.contact(4, attributes='{"vip":true}', seen_at=4)
    await desk.contact(5, attributes='{"vip":1}', seen_at=5)
    await desk.contact(6, org=2, tags=["a", "b"], attributes='{"city":"Lagos"}')
    assert await desk.contacts_of(ContactFilter(**conditions)) == expected


async def test_a_list_keeps_its_order_and_unknown_or_foreign_ids_fail_by_name(desk: Desk) -> None:
    for id in (1, 2, 3):
        await desk.contact(id)
    await desk.contact(4, org=2)
    await desk.contact(5, deleted_at=1)
    action = await desk.create(ContactList(total=5), [["m-3", "m-9", "m-1"], ["m-4", "m-5"]])
    await desk.expand(action)
    assert await desk.rows(action) == [
        (1, 3, None, 0, None),
        (2, None, "m-9", 4, "contact_not_found"),
        (3, 1, None, 0, None),
        (4, None, "m-4", 4, "contact_not_found"),
        (5, 5, None, 0, None),
    ]
    view = await desk.reads.one(ORG, action)
    assert (view.counts.pending, view.counts.failed, view.unreleased) == (3, 2, 3)
    await desk.assert_books_balance()


async def test_addresses_bring_their_variables_and_zone_and_invalid_ones_fail(desk: Desk) -> None:
    entries = [
        {"to": "a@x.org", "variables": {"first": "Ada"}, "time_zone": "Africa/Lagos"},
        {"to": "no address", "valid": False},
        {"to": "b@x.org"},
    ]
    action = await desk.create(AddressList(total=3), [entries])
    await desk.expand(action)
    rows = await desk.sql("SELECT given, variables, zone, state, code FROM recipients ORDER BY seq")
    assert rows == [
        ("a@x.org", '{"first":"Ada"}', "Africa/Lagos", 0, None),
        ("no address", None, None, 4, "invalid_address"),
        ("b@x.org", None, None, 0, None),
    ]
    await desk.assert_books_balance()


async def test_another_actions_recipients_are_taken_by_their_states(desk: Desk) -> None:
    for id in (1, 2, 3):
        await desk.contact(id)
    first = await desk.create(ContactList(total=4), [["m-1", "m-2", "m-3", "gone"]])
    await desk.expand(first)
    await desk.set_states(first, [CANCELLED, RecipientState.SUCCEEDED, CANCELLED, FAILED])
    await desk.set_status(first, "cancelled")
    second = await desk.create(OtherAction(action=first, states=(FAILED, CANCELLED)))
    await desk.expand(second)
    assert await desk.rows(second) == [
        (1, 1, None, 0, None),
        (2, 3, None, 0, None),
        (3, None, "gone", 4, "contact_not_found"),
    ]
    await desk.assert_books_balance()


async def test_another_action_that_is_still_being_cancelled_is_waited_for(desk: Desk) -> None:
    await desk.contact(1)
    first = await desk.create(AllContacts())
    await desk.expand(first)
    await desk.store.cancel(ORG, first, desk.clock.now())
    second = await desk.create(OtherAction(action=first, states=(CANCELLED,)))
    chunk = await desk.database.write(lambda conn: snapshot_chunk(conn, second))
    assert (chunk.inserted, chunk.done) == (0, False)
    while await desk.sweeps.step(desk.clock.now()) is not None:
        pass
    assert [contact for _, contact, *_ in await desk.rows(second)] == [1]


async def test_bare_addresses_of_another_channel_have_no_address_here(desk: Desk) -> None:
    first = await desk.create(AddressList(total=1), [[{"to": "a@x.org"}]])
    await desk.expand(first)
    await desk.set_states(first, [CANCELLED])
    await desk.set_status(first, "cancelled")
    by_sms = await desk.create(OtherAction(action=first, states=(CANCELLED,)), channel="sms")
    on_contacts = await desk.create(OtherAction(action=first, states=(CANCELLED,)), operation="add_tags", channel=None)
    for action in (by_sms, on_contacts):
        await desk.expand(action)
    assert [row[4] for row in await desk.rows(by_sms)] == ["no_address"]
    assert [row[4] for row in await desk.rows(on_contacts)] == ["contact_not_found"]


async def test_the_first_chunks_of_a_snapshot_are_short_so_that_the_first_messages_need_not_wait(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.store.sweeps.CHUNK", 5)
    monkeypatch.setattr("gateway.store.sweeps.FIRST_CHUNK", 2)
    for id in range(1, 14):
        await desk.contact(id)
    for _ in range(2):
        action = await desk.create(AllContacts())
        steps = []
        while (step := await desk.sweeps.step(desk.clock.now())) is not None and not step.done:
            steps.append(step.rows)
        assert steps == [2, 4, 5]
        assert len(await desk.rows(action)) == 13


async def test_a_snapshot_is_taken_in_chunks_and_goes_on_where_it_stopped(desk: Desk) -> None:
    for id in range(1, 11):
        await desk.contact(id, tags=["even"] if id % 2 == 0 else [])
    everybody = await desk.create(AllContacts())
    first = await desk.database.write(lambda conn: snapshot_chunk(conn, everybody, 2))
    assert (first.inserted, first.next_position, first.done) == (2, 2, False)
    assert await desk.expand(everybody) == 1
    assert await desk.contacts_of(ContactFilter(tags_any=("even",))) == [2, 4, 6, 8, 10]
    assert await desk.contacts_of(ContactFilter(tags_none=("even",))) == [1, 3, 5, 7, 9]
    copy = await desk.create(OtherAction(action=everybody, states=(PENDING,)))
    await desk.expand(copy)
    assert [(seq, contact) for seq, contact, *_ in await desk.rows(copy)] == [(n, n) for n in range(1, 11)]
    assert [(seq, contact) for seq, contact, *_ in await desk.rows(everybody)] == [(n, n) for n in range(1, 11)]
    await desk.assert_books_balance()


async def test_recipients_that_come_while_the_action_is_being_sent_join_its_one_batch(desk: Desk) -> None:
    action = await desk.create(ContactList(total=3), [["m-1"], ["m-2", "nobody"]])
    await desk.change("DELETE FROM selection_chunks WHERE action = ?", action)
    for id in (1, 2):
        await desk.contact(id)
    await desk.change("UPDATE bulk_actions SET contact_bound = 99 WHERE id = ?", action)
    await desk.store.add_chunk(action, 0, '["m-1"]')
    await desk.store.add_chunk(action, 1, '["m-2", "nobody"]')
    await desk.database.write(lambda conn: snapshot_chunk(conn, action))
    await desk.change(
        "INSERT INTO batches (action, number, round, planned_at, released_at, quantity, revision, untried, pending) "
        "VALUES (?, 1, 0, 1, 1, 1, 1, 1, 1)",
        action,
    )
    await desk.change("UPDATE action_counts SET unreleased = 0 WHERE action = ?", action)
    await desk.change("UPDATE bulk_actions SET status = 'processing' WHERE id = ?", action)
    await desk.database.write(lambda conn: snapshot_chunk(conn, action))
    assert await desk.sql("SELECT quantity, untried, pending, failed FROM batches") == [(2, 2, 2, 0)]
    assert (await desk.reads.one(ORG, action)).unreleased == 0
    await desk.assert_books_balance()


async def released_at_once(desk: Desk, people: int) -> ActionId:
    """An action to everybody that is being sent, in one batch, whose snapshot is still to be taken."""
    action = await desk.create(AllContacts())
    for id in range(1, people + 1):
        await desk.contact(id)
    await desk.change("UPDATE bulk_actions SET contact_bound = 99, status = 'processing' WHERE id = ?", action)
    await desk.change(
        "INSERT INTO batches (action, number, round, planned_at, released_at, quantity, revision, untried) "
        "VALUES (?, 1, 0, 1, 1, 0, 1, 0)",
        action,
    )
    return action


async def test_a_retry_takes_whoever_was_unreachable_out_of_the_books_of_the_one_batch(desk: Desk) -> None:
    action = await released_at_once(desk, 2)
    await desk.change("UPDATE contacts SET email = NULL WHERE id = 2")
    while await desk.sweeps.step(desk.clock.now()) is not None:
        pass
    assert await desk.sql("SELECT pending, failed FROM batches") == [(1, 1)]
    await desk.set_status(action, "partial", completed_at=5)
    await desk.change("UPDATE contacts SET email = 'm2@example.org' WHERE id = 2")
    await retry(desk, action, seqs=[2])
    assert await desk.sql("SELECT pending, failed FROM batches") == [(1, 0)]
    await desk.assert_books_balance()


async def test_a_retry_takes_the_cancelled_out_of_the_books_of_the_one_batch(desk: Desk) -> None:
    action = await released_at_once(desk, 3)
    await desk.sweeps.step(desk.clock.now())
    await desk.store.cancel(ORG, action, desk.clock.now())
    while await desk.sweeps.step(desk.clock.now()) is not None:
        pass
    assert await desk.sql("SELECT pending, cancelled FROM batches") == [(0, 3)]
    await retry(desk, action, states=(RecipientState.CANCELLED,))
    while await desk.sweeps.step(desk.clock.now()) is not None:
        pass
    assert await desk.sql("SELECT pending, cancelled FROM batches") == [(0, 0)]
    await desk.assert_books_balance()


attribute_values = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    filter_=st.builds(
        ContactFilter,
        tags_any=st.lists(st.text(min_size=1, max_size=3), max_size=2).map(tuple),
        tags_none=st.lists(st.text(min_size=1, max_size=3), max_size=2).map(tuple),
        attributes=st.dictionaries(st.text(max_size=3), attribute_values, max_size=2),
        seen_before=st.none() | st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)),
        reachable=st.none() | st.builds(Reachable, name=st.just("sms"), address_from=st.sampled_from([None, "phone"])),
        deleted=st.booleans(),
    )
)
def test_a_selection_survives_its_column(filter_: ContactFilter) -> None:
    assert selection_from_json(selection_json(filter_)) == filter_


# Lists that wait for their action


async def test_lists_without_an_action_are_removed_and_others_stay(desk: Desk) -> None:
    await desk.contact(1)
    orphan = ActionId(desk.ids.take())
    for position in range(60):
        await desk.store.add_chunk(orphan, position, '["m-1"]')
    action = await desk.create(ContactList(total=1), [["m-1"]])
    assert await desk.store.remove_orphan_chunks() == 1
    assert await desk.sql("SELECT action FROM selection_chunks") == [(action,)]
    assert await desk.store.remove_orphan_chunks() == 0


async def test_dropping_the_list_of_an_action_that_was_created_after_all_does_nothing(desk: Desk) -> None:
    action = await desk.create(ContactList(total=1), [["m-1"]])
    await desk.store.drop_chunks(action)
    assert await desk.sql("SELECT count(*) FROM selection_chunks") == [(1,)]


# Creation


async def test_the_eleventh_creation_within_a_minute_is_refused_with_the_time_to_wait(desk: Desk) -> None:
    for _ in range(10):
        await desk.create(AllContacts(), rate_max=10)
        desk.clock.advance(timedelta(seconds=5))
    with pytest.raises(Refused) as refused:
        await desk.create(AllContacts(), rate_max=10)
    assert refused.value.code == "bulk_action_rate"
    assert refused.value.more == {"retry_after": 10}
    desk.clock.advance(timedelta(seconds=9))
    with pytest.raises(Refused):
        await desk.create(AllContacts(), rate_max=10)
    desk.clock.advance(timedelta(seconds=1))
    await desk.create(AllContacts(), rate_max=10)
    assert await desk.sql("SELECT count(*) FROM bulk_actions") == [(11,)]


async def test_an_action_that_starts_later_says_when_from_the_beginning(desk: Desk) -> None:
    start = desk.clock.now() + timedelta(hours=2)
    schedule = Schedule(mode="at", start_at=start, time_zone="UTC")
    action = await desk.create(AllContacts(), schedule=schedule, start_at=start)
    view = await desk.reads.one(ORG, action)
    assert (view.wait_reason, view.next_batch_at, view.taking) == ("scheduled", start, True)


async def test_another_orgs_action_is_not_found(desk: Desk) -> None:
    action = await desk.create(AllContacts())
    now = desk.clock.now()
    with pytest.raises(NotFound):
        await desk.reads.one(OTHER_ORG, action)
    with pytest.raises(NotFound):
        await desk.store.cancel(OTHER_ORG, action, now)
    with pytest.raises(NotFound):
        await desk.store.pause(OTHER_ORG, action, now)
    with pytest.raises(NotFound):
        await desk.store.resume(OTHER_ORG, action, now)
    with pytest.raises(NotFound):
        await ResolutionStore(desk.database).resolve(OTHER_ORG, action, None, "sent", now, "x")
    assert await desk.reads.listed(OTHER_ORG, ActionFilter(), None, 10) == ()


# Edits


def change_of(schedule: Schedule = NOW, **more: Any) -> ActionChange:
    values: dict[str, Any] = {"label": "New", "sender": None, "message": None, "warnings": "[]"}
    return ActionChange(schedule=to_json(schedule), **values | more)


async def test_an_edit_moves_the_revision_and_asks_the_scheduler_to_look(desk: Desk) -> None:
    action = await desk.create(AllContacts())
    await desk.change("UPDATE bulk_actions SET look_at = NULL, settled = 1 WHERE id = ?", action)
    seen: list[Present] = []
    assert await desk.store.edit(ORG, action, 1, seen.append, change_of(settle_anew=True, requested_by="user:9")) == 1
    view = await desk.reads.one(ORG, action)
    assert (view.label, view.revision, view.settled, view.requested_by) == ("New", 2, False, "user:9")
    assert seen == [Present(status=ActionStatus.QUEUED, paused_from=None, revision=1)]
    assert await desk.sql("SELECT look_at FROM bulk_actions") == [(0,)]


async def test_an_edit_of_an_older_revision_changes_nothing(desk: Desk) -> None:
    action = await desk.create(AllContacts())
    assert await desk.store.edit(ORG, action, 1, lambda present: None, change_of()) is not None
    assert await desk.store.edit(ORG, action, 1, lambda present: None, change_of(label="Late")) is None
    assert (await desk.reads.one(ORG, action)).label == "New"


async def test_an_edit_that_is_refused_in_its_transaction_changes_nothing(desk: Desk) -> None:
    action = await desk.create(AllContacts())

    def refuse(present: Present) -> None:
        raise Refused("only_batch_quantity_editable", "too late")

    with pytest.raises(Refused, match="too late"):
        await desk.store.edit(ORG, action, 1, refuse, change_of())
    assert (await desk.reads.one(ORG, action)).label == "News"


# Stopping and starting


async def test_a_cancelled_action_stops_at_once_and_its_rows_follow(desk: Desk) -> None:
    for id in (1, 2, 3):
        await desk.contact(id)
    action = await desk.create(AllContacts())
    await desk.expand(action)
    await desk.set_states(action, [RecipientState.SUCCEEDED, PENDING, PENDING])
    cancelled = await desk.store.cancel(ORG, action, desk.clock.now())
    assert (cancelled.cancelled, cancelled.in_flight, cancelled.already_sent) == (2, 0, 1)
    view = await desk.reads.one(ORG, action)
    assert (view.status, view.completed_at) == (ActionStatus.CANCELLED, desk.clock.now())
    while await desk.sweeps.step(desk.clock.now()) is not None:
        pass
    assert (await desk.reads.one(ORG, action)).counts.cancelled == 2
    await desk.assert_books_balance()
    with pytest.raises(Refused, match="has ended"):
        await desk.store.cancel(ORG, action, desk.clock.now())


async def test_an_action_cancelled_while_its_snapshot_is_taken_still_accounts_for_everybody(desk: Desk) -> None:
    for id in (1, 2, 3):
        await desk.contact(id)
    action = await desk.create(ContactList(total=3), [["m-1"], ["m-2", "m-3"]])
    await desk.sweeps.step(desk.clock.now())
    cancelled = await desk.store.cancel(ORG, action, desk.clock.now())
    assert cancelled.cancelled == 3
    while await desk.sweeps.step(desk.clock.now()) is not None:
        pass
    view = await desk.reads.one(ORG, action)
    assert (view.counts.cancelled, view.counts.total) == (3, 3)
    await desk.assert_books_balance()


@pytest.mark.parametrize(
    ("status", "code"), [("delegated", "not_pausable"), ("completed", "not_pausable"), ("paused", "not_pausable")]
)
async def test_what_does_not_run_cannot_be_paused(desk: Desk, status: str, code: str) -> None:
    action = await desk.create(AllContacts())
    await desk.set_status(action, status)
    with pytest.raises(Refused) as refused:
        await desk.store.pause(ORG, action, desk.clock.now())
    assert refused.value.code == code


async def test_a_paused_action_goes_back_to_where_it_was(desk: Desk) -> None:
    for status in (ActionStatus.QUEUED, ActionStatus.PROCESSING):
        action = await desk.create(AllContacts())
        await desk.set_status(action, status)
        await desk.store.pause(ORG, action, desk.clock.now())
        paused = await desk.reads.one(ORG, action)
        assert (paused.status, paused.paused_from, paused.pause_reason) == (ActionStatus.PAUSED, status, "operator")
        await desk.store.resume(ORG, action, desk.clock.now())
        resumed = await desk.reads.one(ORG, action)
        assert (resumed.status, resumed.paused_from, resumed.pause_reason) == (status, None, None)
        assert resumed.resumed_at == desk.clock.now()
        with pytest.raises(Refused, match="not paused"):
            await desk.store.resume(ORG, action, desk.clock.now())


# Once more


async def ended(desk: Desk, states: Sequence[RecipientState]) -> ActionId:
    for id in range(1, len(states) + 1):
        await desk.contact(id)
    action = await desk.create(AllContacts())
    await desk.expand(action)
    await desk.set_states(action, states)
    await desk.set_status(action, "partial", completed_at=5)
    return action


async def retry(desk: Desk, action: ActionId, **how: Any) -> int:
    given: dict[str, Any] = {"states": (FAILED,), "seqs": None, "schedule": None, "settle_anew": False}
    return await desk.store.retry(ORG, action, desk.clock.now(), 1000, **given | how)


async def test_a_retry_by_states_starts_the_next_round_with_those_in_them(desk: Desk) -> None:
    action = await ended(desk, [FAILED, RecipientState.SUCCEEDED, RecipientState.SKIPPED])
    assert await retry(desk, action) == 1
    view = await desk.reads.one(ORG, action)
    assert (view.status, view.round, view.completed_at) == (ActionStatus.PROCESSING, 1, None)
    while await desk.sweeps.step(desk.clock.now()) is not None:
        pass
    assert [row[3] for row in await desk.rows(action)] == [0, 3, 5]
    assert (await desk.reads.one(ORG, action)).unreleased == 1
    await desk.assert_books_balance()


async def test_a_retry_by_name_moves_its_recipients_at_once(desk: Desk) -> None:
    action = await ended(desk, [FAILED, FAILED, RecipientState.SKIPPED])
    await desk.change("UPDATE recipients SET code = 'gave_up', attempts = 4, not_before = 9 WHERE seq = 2")
    await retry(desk, action, seqs=[2, 3])
    rows = await desk.sql("SELECT state, round, code, attempts, not_before, batch FROM recipients ORDER BY seq")
    assert rows == [(4, 0, None, 0, None, None), (0, 1, None, 0, None, None), (0, 1, None, 0, None, None)]
    view = await desk.reads.one(ORG, action)
    assert (view.counts.pending, view.unreleased, view.counts.failed, view.counts.skipped) == (2, 2, 1, 0)
    await desk.assert_books_balance()


async def test_a_retry_leaves_alone_whom_there_is_nobody_behind(desk: Desk) -> None:
    await desk.contact(1)
    action = await desk.create(ContactList(total=2), [["m-1", "nobody"]])
    await desk.expand(action)
    await desk.set_states(action, [FAILED, FAILED])
    await desk.set_status(action, "failed")
    assert await desk.recipients.any_retryable(action, [FAILED])
    await retry(desk, action)
    while await desk.sweeps.step(desk.clock.now()) is not None:
        pass
    assert [(row[2], row[3]) for row in await desk.rows(action)] == [(None, 0), ("nobody", 4)]
    await desk.assert_books_balance()


async def test_a_retry_counts_as_a_creation_and_a_refused_one_does_not(desk: Desk) -> None:
    action = await ended(desk, [FAILED])
    await desk.change("DELETE FROM creations")
    with pytest.raises(Refused, match="None of these"):
        await retry(desk, action, seqs=[99])
    assert await desk.sql("SELECT count(*) FROM creations") == [(0,)]
    await retry(desk, action)
    assert await desk.sql("SELECT count(*) FROM creations") == [(1,)]
    assert (await desk.reads.one(ORG, action)).round == 1


async def test_an_action_that_is_still_being_stopped_is_retried_later(desk: Desk) -> None:
    await desk.contact(1)
    action = await desk.create(AllContacts())
    await desk.expand(action)
    await desk.store.cancel(ORG, action, desk.clock.now())
    with pytest.raises(Refused) as refused:
        await retry(desk, action, states=(CANCELLED,))
    assert refused.value.code == "in_progress"


async def test_a_retry_may_bring_a_schedule_of_its_own(desk: Desk) -> None:
    action = await ended(desk, [FAILED])
    later = Schedule(mode="at", start_at=desk.clock.now() + timedelta(days=1), time_zone="UTC")
    await retry(desk, action, schedule=to_json(later))
    assert (await desk.reads.one(ORG, action)).schedule == to_json(later)


# A person's word


@pytest.mark.parametrize(
    ("verdict", "state", "status", "code"), [("sent", 3, 4, "resolved"), ("failed", 4, 6, "resolved")]
)
async def test_resolving_moves_recipient_message_books_and_history_together(
    desk: Desk, verdict: Any, state: int, status: int, code: str
) -> None:
    action = await ended(desk, [RecipientState.UNKNOWN, RecipientState.UNKNOWN])
    await desk.change(
        "INSERT INTO senders (id, org, name, channel, adapter, in_flight_limit) VALUES (1, 1, 'm', 'email', 'x', 4)"
    )
    for seq in (1, 2):
        await desk.change(
            "INSERT INTO messages (id, org, channel, sender, address, source, status, action, seq, due_at, created_at) "
            "VALUES (?, 1, 'email', 1, 'a', 0, 2, ?, ?, 77, 1)",
            seq,
            action,
            seq,
        )
        await desk.change("UPDATE recipients SET message = ? WHERE seq = ?", seq, seq)
    store = ResolutionStore(desk.database)
    assert await store.resolve(ORG, action, [2, 99], verdict, desk.clock.now(), "gwk_a") == 1
    assert [row[3:] for row in await desk.rows(action)] == [(6, None), (state, code)]
    assert await desk.sql("SELECT status, due_at FROM messages WHERE id = 2") == [(status, None)]
    assert await desk.sql("SELECT message, at, kind, status, detail FROM message_history") == [
        (2, to_micros(desk.clock.now()), "resolve", verdict, "resolved by gwk_a")
    ]
    await desk.assert_books_balance()
    assert await store.resolve(ORG, action, None, verdict, desk.clock.now(), "gwk_a") == 1
    assert (await desk.reads.one(ORG, action)).counts.unknown == 0
    assert await desk.sql("SELECT look_at FROM bulk_actions") == [(0,)]
    await desk.assert_books_balance()


# Reads


async def test_lists_are_filtered_and_stable_under_inserts(desk: Desk) -> None:
    actions = []
    for _ in range(5):
        actions.append(await desk.create(AllContacts()))
        desk.clock.advance(timedelta(minutes=1))
    await desk.set_status(actions[1], "completed")
    await desk.change("UPDATE bulk_actions SET label = '50% off_now', requested_by = 'user:2' WHERE id = ?", actions[2])

    async def found(before: ActionId | None = None, limit: int = 10, **wanted: Any) -> list[int]:
        views = await desk.reads.listed(ORG, ActionFilter(**wanted), before, limit)
        return [actions.index(view.id) for view in views]

    assert await found(limit=2) == [4, 3]
    assert await found(before=actions[3], limit=2) == [2, 1]
    assert await found(statuses=["completed", "partial"]) == [1]
    assert await found(query="50% OFF_") == [2]
    assert await found(query="0%x") == []
    assert await found(requested_by="user:2") == [2]
    assert await found(created_by="nobody") == []
    assert await found(operation="add_tags") == []
    assert await found(channel="email", created_before=(await desk.reads.one(ORG, actions[1])).created_at) == [0]
    assert await found(created_after=(await desk.reads.one(ORG, actions[3])).created_at) == [4]


async def test_recipients_are_listed_by_state_in_the_order_of_the_snapshot(desk: Desk) -> None:
    await desk.contact(1, name="Ada")
    await desk.contact(2, first_name="Grace", last_name="Hopper")
    await desk.contact(3, email=None)
    action = await desk.create(ContactList(total=5), [["m-1", "m-2", "m-3", "nobody", "m-1x"]])
    await desk.expand(action)
    await desk.set_states(action, [RecipientState.SUCCEEDED, RecipientState.SKIPPED, FAILED, FAILED, FAILED])

    async def page(*states: RecipientState, after: int = 0, limit: int = 10) -> list[tuple[Any, ...]]:
        rows = await desk.recipients.page(action, EMAIL, states, after, limit)
        return [(row.seq, row.recipient, row.contact_id, row.name, row.address) for row in rows]

    assert await page(limit=2) == [
        (1, "m-1", "m-1", "Ada", "m1@example.org"),
        (2, "m-2", "m-2", "Grace Hopper", "m2@example.org"),
    ]
    assert await page(FAILED, RecipientState.SKIPPED, after=2, limit=2) == [
        (3, "m-3", "m-3", None, None),
        (4, "nobody", None, None, None),
    ]
    assert [row[0] for row in await page(RecipientState.SUCCEEDED, FAILED, limit=3)] == [1, 3, 4]
    found = await desk.recipients.ended(action, ["m-3", "nobody", "m-1"])
    assert found == {"m-3": [(3, FAILED, False)], "nobody": [(4, FAILED, True)]}


async def test_statistics_count_codes_messages_replies_and_the_opt_outs_they_caused(desk: Desk) -> None:
    action = await ended(desk, [FAILED, RecipientState.SUCCEEDED, RecipientState.SUCCEEDED])
    await desk.change("UPDATE recipients SET code = 'no_address' WHERE seq = 1")
    await desk.change(
        "INSERT INTO senders (id, org, name, channel, adapter, in_flight_limit) VALUES (1, 1, 'm', 'email', 'x', 4)"
    )
    minute = 60_000_000
    for id, direction, accepted in ((1, 0, 5 * minute + 1), (2, 0, 5 * minute + 2), (3, 0, 7 * minute), (4, 1, None)):
        await desk.change(
            "INSERT INTO messages (id, org, direction, channel, sender, address, source, status, action, accepted_at, "
            "created_at) VALUES (?, 1, ?, 'email', 1, 'a', 0, 3, ?, ?, 1)",
            id,
            direction,
            action,
            accepted,
        )
    await desk.change(
        "INSERT INTO consent_ledger (org, wish, channel, address, category, source, message, at) "
        "VALUES (1, 'out', 'email', 'a', 'all', 'reply', 4, 1)"
    )
    stats = await desk.reads.stats(ORG, action)
    assert list(stats.codes) == [(3, None, 2), (4, "no_address", 1)]
    assert [(to_micros(at) // minute, number) for at, number in stats.rate] == [(5, 2), (7, 1)]
    assert (stats.period_seconds, stats.replies, stats.opt_outs) == (60, 1, 1)
