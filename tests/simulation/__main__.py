"""Run seeds for as long as it is wanted: `python -m tests.simulation --seconds 60`."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from typing import Final

import structlog

from tests.simulation.disk import Disk
from tests.simulation.scenario import Run, simulate

SEEDS_MAX: Final = 1_000_000_000


def main() -> int:
    """Prints the first failing seed and how to run it again; 1 if there is one."""
    parser = argparse.ArgumentParser(prog="simulate")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, help="how many")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long, at most")
    parser.add_argument("--on", action="store_true", help="go on after a failure")
    parser.add_argument("--trace", action="store_true", help="a line for each seed: two runs of it say the same")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    started, done, steps, failed = time.monotonic(), 0, 0, 0
    disk = Disk()
    for seed in range(asked.first, asked.first + asked.seeds):
        run = simulate(seed, disk)
        done, steps = done + 1, steps + run.steps
        if asked.trace:
            _say(f"seed {seed}: {run.steps} steps, {run.lives} lives, {run.sent} sent, {run.trace:08x}")
        if run.fault is not None:
            failed += 1
            _tell(run)
            if not asked.on:
                break
        if time.monotonic() - started > asked.seconds:
            break
    minutes = (time.monotonic() - started) / 60
    _say(
        f"{done} seeds, {steps:,} steps, {done / minutes:,.0f} seeds a minute, "
        f"{steps / minutes / 60:,.0f} steps a second, {failed} failed"
    )
    return 1 if failed else 0


def _tell(run: Run) -> None:
    _say(f"seed {run.seed} fails after {run.steps} steps: {run.fault}")
    _say(f"  again: make simulate FIRST={run.seed} SEEDS=1")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
