"""Who am I: what the presented key is, may do, and has left."""

from __future__ import annotations

import msgspec

from gateway.engine.catalogue import Catalogue
from gateway.errors import NotFound
from gateway.http.routing import Answer, Call, Route
from gateway.store.allowances import Allowances
from gateway.store.keys import PERMISSIONS, KeyStore


class CreationsLeft(msgspec.Struct, kw_only=True, frozen=True):
    """How many bulk actions the org may still create or retry in this minute, of how many."""

    per_minute: int
    left: int


class OwnKey(msgspec.Struct, kw_only=True, frozen=True):
    """The presented key."""

    id: str
    name: str


class LimitsLeft(msgspec.Struct, kw_only=True, frozen=True):
    """What is left of the org's limits now."""

    bulk_actions: CreationsLeft


class Me(msgspec.Struct, kw_only=True, frozen=True):
    """The presented key. `permissions` are all that it has, its own and those of its roles."""

    org: str
    key: OwnKey
    permissions: list[str]
    roles: list[str]
    limits: LimitsLeft


def me_routes(keys: KeyStore, catalogue: Catalogue, allowances: Allowances, creations_per_minute: int) -> list[Route]:
    """The route `/v1/me`."""

    async def show(call: Call) -> Answer:
        key = await keys.get(call.org, call.caller.key_id)
        if key is None:  # revoked since it was proved, a moment ago
            raise NotFound("key", call.caller.key_id)
        taken = await allowances.creations(call.org)
        left = CreationsLeft(per_minute=creations_per_minute, left=max(0, creations_per_minute - taken))
        return Answer(
            body=Me(
                org=call.caller.org,
                key=OwnKey(id=key.id, name=key.name),
                permissions=[one for one in PERMISSIONS if catalogue.permits(call.caller, one)],
                roles=sorted(call.caller.roles),
                limits=LimitsLeft(bulk_actions=left),
            )
        )

    return [
        Route(
            method="GET",
            path="/v1/me",
            handler=show,
            summary="Show the org, the key, its permissions and the limits left",
            permissions=(),
            tag="me",
            answer=Me,
        )
    ]
