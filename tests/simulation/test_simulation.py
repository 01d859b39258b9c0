"""Hundreds of seeds in each run of the tests; `make simulate` tries new ones for as long as it is let."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest
import structlog

from tests.simulation.disk import Disk
from tests.simulation.forecasts import compare
from tests.simulation.scenario import simulate

SEEDS: Final = range(200)
FORECASTS: Final = range(40)


@pytest.fixture(scope="module")
def disk() -> Disk:
    return Disk()


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Trouble is the subject here: what the loops say about it would be hundreds of lines."""
    kept = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**kept)


@pytest.mark.parametrize("first", SEEDS[::10])
def test_every_promise_holds_after_every_step(disk: Disk, first: int) -> None:
    runs = [simulate(seed, disk) for seed in range(first, first + 10)]
    assert [run for run in runs if run.fault is not None] == []
    assert sum(run.sent for run in runs) > 0


@pytest.mark.parametrize("first", FORECASTS[::10])
def test_what_a_forecast_says_comes_to_the_contact_and_the_microsecond(disk: Disk, first: int) -> None:
    """Asked at the start and in the middle; days, windows, clock changes, rates, daily caps, zones of their own."""
    runs = [compare(seed, disk) for seed in range(first, first + 10)]
    assert [(run.about, run.wrong) for run in runs if run.wrong] == []
    assert sum(len(told.came) for run in runs for told in run.told) > 0


def test_a_seed_is_the_whole_run(disk: Disk) -> None:
    once = simulate(3, disk)
    again = simulate(3, disk)
    assert once == again
    assert once.steps > 100
    assert replace(once, seed=4) != simulate(4, disk)


def test_a_seed_is_the_same_run_in_another_process(disk: Disk) -> None:
    """Nothing goes by addresses in memory, or by the order of sets."""
    told = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--first", "5", "--seeds", "2", "--trace"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()[:2]
        for hash_seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert all(line.startswith("seed ") for line in told[0])
