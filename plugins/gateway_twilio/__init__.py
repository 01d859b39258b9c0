"""Twilio's adapters for the channels SMS and WhatsApp, as a plugin of the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway import Adapter, hookimpl
from gateway_twilio.sms import TwilioSms
from gateway_twilio.whatsapp import TwilioWhatsApp


@hookimpl
def gateway_adapters() -> Sequence[type[Adapter[Any]]]:
    """`twilio`, for `sms` and for `whatsapp`."""
    return (TwilioSms, TwilioWhatsApp)
