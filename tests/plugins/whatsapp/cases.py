"""Recorded cases of the adapter: what Meta answers to a message, and what is made of it; callbacks stand beside.

Where a case names a code only, its shape is that of the Graph API's errors and its sentence is our title of the code.
"""

from __future__ import annotations

from datetime import timedelta

from gateway import Accepted, Code, HttpResponse, Misconfigured, OptedOut, Outbound, Outcome, Rejected, Retry, Unknown
from gateway.testing.cases import Cases, SendCase
from gateway.testing.doubles import json_reply, text_reply
from gateway_whatsapp.errors import ERRORS
from tests.plugins.whatsapp.callback_cases import CALLBACKS, ERROR_PAGE, said
from tests.plugins.whatsapp.harness import (
    NUMBER_ID,
    TOKEN,
    USER,
    WAMID,
    accepted,
    make_message,
    refusal,
    template_message,
)

OPENAPI = "github.com/facebook/openapi, business-messaging-api_v23.0.yaml, POST messages, 2026-11"
PYWA = "github.com/david-lev/pywa 4.5.0, tests and types/sent_update.py, 2026-11"
GRAPH = "developers.facebook.com/docs/graph-api/guides/error-handling, 2026-11"
MADE_UP = "made up: what proxies and broken servers answer"

PAIR = timedelta(seconds=4)
SECONDS = timedelta(seconds=5)
MINUTE = timedelta(minutes=1)
MINUTES = timedelta(minutes=5)
HOUR = timedelta(hours=1)


def refused(code: int, outcome: Outcome, details: str | None = None, *, http_status: int = 400) -> SendCase:
    title = ERRORS[code].title
    answer = refusal(code, title, details, http_status=http_status)
    return SendCase(name=f"{code} {title}", answer=answer, outcome=outcome, source=ERROR_PAGE)


def rejected(code: int, why: Code, details: str = "", *, http_status: int = 400) -> SendCase:
    outcome = Rejected(why, said(code, details), str(code))
    return refused(code, outcome, details or None, http_status=http_status)


def waits(code: int, after: timedelta | None = None, *, sender: bool = True, http_status: int = 400) -> SendCase:
    return refused(code, Retry(said(code), after, "sender" if sender else "message"), http_status=http_status)


def ours(code: int, http_status: int = 400) -> SendCase:
    return refused(code, Misconfigured(said(code)), http_status=http_status)


def template_s(code: int) -> SendCase:
    return refused(code, Misconfigured(said(code), scope="action"), http_status=404)


def taken(name: str, answer: HttpResponse, message: Outbound | None = None, source: str = OPENAPI) -> SendCase:
    return SendCase(name=name, answer=answer, outcome=Accepted((WAMID,)), source=source, message=message)


TAKEN: tuple[SendCase, ...] = (
    taken("a free text, to a number", accepted()),
    taken("a template", accepted("accepted"), template_message({"1": "Ada"})),
    taken("held back until Meta knows the template", accepted("held_for_quality_assessment"), template_message(), PYWA),
    taken("of a template that is paused", accepted("paused"), template_message(), PYWA),
    taken("a state that nobody knows yet", accepted("teleporting"), template_message(), PYWA),
    taken(
        "to a business-scoped user id",
        json_reply(
            200,
            {
                "messaging_product": "whatsapp",
                "contacts": [{"input": USER, "user_id": USER}],
                "messages": [{"id": WAMID}],
            },
        ),
        make_message(USER),
        "github.com/nyaruka/courier, handlers/meta/whatsapp/payloads_test.go, 2026-11",
    ),
)

REFUSALS: tuple[SendCase, ...] = (
    ours(0, 401),
    ours(3, 500),
    ours(10, 403),
    ours(104, 401),
    ours(190, 401),
    ours(200, 403),
    ours(368, 403),
    ours(131005, 403),
    ours(131031, 403),
    ours(131037),
    ours(131042),
    ours(131045, 500),
    ours(133010),
    ours(134011, 500),
    waits(4, MINUTES),
    waits(4, MINUTES, http_status=429),
    waits(80007, MINUTES),
    waits(130429, SECONDS, http_status=429),
    waits(131048, HOUR),
    waits(131057, MINUTE, http_status=500),
    waits(131064, HOUR),
    waits(133016, HOUR),
    waits(131056, PAIR, sender=False),
    waits(131056, PAIR, sender=False, http_status=429),
    waits(1, sender=False),
    waits(2, sender=False, http_status=503),
    waits(131000, sender=False, http_status=500),
    waits(131016, sender=False, http_status=500),
    waits(131053, sender=False),
    waits(132069, MINUTES, sender=False),
    waits(133004, sender=False, http_status=503),
    rejected(100, Code.PROVIDER, "Parameter name is missing or empty"),
    rejected(130472, Code.BLOCKED),
    rejected(130497, Code.PROVIDER, http_status=403),
    rejected(131008, Code.PROVIDER),
    rejected(131009, Code.PROVIDER, "Parameter value is not valid"),
    rejected(131021, Code.INVALID_ADDRESS),
    rejected(131026, Code.UNREACHABLE, "Message Undeliverable."),
    rejected(131030, Code.PROVIDER, "Recipient phone number not in allowed list"),
    rejected(131047, Code.WINDOW_CLOSED),
    rejected(131047, Code.WINDOW_CLOSED, http_status=403),
    rejected(131049, Code.BLOCKED),
    rejected(131051, Code.CONTENT),
    rejected(131062, Code.UNREACHABLE),
    rejected(132000, Code.TEMPLATE, "body: number of localizable_params (1) does not match the expected number (2)"),
    rejected(132005, Code.TEMPLATE),
    rejected(132007, Code.CONTENT),
    rejected(132012, Code.TEMPLATE, "header: Format mismatch, expected IMAGE, received UNKNOWN"),
    rejected(132018, Code.TEMPLATE, "Param text cannot have new-line/tab characters or more than 4 consecutive spaces"),
    rejected(135000, Code.PROVIDER),
    template_s(131063),
    template_s(132001),
    template_s(132015),
    template_s(132016),
    template_s(132068),
    refused(131050, OptedOut(said(131050), "marketing")),
    SendCase(
        name="the second failure of a file",
        answer=refusal(131053, ERRORS[131053].title),
        outcome=Rejected(Code.MEDIA, said(131053), "131053"),
        source="github.com/nyaruka/courier, handlers/meta, 2026-11",
        message=make_message("+16505551234", ref="msg_again", attempt=2),
    ),
    SendCase(
        name="the third time that a pair is too fast",
        answer=refusal(131056, ERRORS[131056].title),
        outcome=Retry(said(131056), timedelta(seconds=64)),
        source=ERROR_PAGE,
        message=make_message("+16505551234", ref="msg_again", attempt=3),
    ),
    SendCase(
        name="a limit with a Retry-After, which Meta does not promise",
        answer=json_reply(429, {"error": {"code": 130429, "message": "(#130429) Rate limit hit"}}, retry_after="17"),
        outcome=Retry(said(130429, "Rate limit hit"), timedelta(seconds=17), "sender"),
        source="github.com/gokapso/whatsapp-cloud-api-js, src/errors, 2026-11",
    ),
    SendCase(
        name="a token that expired in the middle",
        answer=refusal(190, f"Error validating access token {TOKEN}: Session has expired", http_status=401),
        outcome=Misconfigured(said(190, "Error validating access token (a token): Session has expired")),
        source=GRAPH,
    ),
    SendCase(
        name="a phone_number_id that is not ours",
        answer=json_reply(
            400,
            {
                "error": {
                    "message": f"Unsupported post request. Object with ID '{NUMBER_ID}' does not exist",
                    "type": "GraphMethodException",
                    "code": 100,
                    "error_subcode": 33,
                    "fbtrace_id": "AZ1",
                }
            },
        ),
        outcome=Misconfigured(said(33, "Unsupported post request. Object with ID '(a number)' does not exist")),
        source=GRAPH,
    ),
    SendCase(
        name="a code that is not in the table",
        answer=refusal(139999, "Something new"),
        outcome=Rejected(Code.PROVIDER, "Meta refused it: Something new", "139999"),
        source=ERROR_PAGE,
    ),
    SendCase(
        name="a code that is not in the table, of which Meta says that it passes",
        answer=refusal(139999, "Something new", is_transient=True),
        outcome=Retry("Meta says that it will pass: HTTP 400, code 139999: Something new"),
        source=GRAPH,
    ),
)

BROKEN: tuple[SendCase, ...] = (
    SendCase(
        name="500 with a code that is not in the table",
        answer=refusal(139999, "Something new", http_status=500),
        outcome=Unknown("Meta answered HTTP 500, code 139999: Something new"),
        source=MADE_UP,
    ),
    SendCase(
        name="502 of a proxy",
        answer=text_reply(502, "<html>Bad gateway</html>", "text/html"),
        outcome=Unknown("Meta answered HTTP 502"),
        source=MADE_UP,
    ),
    SendCase(
        name="408", answer=text_reply(408, ""), outcome=Unknown("Meta answered HTTP 408"), source="RFC 9110, 15.5.9"
    ),
    SendCase(
        name="a redirect",
        answer=text_reply(302, "", location="https://elsewhere.example/"),
        outcome=Unknown("Meta answered HTTP 302"),
        source=MADE_UP,
    ),
    SendCase(
        name="429 with Retry-After and no JSON",
        answer=text_reply(429, "slow down", retry_after="7"),
        outcome=Retry("Meta asks to send more slowly: HTTP 429", timedelta(seconds=7), "sender"),
        source="RFC 9110, 10.2.3",
    ),
    SendCase(
        name="429 with a Retry-After that no calendar has",
        answer=text_reply(429, "slow down", retry_after="Fri, 31 Dec 99999999999999999999 23:59:59 GMT"),
        outcome=Retry("Meta asks to send more slowly: HTTP 429", SECONDS, "sender"),
        source=MADE_UP,
    ),
    *(
        SendCase(
            name=f"200 with {name}",
            answer=HttpResponse(200, {}, body),
            outcome=Unknown("Meta answered HTTP 200 with something that is no message"),
            source=MADE_UP,
        )
        for name, body in {
            "HTML": b"<html>Welcome to the hotel's network</html>",
            "nothing": b"",
            "a list": b"[]",
            "a number": b"7",
            "no messages": b'{"messaging_product":"whatsapp"}',
            "an empty list of messages": b'{"messages":[]}',
            "half a message": b'{"messages":[{"id":"wam',
            "an id of another type": b'{"messages":[{"id":7}]}',
            "an id that is none": b'{"messages":[{"id":"a b"}]}',
            "a message and an error": b'{"messages":[{"id":"wamid.1"}],"error":{"code":131000}}',
            "bytes that are no text": b'\xff\xfe{"messages"',
            "deep nesting": b"[" * 100_000,
        }.items()
    ),
    SendCase(
        name="403 of a proxy",
        answer=text_reply(403, "<html>Forbidden</html>", "text/html"),
        outcome=Misconfigured("Meta does not let us in: HTTP 403"),
        source=MADE_UP,
    ),
    SendCase(
        name="404 of another server: api_url is wrong",
        answer=text_reply(404, "not found"),
        outcome=Misconfigured("Meta does not let us in: HTTP 404"),
        source=MADE_UP,
    ),
    SendCase(
        name="400 that says nothing",
        answer=text_reply(400, ""),
        outcome=Rejected(Code.PROVIDER, "Meta refused it: HTTP 400", "HTTP 400"),
        source=MADE_UP,
    ),
    SendCase(
        name="400 with an error without a code",
        answer=json_reply(400, {"error": {"message": "Oops"}}),
        outcome=Rejected(Code.PROVIDER, "Meta refused it: HTTP 400: Oops", "HTTP 400"),
        source=MADE_UP,
    ),
)

CASES = Cases(sends=(*TAKEN, *REFUSALS, *BROKEN), callbacks=CALLBACKS)
