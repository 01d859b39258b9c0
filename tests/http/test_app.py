"""The frame around every route: keys, permissions, bodies, query strings, errors, streams."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import msgspec
import pytest
from aiohttp import web

from gateway.engine.catalogue import Catalogue
from gateway.errors import Invalid, NotFound, Problem, Refused, StoreUnavailable
from gateway.http.app import build_app, build_runner
from gateway.http.auth import Authenticator
from gateway.http.hosts import loopback_hosts
from gateway.http.idempotency import Idempotency
from gateway.http.paging import PageQuery
from gateway.http.reading import HttpLimits
from gateway.http.routing import Answer, Call, Handler, Route
from gateway.store.database import Database
from gateway.store.idempotency import IdempotencyStore
from gateway.store.keys import KeyStore
from gateway.testing.clock import FakeClock
from tests.http.conftest import OTHER, Api, StartApi


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    size: int = 1


class ThingQuery(PageQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    address: str | None = None
    state: tuple[str, ...] = ()
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    deleted: bool = False


async def echo(call: Call) -> Answer:
    return Answer(body={"query": call.query, "body": call.body, "fields": call.fields, "path": call.path})


def a_route(handler: Handler = echo, **more: Any) -> Route:
    settings: dict[str, Any] = {
        "method": "POST",
        "path": "/v1/things",
        "summary": "Make a thing",
        "permissions": ("members.edit",),
        "tag": "things",
    }
    return Route(handler=handler, **settings | more)


GET: dict[str, Any] = {"method": "GET", "path": "/v1/things/{id}", "permissions": ()}


def raising(error: Exception) -> Handler:
    async def handler(call: Call) -> Answer:
        raise error

    return handler


# ---- keys and permissions


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer gwk",
        "Bearer gwk__",
        "Bearer gwk_0123456789_" + "0" * 64,
        "Basic Z3drOmE=",
        "Bearer " + "x" * 4000,
        "Bearer gwk_\u00fc_\u00e9",
    ],
)
async def test_every_failure_to_authenticate_has_the_same_body(start_api: StartApi, authorization: str | None) -> None:
    api = await start_api([a_route()])
    reply = await api.post(
        "/v1/things", {}, token=None, headers={} if authorization is None else {"Authorization": authorization}
    )
    reference = await api.post("/v1/things", {}, token=api.token[:-1] + ("0" if api.token[-1] != "0" else "1"))
    assert reply.status == reference.status == 401
    assert reply.raw == reference.raw
    assert reply.code == "unauthenticated"
    assert reply.headers["WWW-Authenticate"] == "Bearer"


async def test_a_revoked_key_fails_from_the_next_request_on(start_api: StartApi) -> None:
    api = await start_api([a_route(**GET)])
    token = await api.key()
    assert (await api.get("/v1/things/a", token=token)).status == 200
    await api.keys.revoke(OTHER.id, token[:14])
    assert (await api.get("/v1/things/a", token=token)).status == 200
    (key,) = [key for key in await api.keys.list(None, limit=10) if token.startswith(key.id)]
    await api.keys.revoke(key.org, key.id)
    assert (await api.get("/v1/things/a", token=token)).status == 401


async def test_missing_permissions_are_all_named(start_api: StartApi) -> None:
    api = await start_api([a_route(permissions=("members.edit", "messaging.send", "messaging.read"))])
    reply = await api.post("/v1/things", {}, token=await api.key("messaging.read"))
    assert (reply.status, reply.code) == (403, "permission_denied")
    assert reply.json["missing"] == ["members.edit", "messaging.send"]


async def test_a_handler_can_require_more_than_its_route(start_api: StartApi) -> None:
    async def handler(call: Call) -> Answer:
        call.require("messaging.send")
        return Answer(body={})

    api = await start_api([a_route(handler)])
    assert (await api.post("/v1/things", token=await api.key("members.edit", "messaging.send"))).status == 200
    reply = await api.post("/v1/things", token=await api.key("members.edit"))
    assert (reply.status, reply.json["missing"]) == (403, ["messaging.send"])


async def test_the_handler_is_told_who_calls_and_for_which_org(start_api: StartApi) -> None:
    async def handler(call: Call) -> Answer:
        return Answer(body={"key": call.caller.key_id, "name": call.caller.org, "org": call.org})

    api = await start_api([a_route(handler, **GET)])
    token = await api.key(org=OTHER.id)
    reply = await api.get("/v1/things/a", token=token)
    assert reply.json == {"key": token.rpartition("_")[0], "name": "other", "org": 2}


# ---- errors


async def test_unknown_paths_and_methods_are_problem_documents(start_api: StartApi) -> None:
    api = await start_api([a_route(), a_route(**GET)])
    missing = await api.get("/v1/nothing")
    assert (missing.status, missing.code, missing.json["status"]) == (404, "not_found", 404)
    wrong = await api.call("DELETE", "/v1/things")
    assert (wrong.status, wrong.code, wrong.headers["Allow"]) == (405, "method_not_allowed", "POST")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFound("thing", "a"), 404, "not_found"),
        (Refused("not_cancellable", "It is completed."), 409, "not_cancellable"),
        (Refused("revision_mismatch", "It is 3."), 412, "revision_mismatch"),
        (Invalid([Problem("/a", "no"), Problem("/b", "no")]), 422, "invalid"),
        (Refused("a_policy_of_somebody", "Not on Sundays."), 422, "a_policy_of_somebody"),
        (StoreUnavailable("locked: /var/lib/secret/path.db"), 503, "store_unavailable"),
        (RuntimeError("a secret of the inside"), 500, "internal_error"),
    ],
)
async def test_what_a_handler_raises_becomes_its_problem(
    start_api: StartApi, error: Exception, status: int, code: str
) -> None:
    api = await start_api([a_route(raising(error), **GET)])
    reply = await api.get("/v1/things/a")
    assert (reply.status, reply.code, reply.json["status"]) == (status, code, status)
    assert b"secret" not in reply.raw
    assert ("Retry-After" in reply.headers) == (status == 503)
    assert ("incident" in reply.json) == (status == 500)


async def test_a_refusal_can_say_when_to_come_back(start_api: StartApi) -> None:
    refused = Refused("bulk_action_rate", "10 a minute.", more={"retry_after": 17.2})
    api = await start_api([a_route(raising(refused), **GET)])
    reply = await api.get("/v1/things/a")
    assert (reply.status, reply.headers["Retry-After"]) == (429, "18")


# ---- bodies


async def test_a_body_is_decoded_into_its_type(start_api: StartApi) -> None:
    api = await start_api([a_route(body=Thing)])
    reply = await api.post("/v1/things", {"name": "a"})
    assert reply.json["body"] == {"name": "a", "size": 1}
    assert reply.json["fields"] == {"name": "a"}


async def test_all_errors_of_a_body_are_told_at_once(start_api: StartApi) -> None:
    api = await start_api([a_route(body=Thing)])
    reply = await api.post("/v1/things", {"nam": "a", "size": "x"})
    assert (reply.status, reply.code) == (422, "invalid")
    assert sorted(reply.pointers) == ["/nam", "/name", "/size"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"name": "\xff"}', b"[1,]", b'{"name": "a"} x'])
async def test_malformed_json_is_a_400(start_api: StartApi, body: bytes) -> None:
    api = await start_api([a_route(body=Thing)])
    reply = await api.post("/v1/things", data=body, headers={"Content-Type": "application/json"})
    assert (reply.status, reply.code) == (400, "malformed_json")


async def test_lone_surrogates_are_refused_by_name_of_the_field(start_api: StartApi) -> None:
    api = await start_api([a_route(body=Thing)])
    reply = await api.post("/v1/things", data=b'{"name": "\\ud800"}', headers={"Content-Type": "application/json"})
    assert (reply.status, reply.pointers) == (422, ["/name"])


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
async def test_a_body_of_another_media_type_is_a_415(start_api: StartApi, content_type: str) -> None:
    api = await start_api([a_route(body=Thing)])
    reply = await api.post("/v1/things", data=b"{}", headers={"Content-Type": content_type})
    assert (reply.status, reply.code) == (415, "unsupported_media_type")
    assert "application/json" in reply.json["detail"]


async def test_compressed_bodies_are_refused(start_api: StartApi) -> None:
    api = await start_api([a_route(body=Thing)])
    bomb = gzip.compress(b" " * 1_000_000)
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    reply = await api.post("/v1/things", data=bomb, headers=headers)
    assert (reply.status, reply.code) == (415, "unsupported_media_type")


async def test_a_body_over_the_limit_of_its_route_is_a_413(start_api: StartApi) -> None:
    api = await start_api([a_route(body=Thing, body_bytes_max=100)])
    assert (await api.post("/v1/things", {"name": "a" * 50})).status == 200
    reply = await api.post("/v1/things", {"name": "a" * 500})
    assert (reply.status, reply.code, reply.json["bytes_max"]) == (413, "body_too_large", 100)


async def test_a_body_without_a_length_is_cut_at_the_limit(start_api: StartApi) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 10_000

    api = await start_api([a_route(body=Thing, body_bytes_max=50_000)])
    reply = await api.post("/v1/things", data=endless(), headers={"Content-Type": "application/json"})
    assert (reply.status, reply.code) == (413, "body_too_large")


async def raw(api: Api, request: bytes, *, reads: int = 65_536) -> bytes:
    """Send bytes as they are, and read the beginning of the answer."""
    host, _, port = api.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read(reads)
    finally:
        writer.close()
        await writer.wait_closed()


def head(api: Api, *lines: str, request: str = "POST /v1/things HTTP/1.1") -> bytes:
    first = [request, "Host: 127.0.0.1", f"Authorization: Bearer {api.token}", "Content-Type: application/json"]
    return "\r\n".join([*first, *lines, "", ""]).encode()


async def test_a_hundred_megabytes_are_refused_before_a_byte_of_them_is_read(start_api: StartApi) -> None:
    api = await start_api([a_route(body=Thing)])
    answer = await raw(api, head(api, "Content-Length: 100000000"))
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_caller_who_asks_first_is_not_invited_to_send_too_much(start_api: StartApi) -> None:
    api = await start_api([a_route(body=Thing)])
    refused = await raw(api, head(api, "Content-Length: 100000000", "Expect: 100-continue"))
    assert refused.startswith(b"HTTP/1.1 413 ")
    invited = await raw(api, head(api, "Content-Length: 2", "Expect: 100-continue"))
    assert invited == b"HTTP/1.1 100 Continue\r\n\r\n"


async def test_nobody_without_a_key_is_invited_to_send(start_api: StartApi) -> None:
    api = await start_api([a_route(body=Thing)])
    api.token = "gwk_nobody_knows"
    answer = await raw(api, head(api, "Content-Length: 2", "Expect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_a_body_that_does_not_arrive_in_time_is_a_408(start_api: StartApi) -> None:
    api = await start_api([a_route(body=Thing)], limits=HttpLimits(body_seconds=0.05))
    answer = await raw(api, head(api, "Content-Length: 20") + b'{"name"')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer


async def test_a_path_that_is_not_utf_8_is_refused_as_such(start_api: StartApi) -> None:
    api = await start_api([a_route(**GET)])
    answer = await raw(api, head(api, request="GET /v1/things/x HTTP/1.1").replace(b"/x ", b"/\xff "))
    assert answer.startswith(b"HTTP/1.0 400 ")
    escaped = await api.get("/v1/things/%ff%00")
    assert escaped.status in (200, 404)


async def test_a_body_may_be_left_out_where_the_route_says_so(start_api: StartApi) -> None:
    api = await start_api([a_route(body=Thing, body_required=False)])
    assert (await api.post("/v1/things")).json["body"] is None
    assert (await api.post("/v1/things", {"name": "a"})).json["body"]["name"] == "a"
    assert (await api.post("/v1/things", {"size": 1})).status == 422


async def test_a_merge_patch_reaches_the_handler_as_plain_fields(start_api: StartApi) -> None:
    route = a_route(method="PATCH", path="/v1/things/{id}", body=Thing, merge_patch=True)
    api = await start_api([route])
    reply = await api.call("PATCH", "/v1/things/a", json={"size": None, "other": [1]})
    assert (reply.json["body"], reply.json["fields"]) == (None, {"size": None, "other": [1]})
    headers = {"Content-Type": "application/merge-patch+json"}
    assert (await api.call("PATCH", "/v1/things/a", json=[1], headers=headers)).status == 422


# ---- streams


async def count_bytes(call: Call) -> Answer:
    assert call.chunks is not None
    return Answer(body={"bytes": sum([len(chunk) async for chunk in call.chunks])})


async def test_a_streamed_body_is_handed_over_piece_by_piece(start_api: StartApi) -> None:
    api = await start_api([a_route(count_bytes, streams=("text/csv",), body_bytes_max=1_000_000)])
    reply = await api.post("/v1/things", data=b"x" * 900_000, headers={"Content-Type": "text/csv"})
    assert reply.json == {"bytes": 900_000}
    too_much = await api.post("/v1/things", data=b"x" * 1_000_001, headers={"Content-Type": "text/csv"})
    assert too_much.status == 413
    other = await api.post("/v1/things", data=b"x", headers={"Content-Type": "text/plain"})
    assert other.status == 415


async def test_a_streamed_body_that_stops_is_a_408(start_api: StartApi) -> None:
    route = a_route(count_bytes, streams=("application/json",))
    api = await start_api([route], limits=HttpLimits(chunk_seconds=0.05))
    answer = await raw(api, head(api, "Content-Length: 20") + b"abc")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_an_answer_can_be_streamed(start_api: StartApi) -> None:
    async def rows() -> AsyncIterator[bytes]:
        for number in range(3):
            yield f"{number}\n".encode()

    async def handler(call: Call) -> Answer:
        return Answer(stream=rows(), content_type="text/csv")

    api = await start_api([a_route(handler, **GET)])
    reply = await api.get("/v1/things/a")
    assert (reply.raw, reply.headers["Content-Type"]) == (b"0\n1\n2\n", "text/csv")


async def test_a_stream_that_fails_before_its_first_piece_is_an_ordinary_refusal(start_api: StartApi) -> None:
    async def rows() -> AsyncIterator[bytes]:
        for name in ("a", "b"):
            if name == "a":
                raise NotFound("thing", name)
            yield b""

    async def handler(call: Call) -> Answer:
        return Answer(stream=rows(), content_type="text/csv")

    api = await start_api([a_route(handler, **GET)])
    assert (await api.get("/v1/things/a")).status == 404


async def test_a_stream_that_fails_later_breaks_off_so_that_nobody_takes_it_for_whole(start_api: StartApi) -> None:
    async def rows() -> AsyncIterator[bytes]:
        yield b"first\n"
        raise RuntimeError("the middle")

    async def handler(call: Call) -> Answer:
        return Answer(stream=rows(), content_type="text/csv")

    api = await start_api([a_route(handler, **GET)])
    host, _, port = api.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head(api, request="GET /v1/things/a HTTP/1.1"))
    received = b""
    with pytest.raises((ConnectionError, EOFError, asyncio.IncompleteReadError)):
        received = await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    assert not received.endswith(b"0\r\n\r\n")


# ---- query strings


async def test_a_query_is_decoded_with_lists_numbers_and_instants(start_api: StartApi) -> None:
    api = await start_api([a_route(**GET, query=ThingQuery)])
    reply = await api.get("/v1/things/a?limit=7&state=failed&state=skipped&deleted=true&since=2026-01-01T00:00:00Z")
    query = reply.json["query"]
    assert (query["limit"], query["state"], query["deleted"]) == (7, ["failed", "skipped"], True)
    assert query["since"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("written", ["+15551230000", "%2B15551230000", "%2b15551230000", "%2015551230000"])
async def test_a_plus_before_digits_survives_the_query_string(start_api: StartApi, written: str) -> None:
    api = await start_api([a_route(**GET, query=ThingQuery)])
    reply = await api.get("/v1/things/a?address=" + written)
    assert reply.json["query"]["address"] == "+15551230000"


async def test_a_plus_between_words_is_a_space(start_api: StartApi) -> None:
    host_path = "/v1/things/a?address=Jane+Doe+12"
    api = await start_api([a_route(**GET, query=ThingQuery)])
    answer = await raw(api, head(api, request=f"GET {host_path} HTTP/1.1"))
    assert b'"address":"Jane Doe 12"' in answer


async def test_the_offset_of_an_instant_need_not_be_escaped(start_api: StartApi) -> None:
    api = await start_api([a_route(**GET, query=ThingQuery)])
    answer = await raw(api, head(api, request="GET /v1/things/a?since=2026-01-01T00:00:00+02:00 HTTP/1.1"))
    assert b'"since":"2026-01-01T00:00:00+02:00"' in answer


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("limit=0", ["?limit"]),
        ("limit=201", ["?limit"]),
        ("limit=x&since=yesterday", ["?limit", "?since"]),
        ("since=2026-01-01T00:00:00", ["?since"]),
        ("limit=1&limit=2", ["?limit"]),
        ("stat=failed", ["?stat"]),
        ("deleted=perhaps", ["?deleted"]),
    ],
)
async def test_every_wrong_parameter_is_named(start_api: StartApi, query: str, pointers: list[str]) -> None:
    api = await start_api([a_route(**GET, query=ThingQuery)])
    reply = await api.get(f"/v1/things/a?{query}")
    assert (reply.status, reply.code) == (422, "invalid")
    assert sorted(reply.pointers) == pointers


async def test_an_unknown_parameter_comes_with_a_suggestion(start_api: StartApi) -> None:
    api = await start_api([a_route(**GET, query=ThingQuery)])
    reply = await api.get("/v1/things/a?stat=failed")
    assert "did you mean 'state'?" in reply.json["errors"][0]["detail"]


async def test_a_route_without_parameters_takes_none(start_api: StartApi) -> None:
    api = await start_api([a_route(**GET)])
    assert (await api.get("/v1/things/a?limit=1")).status == 422


# ---- hosts


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("127.9.9.9", 200),
        ("gateway.example", 200),
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("127.0.0.1.evil.example", 403),
        ("10.0.0.1", 403),
        ("[::1", 403),
        ("localhost@evil.example", 403),
    ],
)
async def test_a_daemon_on_loopback_answers_to_its_own_names_only(start_api: StartApi, host: str, status: int) -> None:
    api = await start_api([a_route(**GET)], hosts=loopback_hosts("https://gateway.example"))
    reply = await api.get("/v1/things/a", headers={"Host": host})
    assert reply.status == status


async def test_answers_are_neither_stored_nor_sniffed_nor_signed_by_a_version(start_api: StartApi) -> None:
    api = await start_api([a_route(**GET)])
    for path in ("/v1/things/a", "/v1/nothing"):
        reply = await api.get(path)
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Server"] == "dripgate"


# ---- connections


async def test_a_connection_whose_headers_never_end_is_cut(
    keys: KeyStore, catalogue: Catalogue, clock: FakeClock, database: Database
) -> None:
    limits = HttpLimits(idle_seconds=0.05)
    app = build_app(
        [],
        authenticator=Authenticator(keys, catalogue, clock),
        idempotency=Idempotency(IdempotencyStore(database, clock)),
        limits=limits,
    )
    runner = build_runner(app, limits)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: a")
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
    finally:
        await runner.cleanup()
