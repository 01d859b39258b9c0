"""Callbacks that nobody recorded: odd ones, hostile ones, and mutations of good ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import CallbackRequest, Consent, Event, Inbound, Media, Receipt, Status
from gateway.testing.cases import CallbackCase, callback
from gateway_whatsapp.callbacks import TEMPLATE_STATES, Mailbox, events_of
from gateway_whatsapp.errors import ErrorTable
from gateway_whatsapp.inbound import LINES_MAX
from gateway_whatsapp.values import address, instant, json_object
from tests.plugins.whatsapp.callback_cases import CALLBACKS
from tests.plugins.whatsapp.harness import (
    ACCOUNT,
    CALLBACK_URL,
    MEDIA_URL,
    NUMBER_ID,
    PARENT,
    PERSON,
    REF,
    USER,
    contact,
    failure,
    message,
    signed,
    status,
    told,
    value,
    webhook,
    written,
)

MAILBOX = Mailbox(phone_number_id=NUMBER_ID, business_account_id=ACCOUNT, media_url=MEDIA_URL)
TABLE = ErrorTable({})
BODIES = [case.request.body for case in CALLBACKS if case.request.body]
DOCUMENTS: list[Any] = [json.loads(body) for body in BODIES]

junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["9" * 400, "99999999999999999", "-1", "1e999", "\0", "\ud83d", 10**30, -(10**18)]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def parsed(request: CallbackRequest) -> Sequence[Event]:
    return events_of(request, MAILBOX, TABLE)


def posted(body: bytes) -> CallbackRequest:
    return callback(CALLBACK_URL, body, content_type="application/json")


def check(events: Sequence[Event]) -> None:
    """Every text can be stored, every instant has a time zone."""
    for event in events:
        assert isinstance(event, Event)
        for found in (getattr(event, name) for name in event.__struct_fields__):
            assert not isinstance(found, str) or ("\0" not in found and found.encode() is not None)
            assert not isinstance(found, datetime) or found.tzinfo is UTC


@pytest.mark.parametrize("case", [case for case in CALLBACKS if case.request.body], ids=lambda case: case.name)
def test_a_recorded_callback_is_read(case: CallbackCase) -> None:
    assert list(parsed(case.request)) == list(case.events)


def test_recorded_callbacks_have_names_of_their_own() -> None:
    names = [case.name for case in CALLBACKS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("id", [None, "", 7, "a b", "x" * 513, "wamid.\u20ac"])
def test_a_message_without_a_proper_id_is_left_out(id: object) -> None:
    assert parsed(written(message("text", {"body": "Hi"}, id=id))) == []
    (event,) = parsed(told(status("sent", id=id)))
    assert isinstance(event, Receipt)
    assert (event.ref, event.provider_ids) == (REF, ())
    assert parsed(told(status("sent", id=id, biz_opaque_callback_data=None))) == []


@pytest.mark.parametrize(
    ("given_", "read"),
    [
        ("16505551234", "+16505551234"),
        ("+16505551234", "+16505551234"),
        ("US.1349", "US.1349"),
        ("US.ENT.118", "US.ENT.118"),
        ("", ""),
        ("1234", ""),
        ("0123456789", ""),
        ("1" * 40, ""),
        ("us.1349", ""),
        ("US.", ""),
        ("16505551234\n", ""),
        ("\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668", ""),
        (16505551234, ""),
        (None, ""),
    ],
)
def test_an_address_is_a_number_or_a_user_id(given_: object, read: str) -> None:
    assert address(given_) == read


@pytest.mark.parametrize(
    ("given_", "year"),
    [
        ("1698266945", 2023),
        (1698266945, 2023),
        ("1698266945000", 2023),
        (1698266945000, 2023),
        ("99999999999", 5138),
        ("0", None),
        (0, None),
        (-1, None),
        (True, None),
        (1698266945.5, None),
        ("1698266945.5", None),
        ("-1698266945", None),
        ("9" * 17, None),
        (10**30, None),
        ("\u0661\u0662", None),
        ("", None),
        (None, None),
        ([1], None),
    ],
)
def test_an_instant_is_seconds_or_milliseconds(given_: object, year: int | None) -> None:
    found = instant(given_)
    assert (found.year if found is not None else None) == year


def test_a_webhook_may_have_a_thousand_contacts_and_messages() -> None:
    people = [contact(wa_id=f"1650555{number:04}") for number in range(1_000)]
    texts = [message("text", {"body": "Hi"}, **{"from": one["wa_id"]}) for one in people]
    events = parsed(written(*texts, contacts=people))
    assert len(events) == 1_000
    assert all(isinstance(event, Inbound) and event.name for event in events)


def test_a_long_order_is_cut() -> None:
    items = [{"product_retailer_id": f"sku-{number}", "quantity": 1} for number in range(500)]
    (event,) = parsed(written(message("order", {"product_items": items})))
    assert isinstance(event, Inbound)
    assert len(event.text.splitlines()) == LINES_MAX


def test_an_edit_of_an_edit_is_left_out() -> None:
    inner = {"type": "edit", "edit": {"message": {"type": "text", "text": {"body": "deep"}}}}
    assert parsed(written(message("edit", {"message": inner}))) == []


def test_a_user_id_in_the_message_itself_needs_no_contact_beside_it() -> None:
    given_ = {**message("text", {"body": "Hi"}), "from_user_id": USER, "from_parent_user_id": PARENT}
    del given_["from"]
    (event,) = parsed(written(given_, contacts=[]))
    assert isinstance(event, Inbound)
    assert (event.address, event.aliases) == (USER, (PARENT,))


def test_a_message_that_names_nobody_is_of_the_only_person_beside_it() -> None:
    given_ = message("text", {"body": "Hi"}, **{"from": ""})
    (event,) = parsed(written(given_, contacts=[contact()]))
    assert isinstance(event, Inbound)
    assert (event.address, event.name) == (PERSON, "Sheena Nelson")
    assert parsed(written(given_, contacts=[contact(), contact(wa_id="19995550000")])) == []


@pytest.mark.parametrize(
    ("kind", "part", "text", "button"),
    [
        ("button", {"payload": "yes_7"}, "yes_7", "yes_7"),
        ("button", {"text": "Yes"}, "Yes", "Yes"),
        ("button", {}, "", None),
        ("interactive", {"type": "button_reply", "button_reply": {"title": "Yes"}}, "Yes", None),
        ("location", {"name": "Church"}, "Church", None),
        ("contacts", [{"phones": [{"wa_id": "16505551234"}]}], "16505551234", None),
    ],
)
def test_a_part_of_what_meta_usually_says_is_read_as_far_as_it_goes(
    kind: str, part: object, text: str, button: str | None
) -> None:
    (event,) = parsed(written(message(kind, part)))
    assert isinstance(event, Inbound)
    assert (event.text, event.button) == (text, button)


def test_a_file_of_no_type_has_none() -> None:
    (event,) = parsed(written(message("image", {"id": "77"})))
    assert isinstance(event, Inbound)
    assert event.media == (Media(url=f"{MEDIA_URL}/77"),)


def test_whatsapps_own_word_without_a_text_is_left_out() -> None:
    assert parsed(written(message("system", {"type": "customer_identity_changed", "wa_id": PERSON[1:]}))) == []


def test_who_stopped_marketing_is_known_by_the_user_id_where_there_is_no_number() -> None:
    _, wish = parsed(told({**failure(131050), "recipient_id": None}))
    assert isinstance(wish, Consent)
    assert wish.address == USER


def test_a_preference_of_nobody_is_left_out() -> None:
    wish = {"value": "stop", "category": "marketing_messages", "timestamp": 1731705721}
    (event,) = parsed(signed(webhook("user_preferences", value(user_preferences=[{**wish, "user_id": USER}]))))
    assert isinstance(event, Consent)
    assert event.address == USER
    assert parsed(signed(webhook("user_preferences", value(user_preferences=[wish])))) == []


def test_news_of_a_field_that_nobody_knows_are_left_out() -> None:
    wish = {"wa_id": PERSON[1:], "value": "stop", "category": "marketing_messages"}
    assert parsed(signed(webhook("user_wishes", value(user_preferences=[wish])))) == []


@pytest.mark.parametrize("missing", ["message_template_name", "message_template_language", "event"])
def test_news_of_a_template_that_say_too_little_are_left_out(missing: str) -> None:
    news = {"event": "PAUSED", "message_template_name": "hello", "message_template_language": "en_US"}
    assert len(parsed(signed(webhook("message_template_status_update", news)))) == 1
    del news[missing]
    assert parsed(signed(webhook("message_template_status_update", news))) == []


def test_a_reason_that_meta_words_otherwise_is_kept_beside_ours() -> None:
    (event,) = parsed(told(status("failed", errors=["junk", {}, {"code": "131047", "title": "Too late"}])))
    assert isinstance(event, Receipt)
    assert (event.status, event.provider_code) == (Status.FAILED, "131047")
    assert event.reason == "More than 24 hours since the person last wrote (Meta 131047): Too late"


def test_every_state_of_a_template_is_known_to_us() -> None:
    # pywa 4.5.0, types/templates.py, TemplateStatus, 2026-11
    listed = """APPROVED PENDING REJECTED PAUSED DISABLED IN_APPEAL PENDING_DELETION DELETED FLAGGED REINSTATED
    LIMIT_EXCEEDED LOCKED ARCHIVED UNARCHIVED"""
    assert set(TEMPLATE_STATES) == set(listed.split())


def test_parsing_is_repeatable() -> None:
    for body in BODIES:
        assert parsed(posted(body)) == parsed(posted(body))


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_parsed_without_an_exception(body: bytes) -> None:
    check(parsed(posted(body)))


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"entry":' * 50_000, b'{"entry": ' + b"9" * 5_000 + b"}", b"\xff"])
def test_what_no_decoder_takes_is_nothing(body: bytes) -> None:
    assert json_object(body) == {}
    assert parsed(posted(body)) == []


@settings(max_examples=4 * settings().max_examples)  # of the active profile: a nightly run has a larger one
@given(
    st.sampled_from(BODIES),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
    st.booleans(),
)
def test_mutated_bytes_are_parsed_without_an_exception(body: bytes, changes: list[tuple[int, int]], cut: bool) -> None:
    mutated = bytearray(body)
    for place, byte in changes:
        mutated[place % len(mutated)] = byte
    check(parsed(posted(bytes(mutated[: changes[0][0] % len(mutated)] if cut else mutated))))


def places(document: Any) -> list[tuple[Any, Any]]:
    """Every holder in a document, with each of its keys."""
    members = document.items() if isinstance(document, dict) else enumerate(document)
    found = []
    for key, inner in members:
        found.append((document, key))
        if isinstance(inner, dict | list):
            found.extend(places(inner))
    return found


@settings(max_examples=10 * settings().max_examples)  # of the active profile: a nightly run has a larger one
@given(st.sampled_from(DOCUMENTS), st.lists(st.tuples(st.integers(0, 500), junk), min_size=1, max_size=4))
def test_junk_in_any_place_is_parsed_without_an_exception(document: Any, changes: list[tuple[int, Any]]) -> None:
    copy = json.loads(json.dumps(document))
    for place, thing in changes:
        found = places(copy)
        if not found:
            break
        holder, key = found[place % len(found)]
        holder[key] = thing
    check(parsed(posted(json.dumps(copy).encode())))


@settings(max_examples=4 * settings().max_examples)  # of the active profile: a nightly run has a larger one
@given(
    st.sampled_from(["text", "button", "interactive", "image", "location", "contacts", "order", "reaction", "edit"])
    | st.sampled_from(["unsupported", "system", "revoke", "sticker"]),
    junk,
    st.dictionaries(st.sampled_from(["from", "from_user_id", "timestamp", "context", "errors", "type"]), junk),
    junk,
)
def test_junk_in_a_message_is_parsed_without_an_exception(
    kind: str, part: Any, more: dict[str, Any], contacts: Any
) -> None:
    given_ = message(kind, part, **more)
    check(parsed(signed(webhook("messages", value(messages=[given_], contacts=contacts)))))


@settings(max_examples=4 * settings().max_examples)  # of the active profile: a nightly run has a larger one
@given(st.sampled_from(["sent", "failed"]), st.dictionaries(st.sampled_from(sorted(status("sent"))), junk), junk)
def test_junk_in_a_status_is_parsed_without_an_exception(state: str, more: dict[str, Any], errors: Any) -> None:
    check(parsed(told({**status(state, errors=errors), **more})))
