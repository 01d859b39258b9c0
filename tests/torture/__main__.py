"""`make torture`: kill the daemon a thousand times, print what came of it, and fail if something does not hold.

    python -m tests.torture --kills 50 --seed 7

The same seed makes the same plan: which deaths, at which points or instants, and which deeds meanwhile. The processes
are real, so the instants at which they meet differ from run to run.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from bench.measuring import machine
from tests.torture.plan import SCENARIOS
from tests.torture.report import print_report
from tests.torture.rows import measure
from tests.torture.runs import jobs, work
from tests.torture.tally import Tally

KILLS = 1_000
FAULTS_AT_ONCE = 10  # of a run, as soon as it has ended; more come with the table


def main() -> None:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS, help="over all scenarios together")
    parser.add_argument("--seed", default=str(secrets.randbelow(1_000_000)), help="of the plan; else a new one")
    parser.add_argument("--only", help="scenarios whose name has this text")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--rows", type=int, help="instead: how soon it sends again, with an action to so many")
    options = parser.parse_args()
    if options.rows is not None:
        sys.exit(0 if asyncio.run(measure(options.rows)) else 1)
    totals: dict[str, Tally] = {}
    started = time.monotonic()
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(work, job) for job in jobs(options.kills, options.seed, options.only)]
        for number, done in enumerate(as_completed(running), 1):
            tally = done.result()
            words = "ok" if not tally.faults else f"{len(tally.faults)} FAULTS"
            for fault in tally.faults[:FAULTS_AT_ONCE]:
                print(fault)
            print(f"run {number} of {len(running)}: {tally.scenario}, {tally.kills} kills, {words}", flush=True)
            if tally.scenario in totals:
                totals[tally.scenario].add(tally)
            else:
                totals[tally.scenario] = tally
    ordered = [totals[scenario.name] for scenario in SCENARIOS if scenario.name in totals]
    held = print_report(ordered, seed=options.seed, seconds=time.monotonic() - started, machine=machine())
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
