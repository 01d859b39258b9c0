"""Recurring work by cron expressions: croniter, without the second run in the repeated hour of autumn.

croniter 7.0.0 fires a fixed time such as `30 2 * * *` twice on the day on which clocks go back (run on 2026-11-02);
people expect once. Wildcards (`*/10 * * * *`) do run through the repeated hour.
"""

from __future__ import annotations

import re
from copy import copy
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from croniter import croniter
from croniter.croniter import CroniterError

EXPRESSIONS_KEPT: Final = 64  # an installation has a handful
_FIELDS: Final = 5  # a sixth field means seconds at the end here and at the start elsewhere: refused
# croniter would draw these at random, anew at every call.
_RANDOM: Final = re.compile(r"(^|[\s,])[hr]($|[\s,(/])", re.IGNORECASE)
_ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def next_run(cron: str, after: datetime) -> datetime:
    """The first run later than `after`, in the time zone of `after`, which must be aware.

    A local time that clocks skip runs right after the gap, one that they repeat runs once. ValueError if `cron` is no
    valid expression (see `cron_problem`).
    """
    expression = _ALIASES.get(cron, cron)
    problem = cron_problem(cron)
    if problem is not None:
        raise ValueError(problem)
    fixed = not any(field.startswith("*") for field in expression.split()[:2])
    runs = copy(_parsed(expression))
    runs.set_current(after, force=True)
    while True:
        run: datetime = runs.get_next(datetime)
        repeated = run.fold == 1 and run.replace(fold=0).utcoffset() != run.utcoffset()
        # Within one time zone Python compares the clocks on the wall, which show the repeated hour twice.
        later = run.timestamp() > after.timestamp()
        if later and not (fixed and repeated):
            return run


@lru_cache(maxsize=EXPRESSIONS_KEPT)
def _parsed(expression: str) -> croniter:
    """To be copied: it is at an instant. Parsing takes twenty times as long as finding the next run."""
    return croniter(expression, datetime(1970, 1, 1, tzinfo=UTC))


@lru_cache(maxsize=EXPRESSIONS_KEPT)
def cron_problem(cron: str) -> str | None:
    """A sentence that says what is wrong with an expression; None if it is good."""
    expression = _ALIASES.get(cron, cron)
    if expression.startswith("@"):
        return f"{cron!r} is not known: the short forms are {', '.join(_ALIASES)}."
    if len(expression.split()) != _FIELDS:
        return f"{cron!r} does not have {_FIELDS} fields: minute, hour, day of the month, month, day of the week."
    if _RANDOM.search(expression):
        return f"{cron!r} asks for a random time: write the time itself."
    try:
        if croniter.is_valid(expression, strict=True):
            return None
    except (CroniterError, ValueError):
        pass
    return f"{cron!r} is not a cron expression that ever runs."
