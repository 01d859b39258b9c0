"""The conformance suite, run on both adapters with their recorded cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import pytest

from gateway.testing.cases import Cases
from gateway.testing.conformance import AdapterConformance
from gateway.testing.tools import json_reply
from gateway_sms.channel import SMS
from gateway_twilio.sms import TwilioSms
from gateway_twilio.whatsapp import TwilioWhatsApp
from gateway_whatsapp.channel import WHATSAPP
from tests.plugins.twilio.cases import SMS_CASES, WHATSAPP_CASES
from tests.plugins.twilio.harness import ACCOUNT, KEY, NUMBER, PERSON, TOKEN

THROTTLED: Final = json_reply(429, {"code": 20429, "message": "Too Many Requests", "status": 429}, retry_after="120")
SETTINGS: Final[Mapping[str, object]] = {
    "account_sid": ACCOUNT,
    "auth_token": TOKEN,
    "auth_token_secondary": "fedcba9876543210fedcba9876543210",
    "webhook_keys": {"webhooks_sharedkey_1": "a shared key that signs with SHA-256"},
    "api_key_sid": KEY,
    "api_key_secret": "the secret of an API key",
    "from": NUMBER,
}


class TestSms(AdapterConformance):
    adapter_type = TwilioSms
    channel = SMS
    address = PERSON
    settings = SETTINGS
    cases = SMS_CASES
    proof: ClassVar[str | None] = "x-twilio-signature"
    throttled = THROTTLED


class TestWhatsApp(AdapterConformance):
    adapter_type = TwilioWhatsApp
    channel = WHATSAPP
    address = PERSON
    settings = SETTINGS
    cases = WHATSAPP_CASES
    proof: ClassVar[str | None] = "x-twilio-signature"
    throttled = THROTTLED


@pytest.mark.parametrize("cases", [SMS_CASES, WHATSAPP_CASES])
def test_the_cases_have_names_of_their_own(cases: Cases) -> None:
    for names in ([case.name for case in cases.sends], [case.name for case in cases.callbacks]):
        assert len(names) == len(set(names)) > 10
