"""The simulated Cloud API by itself, asked and heard by a plain HTTP client: its shapes, limits and signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from gateway.testing.meta_simulator import ACCOUNT_ID, APP_SECRET, NUMBER_ID, MetaSimulator, ReceiptTrouble
from gateway.testing.meta_webhooks import signature_of
from gateway.testing.provider_faults import Fate
from tests.plugins.twilio.receiver import Receiver
from tests.plugins.whatsapp.harness import CALLBACK_URL

PERSON = "+16505551234"
JsonObject = dict[str, Any]


@pytest.fixture
async def door() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


@pytest.fixture
async def meta(door: Receiver) -> AsyncIterator[MetaSimulator]:
    async with MetaSimulator(callback_url=CALLBACK_URL, callback_base=door.url) as running:
        running.reply_window = None
        yield running


async def ask(meta: MetaSimulator, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, JsonObject]:
    headers = {"Authorization": f"Bearer {meta.access_token}"}
    method = "GET" if body is None else "POST"
    url = f"{meta.url}/v23.0/{path}"
    async with aiohttp.ClientSession() as session, session.request(method, url, json=body, headers=headers) as answer:
        return answer.status, json.loads(await answer.read())


async def send(meta: MetaSimulator, **fields: Any) -> tuple[int, JsonObject]:
    message = {"messaging_product": "whatsapp", "to": PERSON, "type": "text", "text": {"body": "Hi"}, **fields}
    return await ask(meta, f"{NUMBER_ID}/messages", message)


def statuses(door: Receiver) -> list[JsonObject]:
    return [
        status
        for request in door.requests
        for entry in json.loads(request.body)["entry"]
        for change in entry["changes"]
        for status in change["value"].get("statuses", [])
    ]


async def test_a_message_is_answered_as_meta_answers(meta: MetaSimulator) -> None:
    status, said = await send(meta, biz_opaque_callback_data="msg_1")
    assert status == 200
    assert said["contacts"][0]["input"] == PERSON
    assert said["contacts"][0]["wa_id"] == PERSON[1:]
    assert said["messages"][0]["id"].startswith("wamid.")
    assert "message_status" not in said["messages"][0], "of templates only"


async def test_what_comes_back_is_signed_over_its_bytes_in_which_nothing_is_beyond_ascii(
    meta: MetaSimulator, door: Receiver
) -> None:
    await meta.reply(PERSON, "Grüße 🙏")
    (request,) = door.requests
    assert request.body.isascii()
    expected = hmac.new(APP_SECRET.encode(), request.body, hashlib.sha256).hexdigest()
    assert request.headers["x-hub-signature-256"] == f"sha256={expected}"


def test_the_signature_is_that_of_the_published_vector() -> None:
    body = b'{"object":"whatsapp_business_account","entry":[]}'
    expected = "sha256=20e391a99a86fc5adf7e3a453236d20c906360291977896cf2f671e03bb95703"
    assert signature_of("app-secret-123", body) == expected


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"to": None}, 131008),
        ({"to": "abc"}, 131009),
        ({"type": "dance"}, 131009),
        ({"text": "Hi"}, 131009),
        ({"text": {"body": "x" * 4_097}}, 100),
        ({"text": {"body": ""}}, 100),
        ({"messaging_product": "sms"}, 100),
        ({"context": "wamid.X"}, 100),
        ({"type": "image", "image": {}}, 131009),
        ({"type": "template", "template": {"name": "june", "language": "en_US"}}, 100),
        ({"type": "template", "template": {"name": "none", "language": {"code": "en_US"}}}, 132001),
        ({"type": "template", "template": {"name": "june", "language": {"code": "de"}}}, 132001),
        ({"type": "template", "template": {"name": "june", "language": {"code": "en_US"}}}, 132000),
    ],
)
async def test_what_is_wrong_is_refused_by_its_code(meta: MetaSimulator, fields: JsonObject, code: int) -> None:
    meta.add_template("june", "Hi {{1}}")
    status, said = await send(meta, **fields)
    assert 400 <= status < 500
    assert said["error"]["code"] == code
    assert said["error"]["error_data"]["details"]
    assert meta.record == []


async def test_a_text_header_takes_its_parameters_too(meta: MetaSimulator) -> None:
    meta.add_template("dear", "See you.", header="Dear {{1}}")
    template: JsonObject = {"name": "dear", "language": {"code": "en_US"}}
    assert (await send(meta, type="template", template=template))[1]["error"]["code"] == 132000
    template["components"] = [{"type": "header", "parameters": [{"type": "text", "text": "Ada"}]}]
    assert (await send(meta, type="template", template=template))[0] == 200


async def test_a_wrong_token_and_an_unknown_number_are_refused(meta: MetaSimulator) -> None:
    status, said = await ask(meta, "999/messages", {"messaging_product": "whatsapp"})
    assert (status, said["error"]["code"]) == (400, 100)
    async with aiohttp.ClientSession() as session, session.get(f"{meta.url}/v23.0/{NUMBER_ID}") as answer:
        assert answer.status == 401
        assert (await answer.json())["error"]["code"] == 190


async def test_templates_are_listed_in_pages_and_by_name(meta: MetaSimulator) -> None:
    for number in range(5):
        meta.add_template(f"t{number}", "Hi")
    names: list[str] = []
    page: JsonObject = {}
    path = f"{ACCOUNT_ID}/message_templates?limit=2"
    after = ""
    for _ in range(3):
        _, page = await ask(meta, f"{path}{after}")
        names += [one["name"] for one in page["data"]]
        after = f"&after={page['paging']['cursors']['after']}"
    assert names == [f"t{number}" for number in range(5)]
    assert "next" not in page["paging"]
    _, page = await ask(meta, f"{ACCOUNT_ID}/message_templates?name=t3")
    assert [one["name"] for one in page["data"]] == ["t3"]
    _, said = await ask(meta, f"{path}&after=MjQZD")
    assert said["error"]["code"] == 100


async def test_released_statuses_come_in_one_batch_with_everybody_in_it(meta: MetaSimulator, door: Receiver) -> None:
    meta.receipt_trouble = ReceiptTrouble(delayed=True)
    for number in range(3):
        await send(meta, to=f"+1650555000{number}", biz_opaque_callback_data=f"msg_{number}")
    meta.release_receipts()
    await meta.drained()
    (request,) = door.requests
    value = json.loads(request.body)["entry"][0]["changes"][0]["value"]
    assert len(value["contacts"]) == 3
    assert {one["biz_opaque_callback_data"] for one in statuses(door)} == {"msg_0", "msg_1", "msg_2"}


async def test_lost_statuses_never_come_and_some_people_cannot_be_reached(meta: MetaSimulator, door: Receiver) -> None:
    meta.receipt_trouble = ReceiptTrouble(lost=1.0)
    await send(meta)
    await meta.drained()
    assert door.requests == []
    meta.receipt_trouble = ReceiptTrouble()
    meta.fates = [Fate(to="+1650*", status="failed", error_code=131026)]
    await send(meta)
    await meta.drained()
    (failed,) = statuses(door)
    assert (failed["status"], failed["errors"][0]["code"]) == ("failed", 131026)


async def test_many_webhooks_at_once_all_arrive(meta: MetaSimulator, door: Receiver) -> None:
    for number in range(60):
        await send(meta, to=f"+1650555{number:04d}")
    await meta.drained()
    assert len(statuses(door)) == 120
