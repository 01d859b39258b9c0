"""SMS and MMS through Twilio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from gateway import Capabilities, Outbound, count_segments
from gateway_twilio.adapter import MEGABYTE, TwilioAdapter
from gateway_twilio.media import is_mms
from gateway_twilio.settings import SmsSettings

RATE: Final = 1.0  # segments per second: a long code's (twilio.com/docs/errors/21611, 2026-11)
CONCURRENCY: Final = 10
IMAGES: Final = frozenset({"image/jpeg", "image/jpg", "image/png", "image/gif"})  # what Twilio fits to the phone
OTHER_MEDIA_MAX: Final = 500 * 1024  # octets of any other type (twilio-oai, MediaUrl, 2026-11)


class TwilioSms(TwilioAdapter[SmsSettings]):
    """Texts of up to 1,600 characters; with files they are MMS, which only some countries have."""

    channel = "sms"
    settings_type = SmsSettings
    media_max = 5 * MEGABYTE

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities(
            rate=RATE, concurrency=CONCURRENCY, answers_opt_out=self.settings.answers_opt_out, templates=False
        )

    def cost(self, message: Outbound) -> int:
        """Segments: long codes are limited by them. An MMS is one, whatever its length."""
        return 1 if message.media else max(1, count_segments(message.text or "").segments)

    def _own_channel(self) -> Literal["sms", "whatsapp"]:
        return "sms"

    def _address(self, bare: str) -> str:
        return bare

    def _content(self, message: Outbound) -> Sequence[tuple[str, str]]:
        text = [("Body", message.text)] if message.text else []
        return [*text, *(("MediaUrl", media.url) for media in message.media)]

    def _listed_text(self, message: Outbound) -> str | None:
        return message.text or ""

    def _takes(self, kind: str) -> bool:
        return is_mms(kind)

    def _media_limit(self, kind: str | None) -> int:
        return self.media_max if kind is None or kind in IMAGES else OTHER_MEDIA_MAX
