"""Contacts in the store: merging in chunks, finding by address, deleting, and who sees what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from gateway.contract import Channel
from gateway.core.contact_merge import ContactContent
from gateway.core.ids import IdSequence, OrgId
from gateway.core.people import ATTRIBUTES_MAX, ContactDraft, Match
from gateway.store.consent import ConsentStore, NewOptOut
from gateway.store.contact_reads import ContactFilter, ContactRow
from gateway.store.contact_writes import Written
from gateway.store.contacts import CHUNK, ContactStore
from gateway.store.database import Database
from gateway.testing.clock import FakeClock


def spelled(address: str, region: str | None) -> str:
    return address


EMAIL = Channel(name="email", title="E-mail", normalise=spelled, address_from="email")
SMS = Channel(name="sms", title="SMS", normalise=spelled, address_from="phone")
WHATSAPP = Channel(name="whatsapp", title="WhatsApp", normalise=spelled, address_from="phone")
SIGNAL = Channel(name="signal", title="Signal", normalise=spelled)
CHANNELS = (EMAIL, SMS, WHATSAPP, SIGNAL)


def none_bad(content: ContactContent) -> Sequence[str]:
    return ()


class People:
    """One org's contacts, as a test speaks of them."""

    def __init__(self, store: ContactStore, org: OrgId) -> None:
        self.store = store
        self.org = org

    async def upsert(self, *drafts: ContactDraft, match: Match = "id") -> list[Written]:
        return await self.store.upsert(self.org, drafts, none_bad, match=match)

    async def statuses(self, *drafts: ContactDraft, match: Match = "id") -> list[str]:
        return [written.status for written in await self.upsert(*drafts, match=match)]

    async def get(self, public_id: str) -> ContactRow:
        row = await self.store.get(self.org, public_id, CHANNELS)
        assert row is not None
        return row

    async def ids(self, wanted: ContactFilter | None = None, after: str | None = None, limit: int = 100) -> list[str]:
        rows = await self.store.list(self.org, wanted or ContactFilter(), after, limit, CHANNELS)
        return [row.public_id for row in rows]


@pytest.fixture
def people(database: Database, ids: IdSequence, clock: FakeClock, org: OrgId) -> People:
    return People(ContactStore(database, ids, clock), org)


@pytest.fixture
async def others(people: People, database: Database) -> People:
    await database.write(lambda conn: conn.execute("INSERT INTO orgs (id, name) VALUES (2, 'other')"))
    return People(people.store, OrgId(2))


def draft(public_id: str | None = None, **scalars: str | None) -> ContactDraft:
    return ContactDraft(public_id=public_id, scalars=scalars)


async def test_a_draft_becomes_a_contact_with_everything_it_said(people: People) -> None:
    said = ContactDraft(
        public_id="m-1",
        scalars={"first_name": "Ada", "phone": "+2348031234567", "language": None},
        addresses={"signal": "ada.1"},
        tags=frozenset({"choir", "youth"}),
        attributes={"city": "Lagos", "children": 2, "paid": True, "share": 0.5, "days": ["mon", 3]},
    )
    assert await people.statuses(said) == ["created"]
    row = await people.get("m-1")
    assert {name: value for name, value in row.scalars.items() if value} == {
        "first_name": "Ada",
        "phone": "+2348031234567",
    }
    assert (row.addresses, row.tags) == ({"signal": "ada.1"}, ("choir", "youth"))
    assert row.attributes == {"city": "Lagos", "children": 2, "paid": True, "share": 0.5, "days": ["mon", 3]}
    assert row.created_at == row.updated_at == row.seen_at
    assert row.deleted_at is None


async def test_a_draft_without_an_id_gets_one_of_ours(people: People) -> None:
    (written,) = await people.upsert(draft(name="Ada"))
    assert written.status == "created"
    assert str(written.public_id).startswith("ct_")
    assert (await people.get(str(written.public_id))).scalars["name"] == "Ada"


async def test_merging_leaves_what_is_not_given_and_null_clears(people: People) -> None:
    await people.upsert(
        ContactDraft(
            public_id="m-1",
            scalars={"name": "Ada", "email": "a@b.example"},
            addresses={"signal": "ada.1"},
            tags=frozenset({"a"}),
            attributes={"x": 1, "y": 2},
        )
    )
    changes = ContactDraft(
        public_id="m-1", scalars={"email": None}, addresses={"signal": None}, attributes={"x": None, "z": 3}
    )
    assert await people.statuses(changes) == ["updated"]
    row = await people.get("m-1")
    assert (row.scalars["name"], row.scalars["email"], row.addresses) == ("Ada", None, {})
    assert (row.tags, row.attributes) == (("a",), {"y": 2, "z": 3})


async def test_a_replacing_draft_clears_all_that_it_does_not_give(people: People) -> None:
    await people.upsert(
        ContactDraft(
            public_id="m-1",
            scalars={"name": "Ada"},
            addresses={"signal": "x"},
            tags=frozenset({"a"}),
            attributes={"x": 1, "y": 2},
        )
    )
    put = ContactDraft(public_id="m-1", scalars={"email": "a@b.example"}, attributes={"y": 5}).replacing()
    assert await people.statuses(put) == ["updated"]
    assert await people.statuses(put) == ["unchanged"]
    row = await people.get("m-1")
    assert (row.scalars["name"], row.scalars["email"], row.addresses) == (None, "a@b.example", {})
    assert (row.tags, row.attributes) == ((), {"y": 5})


async def test_an_unchanged_contact_is_only_seen(people: People, clock: FakeClock) -> None:
    said = ContactDraft(public_id="m-1", scalars={"name": "Ada"}, tags=frozenset({"a"}), attributes={"x": 1})
    await people.upsert(said)
    first = await people.get("m-1")
    clock.advance(timedelta(hours=1))
    assert await people.statuses(said) == ["unchanged"]
    row = await people.get("m-1")
    assert (row.seen_at - first.seen_at, row.updated_at) == (timedelta(hours=1), first.updated_at)


async def test_true_is_another_value_than_one(people: People) -> None:
    await people.upsert(ContactDraft(public_id="m-1", attributes={"x": 1, "days": [1]}))
    assert await people.statuses(ContactDraft(public_id="m-1", attributes={"x": True})) == ["updated"]
    assert await people.statuses(ContactDraft(public_id="m-1", attributes={"days": [True]})) == ["updated"]
    assert (await people.get("m-1")).attributes == {"x": True, "days": [True]}


async def test_a_change_is_later_than_the_one_before_even_if_the_clock_stands(people: People) -> None:
    await people.upsert(draft("m-1", name="one"))
    first = await people.get("m-1")
    await people.upsert(draft("m-1", name="two"), draft("m-1", name="three"))
    assert (await people.get("m-1")).updated_at > first.updated_at


async def test_later_drafts_of_one_chunk_see_what_earlier_ones_wrote(people: People) -> None:
    drafts = [draft("m-1", name="Ada"), draft("m-1", name="Ada"), draft("m-1", first_name="A")]
    assert await people.statuses(*drafts) == ["created", "unchanged", "updated"]
    scalars = (await people.get("m-1")).scalars
    assert (scalars["name"], scalars["first_name"]) == ("Ada", "A")


async def test_any_number_of_drafts_goes_in_and_each_is_answered_in_its_place(people: People) -> None:
    number = CHUNK * 2 + 1
    drafts = [draft(f"m-{place}", name=f"N{place}") for place in range(number)]
    written = await people.upsert(*drafts)
    assert [each.public_id for each in written] == [f"m-{place}" for place in range(number)]
    assert {each.status for each in written} == {"created"}
    assert await people.statuses(*drafts) == ["unchanged"] * number
    changed = [draft(f"m-{place}", name="N0") for place in range(number)]
    assert (await people.statuses(*changed)).count("updated") == number - 1


async def test_tags_are_replaced_only_where_they_are_given(people: People) -> None:
    await people.upsert(ContactDraft(public_id="m-1", tags=frozenset({"a", "b"})), draft("m-2", name="x"))
    await people.upsert(draft("m-1", name="x"), ContactDraft(public_id="m-2", tags=frozenset({"b"})))
    assert await people.ids(ContactFilter(tag="a")) == ["m-1"]
    await people.upsert(ContactDraft(public_id="m-1", tags=frozenset({"b", "c"})))
    assert await people.ids(ContactFilter(tag="a")) == []
    assert await people.ids(ContactFilter(tag="b")) == ["m-1", "m-2"]
    await people.upsert(ContactDraft(public_id="m-1", tags=frozenset()))
    assert (await people.get("m-1")).tags == ()


async def test_what_grows_too_large_by_merging_is_an_error_and_changes_nothing(people: People) -> None:
    full = {f"a{place}": place for place in range(ATTRIBUTES_MAX)}
    await people.upsert(ContactDraft(public_id="m-1", attributes=full))
    one_more = ContactDraft(public_id="m-1", scalars={"name": "Ada"}, attributes={"more": 1})
    instead = ContactDraft(public_id="m-1", attributes={"a0": None, "more": 1})
    refused, taken = await people.upsert(one_more, instead)
    assert (refused.status, refused.public_id, taken.status) == ("error", "m-1", "updated")
    assert refused.fault is not None
    assert (refused.fault.pointer, "at most 100" in refused.fault.detail) == ("/attributes", True)
    assert (await people.get("m-1")).scalars["name"] is None
    long = ContactDraft(public_id="m-2", attributes={f"a{place}": "x" * 4_096 for place in range(20)})
    assert await people.statuses(long) == ["error"]
    assert await people.store.get(people.org, "m-2", CHANNELS) is None


async def test_a_draft_without_an_id_finds_its_contact_by_address(people: People) -> None:
    await people.upsert(draft("m-1", email="a@b.example"), draft("m-2", phone="+2348031234567"))
    by_email = await people.upsert(draft(email="a@b.example", name="Ada"), draft(email="new@b.example"), match="email")
    assert [written.status for written in by_email] == ["updated", "created"]
    assert by_email[0].public_id == "m-1"
    assert await people.statuses(draft(phone="+2348031234567", name="Bo"), match="phone") == ["updated"]
    assert (await people.get("m-2")).scalars["name"] == "Bo"


async def test_one_contact_found_by_id_and_by_address_is_merged_as_one(people: People) -> None:
    await people.upsert(draft("m-1", email="a@b.example"))
    drafts = [draft("m-1", first_name="Ada"), draft(email="a@b.example", last_name="L")]
    assert await people.statuses(*drafts, match="email") == ["updated", "updated"]
    scalars = (await people.get("m-1")).scalars
    assert (scalars["first_name"], scalars["last_name"]) == ("Ada", "L")


async def test_an_address_that_moves_within_a_chunk_is_matched_where_it_is(people: People) -> None:
    await people.upsert(draft("m-1", email="old@b.example"))
    written = await people.upsert(
        draft("m-1", email="new@b.example"),
        draft(email="new@b.example", name="same"),
        draft(email="old@b.example", name="somebody else"),
        match="email",
    )
    assert [each.status for each in written] == ["updated", "updated", "created"]
    assert written[1].public_id == "m-1"
    assert written[2].public_id != "m-1"


async def test_an_id_is_never_taken_for_an_address(people: People) -> None:
    await people.upsert(draft("a@b.example", name="the id"))
    (written,) = await people.upsert(draft(email="a@b.example"), match="email")
    assert (written.status, written.public_id != "a@b.example") == ("created", True)


async def test_of_several_with_one_address_the_living_one_changed_last_is_meant(
    people: People, clock: FakeClock
) -> None:
    for name in ("m-1", "m-2", "m-3"):
        clock.advance(timedelta(minutes=1))
        await people.upsert(draft(name, email="shared@b.example"))
    (written,) = await people.upsert(draft(email="shared@b.example", name="x"), match="email")
    assert (written.public_id, written.ambiguous) == ("m-3", True)
    await people.store.delete(people.org, "m-3")
    (written,) = await people.upsert(draft(email="shared@b.example", name="y"), match="email")
    assert (written.public_id, written.ambiguous) == ("m-2", True)
    await people.store.delete(people.org, "m-1")
    (written,) = await people.upsert(draft(email="shared@b.example", name="z"), match="email")
    assert (written.public_id, written.ambiguous) == ("m-2", False)


async def test_an_upsert_brings_a_deleted_contact_back(people: People, clock: FakeClock) -> None:
    said = ContactDraft(public_id="m-1", scalars={"name": "Ada"}, attributes={"x": 1})
    await people.upsert(said)
    await people.store.delete(people.org, "m-1")
    assert await people.ids() == []
    assert await people.ids(ContactFilter(deleted=True)) == ["m-1"]
    clock.advance(timedelta(days=29))
    assert await people.statuses(said, said) == ["restored", "unchanged"]
    row = await people.get("m-1")
    assert (row.deleted_at, row.attributes) == (None, {"x": 1})


async def test_after_thirty_days_the_same_id_begins_anew(people: People, clock: FakeClock, database: Database) -> None:
    await people.upsert(
        ContactDraft(public_id="m-1", scalars={"name": "Ada"}, tags=frozenset({"a"}), attributes={"x": 1})
    )
    before = await people.get("m-1")
    await people.store.delete(people.org, "m-1")
    clock.advance(timedelta(days=30))
    assert not await people.store.restore(people.org, "m-1")
    assert await people.statuses(draft("m-1", first_name="A")) == ["created"]
    row = await people.get("m-1")
    assert (row.scalars["name"], row.scalars["first_name"], row.tags, row.attributes) == (None, "A", (), {})
    assert row.key == before.key, "the key stays, so that opt-outs go on to hold"
    assert row.created_at == clock.now()


async def test_deleting_and_restoring_say_whether_there_was_anybody(people: People, clock: FakeClock) -> None:
    await people.upsert(draft("m-1", name="Ada"))
    store, org = people.store, people.org
    assert not await store.restore(org, "m-1")
    assert await store.delete(org, "m-1")
    assert not await store.delete(org, "m-1")
    clock.advance(timedelta(days=29))
    assert await store.restore(org, "m-1")
    assert (await people.get("m-1")).deleted_at is None
    assert not await store.delete(org, "nobody")


async def test_a_contacts_opt_outs_are_those_of_its_own_addresses(
    people: People, database: Database, ids: IdSequence, clock: FakeClock
) -> None:
    consent = ConsentStore(database, ids, clock)
    await people.upsert(
        ContactDraft(
            public_id="m-1",
            scalars={"email": "a@b.example", "phone": "+2348031234567", "whatsapp": "+2348030000000"},
            addresses={"signal": "ada.1"},
        ),
        draft("m-2", phone="+2348031234567"),
    )
    first = clock.now()
    wishes = [
        NewOptOut(channel="whatsapp", address="+2348031234567"),  # of m-1 it is not the WhatsApp address
        NewOptOut(channel="signal", address="ada.1"),
        NewOptOut(channel="sms", contact="m-1"),
        NewOptOut(channel="email", address="a@b.example", category="news"),
    ]
    await consent.record(people.org, wishes, source="api", by=None)
    clock.advance(timedelta(days=1))
    await consent.record(people.org, [NewOptOut(channel="sms", address="+2348031234567")], source="api", by=None)
    assert (await people.get("m-1")).opt_outs == {"signal": first, "sms": first}
    assert (await people.get("m-2")).opt_outs == {"whatsapp": first, "sms": clock.now()}
    await people.store.delete(people.org, "m-1")
    assert set((await people.get("m-1")).opt_outs) == {"signal", "sms"}


async def test_the_list_is_filtered(people: People, clock: FakeClock) -> None:
    start = clock.now()
    await people.upsert(draft("m-1", name="Ada Lovelace", email="ada@b.example"))
    clock.advance(timedelta(hours=1))
    await people.upsert(
        draft("m-2", phone="+2348031234567"), ContactDraft(public_id="m-3", addresses={"signal": "x.1"})
    )
    assert await people.ids() == ["m-1", "m-2", "m-3"]
    assert await people.ids(after="m-1") == ["m-2", "m-3"]
    assert await people.ids(limit=2) == ["m-1", "m-2"]
    assert await people.ids(ContactFilter(text="LOVE")) == ["m-1"]
    assert await people.ids(ContactFilter(text="803123")) == ["m-2"]
    assert await people.ids(ContactFilter(text="%")) == []
    assert await people.ids(ContactFilter(channel=EMAIL)) == ["m-1"]
    assert await people.ids(ContactFilter(channel=WHATSAPP)) == ["m-2"]
    assert await people.ids(ContactFilter(channel=SIGNAL)) == ["m-3"]
    assert await people.ids(ContactFilter(seen_before=start + timedelta(minutes=1))) == ["m-1"]
    assert await people.ids(ContactFilter(created_after=start + timedelta(minutes=1))) == ["m-2", "m-3"]


async def test_an_org_neither_sees_nor_changes_the_contacts_of_another(people: People, others: People) -> None:
    await people.upsert(draft("m-1", email="a@b.example", name="ours"))
    assert await others.statuses(draft("m-1", name="theirs")) == ["created"]
    assert await others.statuses(draft(email="a@b.example"), match="email") == ["created"]
    assert (await people.get("m-1")).scalars["name"] == "ours"
    assert not await others.store.delete(others.org, "m-2")
    assert await others.store.delete(others.org, "m-1")
    assert (await people.get("m-1")).deleted_at is None


async def test_the_channels_that_refuse_an_address_are_noted_at_each_change(people: People, database: Database) -> None:
    def judge(content: ContactContent) -> Sequence[str]:
        return ["email"] if (content.scalars["email"] or "").startswith("bad") else []

    query = "SELECT bad FROM contacts WHERE public_id = 'm-1'"
    for email, expected in (
        ("bad..x@b.example", '["email"]'),
        ("good@b.example", None),
        ("bad.@b.example", '["email"]'),
    ):
        await people.store.upsert(people.org, [draft("m-1", email=email)], judge)
        assert await database.read(lambda conn: conn.execute(query).fetchone()) == (expected,)
