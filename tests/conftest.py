"""Fixtures that every layer's tests share: a fresh SQLite file, ids, a clock that stands still."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.ids import IdSequence, OrgId
from gateway.store.database import Database
from gateway.testing.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ids(clock: FakeClock) -> IdSequence:
    return IdSequence(clock.now, random.Random(1).getrandbits(20).__int__)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "gateway.db") as opened:
        yield opened


@pytest.fixture
async def org(database: Database) -> OrgId:
    await database.write(lambda conn: conn.execute("INSERT INTO orgs (id, name) VALUES (1, 'default')"))
    return OrgId(1)
