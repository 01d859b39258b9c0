"""Who is behind a request: the key in `Authorization: Bearer gwk_<id>_<secret>`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from gateway.clock import Clock
from gateway.contract import Caller
from gateway.core.ids import OrgId
from gateway.engine.catalogue import Catalogue
from gateway.errors import Refused, StoreError
from gateway.store.keys import USED_EVERY, Key, KeyStore

UNAUTHENTICATED: Final = "Send `Authorization: Bearer gwk_...` with a key that is valid."
"""The same words for every failure: they tell nobody whether a key exists, was revoked or belongs to a vanished org."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """An authenticated caller and the org that it acts for."""

    caller: Caller
    org: OrgId


class Authenticator:
    """Finds the caller of a request. A revoked key fails from the next request on: nothing is cached."""

    def __init__(self, keys: KeyStore, catalogue: Catalogue, clock: Clock) -> None:
        self._keys = keys
        self._catalogue = catalogue
        self._clock = clock
        self._noted: dict[str, datetime] = {}  # when each key's use was last written; as many entries as there are keys

    async def identify(self, authorization: str | None) -> Identity:
        """The caller behind an Authorization header. Refused `unauthenticated`, whatever is wrong with it."""
        scheme, _, token = (authorization or "").partition(" ")
        key = await self._keys.prove(token.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise Refused("unauthenticated", UNAUTHENTICATED)
        try:
            org = self._catalogue.org_by_id(key.org)
        except KeyError as exc:
            raise Refused("unauthenticated", UNAUTHENTICATED) from exc
        await self._note_use(key)
        return Identity(caller=_caller(key, org.name), org=key.org)

    async def still_permits(self, org: OrgId, key_id: str, permission: str) -> bool:
        """Whether a key that began something may go on with it: it may have been revoked, or have lost permissions."""
        key = await self._keys.get(org, key_id)
        return key is not None and self._catalogue.permits(
            _caller(key, self._catalogue.org_by_id(org).name), permission
        )

    def require(self, caller: Caller) -> Callable[..., None]:
        """`Call.require`: Refused `permission_denied`, naming all that is missing, unless every permission is held."""

        def require(*permissions: str) -> None:
            missing = [one for one in permissions if not self._catalogue.permits(caller, one)]
            if missing:
                detail = f"The API key {caller.key_id} lacks: {', '.join(missing)}."
                raise Refused("permission_denied", detail, more={"missing": missing})

        return require

    async def _note_use(self, key: Key) -> None:
        """Write `last_used_at`, at most once a minute. A database that cannot be written keeps nobody from reading."""
        now = self._clock.now()
        last = max(filter(None, (key.last_used_at, self._noted.get(key.id))), default=None)
        if last is not None and now - last < USED_EVERY:
            return
        self._noted[key.id] = now
        try:
            await self._keys.used(key.id, now)
        except StoreError as exc:
            structlog.get_logger("gateway.http").warning("key_use_not_noted", key=key.id, detail=str(exc))


def _caller(key: Key, org: str) -> Caller:
    return Caller(
        key_id=key.id,
        org=org,
        permissions=frozenset(key.permissions),
        roles=frozenset(key.roles),
        acting_for=None,
    )
