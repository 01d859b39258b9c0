"""The generated document, held to the names that other programs are written against."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from gateway.http.openapi import document
from gateway.http.problems import CODES
from gateway.http.routing import Route
from tests.http.conftest import StartApi
from tests.http.everything import VERSION, every_route

EDIT = ["members.edit"]
READ = ["messaging.read"]
ADMIN = ["admin"]

PROMISED = {
    "GET /v1/me": [],
    "GET /v1/operations": [],
    "GET /v1/openapi.json": [],
    "PUT /v1/contacts/{id}": EDIT,
    "PATCH /v1/contacts/{id}": EDIT,
    "POST /v1/contacts": EDIT,
    "POST /v1/contacts/import": EDIT,
    "GET /v1/contacts": ["members.read"],
    "GET /v1/contacts/{id}": ["members.read"],
    "DELETE /v1/contacts/{id}": EDIT,
    "POST /v1/contacts/{id}/restore": EDIT,
    "POST /v1/contacts/{id}/erase": EDIT,
    "GET /v1/contacts/export": ["members.read"],
    "GET /v1/contacts/{id}/messages": ["members.read"],
    "GET /v1/contacts/{id}/explain": ["members.read"],
    "POST /v1/bulk-actions": EDIT,
    "GET /v1/bulk-actions": READ,
    "GET /v1/bulk-actions/{id}": READ,
    "PATCH /v1/bulk-actions/{id}": EDIT,
    "POST /v1/bulk-actions/{id}/cancel": EDIT,
    "POST /v1/bulk-actions/{id}/pause": EDIT,
    "POST /v1/bulk-actions/{id}/resume": EDIT,
    "POST /v1/bulk-actions/{id}/retry": EDIT,
    "POST /v1/bulk-actions/{id}/resolve": ["members.edit", "messaging.send"],
    "GET /v1/bulk-actions/{id}/recipients": READ,
    "GET /v1/bulk-actions/{id}/batches": READ,
    "GET /v1/bulk-actions/{id}/forecast": READ,
    "GET /v1/bulk-actions/{id}/stats": READ,
    "POST /v1/bulk-actions/preview": EDIT,
    "POST /v1/messages": ["messaging.send"],
    "GET /v1/messages": READ,
    "GET /v1/messages/{id}": READ,
    "GET /v1/conversations": READ,
    "GET /v1/conversations/{id}": READ,
    "GET /v1/conversations/{id}/messages": READ,
    "POST /v1/opt-outs/import": ["optouts.edit"],
    "GET /v1/opt-outs/export": READ,
    "GET /v1/opt-outs/history": READ,
    "POST /v1/conversations/{id}/reply": ["messaging.send"],
    "POST /v1/conversations/{id}/read": ["messaging.send"],
    "POST /v1/conversations/{id}/assign": ["messaging.send"],
    "GET /v1/templates": READ,
    "POST /v1/templates": ["templates.edit"],
    "GET /v1/templates/{id}": READ,
    "PATCH /v1/templates/{id}": ["templates.edit"],
    "DELETE /v1/templates/{id}": ["templates.edit"],
    "GET /v1/templates/{id}/versions": READ,
    "POST /v1/templates/{id}/submit": ["templates.edit"],
    "POST /v1/templates/{id}/approve": ["templates.approve"],
    "POST /v1/templates/{id}/reject": ["templates.approve"],
    "POST /v1/templates/{id}/pause": ["templates.approve"],
    "POST /v1/templates/{id}/render": READ,
    "POST /v1/templates/{id}/test": ["templates.edit", "messaging.send"],
    "POST /v1/templates/sync": ["templates.edit"],
    "POST /v1/senders/{name}/callbacks/replay": ADMIN,
    "GET /v1/opt-outs": READ,
    "POST /v1/opt-outs": ["messaging.send"],
    "DELETE /v1/opt-outs/{id}": ["optouts.edit"],
    "GET /v1/channels": READ,
    "POST /v1/senders/{name}/pause": ADMIN,
    "POST /v1/senders/{name}/resume": ADMIN,
    "POST /v1/senders/{name}/test": ADMIN,
    "GET /v1/events": READ,
    "GET /v1/events/stream": READ,
    "GET /v1/webhooks": ADMIN,
    "POST /v1/webhooks": ADMIN,
    "GET /v1/webhooks/{id}": ADMIN,
    "PATCH /v1/webhooks/{id}": ADMIN,
    "DELETE /v1/webhooks/{id}": ADMIN,
    "POST /v1/webhooks/{id}/rotate": ADMIN,
    "GET /v1/webhooks/{id}/deliveries": ADMIN,
    "POST /v1/webhooks/{id}/replay": ADMIN,
    "POST /v1/webhooks/{id}/test": ADMIN,
    "GET /v1/keys": ADMIN,
    "POST /v1/keys": ADMIN,
    "PATCH /v1/keys/{id}": ADMIN,
    "DELETE /v1/keys/{id}": ADMIN,
    "POST /v1/keys/{id}/rotate": ADMIN,
}
"""Every route that the API promises by now, with the permissions that it needs."""

PARAMETERS = {
    "GET /v1/contacts/{id}/explain": {"channel", "sender", "category", "source"},
    "GET /v1/contacts": {"tag", "q", "channel", "deleted", "seen_before"},
    "GET /v1/bulk-actions": {"status", "operation", "channel", "q", "created_by", "requested_by"},
    "GET /v1/bulk-actions/{id}/recipients": {"state"},
    "GET /v1/bulk-actions/{id}/forecast": {"limit"},
    "GET /v1/conversations": {"unread", "channel", "unmatched", "limit", "cursor"},
    "GET /v1/events": {"after", "types", "limit"},
    "GET /v1/events/stream": {"after", "types"},
    "GET /v1/webhooks/{id}/deliveries": {"result", "limit", "cursor"},
    "GET /v1/templates": {"channel", "status", "language", "limit", "cursor"},
    "GET /v1/messages": {
        "contact",
        "address",
        "channel",
        "direction",
        "status",
        "source",
        "bulk_action",
        "requested_by",
        "created_after",
        "created_before",
        "limit",
        "cursor",
    },
}

MORE = "button media template_id template_version dry_run"
MESSAGE = """id direction channel sender address contact_id status source bulk_action_id round in_reply_to link_reason
    subject text html template category code reason provider_code provider_ids segments requested_by created_at
    accepted_at sent_at delivered_at read_at attempts"""


@pytest.fixture(scope="module")
def routes() -> list[Route]:
    return every_route()


@pytest.fixture(scope="module")
def doc(routes: list[Route]) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(document(routes, VERSION)), type=dict[str, Any])


def operations(doc: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, item in doc["paths"].items()
        for method, operation in item.items()
    }


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_every_promised_route_is_there_with_its_permissions(doc: dict[str, Any], name: str) -> None:
    assert operations(doc)[name]["x-permission"] == PROMISED[name]


def test_nothing_is_served_that_was_not_promised(doc: dict[str, Any]) -> None:
    shown_after_creation = {"GET /v1/keys/{id}", "GET /v1/opt-outs/{id}"}  # where their Location points to
    assert set(operations(doc)) - set(PROMISED) == shown_after_creation


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_every_promised_parameter_is_there(doc: dict[str, Any], name: str) -> None:
    there = {one["name"] for one in operations(doc)[name]["parameters"] if one["in"] == "query"}
    assert PARAMETERS[name] <= there


def test_every_list_is_paged(doc: dict[str, Any]) -> None:
    for name, operation in operations(doc).items():
        schema = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
        paged = "Page_" in schema.get("$ref", "")
        names = {one["name"] for one in operation["parameters"]}
        fixed = name in ("GET /v1/operations", "GET /v1/channels")  # what is configured: never more than fits
        assert not paged or fixed or {"limit", "cursor"} <= names, name


def test_a_message_has_its_promised_fields_in_their_order(doc: dict[str, Any]) -> None:
    schemas = doc["components"]["schemas"]
    assert list(schemas["MessageView"]["properties"]) == [*MESSAGE.split(), *MORE.split()]
    assert set(schemas["MessageWithHistory"]["properties"]) == {*MESSAGE.split(), *MORE.split(), "history"}


def test_every_route_that_creates_takes_an_idempotency_key(doc: dict[str, Any], routes: list[Route]) -> None:
    for route in routes:
        operation = doc["paths"][route.path][route.method.lower()]
        headers = {one["name"] for one in operation["parameters"] if one["in"] == "header"}
        assert ("Idempotency-Key" in headers) is route.creates
        guarded = route.merge_patch or "revision_mismatch" in route.refusals
        assert ("If-Match" in headers) is guarded


def test_every_reference_resolves_and_every_name_is_valid(doc: dict[str, Any]) -> None:
    schemas = doc["components"]["schemas"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in schemas)
    references = set(re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', msgspec.json.encode(doc).decode()))
    assert references <= set(schemas)
    assert len(references) > 10


def test_every_operation_is_complete(doc: dict[str, Any]) -> None:
    identifiers = [operation["operationId"] for operation in operations(doc).values()]
    assert len(identifiers) == len(set(identifiers))
    for name, operation in operations(doc).items():
        in_path = set(re.findall(r"{(\w+)}", name))
        assert in_path == {one["name"] for one in operation["parameters"] if one["in"] == "path"}, name
        assert operation["summary"], name
        assert any(status.startswith("2") for status in operation["responses"]), name
        assert {"401", "500", "503"} <= set(operation["responses"]), name
        assert "403" in operation["responses"], name


def test_every_refusal_of_a_route_is_a_known_code(routes: list[Route]) -> None:
    assert {code for route in routes for code in route.refusals} <= set(CODES)


def test_problems_are_described_as_problem_documents(doc: dict[str, Any]) -> None:
    refused = operations(doc)["POST /v1/messages"]["responses"]["422"]
    assert list(refused["content"]) == ["application/problem+json"]
    assert "`opted_out`" in refused["description"]
    assert "`idempotency_key_reused`" in refused["description"]


async def test_the_document_is_served_to_any_key(start_api: StartApi, routes: list[Route]) -> None:
    api = await start_api(routes)
    reply = await api.get("/v1/openapi.json", token=await api.key())
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert reply.json["openapi"] == "3.1.0"
    assert reply.json["info"]["version"] == VERSION
    assert (await api.get("/v1/openapi.json", token=None)).status == 401


async def test_every_route_refuses_a_caller_without_a_key_and_one_without_permissions(
    start_api: StartApi, routes: list[Route]
) -> None:
    api = await start_api(routes)
    powerless = await api.key()
    for route in routes:
        path = route.path.replace("{id}", "x").replace("{name}", "x")
        assert (await api.call(route.method, path, token=None)).status == 401, route
        if route.permissions:
            reply = await api.call(route.method, path, token=powerless)
            assert (reply.status, reply.json["missing"]) == (403, list(route.permissions)), route
