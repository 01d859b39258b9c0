"""What an adapter under test is given: a log that remembers, files from memory, and HTTP as a script says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from gateway.contract import File, Files, FileUnavailable, Http, HttpResponse, Media, Outbound, Tools
from gateway.validation import convert
from gateway.wording import TOML

S = TypeVar("S", bound=msgspec.Struct)

NOW: Final = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
"""What the clock of `make_tools` says, unless it is given another."""


class RecordingLog:
    """Keeps the events that an adapter logs, and their values."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.values: list[Mapping[str, object]] = []

    def info(self, event: str, **values: object) -> None:
        self.events.append(event)
        self.values.append(values)

    def warning(self, event: str, **values: object) -> None:
        self.info(event, **values)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCall:
    """One request that an adapter made. `form` as pairs, `json` as it was given."""

    method: str
    url: str
    json: object = None
    form: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, str]:
        """The form's last value of each name."""
        return dict(self.form)


class Hang(Exception):
    """As an answer of `ScriptedHttp`: the provider never answers."""


Reply = HttpResponse | Exception | Callable[[HttpCall], HttpResponse]


class ScriptedHttp:
    """`contract.Http` that answers as it is told, the last answer again and again, and remembers what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.calls: list[HttpCall] = []

    async def __call__(
        self,
        method: str,
        url: str,
        *,
        json: object = None,
        form: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        pairs = form.items() if isinstance(form, Mapping) else form or ()
        call = HttpCall(method=method, url=url, json=json, form=tuple(pairs), body=body, headers={**(headers or {})})
        self.calls.append(call)
        return await self.respond(call)

    async def respond(self, call: HttpCall) -> HttpResponse:
        """The next answer of the script."""
        if not self.replies:
            raise AssertionError(f"the script has no answer to {call.method} {call.url}")
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Hang):
            await asyncio.Event().wait()
        if isinstance(reply, Exception):
            raise reply
        return reply(call) if callable(reply) else reply


def json_reply(status: int, value: object, **headers: str) -> HttpResponse:
    """An answer with a JSON body. Header names: `retry_after="3"` is `retry-after: 3`."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return HttpResponse(status, {"content-type": "application/json", **named}, msgspec.json.encode(value))


def text_reply(status: int, text: str, content_type: str = "text/plain", **headers: str) -> HttpResponse:
    """An answer with a text, such as a proxy's page of HTML."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, {"content-type": content_type, **named}, text.encode())


class MemoryFiles:
    """`contract.Files` over a mapping of URLs."""

    def __init__(self, files: Mapping[str, File] | None = None) -> None:
        self._files = dict(files or {})

    async def __call__(self, media: Media) -> File:
        if media.url not in self._files:
            raise FileUnavailable(f"{media.url} is not among the files of this test")
        return self._files[media.url]


def make_tools(
    http: Http | None = None,
    *,
    log: RecordingLog | None = None,
    files: Files | None = None,
    sender: str = "main",
    now: Callable[[], datetime] = lambda: NOW,
    callback_url: str | None = "https://gateway.example/callbacks/main",
) -> Tools:
    """Tools for one adapter object. Without `http` any request is a failure of the test."""
    return Tools(
        http=http or ScriptedHttp(),
        files=files or MemoryFiles(),
        log=log or RecordingLog(),
        sender=sender,
        now=now,
        callback_url=callback_url,
    )


def make_settings(table: Mapping[str, object], into: type[S]) -> S:
    """Settings as the gateway reads them from gateway.toml. Invalid: `problems` says what is wrong with them."""
    return convert(dict(table), into, words=TOML)


def make_message(to: str, text: str | None = "Hello", *, ref: str = "msg_0c3v8h2k9m4qa", **more: object) -> Outbound:
    """A message as the gateway would hand it over."""
    return msgspec.structs.replace(Outbound(ref=ref, attempt=1, to=to, text=text), **more)
