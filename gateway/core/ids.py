"""Identifiers: 63-bit integers that grow with time, written as a prefix and Crockford base32.

An integer key keeps rows in the order of their creation and an index on it append-only; the text form is what people
and other programs see (`ba_0c3v8h2k9m4qa`). The text of a message's id is also its `ref`: the name under which a
provider may know it, so it stays inside `[a-z0-9_]{1,40}`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final, NewType

ActionId = NewType("ActionId", int)
MessageId = NewType("MessageId", int)
ContactKey = NewType("ContactKey", int)
"""Our own integer for a contact; its public id is the caller's text, or `ct_...`."""
OptOutId = NewType("OptOutId", int)
OrgId = NewType("OrgId", int)
SenderId = NewType("SenderId", int)
TemplateId = NewType("TemplateId", int)
"""Of a template of ours; those that providers keep have plain integers of the same sequence."""
WebhookId = NewType("WebhookId", int)

ACTION = "ba"
CONTACT = "ct"
CONVERSATION = "cv"
EVENT = "evt"
MESSAGE = "msg"
OPT_OUT = "oo"
TEMPLATE = "tpl"
WEBHOOK = "wh"

LAST_ID: Final = (1 << 63) - 1  # that there can ever be

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_AS_INT_READS: Final = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_DIGITS = 13  # 13 x 5 = 65 bits hold 63
_TAIL: Final = re.compile(f"[{_ALPHABET}]{{{_DIGITS}}}")
_PAIRS: Final = tuple(first + second for first in _ALPHABET for second in _ALPHABET)  # ten bits at once
_SEQUENCE_BITS = 21  # 2,097,152 ids in one millisecond; 42 bits of milliseconds last until the year 2109


def format_id(prefix: str, number: int) -> str:
    """`format_id("ba", 5)` is `"ba_0000000000005"`."""
    pairs = _PAIRS
    return (
        f"{prefix}_{_ALPHABET[number >> 60]}{pairs[number >> 50 & 1023]}{pairs[number >> 40 & 1023]}"
        f"{pairs[number >> 30 & 1023]}{pairs[number >> 20 & 1023]}{pairs[number >> 10 & 1023]}{pairs[number & 1023]}"
    )


def parse_id(prefix: str, text: str) -> int | None:
    """The integer behind a text id, or None if the text is no such id."""
    head, _, tail = text.partition("_")
    if head != prefix or not _TAIL.fullmatch(tail):
        return None
    number = int(tail.translate(_AS_INT_READS), 32)
    return number if number <= LAST_ID else None


def first_id(instant: datetime) -> int:
    """The smallest id that can have been taken at `instant` or later."""
    return int(instant.timestamp() * 1000) << _SEQUENCE_BITS


class IdSequence:
    """Unique integers, growing with time, for one process. Safe to call from several threads.

    `entropy()` gives a random integer of 20 bits: two processes that write to one database in the same millisecond
    start at different places.
    """

    def __init__(self, now: Callable[[], datetime], entropy: Callable[[], int]) -> None:
        self._now = now
        self._entropy = entropy
        self._last = 0
        self._lock = threading.Lock()

    def take(self) -> int:
        """The next integer; larger than every one before it, even if the clock stands or steps back."""
        with self._lock:
            floor = first_id(self._now())
            if floor > self._last:
                self._last = floor | (self._entropy() & ((1 << (_SEQUENCE_BITS - 1)) - 1))
            else:
                self._last += 1
            return self._last
