"""What is kept under an Idempotency-Key, and what a crash leaves behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta

import pytest

from gateway.core.ids import OrgId
from gateway.errors import Refused
from gateway.store.codec import to_micros
from gateway.store.database import Database
from gateway.store.idempotency import Claim, IdempotencyStore, remember
from gateway.testing.clock import FakeClock


@pytest.fixture
def store(database: Database, clock: FakeClock) -> IdempotencyStore:
    return IdempotencyStore(database, clock)


def a_claim(org: OrgId, fingerprint: bytes = b"asked") -> Claim:
    return Claim(org=org, key="k", fingerprint=fingerprint)


async def test_an_answer_is_kept_for_24_hours_and_no_longer(
    store: IdempotencyStore, org: OrgId, clock: FakeClock
) -> None:
    await store.keep(a_claim(org), 201, {"Location": "/v1/things/1"}, b"{}")
    clock.advance(timedelta(hours=24))
    kept = await store.find(org, "k")
    assert kept is not None
    assert (kept.status, kept.headers, kept.body) == (201, {"Location": "/v1/things/1"}, b"{}")
    clock.advance(timedelta(microseconds=1))
    assert await store.find(org, "k") is None


async def test_a_key_can_be_used_anew_when_its_answer_is_too_old(
    store: IdempotencyStore, org: OrgId, clock: FakeClock
) -> None:
    await store.keep(a_claim(org), 201, {}, b"old")
    clock.advance(timedelta(hours=25))
    await store.keep(a_claim(org, b"other"), 202, {}, b"new")
    kept = await store.find(org, "k")
    assert kept is not None
    assert (kept.fingerprint, kept.status, kept.body) == (b"other", 202, b"new")


async def test_keys_belong_to_their_org(store: IdempotencyStore, org: OrgId) -> None:
    await store.keep(a_claim(org), 201, {}, b"{}")
    assert await store.find(OrgId(2), "k") is None


async def test_what_was_created_is_remembered_before_its_answer_is_kept(
    store: IdempotencyStore, org: OrgId, database: Database, clock: FakeClock
) -> None:
    await database.write(lambda conn: remember(conn, a_claim(org), "msg_1", to_micros(clock.now())))
    kept = await store.find(org, "k")
    assert kept is not None
    assert (kept.made, kept.status, kept.body) == ("msg_1", None, None)
    await store.keep(a_claim(org), 202, {}, b"answer")
    kept = await store.find(org, "k")
    assert kept is not None
    assert (kept.made, kept.status, kept.body) == ("msg_1", 202, b"answer")


async def test_the_second_of_two_creations_under_one_key_is_undone(
    store: IdempotencyStore, org: OrgId, database: Database, clock: FakeClock
) -> None:
    def create(name: str) -> Callable[[sqlite3.Connection], None]:
        def operation(conn: sqlite3.Connection) -> None:
            conn.execute("INSERT INTO orgs (name) VALUES (?)", (name,))
            remember(conn, a_claim(org), name, to_micros(clock.now()))

        return operation

    await database.write(create("first"))
    with pytest.raises(Refused) as caught:
        await database.write(create("second"))
    assert caught.value.code == "in_progress"
    names = await database.read(lambda conn: conn.execute("SELECT name FROM orgs").fetchall())
    assert ("first",) in names
    assert ("second",) not in names


async def test_a_creation_may_take_over_a_key_that_is_too_old(
    store: IdempotencyStore, org: OrgId, database: Database, clock: FakeClock
) -> None:
    await database.write(lambda conn: remember(conn, a_claim(org), "old", to_micros(clock.now())))
    await store.keep(a_claim(org), 201, {}, b"old")
    clock.advance(timedelta(hours=25))
    await database.write(lambda conn: remember(conn, a_claim(org, b"other"), "new", to_micros(clock.now())))
    kept = await store.find(org, "k")
    assert kept is not None
    assert (kept.fingerprint, kept.made, kept.status, kept.body) == (b"other", "new", None, None)
