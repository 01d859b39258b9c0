"""The time zones that a person may be in: the own one, else those of the telephone number's region."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import phonenumbers
from phonenumbers import timezone

from gateway.core.window import zone_named

_NUMBERS_KEPT: Final = 4_096  # reading a number takes up to a millisecond; a deferred one is read again soon


def zones_of_person(own: str | None, number: str | None, fallback: str) -> tuple[str, ...]:
    """IANA names, never none: `own` if it is a zone, else all of the region of `number` (E.164), else `fallback`."""
    if own is not None and zone_named(own) is not None:
        return (own,)
    return (zones_of_number(number) if number is not None else ()) or (fallback,)


@lru_cache(maxsize=_NUMBERS_KEPT)
def zones_of_number(number: str) -> tuple[str, ...]:
    """All time zones of the smallest region that the prefix of a number in E.164 tells, sorted; () if it tells none.

    A mobile number says no more than its country in most countries: an Australian one may be in eight zones.
    """
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return ()
    return tuple(sorted(name for name in timezone.time_zones_for_number(parsed) if zone_named(name) is not None))
