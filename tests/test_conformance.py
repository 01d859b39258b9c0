"""Our own plugins pass the suites that strangers' plugins are held to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from gateway import Adapter, Outbound, Tools, registry
from gateway.testing.conformance import AdapterConformance, OperationConformance, PolicyConformance
from gateway.testing.conformance_installed import installed_plugin
from gateway.testing.doubles import make_message
from gateway.testing.smtp_server import SmtpServer
from gateway.validation import convert
from gateway_contacts import AddTags, DeleteContacts, RemoveTags, RestoreContacts, SetAttributes
from gateway_email.channel import EMAIL
from gateway_email.settings import SmtpSettings
from gateway_email.smtp import SmtpAdapter
from gateway_optout.footers import Footers
from gateway_optout.keywords import Keywords
from gateway_permissions.access import KeysAndRoles
from gateway_permissions.frequency_cap import FrequencyCap
from gateway_permissions.quiet_hours import QuietHours
from gateway_sms.channel import SMS
from gateway_sms.kannel import Kannel
from gateway_twilio.sms import TwilioSms
from gateway_twilio.whatsapp import TwilioWhatsApp
from gateway_whatsapp.channel import WHATSAPP
from gateway_whatsapp.cloud import WhatsAppCloud
from tests.plugins.email import cases as email_cases
from tests.plugins.sms import cases as sms_cases
from tests.plugins.twilio.cases import SMS_CASES, WHATSAPP_CASES
from tests.plugins.twilio.harness import ACCOUNT, NUMBER, PERSON, TOKEN
from tests.plugins.whatsapp import cases as cloud_cases
from tests.plugins.whatsapp import harness as cloud_harness


class TestSmtp(AdapterConformance):
    adapter_type = SmtpAdapter
    channel = EMAIL
    address = "ada@example.org"
    settings: ClassVar[Mapping[str, object]] = {
        **email_cases.SETTINGS,
        "host": "127.0.0.1",
        "security": "none",
        "username": "gateway",
        "password": "canary-5Jq8",
    }
    cases = email_cases.CASES
    proof = "authorization"
    signs_body = False
    speaks_http = False

    def message(self, **more: Any) -> Outbound:
        return make_message(self.address, "Hello.\n", subject="News", **more)

    @asynccontextmanager
    async def make(self, tools: Tools) -> AsyncIterator[Adapter[Any]]:
        async with SmtpServer(credentials={"gateway": "canary-5Jq8"}) as server:
            adapter = SmtpAdapter(convert({**self.settings, "port": server.port}, SmtpSettings), tools)
            await adapter.open()
            try:
                yield adapter
            finally:
                await adapter.close()


class TestKannel(AdapterConformance):
    adapter_type = Kannel
    channel = SMS
    address = sms_cases.PERSON
    settings: ClassVar[Mapping[str, object]] = sms_cases.SETTINGS
    cases = sms_cases.CASES
    proof = "tail"
    signs_body = False


class TestTwilioSms(AdapterConformance):
    adapter_type = TwilioSms
    channel = SMS
    address = PERSON
    settings: ClassVar[Mapping[str, object]] = {"account_sid": ACCOUNT, "auth_token": TOKEN, "from": NUMBER}
    cases = SMS_CASES
    proof = "x-twilio-signature"


class TestTwilioWhatsApp(AdapterConformance):
    adapter_type = TwilioWhatsApp
    channel = WHATSAPP
    address = PERSON
    settings: ClassVar[Mapping[str, object]] = {"account_sid": ACCOUNT, "auth_token": TOKEN, "from": NUMBER}
    cases = WHATSAPP_CASES
    proof = "x-twilio-signature"


class TestCloud(AdapterConformance):
    adapter_type = WhatsAppCloud
    channel = WHATSAPP
    address = cloud_harness.PERSON
    settings = cloud_harness.SETTINGS
    cases = cloud_cases.CASES
    proof = "x-hub-signature-256"


class TestKeywords(PolicyConformance):
    policy_type = Keywords
    settings: ClassVar = {"out": ["go away"], "categories": {"stop news": "news"}, "ignore": ["end"]}


class TestFooters(PolicyConformance):
    policy_type = Footers
    settings: ClassVar = {"address": "1 Main Street", "footers": {"sms": "{org}: STOP ends this", "whatsapp": "{url}"}}


class TestPermissions(PolicyConformance):
    policy_type = KeysAndRoles
    settings: ClassVar[Mapping[str, object]] = {"roles": {"secretary": ["members.read", "messaging.read"]}}


class TestQuietHours(PolicyConformance):
    policy_type = QuietHours
    settings: ClassVar[Mapping[str, object]] = {
        "between": ["21:00", "08:00"],
        "channels": {"email": []},
        "orgs": {"acme": {"channels": {"sms": ["12:00", "14:00"]}}},
    }


class TestQuietHoursThatNobodySet(PolicyConformance):
    policy_type = QuietHours


class TestFrequencyCap(PolicyConformance):
    policy_type = FrequencyCap
    settings: ClassVar[Mapping[str, object]] = {"per_day": 2, "per_week": 5, "per_channel": True}


class TestFrequencyCapThatNobodySet(PolicyConformance):
    policy_type = FrequencyCap


class TestAddTags(OperationConformance):
    operation_type = AddTags
    parameters: ClassVar[Sequence[Mapping[str, object]]] = [{"tags": ["choir"]}, {"tags": ["choir", "youth"]}]


class TestRemoveTags(OperationConformance):
    operation_type = RemoveTags
    parameters: ClassVar[Sequence[Mapping[str, object]]] = [{"tags": ["choir"]}]


class TestSetAttributes(OperationConformance):
    operation_type = SetAttributes
    parameters: ClassVar[Sequence[Mapping[str, object]]] = [{"attributes": {"points": 3, "old": None}}]


class TestDeleteContacts(OperationConformance):
    operation_type = DeleteContacts
    parameters: ClassVar[Sequence[Mapping[str, object]]] = [{}]


class TestRestoreContacts(OperationConformance):
    operation_type = RestoreContacts
    parameters: ClassVar[Sequence[Mapping[str, object]]] = [{}]


def test_every_plugin_of_ours_is_held_to_its_suite() -> None:
    ours = {source.name for source in registry.load().sources if source.distribution == "dripgate"}
    offers = [installed_plugin(name) for name in sorted(ours)]
    suites = [kind for kind in globals().values() if isinstance(kind, type)]
    held = {
        getattr(suite, trait, None) for suite in suites for trait in ("adapter_type", "policy_type", "operation_type")
    }
    missing = [
        kind.__name__
        for offer in offers
        for kind in (*offer.adapters, *offer.policies, *map(type, offer.operations))
        if kind not in held
    ]
    assert len(offers) > 5
    assert missing == []
