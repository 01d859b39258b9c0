"""Values of the contract's types, as Hypothesis draws them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from hypothesis import strategies as st

from gateway.contract import Caller, Channel, ContactView, Facts, Inbound, Media, Outbound, TemplateUse

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
SPAN: Final = timedelta(days=40_000)
CONTENT_TYPES: Final = (None, "image/jpeg", "application/pdf", "text/html", "", "nonsense", "IMAGE/PNG; x=1")
REAL_ZONES: Final = ("UTC", "Africa/Lagos", "America/New_York", "Pacific/Apia")
ZONES: Final = (*REAL_ZONES, "Nowhere/Land", "")


def texts(size_max: int = 200) -> st.SearchStrategy[str]:
    """Texts as the gateway lets them in: without NUL and without unpaired surrogates."""
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=size_max)


def instants() -> st.SearchStrategy[datetime]:
    """Aware instants, in UTC."""
    return st.timedeltas(timedelta(0), SPAN).map(lambda since: EARLIEST + since)


def messages(plain: Outbound, channel: Channel) -> st.SearchStrategy[Outbound]:
    """Messages to the address of `plain`, with whatever the channel takes, too much and too little of it included."""
    long = st.builds(lambda text, times: text * times, texts(20), st.integers(1, 5_000))
    optional: dict[str, st.SearchStrategy[Any]] = {
        "text": st.none() | texts() | long,
        "attempt": st.integers(1, 1_000),
        "quotes": st.none() | texts(60),
    }
    if "html" in channel.takes:
        optional["html"] = st.none() | texts() | long
    if "subject" in channel.takes:
        optional["subject"] = st.none() | texts() | long
    if "media" in channel.takes:
        optional["media"] = st.lists(_media(), max_size=12).map(tuple)
    if "template" in channel.takes:
        optional["template"] = st.none() | _templates()
    changes = st.fixed_dictionaries({}, optional=optional)
    return changes.map(lambda changed: msgspec.structs.replace(plain, **changed))


def _media() -> st.SearchStrategy[Media]:
    urls = st.sampled_from(
        ("https://files.example/a.jpg", "http://files.example/b", "ftp://x.example/c", "", "data:,x")
    )
    sizes = st.none() | st.integers(0, 10**12)
    return st.builds(Media, urls, st.sampled_from(CONTENT_TYPES), st.none() | texts(80), sizes)


def _templates() -> st.SearchStrategy[TemplateUse]:
    parameters = st.dictionaries(st.sampled_from(("1", "2", "first_name", "header.1", "button.0", "")), texts())
    details = st.dictionaries(texts(10), json_values(), max_size=3)
    return st.builds(TemplateUse, texts(40), st.sampled_from(("en", "de_DE", "")), parameters, details)


def json_values() -> st.SearchStrategy[Any]:
    """Plain JSON."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts(20)
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(texts(10), inner), max_leaves=6)


def facts(needs: frozenset[str], channels: tuple[str, ...] = ("sms", "whatsapp", "email")) -> st.SearchStrategy[Facts]:
    """What a send policy judges by; what it has not said that it needs is empty, as in the gateway."""
    counts = st.integers(0, 10_000) if "sent_counts" in needs else st.just(0)
    inbound = st.none() | instants() if "last_inbound" in needs else st.none()
    zones = st.lists(st.sampled_from(REAL_ZONES), min_size=1, unique=True).map(tuple)
    return st.builds(
        Facts,
        now=instants(),
        org=texts(20),
        channel=st.sampled_from(channels),
        sender=st.sampled_from(("main", "backup")),
        address=texts(60),
        category=st.sampled_from(("marketing", "transactional", "")) | texts(20),
        time_zone=st.sampled_from(ZONES),
        source=st.sampled_from(("bulk_action", "api", "reply", "campaign")),
        bulk_action_id=st.none() | st.just("ba_0c3v8h2k9m4qa"),
        contact_id=st.none() | st.just("con_0c3v8h2k9m4qa"),
        tags=st.frozensets(texts(20), max_size=5),
        sent_last_day=counts,
        sent_last_week=counts,
        sent_last_day_on_channel=counts,
        sent_last_week_on_channel=counts,
        last_inbound_at=inbound,
        time_zones=zones if "time_zones" in needs else st.just(()),
    )


def callers() -> st.SearchStrategy[Caller]:
    """Who asks."""
    names = st.frozensets(st.sampled_from(("messaging.read", "messaging.send", "members.read", "", "*")) | texts(20))
    acting = st.none() | texts(20)
    return st.builds(Caller, key_id=texts(20), org=texts(20), permissions=names, roles=names, acting_for=acting)


def inbounds() -> st.SearchStrategy[Inbound]:
    """What a person wrote."""
    words = st.sampled_from(
        ("STOP", "stop ", "Start", "Unsubscribe please", "ja", "YES", "", "🙏", "STOPP!", "opt out")
    )
    return st.builds(
        Inbound,
        provider_id=texts(40),
        address=texts(40),
        text=words | texts(),
        at=st.none() | instants(),
        button=st.none() | words,
        media=st.lists(_media(), max_size=2).map(tuple),
        name=st.none() | texts(40),
    )


def outbounds() -> st.SearchStrategy[Outbound]:
    """Rendered messages with any of the parts that a channel may take."""
    long = st.builds(lambda text, times: text * times, texts(20), st.integers(1, 2_000))
    return st.builds(
        Outbound,
        ref=st.just("msg_0c3v8h2k9m4qa"),
        attempt=st.integers(1, 100),
        to=texts(40),
        text=st.none() | texts() | long,
        subject=st.none() | texts(80),
        html=st.none() | st.sampled_from(("<p>Hi</p>", "<BODY>x</BODY >", "</body></body>")) | texts() | long,
        template=st.none() | _templates(),
        media=st.lists(_media(), max_size=2).map(tuple),
        headers=st.dictionaries(st.sampled_from(("X-Kind", "list-unsubscribe")), texts(20)),
        reply_to=st.none() | st.just("reply@grace.example"),
        quotes=st.none() | texts(40),
    )


def contacts() -> st.SearchStrategy[ContactView]:
    """Contacts as an operation sees them."""
    some = st.none() | texts(40)
    return st.builds(
        ContactView,
        id=st.just("con_0c3v8h2k9m4qa"),
        name=some,
        first_name=some,
        last_name=some,
        email=some,
        phone=some,
        whatsapp=some,
        time_zone=st.none() | st.sampled_from(ZONES),
        language=st.none() | st.sampled_from(("en", "de")),
        addresses=st.dictionaries(texts(10), texts(40), max_size=3),
        tags=st.frozensets(texts(20), max_size=5),
        attributes=st.dictionaries(texts(20), json_values(), max_size=4),
        deleted=st.booleans(),
    )
