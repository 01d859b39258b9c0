"""What stands against the next batch of an action: the key that created it, as it is now."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from gateway.clock import Clock
from gateway.contract import AccessPolicy, Caller
from gateway.core.ids import OrgId
from gateway.engine.authority import Authority, Objection
from gateway.engine.catalogue import Catalogue
from gateway.store.creators import CreatorStore
from gateway.store.database import Database
from gateway.store.keys import KeyStore
from gateway.testing.clock import FakeClock


class NoSettings(msgspec.Struct, frozen=True):
    """None."""


class OwnList(AccessPolicy[NoSettings]):
    """What the key lists."""

    name = "own_list"
    settings_type = NoSettings

    def permits(self, caller: Caller, permission: str) -> bool:
        return permission in caller.permissions


class Broken(AccessPolicy[NoSettings]):
    """Cannot say."""

    name = "broken"
    settings_type = NoSettings

    def permits(self, caller: Caller, permission: str) -> bool:
        raise LookupError("no directory")


class Look(msgspec.Struct):
    """What the authority reads of an action."""

    created_by: str | None
    operation: str = "send_message"


def authority(database: Database, *policies: AccessPolicy[NoSettings]) -> Authority:
    catalogue = Catalogue(orgs={}, channels={}, senders={}, operations={}, access_policies=policies, filters={})
    return Authority(catalogue, CreatorStore(database))


@pytest.fixture
def keys(database: Database, clock: Clock) -> KeyStore:
    return KeyStore(database, clock)


async def asked(authority: Authority, created_by: str | None, operation: str) -> Objection | None:
    look: Any = Look(created_by, operation)
    return await authority.objection(look)


@pytest.mark.parametrize("operation", ["send_message", "add_tags"])
async def test_whoever_may_still_do_it_goes_on(database: Database, keys: KeyStore, org: OrgId, operation: str) -> None:
    key = (await keys.create(org, "office", ["members.edit", "messaging.send"])).key
    own = authority(database, OwnList(NoSettings()))
    assert await asked(own, key.id, operation) is None


async def test_what_is_missing_is_named(database: Database, keys: KeyStore, org: OrgId) -> None:
    key = (await keys.create(org, "office", ["members.edit"])).key
    own = authority(database, OwnList(NoSettings()))
    assert await asked(own, key.id, "add_tags") is None
    assert await asked(own, key.id, "send_message") == Objection(
        "permission_revoked", f"The key {key.id} that created it lacks messaging.send."
    )


async def test_a_revoked_key_may_do_nothing(database: Database, keys: KeyStore, org: OrgId) -> None:
    key = (await keys.create(org, "office", ["members.edit", "messaging.send"])).key
    await keys.revoke(org, key.id)
    objection = await asked(authority(database, OwnList(NoSettings())), key.id, "add_tags")
    assert objection == Objection("permission_revoked", f"The key {key.id} that created it was revoked.")


async def test_a_key_stays_revoked_when_the_clock_is_set_back(
    database: Database, clock: Clock, keys: KeyStore, org: OrgId
) -> None:
    key = (await keys.create(org, "office", ["members.edit", "messaging.send"])).key
    await KeyStore(database, FakeClock(clock.now() + timedelta(hours=1))).revoke(org, key.id)
    objection = await asked(authority(database, OwnList(NoSettings())), key.id, "add_tags")
    assert objection == Objection("permission_revoked", f"The key {key.id} that created it was revoked.")


async def test_without_any_access_policy_nobody_may_do_anything(database: Database, keys: KeyStore, org: OrgId) -> None:
    key = (await keys.create(org, "office", ["members.edit"])).key
    objection = await asked(authority(database), key.id, "add_tags")
    assert objection is not None
    assert objection.reason == "permission_revoked"


async def test_a_policy_that_cannot_say_stops_the_action_and_not_the_daemon(
    database: Database, keys: KeyStore, org: OrgId
) -> None:
    key = (await keys.create(org, "office", ["members.edit"])).key
    objection = await asked(authority(database, Broken(NoSettings())), key.id, "add_tags")
    assert objection == Objection("policy_error", "An access policy failed: LookupError: no directory")


async def test_what_the_operator_started_without_a_key_needs_none(database: Database, org: OrgId) -> None:
    assert await asked(authority(database), None, "send_message") is None
