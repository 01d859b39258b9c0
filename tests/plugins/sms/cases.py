"""Recorded cases of the Kannel adapter: what smsbox answers and calls back with, and what is made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from gateway import (
    Accepted,
    CallbackRequest,
    Code,
    Consent,
    Event,
    HttpResponse,
    Inbound,
    Misconfigured,
    Outcome,
    Receipt,
    Rejected,
    Retry,
    Status,
    Unknown,
)
from gateway.testing.cases import CallbackCase, Cases, SendCase, callback
from gateway.testing.doubles import text_reply

PERSON: Final = "+14155550100"
REF: Final = "msg_0c3v8h2k9m4qa"
SECRET: Final = "path-canary-7Qx2bN5d"
PASSWORD: Final = "password-canary-3Fk9"
URL: Final = "http://127.0.0.1:13013/cgi-bin/sendsms"
CALLBACK_URL: Final = "https://gateway.example/callbacks/main"
SETTINGS: Final[dict[str, Any]] = {
    "url": URL, "username": "dripgate", "password": PASSWORD, "secret": SECRET, "from": "13013",
}  # fmt: skip
RUN: Final = "Debian kannel 1.4.5-12 with fakesmsc, 2026-11"
SOURCE: Final = "Kannel 1.4.5, gw/smsbox.c, 2026-11"
GUIDE: Final = "Kannel 1.4.5, user guide, 2026-11"
SMPP: Final = "SMPP v3.4, appendix B and 5.1.3"
MADE_UP: Final = "made up: what proxies and broken servers answer"
AT: Final = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
STAMP: Final = str(int(AT.timestamp()))
FID: Final = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def answered(name: str, status: int, text: str, outcome: Outcome, source: str = RUN) -> SendCase:
    return SendCase(name=name, answer=text_reply(status, text), outcome=outcome, source=source)


SENDS: Final = (
    answered("taken", 202, "0: Accepted for delivery", Accepted()),
    answered("queued", 202, "3: Queued for later delivery", Accepted(), SOURCE),
    answered("sent at once", 202, "Sent. Message splits: 2", Accepted(), SOURCE),
    answered(
        "not routable", 403, "Not routable. Do not try again.",
        Rejected(Code.UNREACHABLE, "Not routable (Kannel)", "not_routable"), SOURCE,
    ),
    answered(
        "wrong password", 403, "Authorization failed for sendsms",
        Misconfigured("Kannel: Authorization failed for sendsms"),
    ),
    answered(
        "no receiver", 400, "Missing receiver number, rejected",
        Rejected(Code.INVALID_ADDRESS, "Missing receiver number (Kannel)", "missing_receiver"),
    ),
    answered(
        "bearerbox is away", 503, "Temporal failure, try again later.",
        Retry("Kannel: Temporal failure, try again later.", scope="sender"), SOURCE,
    ),
    answered("a wrong path", 404, "Not found", Misconfigured("Kannel does not let us in: HTTP 404: Not found")),
    answered("a proxy's limit", 429, "slow", Retry("Kannel: HTTP 429: slow", scope="sender"), MADE_UP),
    answered("refused otherwise", 400, "Bad udh", Rejected(Code.PROVIDER, "Kannel refused it: Bad udh", "HTTP 400")),
    answered("a guest network's page", 200, "<html>hello", Unknown("Kannel answered HTTP 200: '<html>hello'"), MADE_UP),
    answered("nothing", 202, "", Unknown("Kannel answered HTTP 202: ''"), MADE_UP),
    answered("a fault", 500, "oops", Unknown("Kannel answered HTTP 500: oops"), MADE_UP),
    SendCase(
        name="a redirect",
        answer=HttpResponse(302, {"location": "http://elsewhere/"}, b""),
        outcome=Unknown("Kannel answered HTTP 302: "),
        source=MADE_UP,
    ),
)  # fmt: skip


def report(
    status: int | str, answer: str = "", fid: str = FID, ref: str = REF, secret: str = SECRET
) -> CallbackRequest:
    query = f"ref={ref}&status={status}&answer={quote(answer)}&fid={fid}&at={STAMP}"
    return callback(f"{CALLBACK_URL}/{secret}/dlr?{query}", method="GET")


def written(query: str, secret: str = SECRET) -> CallbackRequest:
    return callback(f"{CALLBACK_URL}/{secret}/mo?{query}", method="GET")


def told(name: str, request: CallbackRequest, *events: Event, source: str = RUN, genuine: bool = True) -> CallbackCase:
    return CallbackCase(name=name, request=request, events=events, source=source, genuine=genuine)


def receipt(status: Status, **more: Any) -> Receipt:
    return Receipt(status=status, ref=REF, provider_ids=(FID,), at=AT, **more)


UNDELIVERABLE: Final = (
    f"id:{FID} sub:001 dlvrd:000 submit date:2606010800 done date:2606010801 stat:UNDELIV err:069 text:Hi"
)
EXPIRED: Final = f"id:{FID} sub:001 dlvrd:000 stat:EXPIRED err:000"
MO: Final = f"from=14155550100&to=13013&text=STOP+please&id={FID}&ts={STAMP}&charset=UTF-8"

CALLBACKS: Final = (
    told("with the SMSC", report(8, "ACK/", fid=""), Receipt(status=Status.SENT, ref=REF, at=AT)),
    told("delivered", report(1), receipt(Status.DELIVERED)),
    told("buffered", report(4, "ACK/"), receipt(Status.ACCEPTED), source=GUIDE),
    told("intermediate", report(32), receipt(Status.SENT), source=GUIDE),
    told(
        "undeliverable",
        report(2, UNDELIVERABLE),
        receipt(Status.UNDELIVERED, code=Code.UNREACHABLE, reason=UNDELIVERABLE, provider_code="UNDELIV"),
        source=SMPP,
    ),
    told(
        "delivered by its bit, and undeliverable in the SMSC's own word",
        report(1, UNDELIVERABLE),
        receipt(Status.UNDELIVERED, code=Code.UNREACHABLE, reason=UNDELIVERABLE, provider_code="UNDELIV"),
        source=SMPP,
    ),
    told(
        "refused by its bit, and expired in the SMSC's own word",
        report(16, EXPIRED),
        receipt(Status.EXPIRED, code=Code.EXPIRED, reason=EXPIRED, provider_code="EXPIRED"),
        source=SMPP,
    ),
    told(
        "expired",
        report(2, EXPIRED),
        receipt(Status.EXPIRED, code=Code.EXPIRED, reason=EXPIRED, provider_code="EXPIRED"),
        source=SMPP,
    ),
    told(
        "refused by the SMSC",
        report(16, "NACK/11/Invalid Destination Address"),
        receipt(
            Status.FAILED, code=Code.INVALID_ADDRESS, reason="Invalid Destination Address", provider_code="0x0B",
        ),
        source=SMPP,
    ),
    told("refused without a word", report(16), receipt(Status.FAILED), source=GUIDE),
    told("a number that is no report", report(64)),
    told("no number at all", report("abc")),
    told("of nobody", report(1, ref="")),
    told(
        "written by a person",
        written(MO),
        Inbound(provider_id=FID, address=PERSON, text="STOP please", at=AT),
    ),
    told(
        "in another charset",
        written("from=14155550100&text=%04%3f%04%40&id=1&charset=UTF-16BE"),
        Inbound(provider_id="1", address=PERSON, text="пр"),
        source=GUIDE,
    ),
    *(
        told(
            f"in the charset {charset!r}",
            written(f"from=14155550100&text={text}&id=1&charset={charset}"),
            Inbound(provider_id="1", address=PERSON, text=read),
            source=GUIDE,
        )
        for charset, text, read in (
            ("UTF-8", "caf%C3%A9", "café"),
            ("ISO-8859-1", "caf%E9", "café"),
            ("UCS-2", "%04%3f", "п"),
            ("", "caf%C3%A9", "café"),
        )
    ),
    *(
        told(
            f"in a charset that nobody has, {charset!r}",
            written(f"from=14155550100&text=%C3%A9%FF&id=1&charset={charset}"),
            Inbound(provider_id="1", address=PERSON, text="é\ufffd"),
            source=MADE_UP,
        )
        for charset in ("klingon", "hex", "rot13", "undefined", "idna", "punycode", "a%00b")
    ),
    told(
        "from a short code",
        written(f"from=70123&text=Win&id=2&ts={STAMP}"),
        Inbound(provider_id="2", address="70123", text="Win", at=AT),
    ),
    told(
        "in the country's own spelling",
        written("from=08031234567&text=Hi&id=3"),
        Inbound(provider_id="3", address="08031234567", text="Hi"),
    ),
    told("from nobody", written("from=&text=Hi&id=4")),
    told("with another secret", report(1, secret="path-canary-0000000"), genuine=False),
    told("without a secret", callback(f"{CALLBACK_URL}/dlr?ref={REF}&status=1", method="GET"), genuine=False),
    told("with the secret only", callback(f"{CALLBACK_URL}/{SECRET}?ref={REF}&status=1", method="GET"), genuine=False),
)  # fmt: skip

CASES: Final = Cases(sends=SENDS, callbacks=CALLBACKS)

OPTED_OUT: Final = (
    receipt(Status.UNDELIVERED, code=Code.UNREACHABLE, reason=UNDELIVERABLE, provider_code="UNDELIV"),
    Consent(address="", wish="out", source="provider", ref=REF, reason=UNDELIVERABLE),
)
