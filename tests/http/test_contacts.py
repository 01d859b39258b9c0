"""Contacts, their import and opt-outs through the API."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from gateway.core.ids import IdSequence
from gateway.http.contact_import import import_routes
from gateway.http.contacts import contact_routes
from gateway.http.opt_outs import opt_out_routes
from gateway.store.consent import ConsentStore
from gateway.store.contacts import ContactStore
from gateway.store.database import Database
from gateway.store.ledger import Ledger
from gateway.testing.clock import FakeClock
from gateway_email.channel import EMAIL
from tests.http.conftest import OTHER, Api, StartApi, make_catalogue

CSV = {"Content-Type": "text/csv"}
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
async def api(start_api: StartApi, database: Database, ids: IdSequence, clock: FakeClock) -> Api:
    catalogue = make_catalogue(channels={"email": EMAIL})
    contacts = ContactStore(database, ids, clock)
    routes = [
        *contact_routes(contacts, catalogue),
        *import_routes(contacts, catalogue),
        *opt_out_routes(ConsentStore(database, ids, clock), Ledger(database), catalogue),
    ]
    return await start_api(routes, within=catalogue)


async def put(api: Api, identifier: str, **fields: Any) -> Any:
    reply = await api.call("PUT", f"/v1/contacts/{identifier}", json=fields)
    assert reply.status in (200, 201), reply.json
    return reply.json


async def test_put_creates_and_then_replaces_everything(api: Api) -> None:
    first = await api.call(
        "PUT",
        "/v1/contacts/m-1",
        json={
            "first_name": "Ada",
            "email": "Ada@Example.ORG",
            "phone": "0803 123 4567",
            "tags": ["a"],
            "attributes": {"x": 1},
        },
    )
    assert first.status == 201
    assert (first.json["email"], first.json["phone"]) == ("Ada@example.org", "+2348031234567")
    second = await api.call("PUT", "/v1/contacts/m-1", json={"last_name": "Lovelace"})
    assert second.status == 200
    left = {name: second.json[name] for name in ("first_name", "last_name", "email", "phone", "tags", "attributes")}
    assert left == {
        "first_name": None,
        "last_name": "Lovelace",
        "email": None,
        "phone": None,
        "tags": [],
        "attributes": {},
    }


async def test_patch_changes_what_is_given_and_null_clears(api: Api) -> None:
    await put(api, "m-1", first_name="Ada", email="a@b.example", attributes={"x": 1, "y": 2}, tags=["a"])
    reply = await api.call("PATCH", "/v1/contacts/m-1", json={"email": None, "attributes": {"x": None, "z": 3}})
    assert reply.status == 200
    assert (reply.json["first_name"], reply.json["email"], reply.json["tags"]) == ("Ada", None, ["a"])
    assert reply.json["attributes"] == {"y": 2, "z": 3}
    assert (await api.call("PATCH", "/v1/contacts/nobody", json={"email": None})).status == 404


async def test_all_faults_of_a_contact_are_told_at_once(api: Api) -> None:
    reply = await api.call(
        "PUT",
        "/v1/contacts/m-1",
        json={
            "email": "nobody",
            "phone": "12",
            "time_zone": "Mars/Phobos",
            "language": "!",
            "first_name": "a\u0007b",
            "tags": ["", 3],
            "attributes": {"x": {"y": {}}},
            "frist_name": "Ada",
        },
    )
    assert reply.status == 422
    assert sorted(reply.pointers) == sorted(
        [
            "/email",
            "/phone",
            "/time_zone",
            "/language",
            "/first_name",
            "/tags/0",
            "/tags/1",
            "/attributes/x",
            "/frist_name",
        ]
    )
    assert "first_name" in str(reply.json["errors"])
    assert (await api.get("/v1/contacts/m-1")).status == 404


async def test_a_batch_merges_and_says_what_became_of_each(api: Api, clock: FakeClock) -> None:
    await put(api, "old", first_name="Old")
    await put(api, "gone", first_name="Gone")
    await api.call("DELETE", "/v1/contacts/gone")
    clock.advance(timedelta(hours=1))
    reply = await api.post(
        "/v1/contacts",
        {
            "contacts": [
                {"id": "new"},
                {"id": "old", "last_name": "X"},
                {"id": "old"},
                {"id": "gone"},
                {"email": "?"},
                {},
            ]
        },
    )
    statuses = [result["status"] for result in reply.json["results"]]
    assert statuses == ["created", "updated", "unchanged", "restored", "error", "created"]
    assert reply.json["results"][4]["errors"][0]["pointer"] == "/email"
    assert reply.json["results"][5]["id"].startswith("ct_")
    merged = (await api.get("/v1/contacts/old")).json
    assert (merged["first_name"], merged["last_name"]) == ("Old", "X")


async def test_an_unchanged_contact_is_seen_but_not_updated(api: Api, clock: FakeClock) -> None:
    before = await put(api, "m-1", first_name="Ada")
    clock.advance(timedelta(hours=1))
    await api.post("/v1/contacts", {"contacts": [{"id": "m-1", "first_name": "Ada"}]})
    after = (await api.get("/v1/contacts/m-1")).json
    assert after["updated_at"] == before["updated_at"]
    assert after["seen_at"] > before["seen_at"]


async def test_deleting_is_soft_and_can_be_undone_for_thirty_days(api: Api, clock: FakeClock) -> None:
    await put(api, "m-1", first_name="Ada")
    assert (await api.call("DELETE", "/v1/contacts/m-1")).status == 204
    assert (await api.call("DELETE", "/v1/contacts/m-1")).status == 404
    assert [item["id"] for item in (await api.get("/v1/contacts?deleted=true")).json["items"]] == ["m-1"]
    assert (await api.get("/v1/contacts")).json["items"] == []
    assert (await api.post("/v1/contacts/m-1/restore")).json["deleted_at"] is None
    await api.call("DELETE", "/v1/contacts/m-1")
    clock.advance(timedelta(days=31))
    assert (await api.post("/v1/contacts/m-1/restore")).status == 404


async def test_the_list_is_filtered_and_paged(api: Api, clock: FakeClock) -> None:
    for number in range(5):
        await put(api, f"m-{number}", first_name=f"Ada{number}", tags=["even"] if number % 2 == 0 else [])
    await put(api, "x", email="grace@example.org")
    first = (await api.get("/v1/contacts?limit=4")).json
    second = (await api.get(f"/v1/contacts?limit=4&cursor={first['next_cursor']}")).json
    assert [item["id"] for item in first["items"] + second["items"]] == ["m-0", "m-1", "m-2", "m-3", "m-4", "x"]
    assert second["next_cursor"] is None

    async def found(query: str) -> list[str]:
        return [item["id"] for item in (await api.get(f"/v1/contacts?{query}")).json["items"]]

    assert await found("tag=even") == ["m-0", "m-2", "m-4"]
    assert await found("q=GRACE") == ["x"]
    assert await found("channel=email") == ["x"]
    clock.advance(timedelta(days=1))
    await put(api, "m-0")
    assert await found("seen_before=2026-06-01T12:00:00Z") == ["m-1", "m-2", "m-3", "m-4", "x"]


async def test_another_orgs_contacts_do_not_exist(api: Api) -> None:
    await put(api, "m-1", first_name="Ada")
    stranger = await api.key("members.read", "members.edit", org=OTHER.id)
    for method in ("GET", "DELETE"):
        assert (await api.call(method, "/v1/contacts/m-1", token=stranger)).status == 404
    assert (await api.get("/v1/contacts", token=stranger)).json["items"] == []
    assert (await api.call("PUT", "/v1/contacts/m-1", json={"first_name": "Eve"}, token=stranger)).status == 201
    assert (await api.get("/v1/contacts/m-1")).json["first_name"] == "Ada"


async def send(api: Api, body: bytes | str, query: str = "", headers: dict[str, str] = CSV) -> Any:
    data = body.encode() if isinstance(body, str) else body
    reply = await api.call("POST", f"/v1/contacts/import{query}", data=data, headers=headers)
    return reply.json if reply.status == 200 else reply


async def test_every_good_row_goes_in_and_every_bad_one_is_told_with_its_line(api: Api) -> None:
    body = b"\xef\xbb\xbf" + b"\r\n".join(
        [
            b"id,first_name,email,tags,city,attributes.plan",
            b'm-1,"Ada, the first",ada@example.org,a; b,Lagos,gold',
            b"m-2,Grace,nobody,,,",
            b'm-3,Two,c@example.org,,"Line one',
            b'line two",',
            b"m-4,too,few",
            b'm-5,"bad "quote",d@example.org,,,',
            b"m-6,\xff\xfe,e@example.org,,,",
            b"m-7,nul\x00,f@example.org,,,",
            b"m-8," + b"x" * 70_000 + b",g@example.org,,,",
            b"",
            b"m-9,Last,h@example.org,,,",
        ]
    )
    report = await send(api, body)
    assert (report["created"], report["rejected"]) == (3, 6)
    assert [error["line"] for error in report["errors"]] == [3, 6, 7, 8, 9, 10]
    assert report["warnings"] == ["Columns kept as attributes: city."]
    ada = (await api.get("/v1/contacts/m-1")).json
    assert (ada["first_name"], ada["tags"]) == ("Ada, the first", ["a", "b"])
    assert ada["attributes"] == {"city": "Lagos", "plan": "gold"}


async def test_ndjson_is_read_line_by_line(api: Api) -> None:
    lines = [json.dumps({"id": f"m-{n}", "first_name": f"A{n}"}) for n in range(3)]
    report = await send(api, "\n".join([*lines, "[1]", "{", '{"id": "m-9", "email": "?"}']), headers=NDJSON)
    assert (report["created"], report["rejected"]) == (3, 3)
    assert [error["line"] for error in report["errors"]] == [4, 5, 6]


async def test_rows_without_an_id_are_matched_by_their_address(api: Api) -> None:
    await put(api, "m-1", email="ada@example.org")
    report = await send(
        api, "email,first_name\nADA@EXAMPLE.org,x\nada@example.org,Ada\nnew@example.org,New\n,None\n", "?match=email"
    )
    assert (report["created"], report["rejected"]) == (2, 1)  # the part before the @ is kept as it is
    assert (await api.get("/v1/contacts/m-1")).json["first_name"] == "Ada"


@pytest.mark.parametrize(
    ("body", "told"),
    [("", "no header"), ("first_name\nAda\n", "no id column"), ("id,id\n1,2\n", "more than once")],
)
async def test_a_file_without_a_usable_header_is_refused(api: Api, body: str, told: str) -> None:
    reply = await send(api, body)
    assert (reply.status, reply.code) == (422, "invalid")
    assert told in reply.json["errors"][0]["detail"]


async def test_an_import_repeated_changes_nothing(api: Api) -> None:
    body = "id,email\n" + "".join(f"m-{n},m{n}@example.org\n" for n in range(5_000))
    assert (await send(api, body))["created"] == 5_000
    assert (await send(api, body))["unchanged"] == 5_000


async def test_an_opt_out_is_recorded_once_and_shown_at_the_contact(api: Api) -> None:
    await put(api, "m-1", email="ada@example.org")
    order = {"channel": "email", "contact": "m-1", "reason": "by phone"}
    first, second = await api.post("/v1/opt-outs", order), await api.post("/v1/opt-outs", order)
    assert (first.status, second.status) == (201, 200)
    assert first.json == second.json
    assert list((await api.get("/v1/contacts/m-1")).json["opt_outs"]) == ["email"]
    listed = (await api.get("/v1/opt-outs?contact=m-1")).json["items"]
    assert [(item["contact_id"], item["category"], item["source"]) for item in listed] == [("m-1", "all", "api")]


async def test_an_opt_out_of_an_address_is_spelled_by_its_channel(api: Api) -> None:
    reply = await api.post("/v1/opt-outs", {"channel": "email", "address": "Ada@EXAMPLE.org"})
    assert reply.json["address"] == "Ada@example.org"
    assert (await api.get(f"/v1/opt-outs/{reply.json['id']}")).json == reply.json


async def test_removing_an_opt_out_takes_a_reason_and_goes_into_the_ledger(api: Api, database: Database) -> None:
    made = (await api.post("/v1/opt-outs", {"channel": "email", "address": "a@b.example"})).json
    assert (await api.call("DELETE", f"/v1/opt-outs/{made['id']}", json={})).status == 422
    assert (await api.call("DELETE", f"/v1/opt-outs/{made['id']}", json={"reason": "asked to"})).status == 204
    assert (await api.get(f"/v1/opt-outs/{made['id']}")).status == 404
    ledger = await database.read(
        lambda conn: conn.execute("SELECT wish, address, reason FROM consent_ledger").fetchall()
    )
    assert ledger == [("out", "a@b.example", None), ("in", "a@b.example", "asked to")]


async def test_a_thousand_opt_outs_go_in_at_once_or_not_at_all(api: Api) -> None:
    many = [{"channel": "email", "address": f"m{n}@example.org"} for n in range(1_000)]
    assert len((await api.post("/v1/opt-outs", {"opt_outs": many})).json["opt_outs"]) == 1_000
    bad = [{"channel": "email", "address": "nobody"}, {"channel": "pigeon", "address": "x"}, {"channel": "email"}]
    reply = await api.post("/v1/opt-outs", {"opt_outs": [{"channel": "email", "address": "new@b.example"}, *bad]})
    assert reply.status == 422
    assert reply.pointers == ["/opt_outs/1/address", "/opt_outs/2/channel", "/opt_outs/3"]
    assert (await api.get("/v1/opt-outs?address=new@b.example")).json["items"] == []
    unknown = await api.post("/v1/opt-outs", {"channel": "email", "contact": "nobody"})
    assert unknown.status == 404


async def test_a_quote_that_is_never_closed_swallows_no_good_row(api: Api) -> None:
    rows = "".join(f"m-{n},a{n}@example.org\n" for n in range(50))
    report = await send(api, f'id,email\nbad,"x@example.org\n{rows}worse,"y\n')
    assert (report["created"], report["rejected"]) == (50, 2)
    assert [error["line"] for error in report["errors"]] == [2, 53]


async def test_lists_are_filtered_by_the_time_of_creation(api: Api, clock: FakeClock) -> None:
    await put(api, "m-1")
    await api.post("/v1/opt-outs", {"channel": "email", "address": "old@b.example"})
    clock.advance(timedelta(days=1))
    await put(api, "m-2")
    await api.post("/v1/opt-outs", {"channel": "email", "address": "new@b.example"})
    noon = "2026-06-01T12:00:00Z"

    async def found(path: str, name: str) -> list[str]:
        return [item[name] for item in (await api.get(path)).json["items"]]

    assert await found(f"/v1/contacts?created_after={noon}", "id") == ["m-2"]
    assert await found(f"/v1/contacts?created_before={noon}", "id") == ["m-1"]
    assert await found(f"/v1/opt-outs?created_after={noon}", "address") == ["new@b.example"]
    assert await found(f"/v1/opt-outs?created_before={noon}", "address") == ["old@b.example"]
