"""Another org's key: what the matrix of routes (`tests/http/test_permission_matrix.py`) does not show.

That asks every route for another org's ids. Here are the ways around ids: cursors, idempotency keys, numbers of events,
names that both orgs use, files, selections and people whom both know.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from gateway.http.paging import cursor_of
from gateway.store.keys import PERMISSIONS
from tests.http.test_permission_matrix import MORE, OPERATIONS
from tests.receiver import receiving
from tests.stories.conftest import Reply, Story, story_in
from tests.stories.test_unsubscribe import click, link_in

pytestmark = [pytest.mark.asyncio(loop_scope="module")]

CANARY = "Canary-4Tz7"
LISTS = sorted(
    operation.path
    for operation in OPERATIONS.values()
    if operation.method == "GET" and any(one["name"] == "cursor" for one in operation.described.get("parameters", ()))
)


class Neighbours:
    """A gateway with two orgs, each with a key that may do everything."""

    def __init__(self, story: Story, token: str) -> None:
        self.story = story
        self._token = token

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """By the key of the other org."""
        reply = await self.story.call(method, path, body, token=self._token, **more)
        await self.story.settle()
        return reply

    async def get(self, path: str) -> Any:
        reply = await self.ask("GET", path)
        assert reply.status == 200, reply.raw
        return reply.json


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Neighbours]:
    async with story_in(tmp_path_factory.mktemp("orgs"), more=MORE) as story:
        other = story.installation.catalogue.orgs["other"].id
        token = (await story.installation.keys.create(other, "theirs", PERMISSIONS)).token
        house = Neighbours(story, token)
        await furnish(house)
        yield house


async def furnish(house: Neighbours) -> None:
    """Three of everything that is listed, in the org that owns them; the other org has one contact of its own."""
    story = house.story
    people = [
        {
            "id": f"c-{n}",
            "name": CANARY,
            "email": f"{CANARY}-{n}@example.org".lower(),
            "tags": ["canary"],
            "attributes": {"mark": CANARY},
        }
        for n in range(3)
    ]
    assert (await story.call("POST", "/v1/contacts", {"contacts": people})).status == 200
    theirs = [{"id": "c-0", "name": "Theirs", "email": "theirs@example.org"}]
    assert (await house.ask("POST", "/v1/contacts", {"contacts": theirs})).status == 200
    for number in range(3):
        story.clock.advance(timedelta(minutes=1))
        await story.mail_all(sender="mail", category="newsletter", subject=f"{CANARY} {number}")
        message = {"channel": "email", "sender": "aside", "to": f"{CANARY}@example.org", "subject": CANARY, "body": "x"}
        assert (await story.call("POST", "/v1/messages", message)).status == 202
        template = {"channel": "email", "name": f"{CANARY}-{number}".lower(), "subject": CANARY, "body": "x"}
        assert (await story.call("POST", "/v1/templates", template)).status == 201
        opt_out = {"channel": "email", "address": f"out-{number}@example.org", "reason": CANARY}
        assert (await story.call("POST", "/v1/opt-outs", opt_out)).status == 201
        assert (await story.call("POST", "/v1/keys", {"name": f"{CANARY}-{number}"})).status == 201
        hook = {"url": "http://127.0.0.1:9/hook", "description": CANARY}
        assert (await story.call("POST", "/v1/webhooks", hook)).status == 201
    await story.settle()


def clean(raw: bytes) -> bool:
    """Whether nothing of the org with the canaries is in it."""
    return CANARY.lower().encode() not in raw.lower()


@pytest.mark.parametrize("path", [path for path in LISTS if "{" not in path])
async def test_a_cursor_of_another_org_shows_nothing_of_it(house: Neighbours, path: str) -> None:
    """A cursor is a place in an order, and no ticket: all that can be made of one is asked for."""
    first = await house.story.get(f"{path}?limit=1")
    cursors = [first["next_cursor"], cursor_of(1, 1), cursor_of(0), cursor_of(""), cursor_of(1 << 62, "zzz")]
    cursors += [cursor_of("", ""), cursor_of(1, ""), cursor_of("a", 1), cursor_of(1)]
    for cursor in filter(None, cursors):
        reply = await house.ask("GET", f"{path}?limit=200&cursor={cursor}")
        assert reply.status in (200, 422), reply.raw
        assert clean(reply.raw), cursor
    assert clean((await house.ask("GET", f"{path}?limit=200")).raw)


async def test_the_lists_that_were_asked_were_full(house: Neighbours) -> None:
    shown = {path: len((await house.story.get(f"{path}?limit=200"))["items"]) for path in LISTS if "{" not in path}
    empty = {path for path, number in shown.items() if number < 2}
    assert empty <= {"/v1/conversations"}, "the canaries would not have been found"
    assert len(shown) >= 7


@pytest.mark.parametrize("path", [path for path in LISTS if "{" in path])
async def test_lists_below_another_org_s_thing_are_not_there(house: Neighbours, path: str) -> None:
    resource = path.split("/")[2]
    below = {
        "contacts": "c-1",
        "conversations": "cnv_0c3v8h2k9m4qa",
        **{name: (await house.story.get(f"/v1/{name}"))["items"][0]["id"] for name in ("bulk-actions", "templates")},
        "webhooks": (await house.story.get("/v1/webhooks"))["items"][0]["id"],
    }[resource]
    for query in ("", "?limit=200", f"?cursor={cursor_of(1)}", f"?cursor={cursor_of(1, 1)}"):
        reply = await house.ask("GET", path.replace("{id}", below) + query)
        assert reply.status in (404, 422), reply.raw
        assert clean(reply.raw)
    assert (await house.ask("GET", path.replace("{id}", below))).status == 404


async def test_an_idempotency_key_means_nothing_in_another_org(house: Neighbours) -> None:
    headers = {"Idempotency-Key": "the same text"}
    body = {"channel": "email", "name": "same-name", "subject": "Hello", "body": "Hello"}
    first = await house.story.call("POST", "/v1/templates", body, headers=headers)
    second = await house.ask("POST", "/v1/templates", body, headers=headers)
    third = await house.ask("POST", "/v1/templates", body, headers=headers)
    assert (first.status, second.status) == (201, 201)
    assert first.json["id"] != second.json["id"] == third.json["id"]
    different = await house.ask("POST", "/v1/templates", {**body, "name": "x"}, headers=headers)
    assert different.code == "idempotency_key_reused"
    unused = {"Idempotency-Key": "only theirs"}
    assert (await house.ask("POST", "/v1/templates", {**body, "name": "y"}, headers=unused)).status == 201
    assert (await house.story.call("POST", "/v1/templates", {**body, "name": "z"}, headers=unused)).status == 201


async def test_events_of_another_org_have_numbers_that_show_nothing(house: Neighbours) -> None:
    own = await house.story.get("/v1/events?after=0&limit=200")
    assert len(own["items"]) > 10
    theirs = await house.get("/v1/events?after=0&limit=200")
    ids = {str(value) for event in own["items"] for value in event["data"].values() if str(value).count("_") == 1}
    assert ids
    assert not [event for event in theirs["items"] if ids & {str(value) for value in event["data"].values()}]
    ahead = await house.ask("GET", f"/v1/events?after={own['newest'] + 1}")
    assert (ahead.status, ahead.code) == (422, "invalid")


async def test_a_stream_carries_events_of_its_own_org_only(house: Neighbours) -> None:
    newest = (await house.get("/v1/events?after=0&limit=200"))["newest"]
    headers = {"Authorization": f"Bearer {house._token}", "Last-Event-ID": str(newest)}
    url = f"{house.story.base}/v1/events/stream?types=*"
    async with house.story.session.get(url, headers=headers) as stream, asyncio.timeout(20):
        assert b"retry" in await stream.content.readuntil(b"\n\n")
        for id, token in (("c-own", None), ("c-theirs", house._token)):
            reply = await house.story.call("PUT", f"/v1/contacts/{id}", {"name": "New"}, token=token)
            assert reply.status == 201
        heard = b""
        while b"c-theirs" not in heard:
            house.story.clock.advance(timedelta(seconds=1))
            heard += await stream.content.readany()
    assert b"c-own" not in heard


async def test_a_webhook_is_told_of_its_own_org_only(house: Neighbours) -> None:
    async with receiving() as receiver:
        made = await house.ask("POST", "/v1/webhooks", {"url": receiver.url, "types": ["*"]})
        assert made.status == 201
        for id, token in (("w-own", None), ("w-theirs", house._token)):
            reply = await house.story.call("PUT", f"/v1/contacts/{id}", {"name": "New"}, token=token)
            assert reply.status == 201
        await house.story.advance(timedelta(seconds=1))

        async def told() -> bool:
            return any(b"w-theirs" in taken.body for taken in receiver.taken)

        await house.story.until(told)
        assert (await house.ask("POST", f"/v1/webhooks/{made.json['id']}/replay", {"after": 0})).status == 200
        await house.story.advance(timedelta(seconds=1))
        assert not [taken for taken in receiver.taken if b"w-own" in taken.body]
        assert (await house.ask("DELETE", f"/v1/webhooks/{made.json['id']}")).status == 204


@pytest.mark.parametrize("accept", ["text/csv", "application/x-ndjson"])
@pytest.mark.parametrize("path", ["/v1/contacts/export", "/v1/opt-outs/export"])
async def test_files_hold_nobody_of_another_org(house: Neighbours, path: str, accept: str) -> None:
    headers = {"Accept": accept}
    assert not clean((await house.story.call("GET", path, headers=headers)).raw)
    reply = await house.ask("GET", path, headers=headers)
    assert reply.status == 200
    assert clean(reply.raw)


async def test_a_selection_reaches_nobody_of_another_org(house: Neighbours) -> None:
    action = (await house.story.get("/v1/bulk-actions"))["items"][0]["id"]
    message = {"channel": "email", "sender": "theirs", "subject": "x", "body": "x"}
    before = await house.story.get("/v1/contacts?limit=200")

    async def told(recipients: Mapping[str, Any], path: str = "/v1/bulk-actions") -> Reply:
        return await house.ask(
            "POST",
            path,
            {"operation": "send_message", "recipients": recipients, "message": message, "schedule": {"mode": "now"}},
        )

    for path in ("/v1/bulk-actions", "/v1/bulk-actions/preview"):
        copied = await told({"bulk_action": action, "states": ["succeeded"]}, path)
        assert copied.status in (404, 422), copied.raw
        assert clean(copied.raw)
    selections: list[dict[str, Any]] = [
        {"contacts": ["c-1", "c-2"]},
        {"where": {"tags": {"any": ["canary"]}}},
        {"where": {"attributes": {"mark": CANARY}}},
    ]
    for recipients in selections:
        control = {
            "operation": "add_tags",
            "parameters": {"tags": ["x"]},
            "recipients": recipients,
            "schedule": {"mode": "now"},
        }
        shown = await house.story.call("POST", "/v1/bulk-actions/preview", control)
        assert shown.json["total"] > 0, shown.raw
        reply = await told(recipients)
        assert (reply.status, reply.code) == (422, "no_recipients"), reply.raw
    everybody = await told({"all": True})
    assert everybody.status == 201
    listed = await house.get(f"/v1/bulk-actions/{everybody.json['id']}/recipients?limit=200")
    assert {each["address"] for each in listed["items"] if each["address"]} == {"theirs@example.org"}
    removed = {"operation": "delete_contacts", "recipients": {"all": True}, "schedule": {"mode": "now"}}
    assert (await house.ask("POST", "/v1/bulk-actions", removed)).status == 201
    await house.story.settle()
    assert await house.story.get("/v1/contacts?limit=200") == before
    restored = {"operation": "restore_contacts", "recipients": {"contacts": ["c-0"]}, "schedule": {"mode": "now"}}
    assert (await house.ask("POST", "/v1/bulk-actions", restored)).status == 201


@pytest.mark.parametrize("sender", ["mail", "aside"])
async def test_senders_and_templates_are_not_found_by_the_names_that_another_org_gave(
    house: Neighbours, sender: str
) -> None:
    message = {"channel": "email", "to": "x@example.org", "subject": "x", "body": "x"}
    reply = await house.ask("POST", "/v1/messages", {**message, "sender": sender})
    assert (reply.status, reply.code) == (422, "unknown_sender")
    for name in (f"{CANARY}-0".lower(), (await house.story.get("/v1/templates?kind=own"))["items"][0]["id"]):
        used = {"channel": "email", "to": "x@example.org", "template": name}
        reply = await house.ask("POST", "/v1/messages", used)
        assert reply.status in (404, 422), reply.raw
        assert reply.json["detail"].count(CANARY) == 0
    assert (await house.ask("POST", f"/v1/senders/{sender}/pause", {"reason": "x"})).status == 404


async def test_who_left_one_org_did_not_leave_the_other(house: Neighbours) -> None:
    """The same person, by the same address and the same id, known to both."""
    person = {"contacts": [{"id": "both", "email": "both@example.org"}]}
    assert (await house.story.call("POST", "/v1/contacts", person)).status == 200
    assert (await house.ask("POST", "/v1/contacts", person)).status == 200
    await house.story.create(
        operation="send_message",
        recipients={"contacts": ["both"]},
        message={"channel": "email", "sender": "mail", "subject": "News", "body": "Hello"},
        schedule={"mode": "now"},
    )
    assert (await click(house.story, link_in(house.story, "both@example.org"))).status == 200
    query = "/v1/contacts/both/explain?channel=email&sender="
    assert "opted_out" in (await house.story.call("GET", f"{query}mail")).raw.decode()
    assert "opted_out" not in (await house.ask("GET", f"{query}theirs")).raw.decode()
    assert [one for one in (await house.get("/v1/opt-outs"))["items"] if one["contact_id"] == "both"] == []
    assert (await house.get("/v1/contacts/both/messages"))["items"] == []
