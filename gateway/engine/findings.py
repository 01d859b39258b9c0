"""Everything that is wrong with a request, gathered, so that it is all told at once; and what is merely odd."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gateway.errors import Invalid, Problem, Refused

PROBLEMS_MAX: Final = 100  # told at once; a list of a million bad entries needs no more to be understood


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something that does not stand in the way. `count`: how many it concerns, None where that has no meaning."""

    code: str
    detail: str
    count: int | None = None


@dataclass(slots=True)
class Findings:
    """Gathers problems and warnings while a request is read."""

    problems: list[Problem] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    warnings: list[Remark] = field(default_factory=list)

    def problem(self, pointer: str, detail: str, code: str = "invalid") -> None:
        """One more thing that is wrong."""
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(pointer, detail))
            self.codes.append(code)

    def refused(self, pointer: str, refused: Refused) -> None:
        """Take over what another part of the code refused."""
        if isinstance(refused, Invalid):
            for problem in refused.problems:
                self.problem(problem.pointer, problem.detail, refused.code)
        else:
            self.problem(pointer, refused.detail, refused.code)

    def warn(self, code: str, detail: str, count: int | None = None) -> None:
        """One more thing to be told beside the answer."""
        self.warnings.append(Remark(code=code, detail=detail, count=count))

    def raise_problems(self) -> None:
        """Invalid with all of them. Its code is that of the problems if they share one, else `invalid`."""
        if self.problems:
            distinct = set(self.codes)
            raise Invalid(self.problems, distinct.pop() if len(distinct) == 1 else "invalid")
