"""What a simulator of a provider does wrong on request, and when."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeVar

HUGE_BYTES: Final = 3 * 1024 * 1024  # of a garbage answer: three times what the gateway reads

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing to do wrong with requests.

    It acts on requests number `first` to `first + times - 1`, counted from 1 since the faults were set; only those that
    `on` and `to` match are counted.
    """

    on: Literal["send", "read"] = "send"  # "read": look-ups, templates and the account
    to: str = "*"  # shell pattern for the recipient as sent (`whatsapp:+1...`); reads match only "*"
    first: int = 1
    times: int | None = None  # None: for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle(Fault):
    """The provider asks to send more slowly (Twilio: 429 with code 20429): not processed."""

    retry_after: str | None = None  # the header, as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang(Fault):
    """Never answer."""

    accepted: bool = True  # whether the message was taken before


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerError(Fault):
    """A 5xx, which does not say whether the message was taken."""

    status: int = 500
    accepted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage(Fault):
    """An answer that is none of the provider's. With a redirect the status is 302, else it is 200."""

    kind: Literal["html", "empty", "huge", "redirect", "wrong_type"] = "html"
    accepted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse(Fault):
    """One of the provider's errors."""

    code: int
    status: int = 400
    message: str = "Refused by the script"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """How messages to some recipients end, instead of being delivered."""

    to: str = "*"  # shell pattern for the recipient as sent
    status: Literal["failed", "undelivered", "sent", "read"] = "undelivered"
    error_code: int | None = None  # the provider's

    @property
    def steps(self) -> tuple[str, ...]:
        """The statuses on the way there."""
        match self.status:
            case "undelivered":
                return ("sent", "undelivered")
            case "read":
                return ("sent", "delivered", "read")
            case _:
                return (self.status,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptTrouble:
    """What happens to status callbacks on their way to us. The same seed gives the same trouble."""

    delayed: bool = False  # kept until `release_receipts`
    copies: int = 1  # each is posted so often
    shuffled: bool = False  # those released together, else those of one message, in another order
    lost: float = 0.0  # the share that never arrives, from 0 to 1
    seed: int = 0


def fate_of(to: str, fates: Sequence[Fate]) -> Fate | None:
    """The first fate that is meant for this recipient."""
    return next((fate for fate in fates if fnmatchcase(to, fate.to)), None)


class FaultPlan:
    """The faults in force, with their counters."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        self._passes: Counter[int] = Counter()

    def next(self, on: Literal["send", "read"], to: str = "") -> Fault | None:
        """The first fault that acts on this request."""
        found = None
        for number, fault in enumerate(self.faults):
            if fault.on != on or not fnmatchcase(to, fault.to):
                continue
            self._passes[number] += 1
            passed = self._passes[number]
            in_force = fault.first <= passed and (fault.times is None or passed < fault.first + fault.times)
            if in_force and found is None:
                found = fault
        return found


class Troublemaker:
    """Applies a `ReceiptTrouble` to lists of receipts."""

    def __init__(self, trouble: ReceiptTrouble) -> None:
        self.trouble = trouble
        self._random = random.Random(trouble.seed)  # noqa: S311 - repeatable trouble, no secret

    def befall(self, receipts: Sequence[T]) -> list[T]:
        """What is left of the receipts, how often, and in which order."""
        repeated = [one for one in receipts for _ in range(self.trouble.copies)]
        left = [one for one in repeated if not self.trouble.lost or self._random.random() >= self.trouble.lost]
        if self.trouble.shuffled:
            self._random.shuffle(left)
        return left
