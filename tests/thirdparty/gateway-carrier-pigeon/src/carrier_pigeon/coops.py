"""The channel, and how the address of a coop is spelled."""

from __future__ import annotations

import re
from typing import Final

from gateway import Channel

_COOP: Final = re.compile(
    r"coop\s*-?\s*0*(?P<number>[1-9][0-9]{0,5})[\s,]+(?P<city>[a-z]+(?:[\s-][a-z]+)*)",
    re.ASCII | re.IGNORECASE,
)
CITY_MAX: Final = 60  # characters


def normalise(address: str, region: str | None) -> str:
    """`coop 17, LAGOS` is `Coop-17 Lagos`. ValueError says what is wrong."""
    found = _COOP.fullmatch(address.strip())
    if found is None or len(found["city"]) > CITY_MAX:
        raise ValueError(f"{address[:80]!r} is no coop such as 'Coop-17 Lagos'.")
    city = " ".join(word.capitalize() for word in found["city"].split())
    return f"Coop-{found['number']} {city}"


PIGEON: Final = Channel(
    name="pigeon",
    title="Pigeon",
    normalise=normalise,
    takes=frozenset({"text"}),
)
