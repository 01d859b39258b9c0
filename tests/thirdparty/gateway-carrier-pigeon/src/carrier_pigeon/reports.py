"""The loft's reports: sealed callbacks, several things in each.

X-Loft-Seal is the hexadecimal HMAC-SHA256 of X-Loft-Time, a dot, and the body.
Source: the Loft API, version 2, chapter 9 "Reports", 2026-03-01.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from gateway import CallbackRequest, Consent, Event, Inbound

from carrier_pigeon.reading import instant, members, objects, receipt_of, text


def seal(secret: str, at: str, body: bytes) -> str:
    """What the loft puts into X-Loft-Seal."""
    sealed = at.encode("utf-8", "replace") + b"." + body
    return hmac.digest(secret.encode(), sealed, "sha256").hex()


def is_genuine(request: CallbackRequest, secret: str) -> bool:
    """Whether the seal is the loft's."""
    claimed = request.headers.get("x-loft-seal", "").encode("utf-8", "replace")
    at = request.headers.get("x-loft-time", "")
    return hmac.compare_digest(claimed, seal(secret, at, request.body).encode())


def events_of(body: bytes) -> Sequence[Event]:
    """What a report says, in its order; whatever cannot be read is left out."""
    events: list[Event] = []
    for said in objects(members(body).get("reports")):
        event = _event(said)
        if event is not None:
            events.append(event)
        if text(said.get("problem")) == "released":
            events.append(_released(said))
    return events


def _event(said: Mapping[str, Any]) -> Event | None:
    match text(said.get("kind")):
        case "flight":
            return receipt_of(said)
        case "note":
            return _note(said)
    return None


def _note(said: Mapping[str, Any]) -> Inbound | None:
    number, coop = text(said.get("flight")), text(said.get("from"))
    if not number or not coop:
        return None
    answered = text(said.get("answers"))
    return Inbound(
        provider_id=number,
        address=coop,
        text=text(said.get("note")),
        at=instant(said.get("at")),
        quotes=(answered,) if answered else (),
    )


def _released(said: Mapping[str, Any]) -> Consent:
    return Consent(
        address=text(said.get("coop")),
        wish="out",
        source="provider",
        at=instant(said.get("at")),
        reason="The bird came back released",
        ref=text(said.get("ring")) or None,
    )
