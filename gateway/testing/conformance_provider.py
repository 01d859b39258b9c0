"""The provider of the conformance suite: answers as a test says, and what broken servers and proxies answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

from gateway.contract import HttpResponse
from gateway.testing.doubles import HttpCall, Reply, ScriptedHttp, text_reply

LOGIN_PAGE: Final = (
    b"<!DOCTYPE html><html><head><title>Welcome</title></head><body><form action='/login'>Please log in"
    b" to use this network.</form></body></html>"
)
MEGABYTE: Final = 1024 * 1024  # as much as `tools.http` hands over

GARBAGE: Final[Mapping[str, bytes]] = {
    "nothing at all": b"",
    "a page of HTML": LOGIN_PAGE,
    "the word OK": b"OK",
    "null": b"null",
    "true": b"true",
    "a number": b"17",
    "a JSON text": b'"accepted"',
    "an empty list": b"[]",
    "an empty object": b"{}",
    "a list of nothing": b"[null, [], {}]",
    "an object of another service": b'{"status": "ok", "result": {"answer": 42}}',
    "an error": b'{"error": {"code": 131000, "message": "Something went wrong"}}',
    "JSON that breaks off": b'{"id": "abc", "mess',
    "JSON nested too deeply": b"[" * 100_000,
    "a number of 5,000 digits": b'{"id": ' + b"9" * 5_000 + b"}",
    "bytes that are not UTF-8": b'{"id": "\xff\xfe\x80"}',
    "NULs": b"\0" * 64,
    "an unpaired surrogate": b'{"id": "\\ud800"}',
    "a megabyte of letters": b"A" * MEGABYTE,
    "a megabyte of JSON": b'{"x": "' + b"A" * (MEGABYTE - 9) + b'"}',
}
"""Bodies that no provider means as an answer, by name."""

BODIES: Final[Mapping[str, bytes]] = {
    **GARBAGE,
    "250,000 parameters": b"a=1&" * 250_000,
    "percent signs": b"%" * 1_000,
    "broken escapes": b"a=%zz&b=%ff%fe&%00=%00",
    "infinities": b'{"timestamp": 1e999, "entry": [Infinity, NaN]}',
    "an XML bomb": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'bbbb'><!ENTITY c '&b;&b;'>]><a>&c;</a>",
}
"""Bodies that a stranger may post, by name."""

WRONG_TYPES: Final[tuple[object, ...]] = (None, True, 17, -1.5, "", [], {}, [None], {"a": 1}, "A" * 100_000)
"""What is put where a provider's answer should have something else."""

CROWD_TURNS: Final = 60  # of the event loop, before the first of many requests is answered

Aside = Callable[[HttpCall], HttpResponse | None]


class Provider(ScriptedHttp):
    """`contract.Http` that answers every message with `reply`, and what `aside` answers (a log-in) by that.

    `calls` has what was asked with messages, `asides` the rest.
    """

    def __init__(self, reply: Reply, aside: Aside) -> None:
        super().__init__(reply)
        self.asides: list[HttpCall] = []
        self._aside = aside

    def answer_with(self, reply: Reply) -> None:
        """From now on; what was asked before is forgotten."""
        self.replies = [reply]
        self.calls.clear()
        self.asides.clear()

    async def respond(self, call: HttpCall) -> HttpResponse:
        beside = self._aside(call)
        if beside is None:
            return await self.take(call)
        self.asides.append(self.calls.pop())
        return beside

    async def take(self, call: HttpCall) -> HttpResponse:
        """Answer a message."""
        return await super().respond(call)


class Crowd(Provider):
    """Answers the later of many requests first, and every second one with a fault, as `refused` tells."""

    def __init__(self, reply: Reply, aside: Aside) -> None:
        super().__init__(reply, aside)
        self.refused: list[HttpCall] = []

    async def take(self, call: HttpCall) -> HttpResponse:
        number = len(self.calls)
        for _ in range(max(0, CROWD_TURNS - number)):
            await asyncio.sleep(0)
        if number % 2:
            return await super().take(call)
        self.refused.append(call)
        return text_reply(500, "Internal Server Error")


def written(call: HttpCall) -> str:
    """Everything a request says, as one text, decoded: to look for something in it."""
    parts = [call.url, unquote_plus(call.url), json.dumps(call.json, default=str, ensure_ascii=False)]
    parts.extend(f"{name}={value}" for name, value in call.form)
    parts.extend(f"{name}: {value}" for name, value in call.headers.items())
    parts.append((call.body or b"").decode("utf-8", "replace"))
    text = "\n".join(parts)
    return f"{text}\n{unquote_plus(text)}"


def garbage_like(accepted: HttpResponse) -> Iterator[tuple[str, HttpResponse]]:
    """Garbage with status 200 and with the status that the provider accepts with, none of it the accepted answer."""
    for status in sorted({200, accepted.status}):
        for name, body in GARBAGE.items():
            if body.strip() != accepted.body.strip():
                content_type = "text/html" if body is LOGIN_PAGE else accepted.headers.get("content-type", "text/plain")
                yield f"{name} with status {status}", HttpResponse(status, {"content-type": content_type}, body)


def mistyped(accepted: HttpResponse) -> Iterator[tuple[str, HttpResponse]]:
    """The accepted answer with one value of its JSON replaced by one of a wrong type, or left out."""
    try:
        document = json.loads(accepted.body)
    except ValueError:
        return
    for path in places(document):
        for wrong in (*WRONG_TYPES, ...):
            body = json.dumps(replaced(document, path, wrong)).encode()
            what = "left out" if wrong is ... else f"{str(wrong)[:20]!r}"
            yield f"{'/'.join(map(str, path))}: {what}", HttpResponse(accepted.status, accepted.headers, body)


def places(document: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value inside a JSON document."""
    members: Any = ()
    if isinstance(document, dict):
        members = document.items()
    elif isinstance(document, list):
        members = enumerate(document)
    for key, value in members:
        yield (*path, key)
        yield from places(value, (*path, key))


def replaced(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy with `value` at `path`; without what is there if `value` is `...`."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(document, list):
        items = list(enumerate(document))
        return [replaced(one, rest, value) if at == key else one for at, one in items if _stays(at == key, rest, value)]
    return {
        name: replaced(one, rest, value) if name == key else one
        for name, one in document.items()
        if _stays(name == key, rest, value)
    }


def _stays(here: bool, rest: tuple[str | int, ...], value: object) -> bool:
    return not (here and not rest and value is ...)
