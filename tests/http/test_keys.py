"""`/v1/keys` and `/v1/me`."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from gateway.engine.caps import DailyCaps
from gateway.engine.catalogue import Catalogue
from gateway.http.keys import key_routes
from gateway.http.me import me_routes
from gateway.http.routing import Route
from gateway.store.allowances import Allowances
from gateway.store.codec import to_micros
from gateway.store.database import Database
from gateway.store.keys import PERMISSIONS, KeyStore
from gateway.testing.clock import FakeClock
from tests.http.conftest import DEFAULT, OTHER, Api, StartApi


@pytest.fixture
def routes(keys: KeyStore, catalogue: Catalogue, database: Database, clock: FakeClock) -> list[Route]:
    allowances = Allowances(database, clock)
    return [*key_routes(keys), *me_routes(keys, catalogue, allowances, DailyCaps(allowances, catalogue, clock), 10)]


@pytest.fixture
async def api(start_api: StartApi, routes: list[Route]) -> Api:
    return await start_api(routes)


async def test_a_new_key_works_at_once_and_its_secret_is_shown_once(api: Api) -> None:
    made = await api.post("/v1/keys", {"name": "nightly sync", "permissions": ["members.edit"], "roles": ["office"]})
    assert made.status == 201
    assert made.headers["Location"] == f"/v1/keys/{made.json['id']}"
    assert made.json["secret"].startswith(made.json["id"] + "_")
    me = await api.get("/v1/me", token=made.json["secret"])
    assert me.json["key"] == {"id": made.json["id"], "name": "nightly sync"}
    shown = await api.get(made.headers["Location"])
    assert shown.json == {
        "id": made.json["id"],
        "name": "nightly sync",
        "permissions": ["members.edit"],
        "roles": ["office"],
        "created_at": "2026-06-01T08:00:00Z",
        "last_used_at": "2026-06-01T08:00:00Z",
        "revoked_at": None,
        "overlap_until": None,
    }


async def test_a_repeated_creation_makes_no_second_key_and_tells_no_secret(api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await api.post("/v1/keys", {"name": "sync"}, headers=headers)
    again = await api.post("/v1/keys", {"name": "sync"}, headers=headers)
    assert again.status == 201
    assert again.json == {name: value for name, value in first.json.items() if name != "secret"}
    assert len((await api.get("/v1/keys")).json["items"]) == 2  # with the client's own


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/name"]),
        ({"name": ""}, ["/name"]),
        ({"name": "a", "permissions": ["mesaging.send"]}, ["/permissions/0"]),
        ({"name": "a", "permission": []}, ["/permission"]),
    ],
)
async def test_a_wrong_key_is_refused_by_field(api: Api, body: object, pointers: list[str]) -> None:
    reply = await api.post("/v1/keys", body)
    assert (reply.status, reply.pointers) == (422, pointers)


async def test_keys_are_listed_in_pages_without_secrets(api: Api) -> None:
    made = [(await api.post("/v1/keys", {"name": f"key {number}"})).json for number in range(4)]
    listed: list[str] = []
    cursor = ""
    while True:
        reply = await api.get(f"/v1/keys?limit=2{cursor}")
        listed += [item["id"] for item in reply.json["items"]]
        assert b"secret" not in reply.raw
        if reply.json["next_cursor"] is None:
            break
        cursor = f"&cursor={reply.json['next_cursor']}"
    assert len(listed) == len(set(listed)) == 5
    assert {one["id"] for one in made} < set(listed)


async def test_a_revoked_key_is_gone_from_the_list_and_cannot_be_used(api: Api) -> None:
    made = (await api.post("/v1/keys", {"name": "sync"})).json
    gone = await api.call("DELETE", f"/v1/keys/{made['id']}")
    assert (gone.status, gone.raw) == (204, b"")
    assert (await api.get("/v1/me", token=made["secret"])).status == 401
    assert (await api.get(f"/v1/keys/{made['id']}")).status == 404
    assert (await api.call("DELETE", f"/v1/keys/{made['id']}")).status == 404
    assert made["id"] not in [item["id"] for item in (await api.get("/v1/keys")).json["items"]]
    assert [item["id"] for item in (await api.get("/v1/keys?revoked=true")).json["items"]] == [made["id"]]


async def test_a_changed_key_may_do_other_things_from_the_next_request_on(api: Api) -> None:
    made = (await api.post("/v1/keys", {"name": "sync", "permissions": ["admin"], "roles": ["office"]})).json
    assert (await api.get("/v1/keys", token=made["secret"])).status == 200
    changed = await api.call(
        "PATCH", f"/v1/keys/{made['id']}", json={"permissions": ["members.read"], "name": "reader"}
    )
    assert changed.status == 200
    assert (changed.json["name"], changed.json["permissions"], changed.json["roles"]) == (
        "reader",
        ["members.read"],
        ["office"],
    )
    assert (await api.get("/v1/keys", token=made["secret"])).json["missing"] == ["admin"]
    emptied = await api.call("PATCH", f"/v1/keys/{made['id']}", json={"permissions": None, "roles": []})
    assert (emptied.json["permissions"], emptied.json["roles"]) == ([], [])


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"name": None}, ["/name"]),
        ({"name": ""}, ["/name"]),
        ({"permissions": ["admin", "fly"]}, ["/permissions/1"]),
        ({"permissions": "admin"}, ["/permissions"]),
        ({"permission": []}, ["/permission"]),
        ({"secret": None}, ["/secret"]),
    ],
)
async def test_a_wrong_change_of_a_key_is_refused_by_field(api: Api, body: object, pointers: list[str]) -> None:
    made = (await api.post("/v1/keys", {"name": "sync"})).json
    reply = await api.call("PATCH", f"/v1/keys/{made['id']}", json=body)
    assert (reply.status, reply.pointers) == (422, pointers)


async def test_a_revoked_key_cannot_be_changed(api: Api) -> None:
    made = (await api.post("/v1/keys", {"name": "sync"})).json
    await api.call("DELETE", f"/v1/keys/{made['id']}")
    assert (await api.call("PATCH", f"/v1/keys/{made['id']}", json={"permissions": ["admin"]})).status == 404


async def test_a_rotation_keeps_the_id_and_overlaps(api: Api, clock: FakeClock) -> None:
    made = (await api.post("/v1/keys", {"name": "sync"})).json
    rotated = await api.post(f"/v1/keys/{made['id']}/rotate", {"overlap": "1h"})
    assert (rotated.status, rotated.json["id"]) == (200, made["id"])
    assert rotated.json["overlap_until"] == "2026-06-01T09:00:00Z"
    clock.advance(timedelta(minutes=59))
    assert (await api.get("/v1/me", token=made["secret"])).status == 200
    clock.advance(timedelta(minutes=1))
    assert (await api.get("/v1/me", token=made["secret"])).status == 401
    assert (await api.get("/v1/me", token=rotated.json["secret"])).status == 200


async def test_a_rotation_without_a_body_overlaps_for_a_day(api: Api) -> None:
    made = (await api.post("/v1/keys", {"name": "sync"})).json
    rotated = await api.post(f"/v1/keys/{made['id']}/rotate")
    assert rotated.json["overlap_until"] == "2026-06-02T08:00:00Z"


async def test_a_leaked_secret_can_be_ended_at_once(api: Api) -> None:
    made = (await api.post("/v1/keys", {"name": "sync"})).json
    await api.post(f"/v1/keys/{made['id']}/rotate", {"overlap": "0s"})
    assert (await api.get("/v1/me", token=made["secret"])).status == 401


@pytest.mark.parametrize("overlap", ["a while", "31d", "721h", "999999999999999999999s", ""])
async def test_an_overlap_that_is_none_is_refused(api: Api, overlap: str) -> None:
    made = (await api.post("/v1/keys", {"name": "sync"})).json
    reply = await api.post(f"/v1/keys/{made['id']}/rotate", {"overlap": overlap})
    assert (reply.status, reply.pointers) == (422, ["/overlap"])


@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")])
async def test_another_orgs_key_does_not_exist(api: Api, method: str, tail: str) -> None:
    made = (await api.post("/v1/keys", {"name": "sync"})).json
    token = await api.key(*PERMISSIONS, org=OTHER.id)
    json: object = {} if method == "PATCH" else None
    reply = await api.call(method, f"/v1/keys/{made['id']}{tail}", json=json, token=token)
    assert (reply.status, reply.code) == (404, "not_found")


async def test_me_tells_org_key_permissions_roles_and_limits_left(
    api: Api, database: Database, clock: FakeClock
) -> None:
    token = await api.key("messaging.send", "members.read")
    at = to_micros(clock.now())
    rows = [(1, at), (1, at - 59_000_000), (1, at - 61_000_000), (2, at)]
    await database.write(lambda conn: conn.executemany("INSERT INTO creations VALUES (?, ?)", rows))
    reply = await api.get("/v1/me", token=token)
    assert reply.json == {
        "org": "default",
        "key": {"id": token.rpartition("_")[0], "name": "test"},
        "permissions": ["members.read", "messaging.send"],
        "roles": [],
        "limits": {
            "bulk_actions": {"per_minute": 10, "left": 8},
            "messages": {"daily_cap": None, "sent_today": 0, "left": None, "resets_at": "2026-06-01T23:00:00Z"},
            "senders": [],
        },
    }


async def test_the_last_use_is_written_at_most_once_a_minute(api: Api, keys: KeyStore, clock: FakeClock) -> None:
    token = await api.key()
    identifier = token.rpartition("_")[0]

    async def last() -> datetime | None:
        key = await keys.get(DEFAULT.id, identifier)
        assert key is not None
        return key.last_used_at

    assert await last() is None
    first = clock.now()
    await api.get("/v1/me", token=token)
    assert await last() == first
    clock.advance(timedelta(seconds=59))
    await api.get("/v1/me", token=token)
    assert await last() == first
    clock.advance(timedelta(seconds=1))
    await api.get("/v1/me", token=token)
    assert await last() == clock.now()
