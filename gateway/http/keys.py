"""API keys: made, listed, rotated and revoked by a key that has `admin`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final

import msgspec

from gateway.core.schedule import parse_every
from gateway.errors import Invalid, NotFound, Problem
from gateway.http.paging import Page, PageQuery, key_of, page
from gateway.http.routing import Answer, Call, Route
from gateway.store.codec import to_micros
from gateway.store.keys import IssuedKey, Key, KeyStore
from gateway.validation import convert

OVERLAP_MAX: Final = timedelta(days=30)  # a secret that is to work longer than that has not been rotated

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class KeyQuery(PageQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which keys to list."""

    revoked: Annotated[bool, msgspec.Meta(description="Only revoked keys, instead of only the others.")] = False


class NewKey(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A key to be made. What its roles allow is said in gateway.toml."""

    name: Name
    permissions: Annotated[tuple[str, ...], msgspec.Meta(max_length=50)] = ()
    roles: Annotated[tuple[Name, ...], msgspec.Meta(max_length=50)] = ()


class KeyChange(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What is to be otherwise with a key; a list is replaced as a whole, and null empties it."""

    name: Name | None = None
    permissions: Annotated[tuple[str, ...], msgspec.Meta(max_length=50)] | None = None
    roles: Annotated[tuple[Name, ...], msgspec.Meta(max_length=50)] | None = None


class Rotation(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How long the old secret still works beside the new one; `"0s"` ends it at once."""

    overlap: str = "24h"


class KeyView(msgspec.Struct, kw_only=True, frozen=True):
    """An API key, without its secret. `overlap_until`: until when the secret before the last rotation works."""

    id: str
    name: str
    permissions: list[str]
    roles: list[str]
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    overlap_until: datetime | None


class KeyWithSecret(KeyView, kw_only=True, frozen=True):
    """A key just made or rotated. `secret` is the text to send as `Authorization: Bearer`.

    It is shown this once: the answer to a repeated request (Idempotency-Key) is without it.
    """

    secret: str | msgspec.UnsetType = msgspec.UNSET


def key_routes(keys: KeyStore) -> list[Route]:
    """The routes of `/v1/keys`."""
    resource = KeyResource(keys)
    admin = ("admin",)
    return [
        Route(
            method="GET",
            path="/v1/keys",
            handler=resource.list,
            summary="List the org's API keys",
            permissions=admin,
            tag="keys",
            query=KeyQuery,
            answer=Page[KeyView],
        ),
        Route(
            method="POST",
            path="/v1/keys",
            handler=resource.create,
            summary="Make an API key; its secret is shown once",
            permissions=admin,
            tag="keys",
            body=NewKey,
            answer=KeyWithSecret,
            status=201,
            creates=True,
            shows="/v1/keys/{id}",
            secret=True,
        ),
        Route(
            method="GET",
            path="/v1/keys/{id}",
            handler=resource.show,
            summary="Show an API key",
            permissions=admin,
            tag="keys",
            answer=KeyView,
        ),
        Route(
            method="PATCH",
            path="/v1/keys/{id}",
            handler=resource.change,
            summary="Change the permissions, the roles or the name of an API key",
            permissions=admin,
            tag="keys",
            body=KeyChange,
            merge_patch=True,
            answer=KeyView,
        ),
        Route(
            method="DELETE",
            path="/v1/keys/{id}",
            handler=resource.revoke,
            summary="Revoke an API key",
            permissions=admin,
            tag="keys",
            status=204,
        ),
        Route(
            method="POST",
            path="/v1/keys/{id}/rotate",
            handler=resource.rotate,
            summary="Give an API key a new secret",
            permissions=admin,
            tag="keys",
            body=Rotation,
            body_required=False,
            answer=KeyWithSecret,
        ),
    ]


class KeyResource:
    """Handlers of `/v1/keys`."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    async def list(self, call: Call) -> Answer:
        query: KeyQuery = call.query
        before = key_of(query.cursor, tuple[int, str])
        found = await self._keys.list(call.org, limit=query.limit + 1, before=before, revoked=query.revoked)
        return Answer(body=page(found, query.limit, _view, lambda key: (to_micros(key.created_at), key.id)))

    async def create(self, call: Call) -> Answer:
        wanted: NewKey = call.body
        issued = await self._keys.create(call.org, wanted.name, wanted.permissions, wanted.roles, claim=call.claim)
        return Answer(body=_with_secret(issued), headers={"Location": f"/v1/keys/{issued.key.id}"})

    async def show(self, call: Call) -> Answer:
        found = await self._keys.get(call.org, call.path["id"])
        if found is None:
            raise NotFound("key", call.path["id"])
        return Answer(body=_view(found))

    async def change(self, call: Call) -> Answer:
        wanted = convert(call.fields, KeyChange)
        emptied = [name for name, value in call.fields.items() if value is None]
        if "name" in emptied:
            raise Invalid([Problem("/name", "A key has a name: give another one, or leave it out.")])
        changed = await self._keys.change(
            call.org,
            call.path["id"],
            name=wanted.name,
            permissions=() if "permissions" in emptied else wanted.permissions,
            roles=() if "roles" in emptied else wanted.roles,
        )
        if changed is None:
            raise NotFound("key", call.path["id"])
        return Answer(body=_view(changed))

    async def revoke(self, call: Call) -> Answer:
        if not await self._keys.revoke(call.org, call.path["id"]):
            raise NotFound("key", call.path["id"])
        return Answer()

    async def rotate(self, call: Call) -> Answer:
        wanted: Rotation = call.body or Rotation()
        issued = await self._keys.rotate(call.org, call.path["id"], read_overlap(wanted.overlap))
        if issued is None:
            raise NotFound("key", call.path["id"])
        return Answer(body=_with_secret(issued))


def read_overlap(text: str) -> timedelta:
    """A duration such as "24h" or "7d"; "0s" is allowed. Invalid at `/overlap`."""
    try:
        every = parse_every(text)
    except ValueError as exc:
        raise Invalid([Problem("/overlap", str(exc))]) from exc
    overlap = OVERLAP_MAX + timedelta(1) if every.amount > 10**9 else timedelta(**{every.unit: every.amount})
    if overlap > OVERLAP_MAX:
        raise Invalid([Problem("/overlap", f"At most {OVERLAP_MAX.days} days, not {text!r}.")])
    return overlap


def _view(key: Key) -> KeyView:
    return KeyView(
        id=key.id,
        name=key.name,
        permissions=list(key.permissions),
        roles=list(key.roles),
        created_at=key.created_at,
        last_used_at=key.last_used_at,
        revoked_at=key.revoked_at,
        overlap_until=key.old_until,
    )


def _with_secret(issued: IssuedKey) -> KeyWithSecret:
    shown: Sequence[str] = KeyView.__struct_fields__
    view = _view(issued.key)
    return KeyWithSecret(**{name: getattr(view, name) for name in shown}, secret=issued.token)
