"""What both adapters share: the account, its callbacks, look-ups, and what an answer means."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Literal, TypeVar

from gateway import (
    Adapter,
    Answer,
    CallbackAnswer,
    CallbackRequest,
    CannotTell,
    Capabilities,
    Code,
    Event,
    Found,
    Media,
    Outbound,
    Outcome,
    Question,
    Rejected,
    Tools,
)
from gateway_twilio.api import TwilioApi, description, json_object, resource_receipt, send_outcome
from gateway_twilio.callbacks import Mailbox, events_of
from gateway_twilio.errors import ErrorTable, cleaned
from gateway_twilio.lookup import Wanted, find
from gateway_twilio.media import type_of
from gateway_twilio.settings import TwilioSettings
from gateway_twilio.signature import Verifier

BODY_MAX: Final = 1_600  # characters; error 21617 beyond
MEDIA_COUNT_MAX: Final = 10  # error 21623 beyond
MEGABYTE: Final = 1024 * 1024
RETRIES: Final = "#rc=5&rp=all"  # by default Twilio repeats no callback that we answered with a 5xx
SILENCE: Final = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'  # TwiML that says nothing

T = TypeVar("T", bound=TwilioSettings)


class TwilioAdapter(Adapter[T]):
    """The Messages API. A channel's adapter adds how addresses are written, what a message holds, and its limits."""

    name = "twilio"
    media_max: int = 0  # octets of the largest file, whatever its type

    def __init__(self, settings: T, tools: Tools) -> None:
        super().__init__(settings, tools)
        self._table = ErrorTable(settings.errors)
        self._api = TwilioApi(settings, tools.http)
        self._verifier = Verifier(settings.signing_tokens, settings.webhook_keys)
        self._own = self._sender()
        self._validity = (
            () if settings.validity_seconds is None else (("ValidityPeriod", str(settings.validity_seconds)),)
        )
        self._mailbox = Mailbox(
            channel=self._own_channel(),
            account_sid=settings.account_sid,
            number=settings.number,
            service_sid=settings.messaging_service_sid,
        )

    @abstractmethod
    def _own_channel(self) -> Literal["sms", "whatsapp"]:
        """The adapter's channel, as callbacks tell it."""

    @abstractmethod
    def _address(self, bare: str) -> str:
        """An address as the API takes it."""

    @abstractmethod
    def _content(self, message: Outbound) -> Sequence[tuple[str, str]]:
        """What is sent, as fields of the form."""

    @abstractmethod
    def _listed_text(self, message: Outbound) -> str | None:
        """The text that Twilio lists for the message afterwards; None if we cannot know."""

    def _capabilities(self, *, rate: float, concurrency: int, answers_opt_out: bool, templates: bool) -> Capabilities:
        return Capabilities(
            receipts=self.tools.callback_url is not None,
            lookup=self.settings.lookup,
            lookup_settle=timedelta(seconds=self.settings.lookup_settle_seconds),
            on_unknown="hold",
            answers_opt_out=answers_opt_out,
            templates=templates,
            rate=rate,
            concurrency=concurrency,
        )

    async def send(self, message: Outbound) -> Outcome:
        answer = await self._api.create(self._form(message))
        return send_outcome(answer, self._table, self.tools.now())

    def _form(self, message: Outbound) -> Sequence[tuple[str, str]]:
        form = [("To", self._address(message.to)), self._own, *self._content(message), *self._validity]
        if self.tools.callback_url is not None:
            form.append(("StatusCallback", f"{self.tools.callback_url}?ref={message.ref}{RETRIES}"))
        return form

    def _sender(self) -> tuple[str, str]:
        if self.settings.messaging_service_sid is not None:
            return "MessagingServiceSid", self.settings.messaging_service_sid
        return "From", self._address(self.settings.number or "")

    def refuse(self, message: Outbound) -> Rejected | None:
        if message.text is not None and len(message.text) > BODY_MAX:
            reason = f"Twilio takes at most {BODY_MAX:,} characters, this text has {len(message.text):,}"
            return Rejected(Code.TOO_LONG, reason)
        if not message.text and not message.media:
            return Rejected(Code.CONTENT, "There is neither a text nor a file to send")
        if len(message.media) > MEDIA_COUNT_MAX:
            reason = f"Twilio takes at most {MEDIA_COUNT_MAX} files, this message has {len(message.media)}"
            return Rejected(Code.MEDIA, reason)
        return next((refusal for media in message.media if (refusal := self._refuse_media(media)) is not None), None)

    def _refuse_media(self, media: Media) -> Rejected | None:
        if not media.url.lower().startswith(("https://", "http://")):
            return Rejected(Code.MEDIA, "Twilio fetches files from http and https URLs only")
        kind = type_of(media.content_type)
        if kind is not None and not self._takes(kind):
            return Rejected(Code.MEDIA, f"Twilio sends no file of type {kind} by {self.channel}")
        limit = self._media_limit(kind)
        if media.size is not None and media.size > limit:
            of_type = f" of type {kind}" if kind else ""
            return Rejected(
                Code.MEDIA, f"Twilio takes files{of_type} up to {limit:,} bytes, this one has {media.size:,}"
            )
        return None

    @abstractmethod
    def _takes(self, kind: str) -> bool:
        """Whether files of this media type can be sent."""

    def _media_limit(self, kind: str | None) -> int:
        """Octets of one file."""
        return self.media_max

    async def authenticate(self, request: CallbackRequest) -> bool | CallbackAnswer:
        return self._verifier.verify(request)

    def parse(self, request: CallbackRequest) -> Sequence[Event]:
        return events_of(request, self._mailbox, self._table)

    def answer(self, request: CallbackRequest) -> CallbackAnswer:
        return CallbackAnswer(200, SILENCE, "text/xml")

    async def lookup(self, question: Question) -> Answer:
        if question.provider_ids:
            return await self._lookup_by_sid(question.provider_ids[0])
        message = question.message
        wanted = Wanted(
            to=self._address(message.to),
            number=self.settings.number,
            service_sid=self.settings.messaging_service_sid,
            text=self._listed_text(message),
            media=len(message.media),
            attempted_at=question.attempted_at,
        )
        return await find(self._api, wanted, self._table)

    async def _lookup_by_sid(self, sid: str) -> Answer:
        """Never `Absent`: Twilio gave us this id, so a 404 means that somebody removed the message afterwards."""
        answer = await self._api.get(f"{self._api.messages_path}/{sid}.json")
        resource = json_object(answer.body)
        if answer.status != 200:
            return CannotTell(f"Twilio answered {description(answer, resource)}")
        receipt = resource_receipt(resource, self._table)
        if receipt is None or receipt.provider_ids != (sid,):
            return CannotTell("Twilio answered with something that is not this message")
        return Found(receipt, receipt.provider_ids)

    async def check(self) -> str | None:
        answer = await self._api.get(self._api.check_path)
        said = json_object(answer.body)
        if answer.status != 200:
            return f"Twilio does not let us in: {description(answer, said)}."
        if self.settings.api_key_sid is not None:
            return None if isinstance(said.get("messages"), list) else "Twilio answered with something unexpected."
        if said.get("sid") != self.settings.account_sid:
            return "Twilio answered with something that is not this account."
        status = cleaned(said.get("status"))
        return None if status in {"active", ""} else f"The Twilio account is {status}."
