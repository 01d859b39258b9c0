"""Templates as Meta lists them: what is read of them, how far, and that what was read can be sent."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import HttpResponse, ProviderTemplate, TemplateUse
from gateway.testing.doubles import text_reply
from gateway_whatsapp.callbacks import TEMPLATE_STATES
from gateway_whatsapp.messages import payload
from gateway_whatsapp.templates import FIELDS, PAGE_SIZE, PAGES_MAX, TemplatesUnavailable, template_of
from tests.plugins.whatsapp.harness import (
    ACCOUNT,
    PERSON,
    TOKEN,
    RecordingLog,
    ScriptedHttp,
    cloud,
    json_reply,
    make_message,
    refusal,
)

# github.com/facebook/openapi, business-messaging-api_v23.0.yaml, GET message_templates, 2026-11
PROMO: dict[str, Any] = {
    "id": "920070352646140",
    "name": "2023_april_promo",
    "status": "APPROVED",
    "language": "en_US",
    "category": "MARKETING",
    "components": [
        {"type": "HEADER", "format": "TEXT", "text": "Fall Sale"},
        {
            "type": "BODY",
            "text": "Hi {{1}}, our Fall Sale is on! Use promo code {{2}}",
            "example": {"body_text": [["Mark", "FALL25"]]},
        },
        {"type": "FOOTER", "text": "Not interested in any of our sales? Tap Stop Promotions"},
        {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Stop promotions"}]},
    ],
}
LIST_URL = f"https://graph.facebook.com/v23.0/{ACCOUNT}/message_templates"


def with_parts(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**PROMO, "components": [{"type": "BODY", "text": "Hi"}, *parts], **more}


def buttons(*kinds: dict[str, Any]) -> dict[str, Any]:
    return {"type": "BUTTONS", "buttons": list(kinds)}


def read(said: dict[str, Any]) -> ProviderTemplate:
    found = template_of(said)
    assert found is not None
    return found


def page(*templates: object, after: object = None) -> HttpResponse:
    paging: dict[str, object] = {"cursors": {"before": "MAZDZD", "after": after}}
    if after is not None:
        paging["next"] = f"https://graph.facebook.com/v23.0/1/message_templates?after={after}"
    return json_reply(200, {"data": templates, "paging": paging})


def test_a_template_is_read_with_what_it_takes_to_send_it() -> None:
    assert read(PROMO) == ProviderTemplate(
        name="2023_april_promo",
        language="en_US",
        status="approved",
        category="marketing",
        text=(
            "Fall Sale\nHi {{1}}, our Fall Sale is on! Use promo code {{2}}\n"
            "Not interested in any of our sales? Tap Stop Promotions"
        ),
        parameters=("1", "2"),
        details={"named": False, "header": "text", "buttons": {}, "unsupported": None},
    )


def test_named_parameters_keep_their_names_and_their_order() -> None:
    template = read(
        with_parts(
            parameter_format="NAMED",
            components=[
                {"type": "HEADER", "format": "TEXT", "text": "On {{day}}"},
                {"type": "BODY", "text": "Hi {{ name }}, bring {{cake}}, {{name}}"},
            ],
        )
    )
    assert template.parameters == ("header.day", "name", "cake")
    assert template.details["named"] is True


def test_a_named_template_without_parameters_is_still_named() -> None:
    assert read(with_parts(parameter_format="NAMED")).details["named"] is True
    assert read(with_parts(parameter_format="POSITIONAL")).details["named"] is False


@pytest.mark.parametrize("kind", ["IMAGE", "VIDEO", "DOCUMENT"])
def test_a_header_that_is_a_file_is_asked_for(kind: str) -> None:
    header = {"type": "HEADER", "format": kind, "example": {"header_handle": ["https://scontent.example/x"]}}
    template = read(with_parts(header))
    assert template.media == kind.lower()
    assert template.parameters == ()
    assert template.details["unsupported"] is None


def test_buttons_that_take_a_value_are_parameters_by_their_index() -> None:
    template = read(
        with_parts(
            buttons(
                {"type": "QUICK_REPLY", "text": "I come"},
                {"type": "URL", "text": "Map", "url": "https://grace.example/map"},
                {"type": "URL", "text": "Order", "url": "https://grace.example/{{1}}"},
                {"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+15550051310"},
                {"type": "COPY_CODE", "example": ["FALL25"]},
                {"type": "OTP", "otp_type": "COPY_CODE", "text": "Copy"},
            )
        )
    )
    assert template.parameters == ("button.2", "button.4", "button.5")
    assert template.details["buttons"] == {"2": "url", "4": "copy_code", "5": "url"}


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"type": "CAROUSEL", "cards": []}, "carousel"),
        ({"type": "LIMITED_TIME_OFFER"}, "limited_time_offer"),
        ({"type": "HEADER", "format": "LOCATION"}, "header location"),
        (buttons({"type": "FLOW", "text": "Book"}), "button flow"),
        (buttons({"type": "CATALOG"}), "button catalog"),
    ],
)
def test_a_part_that_cannot_be_filled_is_told_beforehand(part: dict[str, Any], says: str) -> None:
    template = read(with_parts(part))
    assert template.details["unsupported"] == says
    message = make_message(PERSON, None, template=TemplateUse(template.name, "en_US", {}, template.details))
    refused = cloud().refuse(message)
    assert refused is not None
    assert says in refused.reason


@pytest.mark.parametrize(
    ("state", "status"), [*TEMPLATE_STATES.items(), ("SOMETHING_NEW", "pending"), (None, "pending")]
)
def test_only_an_approved_template_can_be_sent(state: str | None, status: str) -> None:
    assert read({**PROMO, "status": state}).status == status


def test_a_rejection_says_why() -> None:
    assert read({**PROMO, "status": "REJECTED", "rejected_reason": "TAG_CONTENT_MISMATCH"}).reason == (
        "TAG_CONTENT_MISMATCH"
    )
    assert read({**PROMO, "rejected_reason": "NONE"}).reason is None


def test_what_was_read_can_be_sent() -> None:
    said = with_parts(
        components=[
            {"type": "HEADER", "format": "TEXT", "text": "On {{1}}"},
            {"type": "BODY", "text": "Hi {{2}} and {{1}}"},
            buttons({"type": "URL", "text": "Order", "url": "https://grace.example/{{1}}"}),
        ],
    )
    template = read(said)
    values = {name: f"value of {name}" for name in template.parameters}
    # As it comes back from the store: plain JSON.
    details = msgspec.json.decode(msgspec.json.encode(template.details))
    message = make_message(PERSON, None, template=TemplateUse(template.name, template.language, values, details))
    assert cloud().refuse(message) is None
    parts = payload(message, link_previews=False)["template"]["components"]  # type: ignore[index]
    assert [(part["type"], [one["text"] for one in part["parameters"]]) for part in parts] == [
        ("header", ["value of header.1"]),
        ("body", ["value of 1", "value of 2"]),
        ("button", ["value of button.0"]),
    ]


async def test_all_pages_are_read_from_the_configured_host() -> None:
    http = ScriptedHttp(page(PROMO, after="MjQZD="), page({**PROMO, "language": "de"}))
    found = await cloud(http, api_url="https://graph.eu.example").templates()
    assert [(one.name, one.language) for one in found] == [("2023_april_promo", "en_US"), ("2023_april_promo", "de")]
    asked = [urlsplit(call.url) for call in http.calls]
    assert {(url.netloc, url.path) for url in asked} == {("graph.eu.example", f"/v23.0/{ACCOUNT}/message_templates")}
    assert [dict(parse_qsl(url.query)) for url in asked] == [
        {"fields": FIELDS, "limit": str(PAGE_SIZE)},
        {"fields": FIELDS, "limit": str(PAGE_SIZE), "after": "MjQZD="},
    ]
    assert all(call.headers["Authorization"] == f"Bearer {TOKEN}" for call in http.calls)


@pytest.mark.parametrize(
    "paging", [None, [], {}, {"next": "https://x"}, {"cursors": {"after": "M"}}, {"next": 7, "cursors": {"after": "M"}}]
)
async def test_a_next_page_that_is_none_ends_the_list(paging: object) -> None:
    http = ScriptedHttp(json_reply(200, {"data": [PROMO], "paging": paging}))
    assert len(await cloud(http).templates()) == 1
    assert len(http.calls) == 1


async def test_a_list_without_end_is_cut_and_told() -> None:
    log = RecordingLog()
    http = ScriptedHttp(page(PROMO, after="again"))
    assert len(await cloud(http, log=log).templates()) == 1
    assert len(http.calls) == PAGES_MAX
    assert log.events == ["template_list_cut"]


async def test_a_list_that_ends_with_its_last_page_is_whole() -> None:
    log = RecordingLog()
    http = ScriptedHttp(*[page(PROMO, after="more")] * (PAGES_MAX - 1), page(PROMO))
    await cloud(http, log=log).templates()
    assert len(http.calls) == PAGES_MAX
    assert log.events == []


@pytest.mark.parametrize(
    "answer",
    [
        refusal(190, "Error validating access token", http_status=401),
        refusal(80007, "Rate limit", http_status=400),
        text_reply(502, "<html>"),
        text_reply(200, "<html>"),
        json_reply(200, {}),
        json_reply(200, {"data": {}}),
        json_reply(200, []),
    ],
)
async def test_an_answer_that_is_no_list_leaves_what_is_known(answer: HttpResponse) -> None:
    with pytest.raises(TemplatesUnavailable):
        await cloud(ScriptedHttp(answer)).templates()
    with pytest.raises(TemplatesUnavailable):
        await cloud(ScriptedHttp(page(PROMO, after="more"), answer)).templates()


async def test_what_is_no_template_is_left_out() -> None:
    junk = [None, 7, {}, {"name": "x"}, {"name": "x", "language": 7}, {"name": "", "language": "en"}]
    assert [one.name for one in await cloud(ScriptedHttp(page(*junk, PROMO))).templates()] == ["2023_april_promo"]


async def test_an_account_without_templates_has_none() -> None:
    http = ScriptedHttp(json_reply(200, {"data": []}))
    assert await cloud(http).templates() == ()
    assert http.calls[0].url.startswith(f"{LIST_URL}?")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["HEADER", "BODY", "BUTTONS", "FOOTER"]) | json_values},
    optional={"format": st.sampled_from(["TEXT", "IMAGE"]) | json_values, "text": json_values, "buttons": json_values},
)


@given(st.dictionaries(st.sampled_from(sorted({*PROMO, "parameter_format", "rejected_reason"})), json_values))
def test_any_value_in_any_place_is_survived(changes: dict[str, Any]) -> None:
    template = template_of({**PROMO, **changes})
    if template is not None:
        assert template.name
        assert template.language
        msgspec.convert(msgspec.to_builtins(template), ProviderTemplate)


@given(st.lists(parts, max_size=4))
def test_any_parts_are_survived(given_: list[dict[str, Any]]) -> None:
    template = read({**PROMO, "components": given_})
    msgspec.json.encode(template.details)
    assert len(set(template.parameters)) == len(template.parameters)
