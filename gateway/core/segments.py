"""How many SMS a text becomes: the unit that providers charge and limit by.

A text of the GSM alphabet has seven bits a character, any other has UTF-16's sixteen; a text of several parts gives up
some room in each part to say that they belong together (3GPP TS 23.038 and 23.040). A character that takes two units is
never cut in half, so a part may end one unit early.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

GSM7_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""One septet each (3GPP TS 23.038, 6.2.1). Lower-case ç, the backtick and typographic quotes are not among them."""
GSM7_EXTENSION: Final = "\f^{}\\[~]|€"
"""Two septets each: an escape and a character (6.2.1.1)."""

GSM7_SINGLE: Final = 160  # septets of a text that is one SMS
GSM7_PART: Final = 153  # of one part of several: the header takes 48 bits
UCS2_SINGLE: Final = 70  # UTF-16 units
UCS2_PART: Final = 67

_GSM7: Final = re.compile(f"[{re.escape(GSM7_BASIC + GSM7_EXTENSION)}]*")
_DOUBLE: Final = re.compile(f"[{re.escape(GSM7_EXTENSION)}]")
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """`units` are septets or UTF-16 units; `segments` is how many SMS it takes, at least one."""

    encoding: Literal["gsm7", "ucs2"]
    units: int
    segments: int


def count_segments(text: str) -> Segments:
    """What a text costs. About a microsecond for a text of one SMS."""
    if _GSM7.fullmatch(text):
        return _counted(text, "gsm7", _DOUBLE, GSM7_SINGLE, GSM7_PART)
    return _counted(text, "ucs2", _ASTRAL, UCS2_SINGLE, UCS2_PART)


def _counted(text: str, encoding: Literal["gsm7", "ucs2"], double: re.Pattern[str], single: int, part: int) -> Segments:
    places = [found.start() for found in double.finditer(text)]
    units = len(text) + len(places)
    if units <= single:
        return Segments(encoding=encoding, units=units, segments=1)
    if not places:
        return Segments(encoding=encoding, units=units, segments=-(-units // part))
    return Segments(encoding=encoding, units=units, segments=_parts(len(text), places, part))


def _parts(characters: int, places: list[int], part: int) -> int:
    """How many parts, where the characters at `places` take two units and must not be cut."""
    number, start, at = 0, 0, 0
    while start < characters:
        number += 1
        room, position = part, start
        while room > 0 and position < characters:
            following = places[at] if at < len(places) else characters
            plain = min(room, following - position)
            position += plain
            room -= plain
            if position == following and position < characters and room > 0:
                if room == 1:
                    break
                position += 1
                room -= 2
                at += 1
        start = position
    return number
