"""Who am I: what the presented key is, may do, and has left."""

from __future__ import annotations

from datetime import datetime

import msgspec

from gateway.core.ids import OrgId
from gateway.engine.caps import DailyCaps
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


class SenderLeft(msgspec.Struct, kw_only=True, frozen=True):
    """What one sender has sent today, and may still: `daily_cap` and `left` are null where it has no cap of its own."""

    name: str
    channel: str
    daily_cap: int | None
    sent_today: int
    left: int | None


class MessagesLeft(msgspec.Struct, kw_only=True, frozen=True):
    """What all senders of the org have sent today and may still, together. The day ends at `resets_at`."""

    daily_cap: int | None
    sent_today: int
    left: int | None
    resets_at: datetime


class LimitsLeft(msgspec.Struct, kw_only=True, frozen=True):
    """What is left of the org's limits now."""

    bulk_actions: CreationsLeft
    messages: MessagesLeft
    senders: list[SenderLeft]


class Me(msgspec.Struct, kw_only=True, frozen=True):
    """The presented key. `permissions` are all that it has, its own and those of its roles."""

    org: str
    key: OwnKey
    permissions: list[str]
    roles: list[str]
    limits: LimitsLeft


class MeResource:
    """The handler of `/v1/me`."""

    def __init__(
        self, keys: KeyStore, catalogue: Catalogue, allowances: Allowances, caps: DailyCaps, creations_per_minute: int
    ) -> None:
        self._keys = keys
        self._catalogue = catalogue
        self._allowances = allowances
        self._caps = caps
        self._creations_per_minute = creations_per_minute

    async def show(self, call: Call) -> Answer:
        key = await self._keys.get(call.org, call.caller.key_id)
        if key is None:  # revoked since it was proved, a moment ago
            raise NotFound("key", call.caller.key_id)
        return Answer(
            body=Me(
                org=call.caller.org,
                key=OwnKey(id=key.id, name=key.name),
                permissions=[one for one in PERMISSIONS if self._catalogue.permits(call.caller, one)],
                roles=sorted(call.caller.roles),
                limits=await self._limits(call.org),
            )
        )

    async def _limits(self, org: OrgId) -> LimitsLeft:
        per_minute = self._creations_per_minute
        taken = await self._allowances.creations(org)
        day = await self._caps.of(self._catalogue.org_by_id(org))
        return LimitsLeft(
            bulk_actions=CreationsLeft(per_minute=per_minute, left=max(0, per_minute - taken)),
            messages=MessagesLeft(
                daily_cap=day.org.most, sent_today=day.org.sent, left=day.org.left, resets_at=day.ends_at
            ),
            senders=[
                SenderLeft(
                    name=name,
                    channel=self._catalogue.senders[name].channel.name,
                    daily_cap=cap.most,
                    sent_today=cap.sent,
                    left=cap.left,
                )
                for name, cap in sorted(day.senders.items())
            ],
        )


def me_routes(
    keys: KeyStore, catalogue: Catalogue, allowances: Allowances, caps: DailyCaps, creations_per_minute: int
) -> list[Route]:
    """The route `/v1/me`."""
    handlers = MeResource(keys, catalogue, allowances, caps, creations_per_minute)
    return [
        Route(
            method="GET",
            path="/v1/me",
            handler=handlers.show,
            summary="Show the org, the key, its permissions and the limits left",
            permissions=(),
            tag="me",
            answer=Me,
        )
    ]
