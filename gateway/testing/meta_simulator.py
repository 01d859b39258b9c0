"""Meta's WhatsApp Cloud API on loopback: it takes messages, calls back in signed batches, lists templates, misbehaves.

    async with MetaSimulator(callback_url="https://gateway.example/callbacks/wa", callback_base=base) as meta:
        meta.add_template("june", "Hi {{1}}")
        meta.url, meta.record, meta.faults = [Throttle(times=3)]
        await meta.reply("+14155550100", "STOP")

Nothing in it sleeps: statuses follow at once, or when `release_receipts` is called. Instants come from `now`.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Literal, Self

import msgspec
from aiohttp import web

from gateway.testing.meta_answers import error_answer, faulty_answer, json_answer
from gateway.testing.meta_messages import TITLES, GraphError, MetaMessage, SimTemplate, read_message
from gateway.testing.meta_script import MetaScript
from gateway.testing.meta_webhooks import BATCH_MAX, Part, messages_value, person, status_part, user_id_of, webhook
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

__all__ = ["Fate", "Garbage", "Hang", "MetaSimulator", "ReceiptTrouble", "Refuse", "ServerError", "Throttle"]

NUMBER_ID: Final = "106540352242922"
ACCOUNT_ID: Final = "102290129340398"
NUMBER: Final = "15550783881"
ACCESS_TOKEN: Final = "token-of-the-meta-simulator"  # noqa: S105 - of a simulator
APP_SECRET: Final = "secret-of-the-meta-simulator"  # noqa: S105 - of a simulator
VERIFY_TOKEN: Final = "verify-the-meta-simulator"  # noqa: S105 - of a simulator
REPLY_WINDOW: Final = timedelta(hours=24)
CHALLENGE: Final = "1158201444"


class MetaSimulator(MetaScript):
    """Listens on 127.0.0.1 while it is entered. Public attributes may be changed at run time."""

    def __init__(
        self,
        *,
        port: int = 0,
        phone_number_id: str = NUMBER_ID,
        business_account_id: str = ACCOUNT_ID,
        access_token: str = ACCESS_TOKEN,
        app_secret: str = APP_SECRET,
        verify_token: str = VERIFY_TOKEN,
        callback_url: str | None = None,
        callback_base: str | None = None,
        steps: Sequence[str] = ("sent", "delivered"),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        seed: int = 0,
    ) -> None:
        """`port` 0 takes a free one. `callback_url`: the webhook as it would be set up; None: no webhooks.

        `callback_base` replaces its origin. `steps`: the statuses of a message; the last is how it ends.
        """
        super().__init__(app_secret, callback_base)
        self.port = port
        self.phone_number_id = phone_number_id
        self.business_account_id = business_account_id
        self.access_token = access_token  # another one: the token has expired
        self.verify_token = verify_token
        self.callback_url = callback_url
        self.steps = tuple(steps)
        self.fates: Sequence[Fate] = ()
        self.reply_window: timedelta | None = REPLY_WINDOW
        self.record: list[MetaMessage] = []
        self.requests = 0
        self.hanging = asyncio.Event()
        self.templates: list[SimTemplate] = []
        self.stopped_marketing: set[str] = set()
        self._now = now
        self._random = random.Random(seed)  # noqa: S311 - ids, no secrets
        self._held: list[Part] = []
        self._last_inbound: dict[str, datetime] = {}
        self._closing = asyncio.Event()
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        server = web.Server(self._answer, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        await self._poster.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # ---- what tests ask and do ------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """`api_url` of a sender."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """A sender's settings."""
        return {
            "phone_number_id": self.phone_number_id,
            "business_account_id": self.business_account_id,
            "access_token": self.access_token,
            "app_secret": self._poster.secret,
            "verify_token": self.verify_token,
            "api_url": self.url,
        }

    def release_receipts(self) -> int:
        """Let go what a `delayed` trouble held back; how many statuses that are."""
        held, self._held = self._held, []
        left = self._trouble.befall(held)
        self._call_back(left)
        return len(left)

    async def subscribe(self) -> bool:
        """Set the webhook up: ask it for the challenge. True if it knows the verify token."""
        query = {"hub.mode": "subscribe", "hub.challenge": CHALLENGE, "hub.verify_token": self.verify_token}
        return await self._poster.get(self._webhook(), query) == (200, CHALLENGE)

    def add_template(self, name: str, body: str, **more: Any) -> SimTemplate:
        """Keep a template; see `SimTemplate`."""
        template = SimTemplate(name=name, body=body, id=str(self._random.getrandbits(50)), **more)
        self.templates.append(template)
        return template

    async def change_template(self, template: SimTemplate, status: str, reason: str = "NONE") -> int | None:
        """Approve, pause, disable or reject it, and say so by a webhook."""
        template.status = status
        value = {
            "event": status,
            "message_template_id": int(template.id),
            "message_template_name": template.name,
            "message_template_language": template.language,
            "message_template_category": template.category,
            "reason": reason,
        }
        return await self._post("message_template_status_update", value)

    async def reply(
        self, from_: str, text: str, *, quotes: str | None = None, name: str | None = None, **more: Any
    ) -> int | None:
        """A person writes; the status that the webhook is answered with. `more`: other parts of the message."""
        return await self._receive(from_, "text", {"body": text}, quotes, name, more)

    async def press_button(self, from_: str, payload: str, text: str, *, quotes: str | None = None) -> int | None:
        """A person taps a quick reply of a template."""
        return await self._receive(from_, "button", {"payload": payload, "text": text}, quotes, None, {})

    async def send_media(self, from_: str, kind: str, **fields: Any) -> int | None:
        """A person sends a picture, a recording, a place: `kind` and its fields as Meta writes them."""
        return await self._receive(from_, kind, fields, None, None, {})

    async def prefer(self, from_: str, value: Literal["stop", "resume"]) -> int | None:
        """A person stops marketing messages of this business in WhatsApp itself, or lets them in again."""
        wa_id = from_.removeprefix("+")
        (self.stopped_marketing.add if value == "stop" else self.stopped_marketing.discard)(wa_id)
        preference = {
            "wa_id": wa_id,
            "user_id": user_id_of(wa_id),
            "detail": f"User requested to {value} marketing messages",
            "category": "marketing_messages",
            "value": value,
            "timestamp": self._seconds(),
        }
        part = messages_value(self.phone_number_id, NUMBER, [person(wa_id, user_id_of(wa_id), None)])
        return await self._post("user_preferences", {**part, "user_preferences": [preference]})

    async def _receive(
        self,
        from_: str,
        kind: str,
        part: Mapping[str, Any],
        quotes: str | None,
        name: str | None,
        more: Mapping[str, Any],
    ) -> int | None:
        wa_id = from_.removeprefix("+")
        self._last_inbound[wa_id] = self._now()
        message: Part = {
            "from": wa_id,
            "from_user_id": user_id_of(wa_id),
            "id": self._new_wamid(wa_id),
            "timestamp": str(self._seconds()),
            "type": kind,
            kind: dict(part),
            **more,
        }
        if quotes is not None:
            message["context"] = {"from": NUMBER, "id": quotes}
        contacts = [person(wa_id, user_id_of(wa_id), name)]
        value = messages_value(self.phone_number_id, NUMBER, contacts, messages=[message])
        return await self._post("messages", value)

    async def _post(self, field: str, value: Part) -> int | None:
        return await self._poster.post(self._webhook(), webhook(self.business_account_id, field, [value]))

    def _webhook(self) -> str:
        if self.callback_url is None:
            raise RuntimeError("the simulator was given no callback_url")
        return self.callback_url

    # ---- answering requests ---------------------------------------------------------------------------------------

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests += 1
        try:
            return await self._route(request)
        except GraphError as exc:
            return error_answer(exc.code, exc.details, exc.status)

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.access_token}":
            raise GraphError(190, "Error validating access token: Session has expired.", 401)
        node, _, edge = request.path.partition("/")[2].partition("/")[2].partition("/")
        if request.method == "POST" and edge == "messages":
            return await self._create(request, node)
        fault = self._faults.next("read")
        if fault is not None:
            return await self._misbehave(fault)
        if node == self.business_account_id and edge == "message_templates":
            return json_answer(self._listed(request.query))
        if node == self.phone_number_id and not edge:
            health = {"can_send_message": "AVAILABLE", "entities": []}
            number = {"id": node, "status": "CONNECTED", "quality_rating": "GREEN", "health_status": health}
            return json_answer(number)
        raise GraphError(100, f"Unsupported get request. Object with ID '{node}' does not exist")

    def _listed(self, query: Mapping[str, str]) -> Part:
        asked = (query.get("after") or "0", query.get("limit") or "25")
        start, limit = (int(text) if text.isdecimal() else -1 for text in asked)
        if start < 0 or limit < 1:
            raise GraphError(100, "Invalid cursors values")
        named = [one for one in self.templates if one.name == query.get("name", one.name)]
        end = start + limit
        paging: Part = {"cursors": {"before": str(start), "after": str(end)}}
        if end < len(named):
            paging["next"] = (
                f"https://graph.facebook.com/v23.0/{self.business_account_id}/message_templates?after={end}"
            )
        return {"data": [template.shown() for template in named[start:end]], "paging": paging}

    async def _create(self, request: web.BaseRequest, node: str) -> web.StreamResponse:
        if node != self.phone_number_id:
            raise GraphError(100, f"Object with ID '{node}' does not exist")
        try:
            fields = msgspec.json.decode(await request.read(), type=dict[str, Any])
        except msgspec.MsgspecError as exc:
            raise GraphError(100, "Invalid JSON") from exc
        fault = self._faults.next("send", str(fields.get("to", fields.get("recipient", ""))))
        taken_first = isinstance(fault, Hang | ServerError | Garbage) and fault.accepted
        if fault is not None and not taken_first:
            return await self._misbehave(fault)
        message = read_message(fields, self.templates, self._new_wamid(str(fields.get("to", ""))))
        self._take(message)
        if fault is not None:
            return await self._misbehave(fault)
        taken: Part = {"id": message.wamid}
        if message.template is not None:
            taken["message_status"] = "accepted"
        contact = {"input": str(fields.get("to", message.to)), "wa_id": message.to, "user_id": user_id_of(message.to)}
        return json_answer({"messaging_product": "whatsapp", "contacts": [contact], "messages": [taken]})

    def _take(self, message: MetaMessage) -> None:
        self.record.append(message)
        steps, error = self._end(message)
        message.status = steps[-1]
        at = self._seconds()
        statuses = [
            status_part(
                message.wamid, step, message.to, user_id_of(message.to), at, message.ref,
                error if step == "failed" else None,
            )
            for step in steps
        ]  # fmt: skip
        if self.receipt_trouble.delayed:
            self._held += statuses
        else:
            self._call_back(self._trouble.befall(statuses))

    def _end(self, message: MetaMessage) -> tuple[Sequence[str], tuple[int, str] | None]:
        """The statuses that follow. What only WhatsApp itself knows is told in them, not in the answer."""
        if message.template is None and self._window_closed(message.to):
            return ("failed",), (131047, "More than 24 hours have passed since the customer last replied.")
        if message.category == "MARKETING" and message.to in self.stopped_marketing:
            return ("failed",), (131050, TITLES[131050])
        fate = fate_of(str(message.fields.get("to", message.to)), self.fates)
        if fate is None:
            return self.steps, None
        if fate.status in ("failed", "undelivered"):
            code = fate.error_code or 131026
            return ("failed",), (code, TITLES.get(code, "Failed"))
        return fate.steps, None

    def _window_closed(self, wa_id: str) -> bool:
        last = self._last_inbound.get(wa_id)
        return self.reply_window is not None and (last is None or self._now() - last > self.reply_window)

    def _call_back(self, statuses: Sequence[Part]) -> None:
        """Several in one webhook, as Meta batches them."""
        if self.callback_url is None or not statuses:
            return
        documents = []
        for start in range(0, len(statuses), BATCH_MAX):
            some = statuses[start : start + BATCH_MAX]
            people = {one["recipient_id"]: one["recipient_user_id"] for one in some}
            contacts = [person(wa_id, user_id, None) for wa_id, user_id in people.items()]
            value = messages_value(self.phone_number_id, NUMBER, contacts, statuses=some)
            documents.append(webhook(self.business_account_id, "messages", [value]))
        self._poster.enqueue(self.callback_url, documents)

    def _new_wamid(self, wa_id: str) -> str:
        raw = (
            f"\x1d\x0b{wa_id}\x15\x02\x00\x11\x18".encode()
            + self._random.randbytes(16).hex().upper().encode()
            + b"\x00"
        )
        return f"wamid.{base64.b64encode(raw).decode()}"

    def _seconds(self) -> int:
        return int(self._now().timestamp())

    async def _misbehave(self, fault: Fault) -> web.StreamResponse:
        if isinstance(fault, Hang):
            self.hanging.set()
            await self._closing.wait()
        return faulty_answer(fault)
