"""What came of a run, or of several: figures, and every sentence about something that does not hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Tally:
    """Figures add up over runs, but for those called `most`."""

    scenario: str
    runs: int = 1
    random_kills: int = 0
    named_kills: Counter[str] = field(default_factory=Counter)
    missed: int = 0  # named points that were not passed in time: killed all the same
    asked: int = 0  # messages: a recipient of an action, or a single one
    reached: int = 0  # of them: those whom the provider received it for, once or more often
    unreached: Counter[str] = field(default_factory=Counter)  # the others, by their state
    received: int = 0
    lost: int = 0
    duplicated: int = 0
    ambiguous: int = 0  # at all kills together
    ambiguous_most: int = 0  # at one kill
    listed: int = 0  # unknown at the end of the kills, by name
    resolved: int = 0  # of them: by a person
    contradicted: int = 0  # a state that the provider's record belies
    unbalanced: int = 0  # looks at the books that found a fault
    looks: int = 0
    silences: Counter[str] = field(default_factory=Counter)  # committed cancels, pauses, opt-outs
    late: Counter[str] = field(default_factory=Counter)  # sends after them, in flight at that instant
    late_most: int = 0  # after one of them
    too_late: int = 0  # sends after them, and after the next start
    starts: list[float] = field(default_factory=list)  # seconds from start to readiness, whole starts only
    firsts: list[float] = field(default_factory=list)  # seconds from a whole start to the first message
    faults: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return self.random_kills + self.named_kills.total()

    def add(self, other: Tally) -> None:
        """Another run."""
        for name in (
            "runs", "random_kills", "missed", "asked", "reached", "received", "lost", "duplicated", "ambiguous",
            "listed", "resolved", "contradicted", "unbalanced", "looks", "too_late",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for counter in ("named_kills", "silences", "late", "unreached"):
            getattr(self, counter).update(getattr(other, counter))
        for most in ("ambiguous_most", "late_most"):
            setattr(self, most, max(getattr(self, most), getattr(other, most)))
        for values in ("starts", "firsts", "faults"):
            getattr(self, values).extend(getattr(other, values))
