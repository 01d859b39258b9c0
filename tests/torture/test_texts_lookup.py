"""Texts through a provider that can be asked: nothing comes twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.plan import SCENARIOS
from tests.torture.runs import TIMEOUT, assert_it_holds

KILLS = 12


@pytest.mark.timeout(TIMEOUT)
async def test_killed_at_every_named_point_and_at_random_instants_the_promise_holds(tmp_path: Path) -> None:
    await assert_it_holds(SCENARIOS[1], KILLS, tmp_path)
