"""Idempotency-Key through the API: the same request twice is carried out once, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.core.ids import OrgId
from gateway.errors import Invalid, NotFound, Refused, StoreUnavailable
from gateway.http.idempotency import Idempotency, Reply, fingerprint, read_key
from gateway.http.routing import Answer, Call, Route
from gateway.store.codec import to_micros
from gateway.store.database import Database
from gateway.store.idempotency import Claim, IdempotencyStore, remember
from gateway.testing.clock import FakeClock
from tests.http.conftest import OTHER, StartApi


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    more: Any = None


class Shop:
    """Makes numbered things; the number of calls shows whether anything was made twice."""

    def __init__(self, database: Database, clock: FakeClock) -> None:
        self.made: list[str] = []
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()
        self.failure: Exception | None = None
        self.after: Exception | None = None
        self._database = database
        self._clock = clock

    async def make(self, call: Call) -> Answer:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        name = str(len(self.made) + 1)
        claim = call.claim
        if claim is not None:
            await self._database.write(lambda conn: remember(conn, claim, name, to_micros(self._clock.now())))
        self.made.append(call.body.name)
        if self.after is not None:
            raise self.after
        return Answer(body={"number": name, "secret": "s3cret"}, headers={"Location": f"/v1/things/{name}"})

    async def show(self, call: Call) -> Answer:
        if int(call.path["id"]) > len(self.made):
            raise NotFound("thing", call.path["id"])
        return Answer(body={"number": call.path["id"], "shown": True}, headers={"ETag": '"1"'})

    def routes(self, *, secret: bool = False) -> list[Route]:
        common: dict[str, Any] = {"permissions": (), "tag": "things", "summary": "A thing"}
        return [
            Route(
                method="POST",
                path="/v1/things",
                handler=self.make,
                body=Wish,
                status=201,
                creates=True,
                shows="/v1/things/{id}",
                secret=secret,
                **common,
            ),
            Route(method="GET", path="/v1/things/{id}", handler=self.show, **common),
            Route(method="POST", path="/v1/others", handler=self.make, body=Wish, creates=True, **common),
        ]


@pytest.fixture
def shop(database: Database, clock: FakeClock) -> Shop:
    return Shop(database, clock)


KEY = {"Idempotency-Key": "k-1"}


async def test_the_same_request_is_answered_again_and_not_carried_out_again(start_api: StartApi, shop: Shop) -> None:
    api = await start_api(shop.routes())
    first = await api.post("/v1/things", {"name": "a", "more": {"x": 1, "y": [2]}}, headers=KEY)
    spaced = b'{ "more" : {"y":[2], "x":1},\n "name":"a"}'
    again = await api.post("/v1/things", data=spaced, headers={**KEY, "Content-Type": "application/json"})
    assert first.status == again.status == 201
    assert first.raw == again.raw
    assert first.headers["Location"] == again.headers["Location"] == "/v1/things/1"
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert shop.made == ["a"]


async def test_quoted_and_bare_are_one_key(start_api: StartApi, shop: Shop) -> None:
    api = await start_api(shop.routes())
    await api.post("/v1/things", {"name": "a"}, headers=KEY)
    again = await api.post("/v1/things", {"name": "a"}, headers={"Idempotency-Key": '"k-1"'})
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/things", {"name": "b"}), ("/v1/things", {"name": "a", "more": 1.0}), ("/v1/others", None)]
)
async def test_another_request_under_the_same_key_is_refused(
    start_api: StartApi, shop: Shop, path: str, body: Any
) -> None:
    api = await start_api(shop.routes())
    await api.post("/v1/things", {"name": "a"}, headers=KEY)
    reply = await api.post(path, body or {"name": "a"}, headers=KEY)
    assert (reply.status, reply.code) == (422, "idempotency_key_reused")
    assert shop.made == ["a"]


async def test_while_the_first_is_running_the_second_is_told_so(start_api: StartApi, shop: Shop) -> None:
    api = await start_api(shop.routes())
    shop.gate = asyncio.Event()
    running = asyncio.create_task(api.post("/v1/things", {"name": "a"}, headers=KEY))
    await shop.entered.wait()
    second = await api.post("/v1/things", {"name": "a"}, headers=KEY)
    assert (second.status, second.code) == (409, "in_progress")
    shop.gate.set()
    assert (await running).status == 201
    assert shop.made == ["a"]


async def test_a_refusal_is_not_kept_so_the_key_serves_the_corrected_request(start_api: StartApi, shop: Shop) -> None:
    api = await start_api(shop.routes())
    shop.failure = Refused("opted_out", "No.")
    assert (await api.post("/v1/things", {"name": "a"}, headers=KEY)).status == 422
    assert (await api.post("/v1/things", {"nam": "a"}, headers=KEY)).status == 422
    shop.failure = None
    reply = await api.post("/v1/things", {"name": "b"}, headers=KEY)
    assert (reply.status, shop.made) == (201, ["b"])


async def test_a_request_that_failed_before_creating_can_be_repeated(start_api: StartApi, shop: Shop) -> None:
    api = await start_api(shop.routes())
    shop.failure = RuntimeError("a bug")
    assert (await api.post("/v1/things", {"name": "a"}, headers=KEY)).status == 500
    shop.failure = None
    assert (await api.post("/v1/things", {"name": "a"}, headers=KEY)).status == 201
    assert shop.made == ["a"]


async def test_a_crash_after_the_creation_shows_what_was_created(start_api: StartApi, shop: Shop) -> None:
    api = await start_api(shop.routes())
    shop.after = RuntimeError("killed here")
    assert (await api.post("/v1/things", {"name": "a"}, headers=KEY)).status == 500
    restarted = await start_api(shop.routes())
    shop.after = None
    reply = await restarted.post("/v1/things", {"name": "a"}, headers=KEY)
    assert (reply.status, reply.json) == (201, {"number": "1", "shown": True})
    assert (reply.headers["Location"], reply.headers["ETag"]) == ("/v1/things/1", '"1"')
    assert reply.headers["Idempotency-Replayed"] == "true"
    assert shop.made == ["a"]
    other = await restarted.post("/v1/things", {"name": "b"}, headers=KEY)
    assert (other.status, other.code) == (422, "idempotency_key_reused")


async def test_a_process_that_died_in_the_middle_leaves_the_key_free(start_api: StartApi, shop: Shop) -> None:
    api = await start_api(shop.routes())
    shop.gate = asyncio.Event()
    running = asyncio.create_task(api.post("/v1/things", {"name": "a"}, headers=KEY))
    await shop.entered.wait()
    gate, shop.gate = shop.gate, None
    restarted = await start_api(shop.routes())
    reply = await restarted.post("/v1/things", {"name": "a"}, headers=KEY)
    assert reply.status == 201
    gate.set()
    late = await running  # had it been alive after all, its creation would have been undone
    assert (late.status, late.code) == (409, "in_progress")
    assert shop.made == ["a"]


async def test_a_secret_answer_is_stored_nowhere(start_api: StartApi, shop: Shop, database: Database) -> None:
    api = await start_api(shop.routes(secret=True))
    first = await api.post("/v1/things", {"name": "a"}, headers=KEY)
    assert first.json["secret"] == "s3cret"
    again = await api.post("/v1/things", {"name": "a"}, headers=KEY)
    assert (again.status, again.json) == (201, {"number": "1", "shown": True})
    dump = await database.read(lambda conn: "\n".join(conn.iterdump()))
    assert "s3cret" not in dump
    assert b"s3cret".hex() not in dump.lower()


async def test_keys_are_each_orgs_own(start_api: StartApi, shop: Shop) -> None:
    api = await start_api(shop.routes())
    await api.post("/v1/things", {"name": "a"}, headers=KEY)
    reply = await api.post("/v1/things", {"name": "b"}, headers=KEY, token=await api.key(org=OTHER.id))
    assert (reply.status, shop.made) == (201, ["a", "b"])


async def test_after_a_day_the_key_is_forgotten(start_api: StartApi, shop: Shop, clock: FakeClock) -> None:
    api = await start_api(shop.routes())
    await api.post("/v1/things", {"name": "a"}, headers=KEY)
    clock.advance(timedelta(hours=25))
    reply = await api.post("/v1/things", {"name": "b"}, headers=KEY)
    assert (reply.status, shop.made) == (201, ["a", "b"])


class FullDisk(IdempotencyStore):
    """Reads, and cannot write any more."""

    async def keep(self, claim: Claim, status: int, headers: Mapping[str, str], body: bytes | None) -> None:
        raise StoreUnavailable("disk full")


async def test_an_answer_that_cannot_be_kept_is_given_all_the_same(
    database: Database, clock: FakeClock, org: OrgId
) -> None:
    async def run() -> Reply:
        return Reply(status=201, body=b"made")

    idempotency = Idempotency(FullDisk(database, clock))
    with capture_logs() as logs:
        reply = await idempotency.perform(Claim(org=org, key="k", fingerprint=b"asked"), run, None)
    assert reply.body == b"made"
    assert [entry["event"] for entry in logs] == ["answer_not_kept"]


@pytest.mark.parametrize("header", ["", " ", '"', '"open', '""', "k\u00e9y", "x" * 256, '"a"b"', "a\tb"])
async def test_a_key_that_is_none_is_refused_by_name(header: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_key(header)
    assert caught.value.problems[0].pointer == "Idempotency-Key"


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255))
@settings(max_examples=50)
def test_any_printable_text_is_the_same_key_when_it_is_quoted(text: str) -> None:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    assert read_key(f'"{escaped}"') == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aé\n"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=10,
)


def reversed_members(value: Any) -> Any:
    """The same JSON with the members of every object in the opposite order."""
    if isinstance(value, dict):
        return {name: reversed_members(value[name]) for name in reversed(value)}
    return [reversed_members(one) for one in value] if isinstance(value, list) else value


@given(json_values)
@settings(max_examples=50)
def test_the_order_of_members_makes_no_other_request(value: Any) -> None:
    asked = fingerprint("POST", "/v1/things", value)
    assert asked == fingerprint("POST", "/v1/things", reversed_members(value))
    assert asked != fingerprint("POST", "/v1/things", [value])
    assert asked != fingerprint("POST", "/v1/things?x=1", value)
