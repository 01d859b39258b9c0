"""Finding a message without its id: only a list that was read to its end, without doubtful entries, proves absence."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway import Absent, Answer, CannotTell, Code, Found, HttpResponse, Media, Status
from gateway_twilio.lookup import PAGES_MAX, skeleton
from tests.plugins.twilio.harness import (
    ACCOUNT,
    MESSAGES_URL,
    NOW,
    NUMBER,
    PERSON,
    SERVICE,
    SID,
    ScriptedHttp,
    json_reply,
    listing,
    make_message,
    question,
    refusal,
    resource,
    sms,
    template_message,
    whatsapp,
)

PAGE_2 = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?To=%2B14155550100&PageSize=50&Page=1&PageToken=PASM1"


def at(seconds: float) -> str:
    return format_datetime(NOW + timedelta(seconds=seconds))


async def answer_to(*pages: HttpResponse, text: str = "Hello", **more: Any) -> Answer:
    return await sms(ScriptedHttp(*pages), **more).lookup(question(make_message(PERSON, text)))


async def test_the_list_is_asked_for_the_recipient_alone() -> None:
    http = ScriptedHttp(listing())
    assert await whatsapp(http).lookup(question()) == Absent()
    parts = urlsplit(http.calls[0].url)
    assert http.calls[0].url.startswith(f"{MESSAGES_URL}.json?")
    assert parse_qs(parts.query) == {"To": [f"whatsapp:{PERSON}"], "PageSize": ["50"]}


async def test_a_listed_message_is_found_with_what_became_of_it() -> None:
    found = await answer_to(listing(resource(status="undelivered", error_code=30006)))
    assert isinstance(found, Found)
    assert found.provider_ids == (SID,)
    assert (found.receipt.status, found.receipt.code) == (Status.UNDELIVERED, Code.UNREACHABLE)
    assert found.receipt.at == NOW + timedelta(seconds=1)


async def test_the_search_goes_on_to_the_last_page() -> None:
    http = ScriptedHttp(listing(resource(body="Other"), next_page_uri=PAGE_2), listing(resource()))
    found = await sms(http).lookup(question())
    assert isinstance(found, Found)
    assert [call.url for call in http.calls][1] == f"https://api.twilio.com{PAGE_2}"


@pytest.mark.parametrize(
    "other",
    [
        {"body": "Another text"},
        {"from": "+14155559999"},
        {"direction": "inbound"},
        {"direction": "outbound-reply"},
        {"to": "+14155550111"},
        {"date_created": at(-3_601)},
        {"date_created": at(3_601)},
        {"date_created": at(3_600), "body": "Another text"},
    ],
)
async def test_other_messages_do_not_count(other: dict[str, object]) -> None:
    assert await answer_to(listing(resource(**other))) == Absent()


@pytest.mark.parametrize(
    "shown",
    [{"date_created": at(-120)}, {"date_created": at(300)}, {"direction": None}, {"to": None}, {"from": None}],
)
async def test_what_twilio_does_not_show_speaks_against_nothing(shown: dict[str, object]) -> None:
    assert isinstance(await answer_to(listing(resource(**shown))), Found)


@pytest.mark.parametrize(
    "doubtful",
    [
        {"date_created": at(-3_600)},
        {"date_created": at(3_600)},
        {"date_created": at(-121)},
        {"date_created": at(301)},
        {"date_created": None},
        {"date_created": "yesterday"},
        {"date_created": 1_780_300_800},
        {"body": ""},
        {"body": None},
        {"num_media": "1"},
    ],
)
async def test_a_message_that_may_be_it_leaves_it_open(doubtful: dict[str, object]) -> None:
    assert isinstance(await answer_to(listing(resource(**doubtful))), CannotTell)


async def test_a_doubt_on_an_earlier_page_is_not_forgotten() -> None:
    first = listing(resource(body=""), next_page_uri=PAGE_2)
    assert isinstance(await answer_to(first, listing(resource(body="Other"))), CannotTell)


async def test_what_twilio_changes_in_a_text_does_not_hide_it() -> None:
    ours = "It\u2019s on \u2013 see https://grace.example/sunday?utm=1 now\u2026"
    theirs = "It's on - see https://twil.io/x7 now..."
    assert isinstance(await answer_to(listing(resource(body=theirs)), text=ours), Found)
    assert skeleton(ours) == skeleton(theirs)


async def test_a_text_without_letters_is_compared_as_it_is() -> None:
    heart = "\N{HEAVY BLACK HEART}"
    assert isinstance(await answer_to(listing(resource(body=heart)), text=heart), Found)
    assert isinstance(await answer_to(listing(resource(body="!")), text=heart), CannotTell)


async def test_two_alike_leave_it_open() -> None:
    pages = listing(resource(), resource(sid="SM" + "0" * 32))
    assert isinstance(await answer_to(pages), CannotTell)


async def test_a_service_s_messages_come_from_any_number() -> None:
    theirs = resource(messaging_service_sid=SERVICE, **{"from": "+14155559999"})
    assert isinstance(await answer_to(listing(theirs), own=None, messaging_service_sid=SERVICE), Found)
    unnamed = resource(messaging_service_sid=None)
    assert isinstance(await answer_to(listing(unnamed), own=None, messaging_service_sid=SERVICE), Found)
    assert isinstance(await answer_to(listing(resource(messaging_service_sid=SERVICE))), Found)
    foreign = resource(messaging_service_sid="MG" + "0" * 32)
    assert await answer_to(listing(foreign), own=None, messaging_service_sid=SERVICE) == Absent()


async def test_a_template_is_known_by_its_rendered_text() -> None:
    message = template_message(**{"1": "Ada", "2": "10:00"})
    there = resource(to=f"whatsapp:{PERSON}", body="Hi Ada, see you at 10:00.", **{"from": f"whatsapp:{NUMBER}"})
    assert isinstance(await whatsapp(ScriptedHttp(listing(there))).lookup(question(message)), Found)
    other = resource(to=f"whatsapp:{PERSON}", body="Hi Bob, see you at 10:00.", **{"from": f"whatsapp:{NUMBER}"})
    assert await whatsapp(ScriptedHttp(listing(other))).lookup(question(message)) == Absent()


async def test_a_free_text_on_whatsapp_is_known_by_itself() -> None:
    there = resource(to=f"whatsapp:{PERSON}", **{"from": f"whatsapp:{NUMBER}"})
    assert isinstance(await whatsapp(ScriptedHttp(listing(there))).lookup(question()), Found)
    assert await whatsapp(ScriptedHttp(listing({**there, "body": "Other"}))).lookup(question()) == Absent()
    picture = make_message(PERSON, None, media=(Media(url="https://files.example/a.jpg"),))
    wordless = {**there, "body": "", "num_media": "1"}
    assert isinstance(await whatsapp(ScriptedHttp(listing(wordless))).lookup(question(picture)), Found)


@pytest.mark.parametrize("details", [{"text": ""}, {"text": 7}])
async def test_a_template_that_was_listed_without_a_text_is_not_mistaken(details: dict[str, object]) -> None:
    message = template_message()
    assert message.template is not None
    blind = make_message(PERSON, None, template=type(message.template)("reminder", "en", {}, details))
    there = resource(to=f"whatsapp:{PERSON}", **{"from": f"whatsapp:{NUMBER}"})
    assert isinstance(await whatsapp(ScriptedHttp(listing(there))).lookup(question(blind)), CannotTell)


async def test_a_template_of_unknown_text_is_not_mistaken() -> None:
    message = template_message()
    assert message.template is not None
    blind = make_message(PERSON, None, template=type(message.template)("reminder", "en", {}, {"content_sid": "HX"}))
    there = resource(to=f"whatsapp:{PERSON}", **{"from": f"whatsapp:{NUMBER}"})
    assert isinstance(await whatsapp(ScriptedHttp(listing(there))).lookup(question(blind)), CannotTell)


@pytest.mark.parametrize(
    "broken",
    [
        refusal(20003, "Authenticate", 401),
        refusal(20500, "Oops", 500),
        json_reply(200, {"messages": []}),
        json_reply(500, {"messages": [], "next_page_uri": None}),
        json_reply(200, {"messages": {}, "next_page_uri": None}),
        json_reply(200, {"messages": "none", "next_page_uri": None}),
        json_reply(200, {"messages": [7], "next_page_uri": None}),
        json_reply(200, {"messages": [], "next_page_uri": "https://elsewhere.example/"}),
        json_reply(200, {"messages": [], "next_page_uri": "//elsewhere.example/2010-04-01"}),
        json_reply(200, {"messages": [], "next_page_uri": 7}),
        json_reply(200, {"messages": [], "next_page_uri": ""}),
        HttpResponse(200, {}, b"<html>"),
        json_reply(200, {"messages": [resource(status="teleporting")], "next_page_uri": None}),
    ],
)
async def test_a_list_that_cannot_be_read_proves_nothing(broken: HttpResponse) -> None:
    http = ScriptedHttp(broken)
    assert isinstance(await sms(http).lookup(question()), CannotTell)
    assert len(http.calls) == 1, "credentials go to no other place"


async def test_an_endless_list_proves_nothing() -> None:
    http = ScriptedHttp(listing(resource(body="Other"), next_page_uri=PAGE_2))
    assert isinstance(await sms(http).lookup(question()), CannotTell)
    assert len(http.calls) == PAGES_MAX


async def test_by_its_id_a_message_is_asked_for_directly() -> None:
    http = ScriptedHttp(json_reply(200, resource(status="delivered")))
    found = await sms(http).lookup(question(None, SID))
    assert isinstance(found, Found)
    assert found.receipt.status is Status.DELIVERED
    assert http.calls[0].url == f"{MESSAGES_URL}/{SID}.json"


@pytest.mark.parametrize(
    "reply",
    [
        refusal(20404, "Not found", 404),
        json_reply(200, resource(sid="SM" + "0" * 32)),
        json_reply(200, resource(status=None)),
        HttpResponse(200, {}, b""),
    ],
)
async def test_an_id_that_is_not_shown_is_not_absent(reply: HttpResponse) -> None:
    """Twilio once gave it: it was removed, which does not mean that it was not sent."""
    assert isinstance(await sms(ScriptedHttp(reply)).lookup(question(None, SID)), CannotTell)
