"""Runs as jobs for processes of their own."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from bench.measuring import free_port
from tests.torture.plan import SCENARIOS, Scenario
from tests.torture.story import run
from tests.torture.tally import Tally

TIMEOUT: Final = 400  # seconds of a test; a quiet machine needs 25

KILLS_PER_RUN = 50  # then a new installation: the books of one stay quick to copy and to read


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run, in a process of its own."""

    scenario: int
    kills: int
    seed: str


def jobs(kills: int, seed: str, only: str | None) -> Sequence[Job]:
    """The kills in equal parts over the scenarios, each in runs of at most `KILLS_PER_RUN`."""
    chosen = [number for number, scenario in enumerate(SCENARIOS) if only is None or only in scenario.name]
    found = []
    for order, number in enumerate(chosen):
        left = kills // len(chosen) + (order < kills % len(chosen))
        part = 0
        while left > 0:
            found.append((part, Job(scenario=number, kills=min(left, KILLS_PER_RUN), seed=f"{seed}/{part}")))
            left -= KILLS_PER_RUN
            part += 1
    return [job for _, job in sorted(found, key=lambda pair: pair[0])]


def work(job: Job) -> Tally:
    """Do one job. The folder of a run in which something does not hold is kept."""
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    scenario = SCENARIOS[job.scenario]
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            tally = runner.run(run(scenario, job.kills, job.seed, folder, port=free_port()))
    except Exception as exc:
        raise RuntimeError(f"{scenario.name}, seed {job.seed}: broken off, see {folder}") from exc
    if tally.faults:
        tally.faults.insert(0, f"seed {job.seed}, see {folder}:")
    else:
        shutil.rmtree(folder)
    return tally


async def assert_it_holds(scenario: Scenario, kills: int, folder: Path) -> None:
    """A run with a new seed, in this process. Its named points are all of the scenario's."""
    seed = str(secrets.randbelow(1_000_000))
    tally = await run(scenario, kills, seed, folder, port=free_port())
    assert not tally.faults, "\n".join([f"seed {seed}, {scenario.name}:", *tally.faults])
    assert (tally.kills, tally.missed) == (kills, 0), f"seed {seed}: {tally}"
    assert set(tally.named_kills) == set(scenario.points), f"seed {seed}: {tally}"
