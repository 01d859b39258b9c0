"""A few ordinary values of what policies and operations are given, for checks that need no more."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import msgspec

from gateway.contract import Caller, ContactView, ContentFacts, Facts, Inbound, InboundFacts, Outbound
from gateway.testing.doubles import NOW

_FACTS: Final = Facts(
    now=NOW,
    org="default",
    channel="sms",
    sender="main",
    address="+15551230000",
    category="marketing",
    time_zone="Africa/Lagos",
    source="bulk_action",
    bulk_action_id="ba_0c3v8h2k9m4qa",
    contact_id="con_0c3v8h2k9m4qa",
    tags=frozenset({"member"}),
    sent_last_day=0,
    sent_last_week=0,
    last_inbound_at=None,
    time_zones=("Africa/Lagos", "Africa/Tunis"),
)
FACTS: Final = (
    _FACTS,
    msgspec.structs.replace(_FACTS, sent_last_day=1_000, sent_last_week=1_000, last_inbound_at=NOW - timedelta(days=1)),
    msgspec.structs.replace(_FACTS, time_zone="Nowhere/Land", tags=frozenset(), contact_id=None, source="api"),
    msgspec.structs.replace(_FACTS, now=NOW + timedelta(hours=14), channel="email", address="a@b.example"),
)
CALLERS: Final = (
    Caller(key_id="key_1", org="default", permissions=frozenset(), roles=frozenset(), acting_for=None),
    Caller(
        key_id="key_2",
        org="default",
        permissions=frozenset({"messaging.send"}),
        roles=frozenset({"secretary", "no_such_role"}),
        acting_for="someone",
    ),
)
INBOUNDS: Final = tuple(
    Inbound(provider_id=f"in_{number}", address="+15551230000", text=text)
    for number, text in enumerate(("I am out of office", "STOP", "Start", "", "Thank you \U0001f64f", "A" * 10_000))
)
ARRIVALS: Final = tuple(
    InboundFacts(org="default", title="Grace Church", channel=channel, sender="main") for channel in ("sms", "whatsapp")
)
OUTBOUNDS: Final = (
    Outbound(ref="msg_0c3v8h2k9m4qa", attempt=1, to="+15551230000", text="See you on Sunday."),
    Outbound(ref="msg_0c3v8h2k9m4qb", attempt=2, to="a@b.example", subject="Sunday", text="Hi", html="<p>Hi</p>"),
    Outbound(ref="msg_0c3v8h2k9m4qc", attempt=1, to="a@b.example", headers={"X-Kind": "news"}, html="<body>Hi</body>"),
)
_CONTENT: Final = ContentFacts(
    org="default",
    title="Grace Church",
    channel="email",
    sender="mail",
    category="general",
    source="bulk_action",
    unsubscribe_url="https://gateway.example/u/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    links_itself=False,
)
CONTENT_FACTS: Final = (
    _CONTENT,
    msgspec.structs.replace(_CONTENT, unsubscribe_url=None),
    msgspec.structs.replace(_CONTENT, links_itself=True),
    msgspec.structs.replace(_CONTENT, channel="sms", category="transactional"),
    msgspec.structs.replace(_CONTENT, channel="whatsapp", source="reply", unsubscribe_url="http://127.0.0.1/u/A"),
)
_CONTACT: Final = ContactView(
    id="con_0c3v8h2k9m4qa",
    name=None,
    first_name=None,
    last_name=None,
    email=None,
    phone=None,
    whatsapp=None,
    time_zone=None,
    language=None,
    addresses={},
    tags=frozenset(),
    attributes={},
    deleted=False,
)
CONTACTS: Final = (
    _CONTACT,
    msgspec.structs.replace(_CONTACT, deleted=True),
    msgspec.structs.replace(
        _CONTACT,
        name="Ada Obi",
        first_name="Ada",
        last_name="Obi",
        email="ada@example.org",
        phone="+2348031234567",
        time_zone="Africa/Lagos",
        language="en",
        tags=frozenset({"member", "choir"}),
        attributes={"points": 3, "since": "2020-01-01", "nested": {"a": [1]}},
    ),
)
