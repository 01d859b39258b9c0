"""The adapter with Meta's own URLs and answers, by aioresponses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from yarl import URL

from gateway import Accepted, Misconfigured, NotSent, OptedOut, Rejected, Retry, Unknown
from gateway.testing.aiohttp_client import AiohttpClient
from gateway_whatsapp.templates import FIELDS, PAGE_SIZE
from tests.aioresponses_shim import mocked
from tests.plugins.whatsapp.harness import (
    ACCOUNT,
    MEDIA_URL,
    MESSAGES_URL,
    NUMBER_ID,
    PERSON,
    TOKEN,
    WAMID,
    cloud,
    make_message,
    template_message,
)


@pytest.fixture
async def http() -> AsyncIterator[AiohttpClient]:
    async with AiohttpClient() as client:
        yield client


def taken(id: str = WAMID) -> dict[str, Any]:
    contacts = [{"input": PERSON, "wa_id": PERSON[1:]}]
    return {"messaging_product": "whatsapp", "contacts": contacts, "messages": [{"id": id}]}


def error(code: int, message: str) -> dict[str, Any]:
    return {"error": {"message": f"(#{code}) {message}", "type": "OAuthException", "code": code, "fbtrace_id": "A"}}


async def test_a_message_is_posted_as_json_with_the_token(http: AiohttpClient) -> None:
    with mocked() as meta:
        meta.post(MESSAGES_URL, status=200, payload=taken())
        assert await cloud(http).send(template_message({"1": "Zo\u00eb \N{SNOWMAN}"})) == Accepted((WAMID,))
        (call,) = meta.requests["POST", URL(MESSAGES_URL)]
    assert call.kwargs["headers"]["Authorization"] == f"Bearer {TOKEN}"
    assert call.kwargs["headers"]["Content-Type"] == "application/json"
    assert call.kwargs["allow_redirects"] is False
    sent = json.loads(call.kwargs["data"])
    assert sent["template"]["components"][0]["parameters"][0]["text"] == "Zo\u00eb \N{SNOWMAN}"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, 131047, Rejected),
        (403, 131047, Rejected),
        (400, 131050, OptedOut),
        (401, 190, Misconfigured),
        (500, 131045, Misconfigured),
        (400, 130429, Retry),
    ],
)
async def test_the_code_decides_and_not_the_status(http: AiohttpClient, status: int, code: int, kind: type) -> None:
    with mocked() as meta:
        meta.post(MESSAGES_URL, status=status, payload=error(code, "Oops"))
        assert isinstance(await cloud(http).send(make_message(PERSON)), kind)


async def test_retry_after_is_found_in_whatever_case_it_is_written(http: AiohttpClient) -> None:
    with mocked() as meta:
        meta.post(MESSAGES_URL, status=429, headers={"RETRY-AFTER": "9"}, body="slow down")
        outcome = await cloud(http).send(make_message(PERSON))
    assert isinstance(outcome, Retry)
    assert (outcome.after, outcome.scope) == (timedelta(seconds=9), "sender")


async def test_a_login_page_of_a_megabyte_is_no_answer(http: AiohttpClient) -> None:
    with mocked() as meta:
        meta.post(MESSAGES_URL, status=200, body=b"<html>" + b" " * 1_000_000, content_type="text/html")
        assert isinstance(await cloud(http).send(make_message(PERSON)), Unknown)


async def test_a_name_that_cannot_be_resolved_is_certainly_not_sent(http: AiohttpClient) -> None:
    with mocked() as meta:
        key = aiohttp.client_reqrep.ConnectionKey("graph.facebook.com", 443, True, True, None, None, None)
        meta.post(MESSAGES_URL, exception=aiohttp.ClientConnectorDNSError(key, OSError("no such host")))
        with pytest.raises(NotSent):
            await cloud(http).send(make_message(PERSON))


@pytest.mark.parametrize("lost", [TimeoutError(), aiohttp.ServerDisconnectedError(), ConnectionResetError()])
async def test_a_connection_that_breaks_off_is_not_taken_for_certain(http: AiohttpClient, lost: Exception) -> None:
    with mocked() as meta:
        meta.post(MESSAGES_URL, exception=lost)
        with pytest.raises(type(lost)):
            await cloud(http).send(make_message(PERSON))


async def test_templates_are_listed_page_by_page(http: AiohttpClient) -> None:
    first = URL(f"{MEDIA_URL}/{ACCOUNT}/message_templates").with_query({"fields": FIELDS, "limit": str(PAGE_SIZE)})
    second = first.update_query({"after": "MjQZD=="})
    one = {"name": "promo", "language": "en_US", "status": "APPROVED", "category": "MARKETING", "components": []}
    paging = {"cursors": {"after": "MjQZD=="}, "next": "https://graph.facebook.com/elsewhere"}
    with mocked() as meta:
        meta.get(first, payload={"data": [one], "paging": paging})
        meta.get(second, payload={"data": [{**one, "name": "other"}], "paging": {"cursors": {"after": "X"}}})
        found = await cloud(http).templates()
        assert [method for method, _ in meta.requests] == ["GET", "GET"]
    assert [(template.name, template.status) for template in found] == [("promo", "approved"), ("other", "approved")]


async def test_the_number_is_asked_after(http: AiohttpClient) -> None:
    with mocked() as meta:
        meta.get(
            f"{MEDIA_URL}/{NUMBER_ID}?fields=id,status,health_status", payload={"id": NUMBER_ID, "status": "CONNECTED"}
        )
        assert await cloud(http).check() is None


async def test_many_at_once_do_not_mix_their_answers(http: AiohttpClient) -> None:
    ids = [f"wamid.{number:032x}" for number in range(20)]
    with mocked() as meta:
        for id in ids:
            meta.post(MESSAGES_URL, status=200, payload=taken(id))
        adapter = cloud(http)
        outcomes = await asyncio.gather(*(adapter.send(make_message(PERSON)) for _ in ids))
    assert {outcome.provider_ids[0] for outcome in outcomes if isinstance(outcome, Accepted)} == set(ids)
