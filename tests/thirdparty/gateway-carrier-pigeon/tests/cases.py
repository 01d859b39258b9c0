"""What a loft answers and reports, and what it means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from gateway import (
    Accepted,
    CallbackRequest,
    Code,
    Consent,
    Inbound,
    Misconfigured,
    OptedOut,
    Receipt,
    Rejected,
    Retry,
    Status,
    Unknown,
)
from gateway.testing.cases import CallbackCase, Cases, SendCase, callback
from gateway.testing.doubles import json_reply, text_reply

from carrier_pigeon.reports import seal

SEAL_SECRET: Final = "canary-of-seals"
REF: Final = "msg_0c3v8h2k9m4qa"
API: Final = "the Loft API, version 2, 2026-03-01"
EIGHT: Final = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)


def report(*reports: dict[str, Any], secret: str = SEAL_SECRET) -> CallbackRequest:
    """A report with the loft's seal."""
    body = msgspec.json.encode({"reports": reports})
    at = "1780300800"
    return callback(
        "https://gateway.example/callbacks/main",
        body,
        headers={"X-Loft-Time": at, "X-Loft-Seal": seal(secret, at, body)},
        content_type="application/json",
    )


def flight(state: str, **more: str) -> dict[str, Any]:
    """What a report says of a flight."""
    said = {"kind": "flight", "flight": "F-000123", "ring": REF, "state": state}
    return {**said, "at": "2026-06-01T08:00:00Z", **more}


def receipt(status: Status, **more: Any) -> Receipt:
    """What `flight` means."""
    fields: dict[str, Any] = {"ref": REF, "provider_ids": ("F-000123",), "at": EIGHT}
    return Receipt(status=status, **{**fields, **more})


CASES: Final = Cases(
    sends=(
        SendCase(
            name="a bird is prepared",
            answer=json_reply(202, {"flight": "F-000123", "ring": REF}),
            outcome=Accepted(("F-000123",)),
            source=API,
        ),
        SendCase(
            name="the ring is known already",
            answer=json_reply(200, {"flight": "F-000123", "ring": REF}),
            outcome=Accepted(("F-000123",)),
            source=API,
        ),
        SendCase(
            name="no such coop",
            answer=json_reply(404, {"problem": "no_such_coop"}),
            outcome=Rejected(
                Code.INVALID_ADDRESS,
                "There is no such coop",
                provider_code="no_such_coop",
                address_dead=True,
            ),
            source=API,
        ),
        SendCase(
            name="released",
            answer=json_reply(409, {"problem": "released"}),
            outcome=OptedOut("This coop wants no more notes"),
            source=API,
        ),
        SendCase(
            name="a storm",
            answer=json_reply(409, {"problem": "storm"}),
            outcome=Retry(
                "No bird flies in a storm", after=timedelta(minutes=20), scope="sender"
            ),
            source=API,
        ),
        SendCase(
            name="unpaid feed",
            answer=json_reply(402, {"problem": "feed_unpaid"}),
            outcome=Misconfigured("The feed is not paid: the loft keeps its birds in"),
            source=API,
        ),
        SendCase(
            name="a bad token",
            answer=json_reply(401, {"problem": "who_are_you"}),
            outcome=Misconfigured("The loft does not know our token"),
            source=API,
        ),
        SendCase(
            name="a problem that nobody knows",
            answer=json_reply(400, {"problem": "moulting"}),
            outcome=Rejected(
                Code.PROVIDER, "The loft answered 400", provider_code="moulting"
            ),
            source="made up",
        ),
        SendCase(
            name="the loft is on fire",
            answer=text_reply(503, "Fire!"),
            outcome=Unknown("The loft answered 503"),
            source="made up",
        ),
    ),
    callbacks=(
        CallbackCase(
            name="landed and unrolled",
            request=report(flight("landed"), flight("unrolled")),
            events=(receipt(Status.DELIVERED), receipt(Status.READ)),
            source=API,
        ),
        CallbackCase(
            name="taken by a hawk",
            request=report(flight("lost", problem="hawk")),
            events=(
                receipt(Status.FAILED, code=Code.UNREACHABLE, provider_code="hawk"),
            ),
            source=API,
        ),
        CallbackCase(
            name="released: a failure and a wish",
            request=report(
                flight("turned_back", problem="released", coop="Coop-17 Lagos")
            ),
            events=(
                receipt(
                    Status.UNDELIVERED, code=Code.BLOCKED, provider_code="released"
                ),
                Consent(
                    address="Coop-17 Lagos",
                    wish="out",
                    source="provider",
                    at=EIGHT,
                    reason="The bird came back released",
                    ref=REF,
                ),
            ),
            source=API,
        ),
        CallbackCase(
            name="a note from a coop",
            request=report(
                {
                    "kind": "note",
                    "flight": "F-000777",
                    "from": "coop 17, lagos",
                    "note": "Coo.",
                    "answers": "F-000123",
                    "at": "2026-06-01T08:00:00Z",
                }
            ),
            events=(
                Inbound(
                    provider_id="F-000777",
                    address="coop 17, lagos",
                    text="Coo.",
                    at=EIGHT,
                    quotes=("F-000123",),
                ),
            ),
            source=API,
        ),
        CallbackCase(
            name="things that nobody knows",
            request=report({"kind": "egg", "flight": "F-1"}, flight("teleported")),
            events=(),
            source="made up",
        ),
        CallbackCase(
            name="sealed by another loft",
            request=report(flight("landed"), secret="another secret"),
            events=(),
            source="made up",
            genuine=False,
        ),
    ),
)
