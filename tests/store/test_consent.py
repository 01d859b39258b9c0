"""The suppression list: recorded once, kept with its proof, and a condition of every statement that sends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.core.ids import IdSequence, OptOutId, OrgId
from gateway.core.people import ContactDraft
from gateway.store.consent import ConsentStore, NewOptOut, OptOut, OptOutFilter, Recording, opted_out_sql
from gateway.store.contacts import ContactStore
from gateway.store.database import Database
from gateway.testing.clock import FakeClock

ADA = "ada@b.example"


class Consent:
    """One org's suppression list, as a test speaks of it."""

    def __init__(self, database: Database, store: ConsentStore, org: OrgId) -> None:
        self.database = database
        self.store = store
        self.org = org

    async def record(self, *wishes: NewOptOut) -> Recording:
        return await self.store.record(self.org, wishes, source="api", by="gwk_1")

    async def listed(self, wanted: OptOutFilter | None = None) -> tuple[OptOut, ...]:
        return await self.store.list(self.org, wanted or OptOutFilter(), None, 100)

    async def is_out(
        self, address: str | None, contact: int | None = None, category: str = "general", channel: str = "email"
    ) -> bool:
        condition = opted_out_sql(":org", ":channel", ":address", ":contact", ":category")
        values = {
            "org": self.org,
            "channel": channel,
            "address": address,
            "contact": contact,
            "category": category,
        }
        row = await self.database.read(lambda conn: conn.execute(f"SELECT {condition}", values).fetchone())
        return bool(row[0])

    async def ledger(self) -> list[tuple[object, ...]]:
        return await self.database.read(
            lambda conn: conn.execute(
                "SELECT wish, channel, address, contact IS NOT NULL, category, source, reason, by "
                "FROM consent_ledger ORDER BY seq"
            ).fetchall()
        )


@pytest.fixture
def consent(database: Database, ids: IdSequence, clock: FakeClock, org: OrgId) -> Consent:
    return Consent(database, ConsentStore(database, ids, clock), org)


@pytest.fixture
async def contact(database: Database, ids: IdSequence, clock: FakeClock, org: OrgId) -> int:
    """The key of contact `m-1`."""
    store = ContactStore(database, ids, clock)
    await store.upsert(org, [ContactDraft(public_id="m-1")], lambda _: ())
    row = await store.get(org, "m-1", ())
    assert row is not None
    return row.key


async def test_a_wish_is_recorded_once_and_keeps_its_first_reason(consent: Consent, clock: FakeClock) -> None:
    first = await consent.record(NewOptOut(channel="email", address=ADA, reason="by phone"))
    at = clock.now()
    clock.advance(timedelta(days=1))
    second = await consent.record(NewOptOut(channel="email", address=ADA, reason="again"))
    assert (first.recorded[0].new, second.recorded[0].new) == (True, False)
    assert first.recorded[0].opt_out == second.recorded[0].opt_out
    assert (first.recorded[0].opt_out.reason, first.recorded[0].opt_out.created_at) == ("by phone", at)
    assert await consent.ledger() == [("out", "email", ADA, 0, "all", "api", "by phone", "gwk_1")]


async def test_a_batch_is_answered_in_its_order_and_equal_wishes_count_once(consent: Consent, contact: int) -> None:
    await consent.record(NewOptOut(channel="email", address="old@b.example"))
    recording = await consent.record(
        NewOptOut(channel="email", address="new@b.example"),
        NewOptOut(channel="email", address="old@b.example"),
        NewOptOut(channel="email", contact="m-1"),
        NewOptOut(channel="email", address="new@b.example"),
        NewOptOut(channel="email", address="new@b.example", category="news"),
    )
    assert [each.new for each in recording.recorded] == [True, False, True, False, True]
    shown = [(each.opt_out.address, each.opt_out.contact_id, each.opt_out.category) for each in recording.recorded]
    assert shown == [
        ("new@b.example", None, "all"),
        ("old@b.example", None, "all"),
        (None, "m-1", "all"),
        ("new@b.example", None, "all"),
        ("new@b.example", None, "news"),
    ]
    assert len(await consent.listed()) == len(await consent.ledger()) == 4


async def test_with_an_unknown_contact_nothing_is_recorded(consent: Consent, contact: int) -> None:
    recording = await consent.record(
        NewOptOut(channel="email", address=ADA),
        NewOptOut(channel="email", contact="nobody"),
        NewOptOut(channel="email", contact="m-1"),
        NewOptOut(channel="email", contact="stranger"),
    )
    assert recording == Recording(unknown=(1, 3))
    assert await consent.listed() == ()
    assert await consent.ledger() == []


def test_a_wish_is_of_an_address_or_of_a_contact() -> None:
    with pytest.raises(ValueError, match="two wishes"):
        NewOptOut(channel="email", address=ADA, contact="m-1")
    with pytest.raises(ValueError, match="address or a contact"):
        NewOptOut(channel="email")


async def test_an_address_holds_on_its_channel_for_whoever_has_it(consent: Consent, contact: int) -> None:
    await consent.record(NewOptOut(channel="email", address=ADA))
    assert await consent.is_out(ADA)
    assert await consent.is_out(ADA, contact)
    assert not await consent.is_out("bo@b.example", contact)
    assert not await consent.is_out(ADA, channel="sms")
    assert not await consent.is_out(None)


async def test_a_contact_stays_out_whatever_its_address_becomes(consent: Consent, contact: int) -> None:
    await consent.record(NewOptOut(channel="email", contact="m-1"))
    assert await consent.is_out("new@b.example", contact)
    assert await consent.is_out(None, contact)
    assert not await consent.is_out("new@b.example", contact + 1)
    assert not await consent.is_out("new@b.example")


async def test_one_category_leaves_the_others_open_and_all_closes_them(consent: Consent) -> None:
    await consent.record(NewOptOut(channel="email", address=ADA, category="news"))
    assert await consent.is_out(ADA, category="news")
    assert not await consent.is_out(ADA, category="general")
    await consent.record(NewOptOut(channel="email", address=ADA))
    assert await consent.is_out(ADA, category="general")


async def test_a_deleted_contact_keeps_its_opt_out_and_can_get_one(
    consent: Consent, contact: int, database: Database, ids: IdSequence, clock: FakeClock
) -> None:
    await ContactStore(database, ids, clock).delete(consent.org, "m-1")
    recording = await consent.record(NewOptOut(channel="email", contact="m-1"))
    assert recording.recorded[0].new
    assert await consent.is_out(None, contact)


async def test_removing_keeps_the_proof_of_both(consent: Consent) -> None:
    made = (await consent.record(NewOptOut(channel="email", address=ADA))).recorded[0].opt_out
    assert await consent.store.remove(consent.org, made.id, reason="asked to come back", by="gwk_2")
    assert not await consent.store.remove(consent.org, made.id, reason="twice", by="gwk_2")
    assert await consent.store.get(consent.org, made.id) is None
    assert not await consent.is_out(ADA)
    assert await consent.ledger() == [
        ("out", "email", ADA, 0, "all", "api", None, "gwk_1"),
        ("in", "email", ADA, 0, "all", "api", "asked to come back", "gwk_2"),
    ]


async def test_the_list_is_newest_first_in_pages_and_filtered(consent: Consent, contact: int, clock: FakeClock) -> None:
    for number in range(4):
        await consent.record(NewOptOut(channel="email", address=f"m{number}@b.example"))
        clock.advance(timedelta(minutes=1))
    await consent.record(NewOptOut(channel="sms", contact="m-1"), NewOptOut(channel="sms", address="+2348031234567"))
    first = await consent.store.list(consent.org, OptOutFilter(channel="email"), None, 2)
    rest = await consent.store.list(consent.org, OptOutFilter(channel="email"), first[-1].id, 5)
    assert [each.address for each in (*first, *rest)] == [f"m{number}@b.example" for number in (3, 2, 1, 0)]
    assert [each.channel for each in await consent.listed(OptOutFilter(contact="m-1"))] == ["sms"]
    pairs = [("email", "m1@b.example"), ("sms", "m2@b.example"), ("sms", "+2348031234567")]
    assert [each.address for each in await consent.listed(OptOutFilter(addresses=pairs))] == [
        "+2348031234567",
        "m1@b.example",
    ]
    assert await consent.listed(OptOutFilter(contact="nobody")) == ()


async def test_an_org_neither_sees_nor_removes_the_opt_outs_of_another(consent: Consent, contact: int) -> None:
    await consent.database.write(lambda conn: conn.execute("INSERT INTO orgs (id, name) VALUES (2, 'other')"))
    other = Consent(consent.database, consent.store, OrgId(2))
    made = (await consent.record(NewOptOut(channel="email", address=ADA))).recorded[0].opt_out
    assert await other.listed() == ()
    assert not await other.is_out(ADA)
    assert await other.store.get(other.org, made.id) is None
    assert not await other.store.remove(other.org, OptOutId(made.id), reason="not theirs", by=None)
    assert (await other.record(NewOptOut(channel="email", contact="m-1"))).unknown == (0,)
    assert (await other.record(NewOptOut(channel="email", address=ADA))).recorded[0].new
    assert len(await consent.listed()) == 1


async def test_the_condition_is_three_probes_of_an_index(consent: Consent) -> None:
    condition = opted_out_sql("1", "'email'", "m.address", "m.contact", "'general'")
    plan = await consent.database.read(
        lambda conn: conn.execute(f"EXPLAIN QUERY PLAN SELECT 1 FROM messages AS m WHERE {condition}").fetchall()
    )
    details = [detail for *_, detail in plan if "opt_outs" in detail or "known" in detail]
    assert [detail for detail in details if "known" in detail] == [
        "SEARCH known USING PRIMARY KEY (org=? AND channel=? AND alias=?)"
    ]
    probes = [detail for detail in details if "known" not in detail]
    assert len(probes) == 3
    assert all(probe.startswith("SEARCH opt_outs USING") for probe in probes)
