"""The table that `make torture` prints: a column for each scenario, and one for all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Final

from rich.console import Console
from rich.table import Table

from gateway.engine.crash import POINTS
from tests.torture.plan import W
from tests.torture.tally import Tally

FAULTS_SHOWN: Final = 60


def _unreached(tally: Tally) -> str:
    return " / ".join(f"{tally.unreached[state]:,}" for state in ("cancelled", "skipped", "failed", "unknown"))


ROWS: Final[Sequence[tuple[str, Callable[[Tally], str]]]] = (
    ("kills", lambda tally: f"{tally.kills:,}"),
    ("  at random instants", lambda tally: f"{tally.random_kills:,}"),
    *((f"  at {point}", lambda tally, point=point: f"{tally.named_kills[point]:,}") for point in POINTS),
    ("messages asked for", lambda tally: f"{tally.asked:,}"),
    ("  reached their reader", lambda tally: f"{tally.reached:,}"),
    ("  not: cancelled, left, failed, unknown", _unreached),
    ("messages received by the provider", lambda tally: f"{tally.received:,}"),
    ("lost (must be 0)", lambda tally: f"{tally.lost:,}"),
    ("duplicated", lambda tally: f"{tally.duplicated:,}"),
    (f"ambiguous at a kill, most (at most W = {W})", lambda tally: f"{tally.ambiguous_most:,}"),
    ("ambiguous at all kills", lambda tally: f"{tally.ambiguous:,}"),
    ("  left for a person, by name", lambda tally: f"{tally.listed:,}"),
    ("looks at the books", lambda tally: f"{tally.looks:,}"),
    ("  that found them unbalanced (0)", lambda tally: f"{tally.unbalanced:,}"),
    ("states that the provider belies (0)", lambda tally: f"{tally.contradicted:,}"),
    ("committed cancels, pauses, opt-outs", lambda tally: _three(tally, "silences")),
    ("  messages that left afterwards", lambda tally: _three(tally, "late")),
    ("  most after one of them (at most W)", lambda tally: f"{tally.late_most:,}"),
    ("  after one of them and a start (0)", lambda tally: f"{tally.too_late:,}"),
    ("start to ready, median / longest, ms", lambda tally: _spread(tally.starts)),
    ("start to first message, ms", lambda tally: _spread(tally.firsts)),
    ("what does not hold", lambda tally: f"{len(tally.faults):,}"),
)


def _three(tally: Tally, name: str) -> str:
    counted = getattr(tally, name)
    return " / ".join(str(counted[why]) for why in ("cancel", "pause", "opt_out"))


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:,.0f} / {max(seconds) * 1000:,.0f}" if seconds else "-"


def print_report(tallies: Sequence[Tally], *, seed: str, seconds: float, machine: str) -> bool:
    """Print everything; whether everything holds."""
    total = deepcopy(tallies[0])
    total.scenario = "all"
    for tally in tallies[1:]:
        total.add(tally)
    columns = [*tallies, total]
    table = Table(title=f"{total.kills:,} kills, seed {seed}, {seconds:,.0f} s", title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column.scenario, justify="right")
    for title, figure in ROWS:
        table.add_row(title, *(figure(column) for column in columns))
    console = Console(width=130)
    console.print(table)
    console.print(machine, highlight=False)
    for fault in total.faults[:FAULTS_SHOWN]:
        console.print(fault, highlight=False, markup=False)
    if len(total.faults) > FAULTS_SHOWN:
        console.print(f"... and {len(total.faults) - FAULTS_SHOWN} more")
    console.print("Everything holds." if not total.faults else "Something does not hold.")
    return not total.faults
