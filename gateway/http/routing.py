"""What a resource module hands to the application: routes as data, and the two values a handler sees."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway.contract import Caller
from gateway.core.ids import OrgId
from gateway.store.idempotency import Claim

BODY_BYTES_MAX = 1024 * 1024  # a megabyte holds every body but lists of recipients; those routes say their own limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One authenticated request, decoded.

    `query` and `body` are instances of the route's own types (None where it declares none). `fields` is the body as
    plain JSON, for merge patches. `chunks` is the raw body of a route that streams. `claim` is there if the caller sent
    an Idempotency-Key on a route that creates: a store method that must not create twice takes it and writes it down
    in the creation's own transaction (`gateway.store.idempotency.remember`).
    """

    caller: Caller
    org: OrgId
    path: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    query: Any = None
    body: Any = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    chunks: AsyncIterator[bytes] | None = None
    claim: Claim | None = None
    require: Callable[..., None]  # require("messaging.send", ...): Refused("permission_denied") unless all are held


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a handler returns: a Struct or plain JSON, or `stream` for an answer of any length."""

    body: object = None
    status: int | None = None  # None: the route's own
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None
    content_type: str = "application/json"


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method on one path: everything that the application, the OpenAPI document and the tests need to know."""

    method: str
    path: str  # "/v1/bulk-actions/{id}"
    handler: Handler
    summary: str
    permissions: tuple[str, ...]  # all of them are needed; (): any key
    tag: str
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    body_required: bool = True
    merge_patch: bool = False  # the body type is applied after the merge, by the handler, from `Call.fields`
    streams: tuple[str, ...] = ()  # media types of a body that the handler reads itself
    body_bytes_max: int = BODY_BYTES_MAX
    answer: Any = None  # type of the answer's body; None: no body
    answers_also: tuple[str, ...] = ()  # further media types of the answer, by the caller's Accept: "text/csv"
    status: int = 200
    also: tuple[int, ...] = ()  # further statuses of success
    creates: bool = False  # honours Idempotency-Key
    shows: str | None = None  # path, with "{id}", of the GET route that shows what this one created; it is the Location
    secret: bool = False  # the answer's body is stored nowhere: a replay shows what was created instead
    refusals: tuple[str, ...] = ()  # codes beyond those that every route has
    grows: bool = False  # refused while the disk is nearly full: whatever stops something must still work then


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRoute:
    """A path that needs no key and reads nothing of the request: health, readiness, metrics."""

    path: str
    handler: Callable[[], Awaitable[Answer]]
