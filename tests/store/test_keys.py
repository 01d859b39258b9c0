"""API keys: proof, rotation, revocation, and what is stored of a secret."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

import pytest

from gateway.core.ids import OrgId
from gateway.errors import Invalid
from gateway.store.database import Database
from gateway.store.idempotency import Claim, IdempotencyStore
from gateway.store.keys import KeyStore
from gateway.testing.clock import FakeClock


@pytest.fixture
async def keys(database: Database, clock: FakeClock, org: OrgId) -> KeyStore:
    await database.write(lambda conn: conn.execute("INSERT INTO orgs (id, name) VALUES (2, 'other')"))
    return KeyStore(database, clock)


async def test_a_key_is_proved_by_its_token_and_nothing_else(keys: KeyStore, org: OrgId) -> None:
    issued = await keys.create(org, "sync", ["members.edit", "messaging.send"], ["office"])
    proved = await keys.prove(issued.token)
    assert proved == issued.key
    assert (proved.permissions, proved.roles) == (("members.edit", "messaging.send"), ("office",))
    last = issued.token[-1]
    wrong = [
        issued.token[:-1] + ("0" if last != "0" else "1"),
        issued.token + "0",
        issued.key.id,
        issued.key.id + "_",
        issued.token.removeprefix("gwk_"),
        issued.token.upper(),
        "",
        "_",
        "gwk_x_\udcff",
    ]
    assert [await keys.prove(token) for token in wrong] == [None] * len(wrong)


async def test_random_guesses_find_nothing(keys: KeyStore, org: OrgId) -> None:
    issued = await keys.create(org, "sync", [])
    guesses = [f"{issued.key.id}_{secrets.token_hex(32)}" for _ in range(200)]
    guesses += [f"gwk_{secrets.token_hex(5)}_{secrets.token_hex(32)}" for _ in range(200)]
    assert [token for token in guesses if await keys.prove(token) is not None] == []


async def test_neither_the_secret_nor_the_token_is_stored(keys: KeyStore, org: OrgId, database: Database) -> None:
    issued = await keys.create(org, "sync", [])
    rotated = await keys.rotate(org, issued.key.id, timedelta(hours=1))
    assert rotated is not None
    dump = await database.read(lambda conn: "\n".join(conn.iterdump()))
    for token in (issued.token, rotated.token):
        secret = token.rpartition("_")[2]
        assert secret not in dump
        assert hashlib.sha256(secret.encode()).hexdigest() in dump.lower()
        assert token not in repr(issued) + repr(rotated)


async def test_after_a_rotation_both_secrets_work_until_the_overlap_is_over(
    keys: KeyStore, org: OrgId, clock: FakeClock
) -> None:
    issued = await keys.create(org, "sync", [])
    rotated = await keys.rotate(org, issued.key.id, timedelta(hours=24))
    assert rotated is not None
    assert rotated.key.id == issued.key.id
    clock.advance(timedelta(hours=24) - timedelta(microseconds=1))
    assert await keys.prove(issued.token) is not None
    assert await keys.prove(rotated.token) is not None
    clock.advance(timedelta(microseconds=1))
    assert await keys.prove(issued.token) is None
    assert await keys.prove(rotated.token) is not None


async def test_a_second_rotation_ends_the_first_secret(keys: KeyStore, org: OrgId) -> None:
    issued = await keys.create(org, "sync", [])
    second = await keys.rotate(org, issued.key.id, timedelta(hours=24))
    third = await keys.rotate(org, issued.key.id, timedelta(hours=24))
    assert second is not None
    assert third is not None
    assert await keys.prove(issued.token) is None
    assert await keys.prove(second.token) is not None
    assert await keys.prove(third.token) is not None


async def test_a_rotation_without_overlap_ends_the_old_secret_at_once(keys: KeyStore, org: OrgId) -> None:
    issued = await keys.create(org, "sync", [])
    rotated = await keys.rotate(org, issued.key.id, timedelta(0))
    assert rotated is not None
    assert await keys.prove(issued.token) is None
    assert await keys.prove(rotated.token) is not None


async def test_a_revoked_key_works_no_more_under_any_secret(keys: KeyStore, org: OrgId) -> None:
    issued = await keys.create(org, "sync", [])
    rotated = await keys.rotate(org, issued.key.id, timedelta(hours=24))
    assert rotated is not None
    assert await keys.revoke(org, issued.key.id)
    assert await keys.prove(issued.token) is None
    assert await keys.prove(rotated.token) is None
    assert not await keys.revoke(org, issued.key.id)
    assert await keys.rotate(org, issued.key.id, timedelta(0)) is None


async def test_another_org_can_neither_see_nor_end_nor_rotate_a_key(keys: KeyStore, org: OrgId) -> None:
    issued = await keys.create(org, "sync", [])
    other = OrgId(2)
    assert await keys.get(other, issued.key.id) is None
    assert await keys.list(other, limit=10) == []
    assert not await keys.revoke(other, issued.key.id)
    assert await keys.rotate(other, issued.key.id, timedelta(0)) is None
    assert await keys.prove(issued.token) is not None


async def test_keys_are_listed_newest_first_in_pages_revoked_ones_apart(
    keys: KeyStore, org: OrgId, clock: FakeClock
) -> None:
    made = []
    for number in range(5):
        made.append((await keys.create(org, f"key {number}", [])).key)
        clock.advance(timedelta(seconds=number % 2))  # some share their instant
    await keys.revoke(org, made[0].id)
    first = await keys.list(org, limit=3)
    last = first[-1]
    before = (int(last.created_at.timestamp() * 1_000_000), last.id)
    rest = await keys.list(org, limit=3, before=before)
    expected = sorted(made[1:], key=lambda key: (key.created_at, key.id), reverse=True)
    assert first + rest == expected
    (revoked,) = await keys.list(org, limit=3, revoked=True)
    assert (revoked.id, revoked.revoked_at) == (made[0].id, clock.now())


async def test_unknown_permissions_are_all_named_with_a_suggestion(keys: KeyStore, org: OrgId) -> None:
    with pytest.raises(Invalid) as caught:
        await keys.create(org, "sync", ["mesaging.send", "members.edit", "x"])
    assert [problem.pointer for problem in caught.value.problems] == ["/permissions/0", "/permissions/2"]
    assert "did you mean 'messaging.send'?" in caught.value.problems[0].detail


async def test_the_last_use_never_moves_back(keys: KeyStore, org: OrgId, clock: FakeClock) -> None:
    issued = await keys.create(org, "sync", [])
    late = clock.now() + timedelta(minutes=5)
    await keys.used(issued.key.id, late)
    await keys.used(issued.key.id, clock.now())
    key = await keys.get(org, issued.key.id)
    assert key is not None
    assert key.last_used_at == late


async def test_whether_any_key_exists_counts_no_revoked_one(keys: KeyStore, org: OrgId) -> None:
    assert not await keys.any()
    issued = await keys.create(org, "sync", [])
    assert await keys.any()
    await keys.revoke(org, issued.key.id)
    assert not await keys.any()


async def test_a_key_made_under_an_idempotency_key_is_remembered_with_it(
    keys: KeyStore, org: OrgId, database: Database, clock: FakeClock
) -> None:
    issued = await keys.create(org, "sync", [], claim=Claim(org=org, key="k", fingerprint=b"asked"))
    kept = await IdempotencyStore(database, clock).find(org, "k")
    assert kept is not None
    assert kept.made == issued.key.id
