"""WhatsApp through Twilio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from gateway import Capabilities, Code, Outbound, ProviderTemplate, Rejected, TemplateUse
from gateway_twilio.adapter import MEGABYTE, TwilioAdapter
from gateway_twilio.media import is_for_whatsapp
from gateway_twilio.settings import CHANNEL_PREFIX, WhatsAppSettings
from gateway_twilio.templates import PAGE_SIZE, PAGES_MAX, list_templates, rendered, variables_json

RATE: Final = 80.0  # messages per second of one sender (github.com/twilio/ai, twilio-whatsapp-send-message, 2026-06)
CONCURRENCY: Final = 32  # at 80/s each request may take 0.4 s


class TwilioWhatsApp(TwilioAdapter[WhatsAppSettings]):
    """Templates of the Content API, and free texts within 24 hours of a person's own message."""

    channel = "whatsapp"
    settings_type = WhatsAppSettings
    media_max = 16 * MEGABYTE

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities(
            rate=RATE, concurrency=CONCURRENCY, answers_opt_out=self.settings.answers_opt_out, templates=True
        )

    def refuse(self, message: Outbound) -> Rejected | None:
        if message.template is None:
            return super().refuse(message)
        if _content_sid(message.template) is None:
            reason = f"The template {message.template.name} has no ContentSid: it is not one of Twilio's Content API"
            return Rejected(Code.TEMPLATE, reason)
        if message.media:
            return Rejected(Code.MEDIA, "A template of Twilio's brings its own file, and takes no other")
        return None

    async def templates(self) -> Sequence[ProviderTemplate]:
        found, complete = await list_templates(self._api)
        if not complete:
            self.tools.log.warning("template_list_cut", templates=len(found), limit=PAGE_SIZE * PAGES_MAX)
        return found

    def _own_channel(self) -> Literal["sms", "whatsapp"]:
        return "whatsapp"

    def _address(self, bare: str) -> str:
        """A number keeps its plus; a business-scoped user id has none."""
        return f"{CHANNEL_PREFIX}{bare}"

    def _content(self, message: Outbound) -> Sequence[tuple[str, str]]:
        if message.template is None:
            text = [("Body", message.text)] if message.text else []
            return [*text, *(("MediaUrl", media.url) for media in message.media)]
        form = [("ContentSid", _content_sid(message.template) or "")]
        if message.template.parameters:
            form.append(("ContentVariables", variables_json(message.template.parameters)))
        return form

    def _listed_text(self, message: Outbound) -> str | None:
        if message.template is None:
            return message.text or ""
        text = message.template.details.get("text")
        return rendered(text, message.template.parameters) if isinstance(text, str) and text else None

    def _takes(self, kind: str) -> bool:
        return is_for_whatsapp(kind)


def _content_sid(template: TemplateUse) -> str | None:
    sid = template.details.get("content_sid")
    return sid if isinstance(sid, str) and sid else None
