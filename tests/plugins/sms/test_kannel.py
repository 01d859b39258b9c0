"""The Kannel adapter by itself: what it sends, refuses, costs, and how it is set up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Accepted, Code, Media, Misconfigured, NotSent, OptedOut, Outcome, Receipt, Rejected, Retry, Status
from gateway.errors import Invalid
from gateway.outbound.client import HttpClient
from gateway.testing.aiohttp_client import AiohttpClient
from gateway.testing.cases import callback
from gateway.testing.doubles import NOW, ScriptedHttp, make_message, make_tools, text_reply
from gateway.validation import convert
from gateway_sms.answers import AnswerTable, Verdict
from gateway_sms.callbacks import events_of
from gateway_sms.kannel import Kannel
from gateway_sms.settings import KannelSettings
from tests.aioresponses_shim import mocked
from tests.plugins.sms.cases import (
    CALLBACK_URL,
    MO,
    OPTED_OUT,
    PERSON,
    SECRET,
    SETTINGS,
    UNDELIVERABLE,
    URL,
    report,
    written,
)

TAKEN = text_reply(202, "0: Accepted for delivery")
GSM = "Hello {world}"
CYRILLIC = "Привет"
ANY = re.compile(r"^http://127\.0\.0\.1:13013/.*$")


def kannel(*, callback_url: str | None = CALLBACK_URL, http: Any = None, **more: Any) -> Kannel:
    settings = convert({**SETTINGS, **more}, KannelSettings)
    return Kannel(settings, make_tools(http=http, callback_url=callback_url))


async def sent(text: str = GSM, **more: Any) -> Mapping[str, str]:
    """The parameters of the request that a message becomes."""
    http = ScriptedHttp(TAKEN)
    assert await kannel(http=http, **more).send(make_message(PERSON, text)) == Accepted()
    (call,) = http.calls
    assert (call.method, call.url.partition("?")[0]) == ("GET", URL)
    return {name: values[0] for name, values in parse_qs(urlsplit(call.url).query).items()}


async def test_a_message_brings_its_own_url_for_reports() -> None:
    parameters = await sent()
    ref = make_message(PERSON).ref
    assert parameters["dlr-url"] == (f"{CALLBACK_URL}/{SECRET}/dlr?ref={ref}&status=%d&answer=%A&fid=%F&at=%T")
    assert (parameters["dlr-mask"], parameters["from"], parameters["to"]) == ("31", "13013", PERSON)


@pytest.mark.parametrize(("text", "coding"), [(GSM, "0"), ("€" * 100, "0"), (CYRILLIC, "2"), ("a `", "2"), ("🙏", "2")])
async def test_a_text_is_sent_in_the_smallest_coding_that_holds_it(text: str, coding: str) -> None:
    parameters = await sent(text)
    assert (parameters["text"], parameters["coding"], parameters["charset"]) == (text, coding, "UTF-8")


async def test_nothing_is_asked_for_that_cannot_come() -> None:
    assert "dlr-url" not in await sent(callback_url=None)
    assert "dlr-url" not in await sent(dlr_mask=0)
    assert kannel(callback_url=None).capabilities.receipts is False
    assert kannel(dlr_mask=30).capabilities.receipts is False
    assert kannel().capabilities.receipts is True


async def test_a_route_is_named_only_where_one_is_set() -> None:
    assert "smsc" not in await sent()
    assert (await sent(smsc="modem-1"))["smsc"] == "modem-1"
    settings = {name: value for name, value in SETTINGS.items() if name != "from"}
    http = ScriptedHttp(TAKEN)
    await Kannel(convert(settings, KannelSettings), make_tools(http=http)).send(make_message(PERSON, "Hi"))
    assert "from=" not in http.calls[0].url.replace("%3Dfrom", "")


@pytest.mark.parametrize(
    ("text", "segments"), [("a" * 160, 1), ("a" * 161, 2), (CYRILLIC, 1), ("ю" * 71, 2), ("😀" * 36, 2)]
)
def test_a_message_costs_its_segments(text: str, segments: int) -> None:
    assert kannel().cost(make_message(PERSON, text)) == segments


def test_what_cannot_be_sent_is_refused_before_kannel_is_asked() -> None:
    assert _refused("a" * 1_531) == Code.TOO_LONG
    assert _refused("a" * 1_530) is None
    assert _refused("a" * 161, segments_max=1) == Code.TOO_LONG
    assert _refused("") == Code.CONTENT
    picture = make_message(PERSON, "Hi", media=(Media("https://files.example/a.jpg"),))
    refusal = kannel().refuse(picture)
    assert refusal is not None
    assert refusal.code is Code.MEDIA


def _refused(text: str, **more: Any) -> Code | None:
    refusal = kannel(**more).refuse(make_message(PERSON, text))
    return None if refusal is None else refusal.code


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"secret": "short"}, "at least 16"),
        ({"secret": "with/slash/in/the/path"}, "letters, digits"),
        ({"password": ""}, "password must not be empty"),
        ({"url": "127.0.0.1:13013"}, "cgi-bin/sendsms"),
        ({"from": "a name that is too long"}, "at most 11 characters"),
        ({"dlr_mask": 64}, "63"),
        ({"errors": {"stat": "never"}}, "permanent"),
    ],
)
def test_wrong_settings_are_told_with_what_is_right(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid) as refused:
        convert({**SETTINGS, **changed}, KannelSettings)
    assert says in str(refused.value)


def test_an_operator_may_judge_an_error_otherwise() -> None:
    dead = AnswerTable({"UNDELIV": "address_dead"})
    (receipt,) = events_of(report(2, UNDELIVERABLE), SECRET, dead)
    assert (receipt.status, receipt.address_dead) == (Status.UNDELIVERED, True)  # type: ignore[union-attr]
    assert events_of(report(2, UNDELIVERABLE), SECRET, AnswerTable({"UNDELIV": "opt_out"})) == OPTED_OUT
    outcome = AnswerTable({"not_routable": "address_dead"}).outcome(text_reply(403, "Not routable."), NOW)
    assert isinstance(outcome, Rejected)
    assert outcome.address_dead


def test_what_was_stored_under_an_earlier_secret_says_nothing_any_more() -> None:
    for request in (report(1), written(MO)):
        assert len(events_of(request, SECRET, AnswerTable({}))) == 1
        assert events_of(request, "another-secret-of-us", AnswerTable({})) == ()


@pytest.mark.parametrize(
    ("number", "word", "status"),
    [
        (2, "DELIVRD", Status.DELIVERED),
        (1, "ACCEPTD", Status.SENT),
        (1, "ENROUTE", Status.SENT),
        (1, "EXPIRED", Status.EXPIRED),
        (1, "DELETED", Status.FAILED),
        (1, "UNDELIV", Status.UNDELIVERED),
        (1, "UNKNOWN", Status.UNDELIVERED),
        (1, "rejectd", Status.FAILED),
        (2, "NEWWORD", Status.UNDELIVERED),
        (8, "UNDELIV", Status.SENT),
    ],
)
def test_the_word_of_an_smsc_says_more_than_the_number_of_its_report(number: int, word: str, status: Status) -> None:
    (receipt,) = events_of(report(number, f"id:1 sub:001 stat:{word} err:000"), SECRET, AnswerTable({}))
    assert isinstance(receipt, Receipt)
    assert receipt.status is status


@pytest.mark.parametrize(
    ("code", "title", "why"),
    [
        ("0x1", "Message too long", Code.TOO_LONG),
        ("8", "System error", Code.PROVIDER),
        ("10", "Invalid source address", Code.PROVIDER),
        ("0x0b", "Invalid destination address", Code.INVALID_ADDRESS),
        ("0x0D", "Bind failed", Code.PROVIDER),
        ("0x0E", "Invalid password", Code.PROVIDER),
        ("0x0F", "Invalid system id", Code.PROVIDER),
        ("20", "Message queue full", Code.PROVIDER),
        ("0x45", "Submit failed", Code.PROVIDER),
        ("88", "Throttled", Code.PROVIDER),
        ("97", "Invalid scheduled time", Code.PROVIDER),
        ("98", "Invalid validity period", Code.PROVIDER),
    ],
)
def test_a_refusal_without_words_is_told_in_those_of_smpp(code: str, title: str, why: Code) -> None:
    (receipt,) = events_of(report(16, f"NACK/{code}"), SECRET, AnswerTable({}))
    assert isinstance(receipt, Receipt)
    assert (receipt.status, receipt.code, receipt.reason) == (Status.FAILED, why, title)
    assert receipt.provider_code == f"0x{int(code, 0):02X}"


@pytest.mark.parametrize(
    ("status", "said", "outcome"),
    [
        (403, "Denied by the service", Misconfigured),
        (403, "Sender not allowed", Misconfigured),
        (405, "Method", Misconfigured),
        (407, "Proxy", Misconfigured),
        (401, "Who are you", Misconfigured),
        (403, "Why ever", Rejected),
    ],
)
def test_what_smsbox_refuses_is_ours_to_repair_or_one_persons(status: int, said: str, outcome: type) -> None:
    assert isinstance(AnswerTable({}).outcome(text_reply(status, said), NOW), outcome)


def test_an_operator_s_verdicts_hold_for_answers_too() -> None:
    def judged(verdict: Verdict) -> Outcome:
        return AnswerTable({"temporal_failure": verdict}).outcome(text_reply(503, "Temporal failure"), NOW)

    assert judged("opt_out") == OptedOut("Temporal failure (Kannel)")
    assert judged("transient") == Retry("Kannel: Temporal failure", scope="message")
    assert judged("permanent") == Rejected(Code.PROVIDER, "Temporal failure (Kannel)", "temporal_failure")


async def test_its_answer_to_a_person_s_message_is_empty_so_that_nothing_is_sent() -> None:
    assert kannel().answer(report(1)).body == b""


@pytest.mark.parametrize(
    ("status", "text", "well"),
    [
        (400, "Missing receiver number, rejected", True),
        (403, "Authorization failed for sendsms", False),
        (400, "Something else is missing", False),
        (202, "A login page for every receiver", False),
        (200, "<html>", False),
        (503, "Temporal failure, try again later.", False),
    ],
)
async def test_the_account_is_checked_without_sending(status: int, text: str, well: bool) -> None:
    http = ScriptedHttp(text_reply(status, text))
    problem = await kannel(http=http).check()
    assert (problem is None) is well
    asked = parse_qs(urlsplit(http.calls[0].url).query)
    assert ("to" in asked, asked["text"]) == (False, ["check"])
    assert problem is None or SETTINGS["password"] not in problem


@given(st.binary(max_size=200), st.sampled_from(("dlr", "mo")), st.sampled_from(("GET", "POST")), st.text(max_size=20))
def test_no_bytes_make_the_parser_raise(raw: bytes, kind: str, method: str, charset: str) -> None:
    query = raw.decode("latin-1")
    url = f"{CALLBACK_URL}/{SECRET}/{kind}?charset={charset}&{query}"
    request = callback("https://gateway.example/callbacks/main", raw, method=method)
    request = type(request)(
        method=method, url=url, tail=f"/{SECRET}/{kind}", query=(), headers=request.headers, body=raw
    )
    for event in events_of(request, SECRET, AnswerTable({})):
        assert event is not None


async def test_over_aiohttp_the_url_arrives_as_it_was_written() -> None:
    async with AiohttpClient() as http:
        with mocked() as responses:
            responses.get(ANY, status=202, body="0: Accepted for delivery")
            assert await kannel(http=http).send(make_message(PERSON, "Hi + 100% & more")) == Accepted()
            ((_, url),) = responses.requests
        assert parse_qs(urlsplit(str(url)).query)["text"] == ["Hi + 100% & more"]
        with mocked() as responses:
            responses.get(ANY, exception=ConnectionResetError())
            with pytest.raises(ConnectionResetError):
                await kannel(http=http).send(make_message(PERSON, "Hi"))


async def test_half_a_character_is_not_sent_without_it() -> None:
    with pytest.raises(UnicodeEncodeError):
        await sent("Hi \ud83d")


async def test_a_kannel_that_is_not_there_has_certainly_sent_nothing() -> None:
    http = HttpClient(connections=4)
    try:
        with pytest.raises(NotSent):
            await kannel(http=http, url="http://127.0.0.1:1/cgi-bin/sendsms").send(make_message(PERSON, "Hi"))
    finally:
        await http.close()
