"""The adapters with Twilio's own URLs and answers, by aioresponses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

import aiohttp
import pytest
from yarl import URL

from gateway import Absent, Accepted, NotSent, Rejected, Retry, Unknown
from gateway.testing.aiohttp_client import AiohttpClient
from tests.aioresponses_shim import mocked
from tests.plugins.twilio.harness import MESSAGES_URL, PERSON, SID, make_message, question, resource, sms, whatsapp

CREATE_URL = f"{MESSAGES_URL}.json"


@pytest.fixture
async def http() -> AsyncIterator[AiohttpClient]:
    async with AiohttpClient() as client:
        yield client


async def test_a_message_is_posted_to_twilio_with_basic_authentication(http: AiohttpClient) -> None:
    with mocked() as twilio:
        twilio.post(CREATE_URL, status=201, payload=resource())
        assert await sms(http).send(make_message(PERSON)) == Accepted((SID,))
        (call,) = twilio.requests["POST", URL(CREATE_URL)]
    assert call.kwargs["headers"]["Authorization"].startswith("Basic ")
    assert ("To", PERSON) in parse_qsl(call.kwargs["data"].decode())
    assert call.kwargs["allow_redirects"] is False


async def test_twilio_s_refusal_is_read_from_its_json(http: AiohttpClient) -> None:
    with mocked() as twilio:
        twilio.post(CREATE_URL, status=400, payload={"code": 21614, "message": "not mobile", "status": 400})
        outcome = await sms(http).send(make_message(PERSON))
    assert isinstance(outcome, Rejected)
    assert outcome.provider_code == "21614"


async def test_retry_after_is_found_in_whatever_case_it_is_written(http: AiohttpClient) -> None:
    with mocked() as twilio:
        twilio.post(CREATE_URL, status=429, headers={"RETRY-AFTER": "9"}, body="slow down")
        outcome = await sms(http).send(make_message(PERSON))
    assert isinstance(outcome, Retry)
    assert outcome.after is not None
    assert outcome.after.total_seconds() == 9


async def test_a_login_page_of_a_megabyte_is_no_answer(http: AiohttpClient) -> None:
    with mocked() as twilio:
        twilio.post(CREATE_URL, status=200, body=b"<html>" + b" " * 1_000_000, content_type="text/html")
        assert isinstance(await whatsapp(http).send(make_message(PERSON)), Unknown)


async def test_a_name_that_cannot_be_resolved_is_certainly_not_sent(http: AiohttpClient) -> None:
    with mocked() as twilio:
        key = aiohttp.client_reqrep.ConnectionKey("api.twilio.com", 443, True, True, None, None, None)
        twilio.post(CREATE_URL, exception=aiohttp.ClientConnectorDNSError(key, OSError("no such host")))
        with pytest.raises(NotSent):
            await sms(http).send(make_message(PERSON))


@pytest.mark.parametrize("lost", [TimeoutError(), aiohttp.ServerDisconnectedError(), ConnectionResetError()])
async def test_a_connection_that_breaks_off_is_not_taken_for_certain(http: AiohttpClient, lost: Exception) -> None:
    with mocked() as twilio:
        twilio.post(CREATE_URL, exception=lost)
        with pytest.raises(type(lost)):
            await sms(http).send(make_message(PERSON))


async def test_look_ups_go_to_twilio_s_list(http: AiohttpClient) -> None:
    listed = URL(CREATE_URL).with_query({"To": PERSON, "PageSize": "50"})
    with mocked() as twilio:
        twilio.get(listed, payload={"messages": [], "next_page_uri": None})
        assert await sms(http).lookup(question()) == Absent()
        assert [(method, url.path) for method, url in twilio.requests] == [("GET", listed.path)]


async def test_many_at_once_do_not_mix_their_answers(http: AiohttpClient) -> None:
    sids = [f"SM{number:032x}" for number in range(20)]
    with mocked() as twilio:
        for sid in sids:
            twilio.post(CREATE_URL, status=201, payload=resource(sid=sid))
        adapter = sms(http)
        outcomes = await asyncio.gather(*(adapter.send(make_message(PERSON)) for _ in sids))
    assert {outcome.provider_ids[0] for outcome in outcomes if isinstance(outcome, Accepted)} == set(sids)
