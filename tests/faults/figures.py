"""The figures that must hold when things go wrong: how large the faults are here, and what was measured.

`make test` runs small sizes, `make faults` the full ones (`GATEWAY_FAULTS=1`) or a share of them
(`GATEWAY_FAULTS=0.2`), with a line for each figure.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

PROPERTY = "figure"  # of a test's report, in which figures travel to whoever prints them
SHARE = float(os.environ.get("GATEWAY_FAULTS", "0"))  # of the full sizes


def size(small: int, full: int) -> int:
    """How large a fault is in this run."""
    return max(small, round(full * SHARE))


class Figure(NamedTuple):
    """One line of the table."""

    fault: str
    to_hold: str
    measured: str
    held: bool


class Figures:
    """Notes what a test measures, and fails it where a figure is missed."""

    def __init__(self, note: Callable[[str, object], None]) -> None:
        self._note = note

    def hold(self, fault: str, to_hold: str, measured: str, held: bool) -> None:
        """`held`: whether `measured` is within `to_hold`."""
        self._note(PROPERTY, msgspec.json.encode(Figure(fault, to_hold, measured, held)).decode())
        assert held, f"{fault}: {measured}; it should have been: {to_hold}"


def figures_in(properties: list[tuple[str, Any]]) -> list[Figure]:
    """What one test measured."""
    return [msgspec.json.decode(value, type=Figure) for name, value in properties if name == PROPERTY]
