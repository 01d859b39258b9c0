"""Reading what a loft says, which may be anything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from gateway import Receipt, Status

from carrier_pigeon.problems import code_of

TEXT_MAX: Final = 10_000  # characters

STATES: Final[Mapping[str, Status]] = {
    "waiting": Status.ACCEPTED,
    "aloft": Status.SENT,
    "landed": Status.DELIVERED,
    "unrolled": Status.READ,
    "lost": Status.FAILED,
    "turned_back": Status.UNDELIVERED,
}


def members(body: bytes) -> Mapping[str, Any]:
    """The object in a body; an empty one if there is none."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def objects(value: object) -> list[Mapping[str, Any]]:
    """The objects in a list; none if it is no list."""
    if not isinstance(value, list):
        return []
    return [one for one in value if isinstance(one, dict)]


def text(value: object) -> str:
    """A text of a sane length; "" for anything else."""
    return value if isinstance(value, str) and len(value) <= TEXT_MAX else ""


def instant(value: object) -> datetime | None:
    """`2026-06-01T08:00:00Z`; None for what is no instant."""
    try:
        at = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def receipt_of(flight: Mapping[str, Any]) -> Receipt | None:
    """What the loft says of a flight; None if it says nothing that we know."""
    status = STATES.get(text(flight.get("state")))
    number = text(flight.get("flight"))
    if status is None or not number:
        return None
    problem = text(flight.get("problem"))
    return Receipt(
        status=status,
        ref=text(flight.get("ring")) or None,
        provider_ids=(number,),
        at=instant(flight.get("at")),
        code=code_of(problem),
        provider_code=problem or None,
    )
