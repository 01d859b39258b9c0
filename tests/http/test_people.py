"""Contacts, imports and opt-outs through the API: what is refused, what is left alone, and who may."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateway.contract import Channel
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
from tests.http.conftest import Api, StartApi, make_catalogue


def handle(address: str, region: str | None) -> str:
    if not address.startswith("@"):
        raise ValueError(f"{address!r} is not a handle such as '@ada'")
    return address.lower()


@pytest.fixture
async def api(start_api: StartApi, database: Database, ids: IdSequence, clock: FakeClock) -> Api:
    signal = Channel(name="signal", title="Signal", normalise=handle)
    catalogue = make_catalogue(channels={"email": EMAIL, "signal": signal})
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


async def test_a_channel_of_a_plugin_has_its_addresses_on_the_contact(api: Api) -> None:
    shown = await put(api, "m-1", addresses={"signal": "@Ada"})
    assert shown["addresses"] == {"signal": "@ada"}
    assert [item["id"] for item in (await api.get("/v1/contacts?channel=signal")).json["items"]] == ["m-1"]
    reply = await api.call("PATCH", "/v1/contacts/m-1", json={"addresses": {"signal": "ada", "email": "a@b.example"}})
    assert (reply.status, reply.pointers) == (422, ["/addresses/signal", "/addresses/email"])
    assert (await api.call("PATCH", "/v1/contacts/m-1", json={"addresses": None})).json["addresses"] == {}


async def test_an_unknown_field_is_refused_with_a_suggestion(api: Api) -> None:
    reply = await api.call("PUT", "/v1/contacts/m-1", json={"fist_name": "Ada", "adress": "x"})
    assert (reply.status, reply.pointers) == (422, ["/fist_name", "/adress"])
    assert 'did you mean "first_name"?' in reply.json["errors"][0]["detail"]
    assert (await api.get("/v1/contacts/m-1")).status == 404


async def test_patch_does_not_bring_a_deleted_contact_back_and_put_does(api: Api) -> None:
    await put(api, "m-1", name="Ada")
    assert (await api.call("DELETE", "/v1/contacts/m-1")).status == 204
    reply = await api.call("PATCH", "/v1/contacts/m-1", json={"name": "Bo"})
    assert (reply.status, "restore it first" in reply.json["detail"]) == (404, True)
    shown = (await api.get("/v1/contacts/m-1")).json
    assert (shown["name"], shown["deleted_at"] is None) == ("Ada", False)
    assert (await put(api, "m-1", name="Cy"))["deleted_at"] is None


async def test_one_bad_contact_of_a_batch_costs_no_other(api: Api) -> None:
    full = {f"a{number}": "x" for number in range(100)}
    await put(api, "m-1", attributes=full)
    batch = [
        {"id": "m-1", "attributes": {"more": 1}},
        {"id": "m-2", "phone": "12", "tags": [1]},
        {"id": 7},
        {"id": "m-3", "nmae": "x"},
        {"id": "m-4"},
        {"name": "of ours"},
    ]
    reply = await api.post("/v1/contacts", {"contacts": batch})
    results = reply.json["results"]
    assert [result["status"] for result in results] == ["error", "error", "error", "error", "created", "created"]
    assert [[error["pointer"] for error in result.get("errors", [])] for result in results] == [
        ["/attributes"],
        ["/phone", "/tags/0"],
        ["/id"],
        ["/nmae"],
        [],
        [],
    ]
    assert results[0]["id"] == "m-1"
    assert results[5]["id"].startswith("ct_")


async def test_a_batch_has_a_limit_and_says_so(api: Api) -> None:
    reply = await api.post("/v1/contacts", {"contacts": [{"id": f"m-{number}"} for number in range(1_001)]})
    assert (reply.status, reply.pointers) == (422, ["/contacts"])
    assert (await api.get("/v1/contacts")).json["items"] == []


async def test_a_put_that_outgrows_its_limits_is_refused_whole(api: Api) -> None:
    attributes = {f"a{number}": "x" * 4_000 for number in range(20)}
    reply = await api.call("PUT", "/v1/contacts/m-1", json={"name": "Ada", "attributes": attributes})
    assert (reply.status, reply.pointers) == (422, ["/attributes"])
    assert (await api.get("/v1/contacts/m-1")).status == 404


async def test_an_id_may_hold_anything_that_a_path_can_carry(api: Api) -> None:
    await put(api, "a%2Fb%20%C3%A9%3F", name="Ada")
    assert [item["id"] for item in (await api.get("/v1/contacts")).json["items"]] == ["a/b é?"]
    assert (await api.get("/v1/contacts/a%2Fb%20%C3%A9%3F")).json["name"] == "Ada"


async def test_a_time_without_an_offset_is_no_time(api: Api, clock: FakeClock) -> None:
    await put(api, "m-1")
    clock.advance(timedelta(days=1))
    assert (await api.get("/v1/contacts?seen_before=2026-06-01T12:00:00")).pointers == ["?seen_before"]
    assert (await api.get("/v1/contacts?channel=pigeon")).pointers == ["?channel"]


async def test_reading_needs_one_permission_and_writing_another(api: Api) -> None:
    reader, writer = await api.key("members.read"), await api.key("members.edit")
    csv = {"Content-Type": "text/csv"}
    assert (await api.get("/v1/contacts", token=reader)).status == 200
    assert (await api.get("/v1/contacts", token=writer)).status == 403
    assert (await api.call("PUT", "/v1/contacts/m-1", json={}, token=reader)).status == 403
    assert (await api.call("POST", "/v1/contacts/import", data=b"id\nm-1\n", headers=csv, token=reader)).status == 403
    assert (await api.call("POST", "/v1/contacts/import", data=b"id\nm-1\n", headers=csv, token=writer)).status == 200


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("text/csv", 200),
        ("text/csv; charset=utf-8", 200),
        ('text/csv; header=present; charset="UTF-8"', 200),
        ("text/csv;charset=iso-8859-1", 415),
        ("application/vnd.ms-excel", 415),
    ],
)
async def test_an_import_says_what_it_is(api: Api, content_type: str, status: int) -> None:
    headers = {"Content-Type": content_type}
    assert (await api.call("POST", "/v1/contacts/import", data=b"id\nm-1\n", headers=headers)).status == status


async def test_anybody_who_may_send_may_add_an_opt_out_but_not_remove_it(api: Api) -> None:
    sender, remover = await api.key("messaging.send"), await api.key("optouts.edit")
    made = await api.post("/v1/opt-outs", {"channel": "email", "address": "a@b.example"}, token=sender)
    assert made.status == 201
    path = f"/v1/opt-outs/{made.json['id']}"
    assert (await api.call("DELETE", path, json={"reason": "x"}, token=sender)).status == 403
    assert (await api.call("DELETE", path, json={"reason": "x"}, token=remover)).status == 204
    assert (await api.call("DELETE", path, json={"reason": "x"}, token=remover)).status == 404


async def test_every_unknown_contact_of_a_list_is_named_and_nothing_is_recorded(api: Api) -> None:
    await put(api, "m-1")
    wishes = [{"channel": "email", "contact": name} for name in ("nobody", "m-1", "stranger")]
    reply = await api.post("/v1/opt-outs", {"opt_outs": wishes})
    assert (reply.status, reply.pointers) == (422, ["/opt_outs/0/contact", "/opt_outs/2/contact"])
    assert (await api.get("/v1/opt-outs")).json["items"] == []


@pytest.mark.parametrize("category", ["a b", "ä", "-news", "x" * 101])
async def test_an_opt_out_from_what_no_message_can_be_of_is_refused(api: Api, category: str) -> None:
    wish = {"channel": "email", "address": "a@b.example", "category": category}
    reply = await api.post("/v1/opt-outs", wish)
    assert (reply.status, reply.pointers) == (422, ["/category"])
    assert (await api.get("/v1/opt-outs")).json["items"] == []


async def test_an_opt_out_is_found_by_any_spelling_of_its_address(api: Api) -> None:
    for channel, address in (("email", "ada@b.example"), ("signal", "@Ada")):
        assert (await api.post("/v1/opt-outs", {"channel": channel, "address": address})).status == 201

    async def found(query: str) -> list[str]:
        return [item["channel"] for item in (await api.get(f"/v1/opt-outs?{query}")).json["items"]]

    assert await found("address=ada@B.EXAMPLE") == ["email"]
    assert await found("address=@ADA") == ["signal"]
    assert await found("address=@ADA&channel=email") == []
    assert await found("address=nonsense") == []


async def test_a_list_of_wishes_that_stand_there_already_is_nothing_new(api: Api) -> None:
    wishes = {"opt_outs": [{"channel": "email", "address": f"m{number}@b.example"} for number in range(3)]}
    first, second = await api.post("/v1/opt-outs", wishes), await api.post("/v1/opt-outs", wishes)
    assert (first.status, second.status) == (201, 200)
    assert first.json == second.json
    pages = (await api.get("/v1/opt-outs?limit=2")).json
    rest = (await api.get(f"/v1/opt-outs?limit=2&cursor={pages['next_cursor']}")).json
    listed = [item["address"] for item in (*pages["items"], *rest["items"])]
    assert listed == ["m2@b.example", "m1@b.example", "m0@b.example"]
    assert rest["next_cursor"] is None
