"""What the loft's problems mean, of a flight that was asked for and of one that failed.

Source: the Loft API, version 2, chapter 7 "Problems", 2026-03-01.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from gateway import Code, Misconfigured, OptedOut, Outcome, Rejected, Retry

PROBLEMS: Final[Mapping[str, Outcome]] = {
    "no_such_coop": Rejected(
        Code.INVALID_ADDRESS,
        "There is no such coop",
        provider_code="no_such_coop",
        address_dead=True,
    ),
    "note_too_heavy": Rejected(
        Code.TOO_LONG, "The note is too heavy", provider_code="note_too_heavy"
    ),
    "hawk": Rejected(Code.UNREACHABLE, "A hawk took the bird", provider_code="hawk"),
    "released": OptedOut("This coop wants no more notes"),
    "storm": Retry(
        "No bird flies in a storm", after=timedelta(minutes=20), scope="sender"
    ),
    "feed_unpaid": Misconfigured("The feed is not paid: the loft keeps its birds in"),
}


def code_of(problem: str) -> Code | None:
    """Why a flight failed, for its receipt."""
    match PROBLEMS.get(problem):
        case Rejected(code=code):
            return code
        case OptedOut():
            return Code.BLOCKED
        case None:
            return None
    return Code.PROVIDER
