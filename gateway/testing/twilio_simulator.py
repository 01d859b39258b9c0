"""Twilio on loopback: it takes messages, calls back signed, shows what it has, and misbehaves as told.

    async with TwilioSimulator(callback_base="http://127.0.0.1:8080") as twilio:
        twilio.url, twilio.record, twilio.faults = [Throttle(times=3)]
        await twilio.reply("+14155550100", "STOP", to="+14155552345")

Nothing in it sleeps unless `delays` are set: receipts follow at once, or when `release_receipts` is called. Instants
come from `now`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.testing.provider_faults import (
    Fate,
    Fault,
    Garbage,
    Hang,
    ReceiptTrouble,
    Refuse,
    ServerError,
    Throttle,
    fate_of,
)
from gateway.testing.twilio_answers import error_answer, faulty_answer, json_answer
from gateway.testing.twilio_callbacks import POOL_NUMBER, Call, inbound_fields, receipt_call, wish_of
from gateway.testing.twilio_content import PATH as CONTENT_PATH
from gateway.testing.twilio_content import SimTemplate, template_page
from gateway.testing.twilio_messages import SimMessage, listed, refusal_code, resource, segments, shown
from gateway.testing.twilio_script import TwilioScript

__all__ = ["Fate", "Garbage", "Hang", "ReceiptTrouble", "Refuse", "ServerError", "Throttle", "TwilioSimulator", "serve"]

ACCOUNT_SID: Final = "AC0123456789abcdef0123456789abcdef"
AUTH_TOKEN: Final = "token-of-the-twilio-simulator"  # noqa: S105 - of a simulator
BACKLOG: Final = 512
REPLY_WINDOW: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Received:
    """What became of an inbound message that was posted to us."""

    sid: str
    status: int | None  # of our answer; None: there was none


class TwilioSimulator(TwilioScript):
    """Listens on 127.0.0.1 while it is entered. Public attributes may be changed at run time."""

    def __init__(
        self,
        *,
        port: int = 0,
        account_sid: str = ACCOUNT_SID,
        auth_token: str = AUTH_TOKEN,
        callbacks: bool = True,
        callback_base: str | None = None,
        inbound_url: str | None = None,
        steps: Sequence[str] = ("sent", "delivered"),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        seed: int = 0,
    ) -> None:
        """`port` 0 takes a free one. `callbacks` false: no receipts at all.

        `callback_base` replaces the origin of callback URLs, which are signed as they are: for a gateway that is
        reached at `http://127.0.0.1:8080` and has another public URL. `inbound_url`: the number's webhook, as it would
        be configured at Twilio. `steps`: the statuses after the first one; the last is how a message ends.
        """
        super().__init__(account_sid, auth_token, callback_base)
        self.port = port
        self.account_sid = account_sid
        self.account_status = "active"
        self.callbacks = callbacks
        self.inbound_url = inbound_url
        self.steps = tuple(steps)
        self.fates: Sequence[Fate] = ()
        self.reply_window: timedelta | None = REPLY_WINDOW  # of WhatsApp; None: free texts may always be sent
        self.handles_opt_outs = True  # False: as Twilio does on request, the words are for the account to obey
        self.advanced_opt_out = False  # inbound keywords bring OptOutType
        self.delays = (0.0, 0.0)  # at most so many seconds until a message is taken, and from then to the answer
        self.record: list[SimMessage] = []
        self.requests = 0
        self.hanging = asyncio.Event()  # set as soon as one is not answered
        self.opted_out: set[str] = set()
        self.templates: list[SimTemplate] = []
        self._now = now
        self._random = random.Random(seed)  # noqa: S311 - ids, no secrets
        self._held: list[Call] = []
        self._by_sid: dict[str, SimMessage] = {}
        self._by_recipient: dict[str, list[SimMessage]] = {}
        self._last_inbound: dict[str, datetime] = {}
        self._closing = asyncio.Event()
        self._waiting: list[tuple[int, asyncio.Event]] = []
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        # The low-level server: a router for five paths would be half of what a request costs.
        server = web.Server(self._answer, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=BACKLOG)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        await self._caller.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # ---- what tests ask and do ------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """`api_url` and `content_url` of a sender."""
        return f"http://127.0.0.1:{self.port}"

    async def received(self, count: int) -> None:
        """Return as soon as at least `count` messages have been taken."""
        if len(self.record) < count:
            enough = asyncio.Event()
            self._waiting.append((count, enough))
            await enough.wait()

    def release_receipts(self) -> int:
        """Let go what a `delayed` trouble held back; how many callbacks that are."""
        held, self._held = self._held, []
        calls = self._trouble.befall(held)
        self._caller.enqueue(calls)
        return len(calls)

    def repeat_receipts(self) -> None:
        """Post every receipt of every message once more."""
        for message in self.record:
            self._call_back(message, self._steps(message, None))

    def add_template(self, name: str, body: str, *, language: str = "en", **more: Any) -> SimTemplate:
        """Keep a template; what it is named by when it is sent is its `sid`."""
        template = SimTemplate(sid=self._new_sid("HX"), name=name, language=language, body=body, **more)
        self.templates.append(template)
        return template

    async def reply(
        self,
        from_: str,
        text: str,
        *,
        to: str | None = None,
        channel: Literal["sms", "whatsapp"] = "sms",
        media: Sequence[tuple[str, str]] = (),
        **fields: str,
    ) -> Received:
        """A person writes: post it, signed, to the inbound URL. `media`: URLs with types; `fields`: more of Twilio's.

        Without `to` it goes to whoever wrote to the person last. STOP and START count as they do at Twilio.
        """
        if self.inbound_url is None:
            raise RuntimeError("the simulator was given no inbound_url")
        prefix = "whatsapp:" if channel == "whatsapp" else ""
        address = f"{prefix}{from_}"
        sid = self._new_sid("MM" if media else "SM")
        own = f"{prefix}{to}" if to is not None else self._last_sender(address, prefix)
        form = inbound_fields(sid, self.account_sid, address, own, text, media)
        self._last_inbound[address] = self._now()
        form.update(self._heed(address, text))
        call = Call(self.inbound_url, {**form, **fields}, self._new_sid("IT"))
        return Received(sid, await self._caller.post(call))

    def _last_sender(self, address: str, prefix: str) -> str:
        known = self._by_recipient.get(address)
        return (known[-1].sender if known else None) or f"{prefix}{POOL_NUMBER}"

    def _heed(self, address: str, text: str) -> dict[str, str]:
        """STOP keeps SMS from the address, START lets them through again; with Advanced Opt-Out the webhook says so."""
        wish = wish_of(text)
        if wish is None or address.startswith("whatsapp:") or not self.handles_opt_outs:
            return {}
        if wish == "STOP":
            self.opted_out.add(address)
        else:
            self.opted_out.discard(address)
        return {"OptOutType": wish} if self.advanced_opt_out else {}

    def _new_sid(self, prefix: str) -> str:
        return f"{prefix}{self._random.getrandbits(128):032x}"

    # ---- answering requests ---------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests += 1
        if request.headers.get("Authorization") not in self._authorizations:
            return error_answer(20003, 401)
        path = request.path
        prefix = f"/2010-04-01/Accounts/{self.account_sid}"
        if request.method == "POST" and path == f"{prefix}/Messages.json":
            return await self._create_slowly(request)
        fault = self._faults.next("read")
        if fault is not None:
            return await self._misbehave(fault)
        if request.method == "GET":
            found = self._read(path.removeprefix(prefix), request.query)
            if found is not None:
                return json_answer(found, 200)
        return error_answer(20404, 404)

    def _read(self, path: str, query: Mapping[str, str]) -> dict[str, object] | None:
        if path == "/Messages.json":
            known = self._by_recipient.get(query["To"], ()) if "To" in query else self.record
            return listed(known, query, self.account_sid)
        if path == ".json":
            return {
                "sid": self.account_sid,
                "friendly_name": "Simulated",
                "status": self.account_status,
                "type": "Full",
            }
        if path == CONTENT_PATH:
            return template_page(self.templates, query)
        message = self._by_sid.get(path.removeprefix("/Messages/").removesuffix(".json"))
        return shown(message, self.account_sid) if message is not None else None

    async def _create_slowly(self, request: web.BaseRequest) -> web.StreamResponse:
        """Whoever hangs up in the first delay has sent nothing, in the second one a message."""
        before, after = self.delays
        if before:
            await asyncio.sleep(before * self._random.random())
        answer = await self._create(request)
        if after:
            await asyncio.sleep(after * self._random.random())
        return answer

    async def _create(self, request: web.BaseRequest) -> web.StreamResponse:
        pairs = parse_qsl((await request.read()).decode("utf-8", "replace"), keep_blank_values=True)
        form = dict(pairs)
        fault = self._faults.next("send", form.get("To", "")) if self._faults.faults else None
        taken_first = isinstance(fault, Hang | ServerError | Garbage) and fault.accepted
        if fault is not None and not taken_first:
            return await self._misbehave(fault)
        media = tuple(value for name, value in pairs if name == "MediaUrl")
        code = refusal_code(form, media, self.opted_out)
        if code is not None:
            return error_answer(code, 400, to=form.get("To", ""), sender=form.get("From", ""))
        template = self._template(form.get("ContentSid"))
        if "ContentSid" in form and template is None:
            return error_answer(21655, 400)
        message = self._take(form, media, template)
        if fault is not None:
            return await self._misbehave(fault)
        return json_answer(resource(message, self.account_sid, message.first_status, segments(message)), 201)

    def _template(self, sid: str | None) -> SimTemplate | None:
        return next((template for template in self.templates if template.sid == sid), None) if sid else None

    def _take(self, form: Mapping[str, str], media: tuple[str, ...], template: SimTemplate | None) -> SimMessage:
        """Keep a message, and let its receipts follow."""
        body, code = template.render(form.get("ContentVariables")) if template else (form.get("Body", ""), None)
        message = SimMessage(
            sid=self._new_sid("MM" if media else "SM"),
            to=form["To"],
            sender=form.get("From"),
            service_sid=form.get("MessagingServiceSid"),
            body=body,
            media=media,
            content_sid=form.get("ContentSid"),
            variables=form.get("ContentVariables"),
            callback=form.get("StatusCallback"),
            created_at=self._now(),
            first_status="accepted" if "MessagingServiceSid" in form else "queued",
        )
        steps = self._steps(message, code)
        message.status = steps[-1] if steps else message.first_status
        self.record.append(message)
        self._by_sid[message.sid] = message
        self._by_recipient.setdefault(message.to, []).append(message)
        if self._waiting:
            self._wake()
        if self.callbacks and message.callback and steps:
            self._call_back(message, steps)
        return message

    def _steps(self, message: SimMessage, code: int | None) -> Sequence[str]:
        """The statuses that follow, the last of which stays."""
        if code is None and message.on_whatsapp and message.content_sid is None and self._window_closed(message.to):
            code = 63016
        if code is not None:
            message.error_code = code
            return ("failed",)
        fate = fate_of(message.to, self.fates)
        if fate is None:
            return self.steps
        message.error_code = fate.error_code
        return fate.steps

    def _call_back(self, message: SimMessage, steps: Sequence[str]) -> None:
        """Post the receipts now, or hold them. The initial status has none."""
        calls = [receipt_call(message, status, self.account_sid, self._new_sid("IT")) for status in steps]
        if self.receipt_trouble.delayed:
            self._held.extend(calls)
        else:
            self._caller.enqueue(self._trouble.befall(calls))

    def _window_closed(self, address: str) -> bool:
        last = self._last_inbound.get(address)
        return self.reply_window is not None and (last is None or self._now() - last > self.reply_window)

    def _wake(self) -> None:
        for count, enough in self._waiting:
            if len(self.record) >= count:
                enough.set()
        self._waiting = [(count, enough) for count, enough in self._waiting if not enough.is_set()]

    async def _misbehave(self, fault: Fault) -> web.StreamResponse:
        if isinstance(fault, Hang):
            self.hanging.set()
            await self._closing.wait()
        return faulty_answer(fault)


async def serve(
    port: int,
    callback_base: str | None = None,
    *,
    inbound_url: str | None = None,
    account_sid: str = ACCOUNT_SID,
    auth_token: str = AUTH_TOKEN,
    callbacks: bool = True,
    ready: Callable[[TwilioSimulator], None] | None = None,
) -> None:
    """Run a simulator until cancelled. `ready` is called with it as soon as it takes requests."""
    simulator = TwilioSimulator(
        port=port,
        callback_base=callback_base,
        inbound_url=inbound_url,
        account_sid=account_sid,
        auth_token=auth_token,
        callbacks=callbacks,
    )
    async with simulator:
        if ready is not None:
            ready(simulator)
        await asyncio.Event().wait()
