"""Providers that answer as fast as bytes allow, in a process of their own: what is measured is the gateway.

It speaks what Twilio, Meta's Graph API and Kannel answer to a message, and counts what it took; receipts of Twilio's
it posts where it is told to. Run as a program it prints `port NUMBER`, and ends when its input does.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import parse_qs

import uvloop

from bench.receipts import Poster, body_length, receipts_of
from gateway.testing.twilio_messages import SimMessage

START_SECONDS: Final = 20.0
COUNTS: Final = b"GET /taken "
RECEIPTS: Final = b"PUT /receipts "  # its body: host and port of who is to have them
TWILIO_BODY: Final = json.dumps(
    {
        "account_sid": "AC0123456789abcdef0123456789abcdef",
        "api_version": "2010-04-01",
        "body": "Hi Ada, see you on Sunday in Lagos.",
        "date_created": "Mon, 01 Jun 2026 08:00:00 +0000",
        "date_sent": None,
        "date_updated": "Mon, 01 Jun 2026 08:00:00 +0000",
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": "+14155552345",
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": None,
        "sid": "SM{number:032x}",
        "status": "queued",
        "subresource_uris": {"media": "/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages/SM/Media.json"},
        "to": "+2348030000000",
        "uri": "/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages/SM.json",
    }
)
META_BODY: Final = json.dumps(
    {
        "messaging_product": "whatsapp",
        "contacts": [{"input": "2348030000000", "wa_id": "2348030000000"}],
        "messages": [{"id": "wamid.{number:032x}"}],
    }
)
# The header lines are those of the providers, in kind and number.
JSON_HEAD: Final = (
    "HTTP/1.1 {status}\r\nContent-Type: application/json;charset=utf-8\r\nContent-Length: {length}\r\n"
    "Connection: keep-alive\r\nDate: Mon, 01 Jun 2026 08:00:00 GMT\r\nX-Request-Id: RQ0123456789abcdef\r\n"
    "Vary: Origin\r\nStrict-Transport-Security: max-age=31536000\r\nX-API-Domain: api.example.com\r\n\r\n"
)
KANNEL_ANSWER: Final = (
    b"HTTP/1.1 202 Accepted\r\nServer: Kannel/1.4.5\r\nContent-Length: 24\r\nContent-type: text/html\r\n\r\n"
    b"0: Accepted for delivery"
)


class _Answers:
    """The answers to a message of each provider, all of one length; `number` is written into its id."""

    def __init__(self, status: str, template: str) -> None:
        self._before, _, self._after = (
            JSON_HEAD.format(status=status, length=len(template.replace("{number:032x}", "0" * 32))) + template
        ).partition("{number:032x}")

    def numbered(self, number: int) -> bytes:
        return f"{self._before}{number:032x}{self._after}".encode()


class Sink:
    """What all connections share."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self._poster: Poster | None = None
        self._host = ""
        self._opening: asyncio.Task[None] | None = None
        self._twilio = _Answers("201 CREATED", TWILIO_BODY)
        self._meta = _Answers("200 OK", META_BODY)

    def answer(self, head: bytes, body: bytes) -> bytes:
        """The answer to one request, which is counted."""
        if head.startswith(COUNTS):
            refused = 0 if self._poster is None else self._poster.refused
            counts = json.dumps({**self.taken, "refused": refused}).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(counts), counts)
        if head.startswith(RECEIPTS):
            self._opening = asyncio.get_running_loop().create_task(self._open(body.decode()))
            return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        if head.startswith(b"GET /cgi-bin/sendsms"):
            self.taken["kannel"] += 1
            return KANNEL_ANSWER
        provider = "twilio" if head.startswith(b"POST /2010-04-01/") else "meta"
        self.taken[provider] += 1
        number = self.taken[provider]
        if self._poster is not None and provider == "twilio":
            self._poster.put(receipts_of(_message(body, f"SM{number:032x}"), self._host))
        answers = self._twilio if provider == "twilio" else self._meta
        return answers.numbered(number)

    async def _open(self, host: str) -> None:
        poster = Poster()
        name, _, port = host.partition(":")
        await poster.open(name, int(port))
        self._host, self._poster = host, poster


def _message(form: bytes, sid: str) -> SimMessage:
    """What was ordered, as far as its receipts go."""
    asked = {name: values[0] for name, values in parse_qs(form.decode()).items()}
    return SimMessage(
        sid=sid,
        to=asked["To"],
        sender=asked["From"],
        service_sid=None,
        body=asked["Body"],
        media=(),
        content_sid=None,
        variables=None,
        callback=asked["StatusCallback"],
        created_at=datetime.now(UTC),
        first_status="queued",
    )


class _Connection(asyncio.Protocol):
    """Requests one after another."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pending = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        data = self._pending + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end]
            size = end + 4 + body_length(head)
            if len(data) < size:
                break
            body, data = data[end + 4 : size], data[size:]
            self._transport.write(self._sink.answer(head, body))
        self._pending = data


class SinkProcess:
    """`async with SinkProcess() as sink: sink.url ...; await sink.taken()`."""

    def __init__(self) -> None:
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.sink", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            said = (await self._process.stdout.readline()).decode().split()
        assert said[:1] == ["port"], said
        self.port = int(said[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        await self._process.communicate(b"")  # which ends it

    async def taken(self) -> dict[str, int]:
        """How many messages it took, for each provider, and how many of its receipts were `refused`."""
        counts: dict[str, int] = await self._ask(COUNTS, b"")
        return counts

    async def post_receipts(self, host: str) -> None:
        """Have it post two receipts for each of Twilio's messages from now on to this host and port."""
        await self._ask(RECEIPTS, host.encode())

    async def _ask(self, what: bytes, body: bytes) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"%bHTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (what, len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(body_length(head))
        writer.close()
        await writer.wait_closed()
        return json.loads(answer)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    sink = Sink()
    server = await loop.create_server(lambda: _Connection(sink), "127.0.0.1", 0, backlog=512)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
