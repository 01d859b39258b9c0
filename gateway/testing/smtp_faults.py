"""What the SMTP server for tests does wrong on request, and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

import msgspec

GARBAGE: Final = "\x00\x7fHTTP/1.1 200 OK <html>"  # what answers where `reply` of a garbage fault is empty


class Stage(StrEnum):
    """Where in a session a fault acts."""

    GREETING = "greeting"  # instead of the 220
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"  # instead of the 354
    CONTENT = "content"  # as soon as the first byte of the message has come
    DOT = "dot"  # after the final dot, instead of the 250


class Act(StrEnum):
    """What a fault does."""

    REPLY = "reply"  # answer with `reply` instead
    HANG = "hang"  # never answer again, but keep the connection
    DISCONNECT = "disconnect"  # close the connection without an answer
    TRICKLE = "trickle"  # send the usual answer, one byte every `seconds`
    GARBAGE = "garbage"  # answer with something that is not SMTP


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to do wrong.

    It acts on passes number `first` to `first + times - 1` through its stage, counted from 1 over all connections since
    the faults were set; only passes that `to` matches are counted.
    """

    stage: Stage
    act: Act = Act.REPLY
    reply: str = ""  # "450 4.2.1 Come back later"; several lines separated by \n
    to: str = "*"  # shell pattern for the recipient; stages before RCPT have none and match only "*"
    first: int = 1
    times: int | None = None  # None: for ever
    seconds: float = 1.0  # between two bytes of a trickle
    recorded: bool = True  # DOT: whether the mail counts as received although the answer does not say so


class Faults:
    """The faults in force, with their counters. Replacing them starts the counters again."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        self.active = tuple(faults)
        self._passes: Counter[int] = Counter()

    def next(self, stage: Stage, recipient: str = "") -> Fault | None:
        """The first fault that acts on this pass through `stage`."""
        found = None
        for number, fault in enumerate(self.active):
            if fault.stage is not stage or not fnmatchcase(recipient, fault.to):
                continue
            self._passes[number] += 1
            passed = self._passes[number]
            in_force = fault.first <= passed and (fault.times is None or passed < fault.first + fault.times)
            if in_force and found is None:
                found = fault
        return found
