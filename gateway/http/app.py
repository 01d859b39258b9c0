"""The application: routes as data become an aiohttp application, with everything around a handler in one place.

The order of what can be refused: Host, path and method, Origin, key, permissions, query, size and form of the body, the
Idempotency-Key; then the handler, which looks at the thing (404), its state (409), its revision (412) and its content
(422).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from gateway.errors import Refused, StoreUnavailable
from gateway.http.auth import Authenticator, Identity
from gateway.http.callbacks import CallbackDoor
from gateway.http.connections import EXPRESS, ConnectionLog, Runner
from gateway.http.express import Express
from gateway.http.hosts import check_host, is_ours
from gateway.http.idempotency import HEADER as IDEMPOTENCY_KEY
from gateway.http.idempotency import Idempotency, Reply, fingerprint, read_key
from gateway.http.problems import COMMON_HEADERS, explain, response
from gateway.http.querystring import decode_query, repeatable
from gateway.http.reading import ASIDE_BYTES, BodyReader, HttpLimits, aside, keep_waiting
from gateway.http.routing import Answer, Call, OpenRoute, Route
from gateway.http.unsubscribe import UnsubscribeDoor
from gateway.store.idempotency import Claim
from gateway.validation import convert

LINE_BYTES_MAX: Final = 64 * 1024  # of a request's first line: too long a cursor is refused by a route, in its words


Door = CallbackDoor | UnsubscribeDoor
"""A path that takes no key: for providers, and for people who leave."""


def build_app(
    routes: Sequence[Route],
    *,
    open_routes: Sequence[OpenRoute] = (),
    doors: Sequence[Door] = (),
    authenticator: Authenticator,
    idempotency: Idempotency,
    limits: HttpLimits | None = None,
    hosts: frozenset[str] | None = None,
    shortage: Callable[[], str | None] = lambda: None,
) -> web.Application:
    """The control API. `hosts`: the only names it answers to (`loopback_hosts`), None for any name.

    `shortage`: why nothing new can be taken in now; None, it can.
    """
    app = web.Application(middlewares=[_guard(hosts)])
    reader = BodyReader(limits or HttpLimits())
    by_path = {(route.method, route.path): route for route in routes}
    if len(by_path) != len(routes):
        raise ValueError("two routes have the same method and path")
    for route in routes:
        shown = by_path["GET", route.shows] if route.shows is not None else None
        endpoint = Endpoint(route, shown, authenticator, idempotency, reader, limits or HttpLimits(), shortage)
        app.router.add_route(
            route.method, route.path, _for_own_pages(endpoint.handle, hosts), expect_handler=keep_waiting
        )
    for open_route in open_routes:
        app.router.add_get(open_route.path, _for_own_pages(_open(open_route), hosts))
    _add_doors(app, doors, hosts)
    return app


def build_public_app(doors: Sequence[Door]) -> web.Application:
    """What may face the internet: the doors that take no key, and nothing else."""
    app = web.Application(middlewares=[_guard(None)])
    _add_doors(app, doors, None)
    return app


def _add_doors(app: web.Application, doors: Sequence[Door], hosts: frozenset[str] | None) -> None:
    for door in doors:
        door.add_to(app.router)
        if isinstance(door, CallbackDoor):
            app[EXPRESS] = Express(door, hosts)


def build_runner(app: web.Application, limits: HttpLimits | None = None) -> web.AppRunner:
    """A runner with the limits that belong to connections. The daemon adds the sites."""
    chosen = limits or HttpLimits()
    return Runner(
        app,
        access_log=None,
        logger=ConnectionLog(logging.getLogger("gateway.http.connection")),
        auto_decompress=False,  # compressed bodies are refused; nothing of them is unpacked before that
        keepalive_timeout=chosen.idle_seconds,
        lingering_time=chosen.linger_seconds,
        shutdown_timeout=chosen.shutdown_seconds,
        max_line_size=LINE_BYTES_MAX,
    )


Handling = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _guard(hosts: frozenset[str] | None) -> Any:
    """The middleware that checks the Host header and turns every exception into a problem document."""

    @web.middleware
    async def guard(request: web.Request, handler: Handling) -> web.StreamResponse:
        try:
            check_host(request.host, hosts)
            return await handler(request)
        except Exception as exc:  # noqa: BLE001 - the last handler: whatever it is, the caller gets an answer
            resource = request.match_info.route.resource
            return response(explain(exc, method=request.method, route=resource.canonical if resource else "?"))

    return guard


def _for_own_pages(handler: Handling, hosts: frozenset[str] | None) -> Handling:
    """The handler, for programs and for pages of `hosts` only: a browser says in `Origin` whose page asks.

    Not for the doors: the page for people who leave lets browsers say `Origin: null`, and its link is the proof.
    """
    if hosts is None:
        return handler

    async def handle(request: web.Request) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is not None and not is_ours(origin.partition("://")[2], hosts):
            raise Refused("origin_not_allowed", f"A page of {origin[:200]!r} has no business with this daemon.")
        return await handler(request)

    return handle


def _open(route: OpenRoute) -> Handling:
    async def handle(request: web.Request) -> web.StreamResponse:
        return _response(_encode(await route.handler(), 200))

    return handle


class Endpoint:
    """One route, with everything that happens around its handler."""

    def __init__(
        self,
        route: Route,
        shown: Route | None,
        authenticator: Authenticator,
        idempotency: Idempotency,
        reader: BodyReader,
        limits: HttpLimits,
        shortage: Callable[[], str | None],
    ) -> None:
        """`shown`: the route that shows what this one creates."""
        self._route = route
        self._shown = shown
        self._authenticator = authenticator
        self._idempotency = idempotency
        self._reader = reader
        self._limits = limits
        self._shortage = shortage
        self._parameters: Mapping[str, bool] = {} if route.query is None else repeatable(route.query)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Carry one request out. What it raises is turned into a problem by the middleware."""
        identity = await self._authenticator.identify(request.headers.get("Authorization"))
        require = self._authenticator.require(identity.caller)
        require(*self._route.permissions)
        call = Call(
            caller=identity.caller,
            org=identity.org,
            path=dict(request.match_info),
            headers={name.lower(): value for name, value in request.headers.items()},
            query=decode_query(request.rel_url.raw_query_string, self._route.query, self._parameters),
            require=require,
        )
        if self._route.grows and (shortage := self._shortage()) is not None:
            raise StoreUnavailable(shortage)
        decoded = None
        if self._route.streams:
            call = replace(call, chunks=self._reader.chunks(request, self._route))
        elif self._route.body is not None:
            decoded = await self._reader.decode(request, self._route)
            call = await aside(request.content_length or ASIDE_BYTES, partial(self._with_body, call, decoded))
        key = request.headers.get(IDEMPOTENCY_KEY)
        if self._route.creates and key is not None:
            return _response(await self._once(request, call, decoded, key, identity))
        answer = await self._route.handler(call)
        if answer.stream is not None:
            return await self._stream(request, answer, answer.stream)
        return _response(_encode(answer, self._route.status))

    def _with_body(self, call: Call, decoded: Any) -> Call:
        fields = decoded if isinstance(decoded, dict) else {}
        if self._route.merge_patch or (decoded is None and not self._route.body_required):
            return replace(call, fields=fields)
        assert self._route.body is not None
        return replace(call, fields=fields, body=convert(decoded, self._route.body))

    async def _once(self, request: web.Request, call: Call, decoded: Any, key: str, identity: Identity) -> Reply:
        claim = Claim(
            org=identity.org,
            key=read_key(key),
            fingerprint=fingerprint(request.method, request.rel_url.raw_path_qs, decoded),
        )

        async def run() -> Reply:
            return _encode(await self._route.handler(replace(call, claim=claim)), self._route.status)

        async def show(made: str) -> Reply:
            assert self._shown is not None
            answer = await self._shown.handler(replace(call, path={"id": made}, query=None, body=None))
            location = self._shown.path.replace("{id}", made)
            return _encode(replace(answer, headers={"Location": location, **answer.headers}), self._route.status)

        return await self._idempotency.perform(
            claim, run, show if self._shown is not None else None, secret=self._route.secret
        )

    async def _stream(self, request: web.Request, answer: Answer, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
        """Send an answer of any length. The first piece is made before the status is sent: refusals still show."""
        first = await anext(pieces, b"")
        headers = {**COMMON_HEADERS, "Content-Type": answer.content_type, **answer.headers}
        response = web.StreamResponse(status=answer.status or self._route.status, headers=headers)
        await response.prepare(request)
        try:
            await self._write(response, first)
            async for piece in pieces:
                await self._write(response, piece)
            await response.write_eof()
        except ConnectionError:
            structlog.get_logger("gateway.http").debug("stream_left", route=self._route.path)
        except TimeoutError:
            structlog.get_logger("gateway.http").info("stream_reader_too_slow", route=self._route.path)
            _abort(request)
        # The status has gone: all that can still tell the caller is a connection that breaks off before the end.
        except Exception as exc:  # noqa: BLE001
            structlog.get_logger("gateway.http").warning(
                "stream_broken_off", route=self._route.path, exc_info=exc, may_quote=True
            )
            _abort(request)
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()  # what it holds is given back now, not when somebody collects it
        return response

    async def _write(self, response: web.StreamResponse, piece: bytes) -> None:
        async with asyncio.timeout(self._limits.write_seconds):
            await response.write(piece)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _encode(answer: Answer, status: int) -> Reply:
    """An answer as bytes. Bytes and text stay as they are, everything else is JSON; None is no body."""
    body: bytes | None
    match answer.body:
        case None:
            body = None
        case bytes():
            body = answer.body
        case str() if answer.content_type != "application/json":
            body = answer.body.encode()
        case _:
            body = msgspec.json.encode(answer.body)
    return Reply(
        status=answer.status or status, headers=dict(answer.headers), body=body, content_type=answer.content_type
    )


def _response(reply: Reply) -> web.Response:
    headers = {**COMMON_HEADERS, **reply.headers}
    if reply.body is not None:
        headers["Content-Type"] = reply.content_type
    return web.Response(status=reply.status, headers=headers, body=reply.body)
