"""Texts, where nobody can be asked and doubts are sent again, with receipts that tell what came."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.plan import SCENARIOS
from tests.torture.runs import TIMEOUT, assert_it_holds

KILLS = 13


@pytest.mark.timeout(TIMEOUT)
async def test_killed_at_every_named_point_and_at_random_instants_the_promise_holds(tmp_path: Path) -> None:
    await assert_it_holds(SCENARIOS[3], KILLS, tmp_path)
