"""A Kannel on loopback: smsbox's `sendsms`, delivery reports on the URL that each message brings, messages of people.

    async with KannelSimulator(callback_base="http://127.0.0.1:8080") as kannel:
        kannel.url, kannel.record, kannel.faults = [Throttle(times=3)]
        await kannel.reply("+14155550100", "STOP")

Nothing in it sleeps: reports follow at once, or when `release_receipts` is called. Instants come from `now`.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import parse_qsl, quote_from_bytes, urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

from gateway.testing.kannel_messages import KannelMessage, filled, report_values, reports_of
from gateway.testing.provider_faults import (
    HUGE_BYTES,
    Fate,
    Fault,
    FaultPlan,
    Garbage,
    Hang,
    ReceiptTrouble,
    Refuse,
    ServerError,
    Throttle,
    Troublemaker,
    fate_of,
)

__all__ = ["Fate", "Garbage", "Hang", "KannelSimulator", "ReceiptTrouble", "Refuse", "ServerError", "Throttle"]

USERNAME: Final = "dripgate"
PASSWORD: Final = "password-of-the-kannel-simulator"  # noqa: S105 - of a simulator
PATH: Final = "/cgi-bin/sendsms"
MO_PARAMETERS: Final = "from=%p&to=%P&id=%I&ts=%T&charset=%C&text="  # and the text, %b
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
CALL_SECONDS: Final = 15.0
CALLS_AT_ONCE: Final = 32
END: Final = {"failed": "rejected", "undelivered": "undelivered", "sent": "submitted", "read": "delivered"}


class KannelSimulator:
    """Listens on 127.0.0.1 while it is entered. Public attributes may be changed at run time."""

    def __init__(
        self,
        *,
        port: int = 0,
        username: str = USERNAME,
        password: str = PASSWORD,
        callback_base: str | None = None,
        inbound_url: str | None = None,
        number: str = "13013",
        smsc: str = "fake",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        seed: int = 0,
    ) -> None:
        """`port` 0 takes a free one. `callback_base` replaces the origin of callback URLs. `inbound_url`: the get-url
        of its `sms-service` without its parameters, `.../callbacks/NAME/SECRET/mo`. `number`: where people write to.
        """
        self.port = port
        self.users: dict[str, str] = {username: password}
        if callback_base is not None and urlsplit(callback_base).hostname not in LOOPBACK:
            raise ValueError(f"callbacks go to this machine only, not to {callback_base}")
        self.callback_base = callback_base
        self.inbound_url = inbound_url
        self.number = number
        self.smsc = smsc
        self.fates: Sequence[Fate] = ()
        self.link_is_up = True  # False: messages are queued until it is; Kannel says so and takes them
        self.record: list[KannelMessage] = []
        self.requests = 0
        self.hanging = asyncio.Event()
        self.answers: list[int | None] = []  # what its callbacks were answered
        self.replies_sent: list[str] = []  # what an answer to a message of a person would have sent as an SMS
        self._now = now
        self._random = random.Random(seed)  # noqa: S311 - ids, no secrets
        self._faults = FaultPlan(())
        self._trouble = Troublemaker(ReceiptTrouble())
        self._held: list[str] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._door = asyncio.Semaphore(CALLS_AT_ONCE)
        self._closing = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        server = web.Server(self._answer, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_SECONDS))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # ---- what tests ask and do ------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """`url` of a sender."""
        return f"http://127.0.0.1:{self.port}{PATH}"

    @property
    def faults(self) -> Sequence[Fault]:
        """What goes wrong with requests. Setting it starts the counters again."""
        return self._faults.faults

    @faults.setter
    def faults(self, faults: Sequence[Fault]) -> None:
        self._faults = FaultPlan(faults)

    @property
    def receipt_trouble(self) -> ReceiptTrouble:
        """What goes wrong with delivery reports."""
        return self._trouble.trouble

    @receipt_trouble.setter
    def receipt_trouble(self, trouble: ReceiptTrouble) -> None:
        self._trouble = Troublemaker(trouble)

    def release_receipts(self) -> int:
        """Let go what a `delayed` trouble held back; how many reports that are."""
        held, self._held = self._held, []
        return self._enqueue(self._trouble.befall(held))

    async def drained(self) -> None:
        """Return when every report that is not held back has been answered or given up."""
        while self._calls:
            await asyncio.gather(*self._calls, return_exceptions=True)

    async def reply(self, from_: str, text: str, *, charset: str = "UTF-8", id: str | None = None) -> int | None:
        """A person writes: get the `sms-service`'s URL; the status that it is answered with."""
        if self.inbound_url is None:
            raise RuntimeError("the simulator was given no inbound_url")
        values = {
            "p": from_.removeprefix("+"),
            "P": self.number,
            "I": id or self._new_id(),
            "T": str(int(self._now().timestamp())),
            "C": charset,
        }
        query = filled(MO_PARAMETERS, values) + quote_from_bytes(text.encode(charset), safe="")
        status, body = await self._get(f"{self.inbound_url}?{query}")
        if body:
            self.replies_sent.append(body)
        return status

    # ---- answering requests ---------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests += 1
        if request.path != PATH:
            return web.Response(status=404, text="Not found")
        raw = request.rel_url.raw_query_string
        if request.method == "POST":
            raw = (await request.read()).decode("latin-1")
        parameters = dict(parse_qsl(raw, keep_blank_values=True, encoding="utf-8", errors="replace"))
        fault = self._faults.next("send" if "to" in parameters else "read", parameters.get("to", ""))
        taken_first = isinstance(fault, Hang | ServerError | Garbage) and fault.accepted
        if fault is not None and not taken_first:
            return await self._misbehave(fault)
        answer = self._send(parameters)
        return await self._misbehave(fault) if fault is not None else answer

    def _send(self, parameters: Mapping[str, str]) -> web.Response:
        """In smsbox's order: the user, then the receiver. A message without any text is sent, empty."""
        if self.users.get(parameters.get("username", "")) != parameters.get("password", ""):
            return web.Response(status=403, text="Authorization failed for sendsms")
        to = parameters.get("to", "").strip()
        if not to:
            return web.Response(status=400, text="Missing receiver number, rejected")
        message = KannelMessage(
            id=self._new_id(),
            to=to,
            sender=parameters.get("from"),
            text=parameters.get("text", ""),
            coding=parameters.get("coding", "0"),
            smsc=parameters.get("smsc", self.smsc),
            dlr_mask=int(mask) if (mask := parameters.get("dlr-mask", "0")).isdecimal() else 0,
            dlr_url=parameters.get("dlr-url"),
            at=int(self._now().timestamp()),
            foreign_id=self._new_id(),
        )
        self.record.append(message)
        self._report(message)
        return web.Response(
            status=202, text="0: Accepted for delivery" if self.link_is_up else "3: Queued for later delivery"
        )

    def _report(self, message: KannelMessage) -> None:
        """The reports that its mask asks for, now or held."""
        if message.dlr_url is None:
            return
        fate = fate_of(message.to, self.fates)
        end: Literal["delivered", "undelivered", "rejected", "submitted"] = "delivered"
        if fate is not None:
            end = END[fate.status]  # type: ignore[assignment]
        reports = reports_of(message, end, None if fate is None else fate.error_code)
        urls = [
            filled(message.dlr_url, report_values(message, report))
            for report in reports
            if report.status & message.dlr_mask
        ]
        if self.receipt_trouble.delayed:
            self._held += urls
        else:
            self._enqueue(self._trouble.befall(urls))

    def _enqueue(self, urls: Sequence[str]) -> int:
        for url in urls:
            call = asyncio.get_running_loop().create_task(self._call(url))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        return len(urls)

    async def _call(self, url: str) -> None:
        async with self._door:
            self.answers.append((await self._get(url))[0])

    async def _get(self, url: str) -> tuple[int | None, str]:
        """Get a callback URL on this machine; (None, "") if nobody answers."""
        parts = urlsplit(url)
        here = url if self.callback_base is None else f"{self.callback_base.rstrip('/')}{parts.path}?{parts.query}"
        assert self._session is not None
        if urlsplit(here).hostname not in LOOPBACK:
            return None, ""  # away from this machine, where nothing of it goes
        try:
            async with self._session.get(URL(here, encoded=True), headers={"User-Agent": "Kannel/1.4.5"}) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return None, ""

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    async def _misbehave(self, fault: Fault) -> web.StreamResponse:
        match fault:
            case Hang():
                self.hanging.set()
                await self._closing.wait()
                return web.Response(status=503)
            case Throttle():
                return web.Response(status=503, text="Temporal failure, try again later.")
            case Refuse():
                return web.Response(status=fault.status, text=fault.message)
            case ServerError():
                return web.Response(status=fault.status, text="Internal Server Error")
            case Garbage():
                return _garbage(fault)
        raise TypeError(f"{fault!r} does not say what to do")


def _garbage(fault: Garbage) -> web.Response:
    match fault.kind:
        case "html":
            return web.Response(body=b"<html><body>Welcome, guest</body></html>", content_type="text/html")
        case "empty":
            return web.Response(body=b"")
        case "huge":
            return web.Response(body=b"x" * HUGE_BYTES)
        case "redirect":
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        case "wrong_type":
            return web.Response(body=b'{"status": [7]}', content_type="application/json")
