"""WhatsApp through Meta's own Cloud API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway import (
    Accepted,
    Adapter,
    CallbackAnswer,
    CallbackRequest,
    Capabilities,
    Event,
    Outbound,
    Outcome,
    ProviderTemplate,
    Rejected,
    Tools,
)
from gateway_whatsapp.api import CloudApi, description, first_message, send_outcome
from gateway_whatsapp.callbacks import Mailbox, events_of
from gateway_whatsapp.errors import ErrorTable, cleaned
from gateway_whatsapp.health import FIELDS, complaint
from gateway_whatsapp.messages import payload, refusal
from gateway_whatsapp.settings import CloudSettings
from gateway_whatsapp.signature import Verifier
from gateway_whatsapp.templates import PAGE_SIZE, PAGES_MAX, list_templates
from gateway_whatsapp.values import json_object

RATE: Final = 80.0  # messages per second of one number, by default (developers.facebook.com, throughput, 2025-11-21)
CONCURRENCY: Final = 64  # at 80/s each request may take 0.8 s


class WhatsAppCloud(Adapter[CloudSettings]):
    """One business phone number: templates, and free texts within 24 hours of a person's own message."""

    channel = "whatsapp"
    name = "cloud"
    settings_type = CloudSettings

    def __init__(self, settings: CloudSettings, tools: Tools) -> None:
        super().__init__(settings, tools)
        self._table = ErrorTable(settings.errors)
        self._api = CloudApi(settings, tools.http)
        self._verifier = Verifier(settings.app_secrets, settings.verify_token)
        self._mailbox = Mailbox(
            phone_number_id=settings.phone_number_id,
            business_account_id=settings.business_account_id,
            media_url=settings.graph_url,
        )

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            receipts=self.tools.callback_url is not None,
            lookup=False,
            on_unknown="hold",
            templates=True,
            rate=RATE,
            concurrency=CONCURRENCY,
        )

    async def send(self, message: Outbound) -> Outcome:
        answer = await self._api.send(payload(message, link_previews=self.settings.link_previews))
        said = json_object(answer.body)
        outcome = send_outcome(answer, said, self._table, self.tools.now(), message.attempt)
        if isinstance(outcome, Accepted) and message.template is not None:
            self._tell_if_held(message.template.name, first_message(said).get("message_status"))
        return outcome

    def _tell_if_held(self, template: str, state: object) -> None:
        """Meta keeps messages of a young template back until it knows how people take it.

        They are taken all the same: each is sent later, or dropped with a failed receipt (132015).
        """
        if isinstance(state, str) and state != "accepted":
            self.tools.log.warning("template_held_back", template=template, message_status=cleaned(state))

    def refuse(self, message: Outbound) -> Rejected | None:
        return refusal(message)

    async def authenticate(self, request: CallbackRequest) -> bool | CallbackAnswer:
        return self._verifier.verify(request)

    def parse(self, request: CallbackRequest) -> Sequence[Event]:
        return events_of(request, self._mailbox, self._table)

    async def templates(self) -> Sequence[ProviderTemplate]:
        found, complete = await list_templates(self._api, self.settings.business_account_id)
        if not complete:
            self.tools.log.warning("template_list_cut", templates=len(found), limit=PAGE_SIZE * PAGES_MAX)
        return found

    async def check(self) -> str | None:
        answer = await self._api.get(f"/{self.settings.phone_number_id}?fields={FIELDS}")
        said = json_object(answer.body)
        if answer.status != 200:
            return f"Meta does not let us in: {description(answer, said)}."
        return complaint(said, self.settings.phone_number_id)
