"""A real server on loopback around whatever routes a test gives, with two orgs and keys that say what they may do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestServer

from gateway.contract import AccessPolicy, Caller
from gateway.core.ids import OrgId
from gateway.engine.catalogue import Catalogue, Org
from gateway.http.app import build_app
from gateway.http.auth import Authenticator
from gateway.http.idempotency import Idempotency
from gateway.http.reading import HttpLimits
from gateway.http.routing import OpenRoute, Route
from gateway.store.database import Database
from gateway.store.idempotency import IdempotencyStore
from gateway.store.keys import PERMISSIONS, KeyStore
from gateway.testing.clock import FakeClock


class NoSettings(msgspec.Struct):
    """A plugin that needs none."""


class OwnList(AccessPolicy[NoSettings]):
    """A key may do what its own list says."""

    name = "own_list"
    settings_type = NoSettings

    def permits(self, caller: Caller, permission: str) -> bool:
        return permission in caller.permissions


DEFAULT = Org(id=OrgId(1), name="default", title="Default", time_zone="Africa/Lagos", default_region="NG")
OTHER = Org(id=OrgId(2), name="other", title="Other", time_zone="UTC", default_region=None)


def make_catalogue(**more: Any) -> Catalogue:
    """Two orgs and one access policy; `more` overrides what a test needs otherwise."""
    settings: dict[str, Any] = {
        "orgs": {"default": DEFAULT, "other": OTHER},
        "channels": {},
        "senders": {},
        "operations": {},
        "access_policies": (OwnList(NoSettings()),),
        "filters": {},
    }
    return Catalogue(**settings | more)


@pytest.fixture
def catalogue() -> Catalogue:
    return make_catalogue()


@pytest.fixture
async def keys(database: Database, clock: FakeClock, org: OrgId) -> KeyStore:
    await database.write(lambda conn: conn.execute("INSERT INTO orgs (id, name) VALUES (2, 'other')"))
    return KeyStore(database, clock)


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.raw)

    @property
    def code(self) -> str:
        """The stable code of a problem document."""
        assert self.headers["Content-Type"] == "application/problem+json"
        return str(self.json["code"])

    @property
    def pointers(self) -> list[str]:
        """Where a problem document finds errors."""
        return [error["pointer"] for error in self.json["errors"]]


@dataclass
class Api:
    """A running API and a client with keys. `token` None: no Authorization header."""

    base: str
    session: aiohttp.ClientSession
    keys: KeyStore
    token: str = ""
    tokens: dict[str, str] = field(default_factory=dict)

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = "",
    ) -> Reply:
        sent = dict(headers or {})
        chosen = self.token if token == "" else token
        if chosen is not None:
            sent.setdefault("Authorization", f"Bearer {chosen}")
        if json is not None:
            data = msgspec.json.encode(json)
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(method, self.base + path, data=data, headers=sent) as answer:
            return Reply(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.call("GET", path, **more)

    async def post(self, path: str, json: Any = None, **more: Any) -> Reply:
        return await self.call("POST", path, json=json, **more)

    async def key(self, *permissions: str, org: OrgId = DEFAULT.id) -> str:
        """The token of a new key."""
        return (await self.keys.create(org, "test", permissions)).token


StartApi = Callable[..., Awaitable[Api]]


@pytest.fixture
async def start_api(
    database: Database, clock: FakeClock, keys: KeyStore, catalogue: Catalogue
) -> AsyncIterator[StartApi]:
    """`await start_api(routes, ...)`: serve them. The client's key has every permission in the default org."""
    running: list[tuple[TestServer, aiohttp.ClientSession]] = []

    async def start(
        routes: Sequence[Route],
        *,
        open_routes: Sequence[OpenRoute] = (),
        limits: HttpLimits | None = None,
        hosts: frozenset[str] | None = None,
        within: Catalogue | None = None,
    ) -> Api:
        app = build_app(
            routes,
            open_routes=open_routes,
            authenticator=Authenticator(keys, within or catalogue, clock),
            idempotency=Idempotency(IdempotencyStore(database, clock)),
            limits=limits,
            hosts=hosts,
        )
        server = TestServer(app)
        await server.start_server(access_log=None, auto_decompress=False)
        session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))
        running.append((server, session))
        token = (await keys.create(DEFAULT.id, "everything", PERMISSIONS)).token
        return Api(base=str(server.make_url("")).rstrip("/"), session=session, keys=keys, token=token)

    yield start
    for server, session in running:
        await session.close()
        await server.close()
