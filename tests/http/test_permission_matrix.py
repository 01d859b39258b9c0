"""Every route with every permission, in the org that owns what is asked for and in another one.

Routes, permissions and requests are made from the OpenAPI document that the daemon serves. For each route:

- a key that lacks something it needs is told 403 and what is missing, whosever resource it names, and changes nothing;
- another org's key that may do everything is told 404 of a resource, and is shown nothing of this org in lists;
- a key that has what the route needs, and no more, is let in.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from gateway.core.ids import MESSAGE, parse_id
from gateway.http.openapi import document
from gateway.store.codec import to_micros
from gateway.store.keys import PERMISSIONS
from tests.http.everything import VERSION, every_route
from tests.http.examples import Example, Operation, example, operations
from tests.stories.conftest import Reply, Story, story_in

pytestmark = [pytest.mark.asyncio(loop_scope="module")]

DOCUMENT: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document(every_route(), VERSION)))
OPERATIONS = {operation.name: operation for operation in operations(DOCUMENT)}

MORE = """
[senders.aside]
channel = "email"
adapter = "smtp"
dry_run = true
host = "127.0.0.1"
port = {port}
security = "none"
from = "aside@grace.example"

[orgs.other]

[senders.theirs]
org = "other"
channel = "email"
adapter = "smtp"
dry_run = true
host = "127.0.0.1"
port = {port}
security = "none"
from = "theirs@other.example"

[webhooks]
allow_private = true
"""

# What a schema cannot say: bodies that mean something, and parameters that name something.
BODIES: Mapping[str, Any] = {
    "POST /v1/bulk-actions/{id}/resolve": {"recipients": "all", "as": "sent"},
    "POST /v1/bulk-actions/{id}/retry": {"states": ["failed"]},
    "POST /v1/conversations/{id}/reply": {"body": "Hello"},
    "POST /v1/templates/{id}/test": {"to": "own@example.org"},
    "POST /v1/webhooks/{id}/replay": {"after": 0},
}
QUERIES: Mapping[str, Mapping[str, str]] = {"GET /v1/contacts/{id}/explain": {"channel": "email"}}

# A contact's id is its caller's own, and two orgs may use the same.
OF_EACH_ORG = {"PUT /v1/contacts/{id}"}

Maker = Callable[["House"], Awaitable[str]]


@dataclass
class House:
    """A running gateway with an org that has one of everything, another org, and keys of both by what they may do."""

    story: Story
    own: Mapping[str, str] = field(default_factory=dict)  # by the first part of a path: an id
    tokens: dict[tuple[str, frozenset[str]], str] = field(default_factory=dict)
    numbers: Iterable[int] = field(default_factory=itertools.count)

    async def token(self, org: str, held: frozenset[str]) -> str:
        if (org, held) not in self.tokens:
            id = self.story.installation.catalogue.orgs[org].id
            issued = await self.story.installation.keys.create(id, "matrix", sorted(held))
            self.tokens[org, held] = issued.token
        return self.tokens[org, held]

    async def ask(self, operation: Operation, id: str, org: str, held: frozenset[str]) -> Reply:
        """The operation on the resource `id`, by a key of `org` that may do `held`."""
        request = request_of(operation)
        path = operation.path.replace("{id}", id).replace("{name}", id)
        headers = {"Authorization": f"Bearer {await self.token(org, held)}"}
        data = None
        if request.content_type is not None:
            headers["Content-Type"] = request.content_type
            data = b"" if request.body is None else msgspec.json.encode(request.body)
        async with self.story.session.request(
            operation.method, self.story.base + path, params=request.query, data=data, headers=headers
        ) as answer:
            endless = operation.streams and answer.status == 200
            return Reply(answer.status, answer.headers, b"" if endless else await answer.read())

    async def post(self, path: str, body: Any) -> str:
        """What was created, by the key that may do everything."""
        reply = await self.story.call("POST", path, body)
        assert reply.status in (201, 202), reply.raw
        return str(reply.json["id"])

    async def fresh(self, operation: Operation) -> str:
        """One more of what the operation is about, so that it can do with it what it wants."""
        self.story.clock.advance(timedelta(minutes=1))
        if not operation.about_one:
            return ""
        return await MAKERS_FOR.get(operation.name, MAKERS[resource(operation)])(self)

    async def state(self) -> Any:
        """Everything that a call may have changed in the org that owns what is asked for."""
        return await self.story.installation.database.write(
            lambda conn: [
                conn.execute(f"SELECT {columns} FROM {table} WHERE org = 1 ORDER BY id").fetchall()
                for table, columns in WATCHED.items()
            ]
        )


WATCHED = {
    "contacts": "id, name, updated_at, deleted_at",
    "bulk_actions": "id, status, label, revision",
    "messages": "id",
    "conversations": "id, last_message, unread, assigned_to",
    "opt_outs": "id, reason",
    "templates": "id, status, synced_at",
    "message_templates": "id, name, latest, in_use, revision, deleted_at",
    "webhooks": "id, revision, secret, disabled",
    "api_keys": "id, permissions, secret_hash, revoked_at",
    "senders": "id, held",
}


def resource(operation: Operation) -> str:
    """`contacts` of `/v1/contacts/{id}/messages`."""
    return operation.path.split("/")[2]


def request_of(operation: Operation) -> Example:
    made = example(DOCUMENT, operation)
    return Example(
        {**made.query, **QUERIES.get(operation.name, {})}, made.content_type, BODIES.get(operation.name, made.body)
    )


async def make_contact(house: House) -> str:
    id = f"own-{next(iter(house.numbers))}"
    reply = await house.story.call("PUT", f"/v1/contacts/{id}", {"name": "Own", "email": f"{id}@example.org"})
    assert reply.status == 201, reply.raw
    return id


async def make_deleted_contact(house: House) -> str:
    id = await make_contact(house)
    assert (await house.story.call("DELETE", f"/v1/contacts/{id}")).status == 204
    return id


async def make_action(house: House) -> str:
    """One that waits: its operation is not `send_message`, whose routes need more than they say."""
    body = {
        "label": "own action",
        "operation": "add_tags",
        "recipients": {"all": True},
        "parameters": {"tags": ["own"]},
        "schedule": {"mode": "at", "start_at": "2027-06-01T09:00:00Z"},
    }
    return await house.post("/v1/bulk-actions", body)


async def make_message(house: House) -> str:
    body = {"channel": "email", "sender": "aside", "to": "own@example.org", "subject": "Own", "body": "Hello"}
    return await house.post("/v1/messages", body)


async def make_conversation(house: House) -> str:
    """As an inbound message would leave it: no channel of this gateway has conversations."""
    number = next(iter(house.numbers)) + 1
    message = parse_id(MESSAGE, await make_message(house))
    row = (number, f"own-{number}@example.org", message, to_micros(house.story.clock.now()))
    await house.story.installation.database.write(
        lambda conn: conn.execute(
            "INSERT INTO conversations (id, org, channel, sender, address, last_message, last_inbound_at, created_at) "
            "VALUES (?1, 1, 'email', 1, ?2, ?3, ?4, ?4)",
            row,
        )
    )
    return str((await house.story.get("/v1/conversations"))["items"][0]["id"])


async def make_template(house: House) -> str:
    body = {"channel": "email", "name": f"own-{next(iter(house.numbers))}", "subject": "Own", "body": "Hello"}
    return await house.post("/v1/templates", body)


async def make_provider_template(house: House) -> str:
    number = next(iter(house.numbers)) + 1
    await house.story.installation.database.write(
        lambda conn: conn.execute(
            "INSERT INTO templates (id, org, channel, sender, name, language, status, text, parameters, details, "
            "synced_at) VALUES (?1, 1, 'email', 1, 'own_' || ?1, 'en', 'approved', 'Hi', '[]', '{}', 0)",
            (number,),
        )
    )
    return str((await house.story.get("/v1/templates?kind=provider"))["items"][0]["id"])


async def make_opt_out(house: House) -> str:
    body = {"channel": "email", "address": f"own-{next(iter(house.numbers))}@example.org", "reason": "own reason"}
    return await house.post("/v1/opt-outs", body)


async def make_webhook(house: House) -> str:
    return await house.post("/v1/webhooks", {"url": "http://127.0.0.1:9/own"})


async def make_key(house: House) -> str:
    return await house.post("/v1/keys", {"name": "own key"})


async def the_sender(house: House) -> str:
    return "mail"


MAKERS: Mapping[str, Maker] = {
    "contacts": make_contact,
    "bulk-actions": make_action,
    "messages": make_message,
    "conversations": make_conversation,
    "templates": make_template,
    "opt-outs": make_opt_out,
    "senders": the_sender,
    "webhooks": make_webhook,
    "keys": make_key,
}
MAKERS_FOR: Mapping[str, Maker] = {
    "POST /v1/contacts/{id}/restore": make_deleted_contact,
    "GET /v1/templates/{id}": make_provider_template,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with story_in(tmp_path_factory.mktemp("matrix"), more=MORE) as story:
        house = House(story)
        house.own = {name: await make(house) for name, make in MAKERS.items()}
        for org, operation in itertools.product(("default", "other"), OPERATIONS.values()):
            for held in holdings(operation.needs):
                await house.token(org, held)
        await story.settle()
        yield house


def holdings(needs: tuple[str, ...]) -> set[frozenset[str]]:
    """No permission, each by itself, all, all but each that is needed, and no more than is needed."""
    every = frozenset(PERMISSIONS)
    single = {frozenset({one}) for one in PERMISSIONS}
    return {frozenset(), every, frozenset(needs)} | single | {every - {one} for one in needs}


def check_missing(reply: Reply, missing: list[str]) -> None:
    assert (reply.status, reply.code, reply.json["missing"]) == (403, "permission_denied", missing)


async def test_the_served_document_is_the_one_that_this_was_made_from(house: House) -> None:
    served = await house.story.get("/v1/openapi.json")
    assert served["paths"] == DOCUMENT["paths"]
    assert {operation.name for operation in operations(served)} == set(OPERATIONS)
    assert len(OPERATIONS) > 60


@pytest.mark.parametrize("name", sorted(OPERATIONS))
async def test_a_key_opens_what_its_permissions_say_and_nothing_of_another_org(house: House, name: str) -> None:
    operation = OPERATIONS[name]
    id = house.own[resource(operation)] if operation.about_one else ""
    own_marks = [f'"{own}"'.encode() for own in house.own.values()] + [b"own-", b"own@", b"127.0.0.1:9"]
    before = await house.state()
    for held in holdings(operation.needs):
        missing = [one for one in operation.needs if one not in held]
        reply = await house.ask(operation, id, "other", held)
        if missing:
            check_missing(reply, missing)
            check_missing(await house.ask(operation, id, "default", held), missing)
        elif operation.about_one and name not in OF_EACH_ORG:
            assert (reply.status, reply.code) == (404, "not_found"), reply.raw
        else:
            assert reply.status < 500, reply.raw
            assert reply.status not in (401, 403), reply.raw
            assert name in OF_EACH_ORG or not [mark for mark in own_marks if mark in reply.raw], reply.raw
    assert await house.state() == before

    for held in holdings(operation.needs):
        if held.issuperset(operation.needs):
            reply = await house.ask(operation, await house.fresh(operation), "default", held)
            assert reply.status < 500, reply.raw
            assert reply.status not in (401, 403, 404), reply.raw


@pytest.mark.parametrize("name", sorted(OPERATIONS))
async def test_without_a_key_every_answer_is_the_same(house: House, name: str) -> None:
    operation = OPERATIONS[name]
    path = operation.path.replace("{id}", house.own.get(resource(operation), "")).replace("{name}", "mail")
    reply = await house.story.call(operation.method, path, token="gwk_0000000000_wrong")
    assert (reply.status, reply.code) == (401, "unauthenticated")


SENDING = [
    operation.name
    for operation in OPERATIONS.values()
    if resource(operation) == "bulk-actions" and "members.edit" in operation.needs
]


@pytest.mark.parametrize("name", sorted(SENDING))
async def test_what_sends_messages_takes_the_permission_to_send_them_as_well(house: House, name: str) -> None:
    operation = OPERATIONS[name]
    house.story.clock.advance(timedelta(minutes=1))
    body = {
        "operation": "send_message",
        "recipients": {"all": True},
        "message": {"channel": "email", "sender": "aside", "subject": "News", "body": "Hello"},
        "schedule": {"mode": "at", "start_at": "2027-06-01T09:00:00Z"},
    }
    path = operation.path
    if operation.about_one:
        path = path.replace("{id}", await house.post("/v1/bulk-actions", body))
        body = request_of(operation).body
    before = await house.state()
    reply = await house.story.call(
        operation.method, path, body, token=await house.token("default", frozenset({"members.edit"}))
    )
    check_missing(reply, ["messaging.send"])
    assert await house.state() == before
    both = await house.token("default", frozenset({"members.edit", "messaging.send"}))
    reply = await house.story.call(operation.method, path, body, token=both)
    assert reply.status not in (401, 403, 404, 500), reply.raw
