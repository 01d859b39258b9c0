"""What is going to be done to a daemon: scenarios, and lives that end in a death. The same seed makes the same plan."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from gateway.engine.crash import POINTS

W: Final = 8  # messages of the sender that may be in flight
RATE: Final = 150  # messages a second: a life always finds something to send
PEOPLE: Final = 300
RECEIPT_POINTS: Final = ("receipt_stored", "receipt_merged")
NAMED_SHARE: Final = 0.4  # of the deaths; the others come at random instants
NAMED_SHARE_MOST: Final = 0.7  # of a few, so that each point is among them
BEFORE_READY: Final = 0.15  # of those: while the daemon is still starting
WHOLE_SHARE: Final = 0.1  # of the starts: a whole new process instead of a fork
LIFE_SECONDS: Final = 0.5
CREATE_EVERY: Final = 0.5  # of the lives, an action; on average it is as much as two of them send

# How far a point is passed before it kills: a number of times between 1 and this.
TIMES: Final = {
    "snapshot_chunk": 1,
    "batch_released": 2,
    "intent_committed": 12,
    "provider_answered": 40,
    "outcome_committed": 12,
    "receipt_stored": 40,
    "receipt_merged": 4,
    "edit_committed": 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of provider, and what becomes of doubts."""

    name: str
    provider: Literal["mail", "texts"]
    on_unknown: Literal["resend", "hold"]
    lookup: bool = False

    @property
    def may_duplicate(self) -> bool:
        """Only where nobody can be asked, and the operator prefers two messages to none."""
        return self.on_unknown == "resend" and not self.lookup

    @property
    def points(self) -> tuple[str, ...]:
        """The named crash points that its daemon passes."""
        return POINTS if self.provider == "texts" else tuple(point for point in POINTS if point not in RECEIPT_POINTS)


SCENARIOS: Final = (
    Scenario(name="mail, resend", provider="mail", on_unknown="resend"),
    Scenario(name="texts, look-up", provider="texts", on_unknown="hold", lookup=True),
    Scenario(name="texts, hold", provider="texts", on_unknown="hold"),
    Scenario(name="texts, resend", provider="texts", on_unknown="resend"),
)


class Deed(StrEnum):
    """What people do meanwhile."""

    SEND_NOW = "send_now"
    DRIP = "drip"
    EDIT = "edit"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    OPT_OUT = "opt_out"
    RETRY = "retry"
    SINGLE = "single"


# How often in a life, on average.
CHANCES: Final = {
    Deed.EDIT: 0.3,
    Deed.PAUSE: 0.2,
    Deed.RESUME: 0.3,
    Deed.CANCEL: 0.12,
    Deed.OPT_OUT: 0.3,
    Deed.RETRY: 0.3,
    Deed.SINGLE: 0.5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A deed, `at` seconds after the daemon is ready. `seed` decides whom it concerns."""

    at: float
    deed: Deed
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """At the `times`-th pass of a named point, or (`point` None) `after` seconds from the start or from readiness."""

    point: str | None = None
    times: int = 1
    after: float = 0.0
    before_ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """From a start of the daemon to its death. `whole`: not forked from a process that has imported everything."""

    whole: bool
    death: Death
    steps: tuple[Step, ...]


def plan(scenario: Scenario, kills: int, seed: str) -> tuple[Life, ...]:
    """`kills` lives."""
    chance = random.Random(f"{scenario.name} {seed}")
    return tuple(
        Life(
            whole=chance.random() < WHOLE_SHARE,
            death=_death(point, chance),
            steps=_steps(chance, first=number == 0),
        )
        for number, point in enumerate(_points(scenario, kills, chance))
    )


def _points(scenario: Scenario, kills: int, chance: random.Random) -> list[str | None]:
    """At which named point each life ends, if at one. All come equally often, and each of them if there is room."""
    named = max(int(kills * NAMED_SHARE), min(len(scenario.points), int(kills * NAMED_SHARE_MOST)))
    points = itertools.islice(itertools.cycle(chance.sample(scenario.points, len(scenario.points))), named)
    ends = [*points, *([None] * (kills - named))]
    chance.shuffle(ends)
    return ends


def _death(point: str | None, chance: random.Random) -> Death:
    if point is not None:
        return Death(point=point, times=chance.randint(1, TIMES[point]))
    before = chance.random() < BEFORE_READY
    return Death(after=chance.uniform(0.0, 0.2 if before else LIFE_SECONDS), before_ready=before)


def _steps(chance: random.Random, *, first: bool) -> tuple[Step, ...]:
    deeds = [deed for deed, often in CHANCES.items() if chance.random() < often]
    if first or chance.random() < CREATE_EVERY:
        deeds.append(chance.choice((Deed.SEND_NOW, Deed.SEND_NOW, Deed.DRIP)))
    steps = [Step(at=chance.uniform(0.0, LIFE_SECONDS * 0.5), deed=deed, seed=chance.getrandbits(32)) for deed in deeds]
    return tuple(sorted(steps, key=lambda step: step.at))
