"""Run seeds for as long as it is wanted: `python -m tests.simulation --seconds 60`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from typing import Final

import structlog

from tests.simulation.disk import Disk
from tests.simulation.scenario import Run, simulate

SEEDS_MAX: Final = 1_000_000_000
CHUNK: Final = 40  # seeds of a process until its share of the next ones is given out


def main() -> int:
    """Prints the first failing seed and how to run it again; 1 if there is one."""
    parser = argparse.ArgumentParser(prog="simulate")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, help="how many")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long, at most")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="in how many processes")
    parser.add_argument("--on", action="store_true", help="go on after a failure")
    parser.add_argument("--trace", action="store_true", help="a line for each seed: two runs of it say the same")
    asked = parser.parse_args()
    _be_silent()
    started, done, steps, failed = time.monotonic(), 0, 0, 0
    for run in _runs(range(asked.first, asked.first + asked.seeds), min(asked.jobs, asked.seeds)):
        done, steps = done + 1, steps + run.steps
        if asked.trace:
            _say(f"seed {run.seed}: {run.steps} steps, {run.lives} lives, {run.sent} sent, {run.trace:08x}")
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


def _runs(seeds: range, jobs: int) -> Iterator[Run]:
    """The seeds in order, in so many processes."""
    if jobs == 1:
        yield from map(_simulate, seeds)
        return
    at_once = jobs * CHUNK
    with ProcessPoolExecutor(jobs, initializer=_be_silent) as pool:
        for place in range(0, len(seeds), at_once):
            yield from pool.map(_simulate, seeds[place : place + at_once], chunksize=CHUNK // 4)


def _simulate(seed: int) -> Run:
    return simulate(seed, _disk())


@lru_cache(maxsize=1)
def _disk() -> Disk:
    """One for all runs of a process."""
    return Disk()


def _be_silent() -> None:
    """Trouble is the subject here: what the loops say about it would be hundreds of lines."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _tell(run: Run) -> None:
    _say(f"seed {run.seed} fails after {run.steps} steps: {run.fault}")
    _say(f"  again: make simulate FIRST={run.seed} SEEDS=1")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
