"""What was asked of the gateway, and when its answers came: the first of the three records that are compared.

Instants are positions in the provider's record: what it takes after an answer has come stands behind that position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(kw_only=True)
class Asked:
    """A bulk action or a single message. `may`: how often each address may get it; retries add to it."""

    tag: str
    may: Counter[str]
    id: str | None = None  # known when the gateway has answered
    drip: bool = False
    sleeper: bool = False  # it only starts long after the end, and is there to be edited
    cancelled: bool = False
    was_cancelled: bool = False  # at some time; a doubt that it left stays for a person, also when others are retried
    paused: bool = False
    retries: int = 0


@dataclass(kw_only=True)
class Silence:
    """From a committed answer on nothing may be sent any more but what was in flight: a promise, until `end`."""

    why: Literal["cancel", "pause", "opt_out"]
    tag: str | None  # None: in whatever action
    address: str | None  # None: to whomever
    start: int
    life: int  # in which it was answered
    end: int | None = None


@dataclass(kw_only=True)
class Ledger:
    """Everything that was asked in one run."""

    actions: list[Asked] = field(default_factory=list)
    singles: list[Asked] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    opted_out: set[str] = field(default_factory=set)  # asked for, whether or not an answer came
    starts: list[int] = field(default_factory=list)  # of the daemon: the position at each

    @property
    def known(self) -> Sequence[Asked]:
        """Actions whose ids we were told, oldest first; without the sleeper."""
        return [action for action in self.actions if action.id is not None and not action.sleeper]

    def hush(self, why: Literal["cancel", "pause", "opt_out"], position: int, **whom: str) -> None:
        """A cancel, pause or opt-out was answered."""
        tag, address = whom.get("tag"), whom.get("address")
        self.silences.append(Silence(why=why, tag=tag, address=address, start=position, life=len(self.starts) - 1))

    def speak(self, tag: str, position: int, why: Iterable[str]) -> None:
        """A resume or a retry is about to be asked for."""
        for silence in self.silences:
            if silence.tag == tag and silence.end is None and silence.why in why:
                silence.end = position
