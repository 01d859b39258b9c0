"""Templates of the Content API: what is read of them, and how far."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import ProviderTemplate
from gateway_twilio.templates import PAGES_MAX, PATH, TemplatesUnavailable, rendered, template_of
from tests.plugins.twilio.harness import CONTENT, RecordingLog, ScriptedHttp, json_reply, refusal, whatsapp

# The shape of GET /v1/ContentAndApprovals in twilio-oai, twilio_content_v1.json, 2026-11.
REMINDER: dict[str, Any] = {
    "sid": CONTENT,
    "friendly_name": "Sunday reminder",
    "language": "en_GB",
    "variables": {"1": "Ada", "2": "10:00"},
    "types": {"twilio/text": {"body": "Hi {{1}}, see you at {{2}}."}},
    "approval_requests": {
        "name": "sunday_reminder",
        "category": "UTILITY",
        "content_type": "twilio/text",
        "status": "approved",
        "rejection_reason": "",
    },
}


def content(**more: Any) -> dict[str, Any]:
    return {**REMINDER, **more}


def approval(**more: Any) -> dict[str, Any]:
    return {**REMINDER, "approval_requests": {**REMINDER["approval_requests"], **more}}


def read(value: object) -> ProviderTemplate:
    found = template_of(value)
    assert found is not None
    return found


def page(*contents: object, following: str | None = None) -> Any:
    meta = {"page": 0, "page_size": 100, "next_page_url": following, "key": "contents"}
    return json_reply(200, {"contents": contents, "meta": meta})


def test_a_template_is_read_with_what_it_takes_to_send_it() -> None:
    assert read(REMINDER) == ProviderTemplate(
        name="sunday_reminder",
        language="en_GB",
        status="approved",
        category="utility",
        text="Hi {{1}}, see you at {{2}}.",
        parameters=("1", "2"),
        details={"content_sid": CONTENT, "text": "Hi {{1}}, see you at {{2}}."},
    )


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("approved", "approved"),
        ("received", "pending"),
        ("pending", "pending"),
        ("unsubmitted", "pending"),
        ("rejected", "rejected"),
        ("disabled", "rejected"),
        ("paused", "paused"),
        ("something new", "pending"),
        (None, "pending"),
    ],
)
def test_only_an_approved_template_can_be_sent(state: str | None, status: str) -> None:
    assert read(approval(status=state)).status == status


@pytest.mark.parametrize("missing", [{}, None, "none"])
def test_one_that_whatsapp_has_never_seen_says_so(missing: object) -> None:
    template = read(content(approval_requests=missing))
    assert (template.name, template.status) == ("Sunday reminder", "pending")
    assert template.reason == "Not submitted to WhatsApp for approval"


def test_a_rejection_says_why() -> None:
    assert read(approval(status="rejected", rejection_reason="Too pushy")).reason == "Too pushy"


def test_placeholders_are_found_in_buttons_and_cards_too_and_ordered_by_number() -> None:
    types = {
        "twilio/card": {
            "title": "Hi {{10}}",
            "media": ["https://files.example/{{ 2 }}.jpg"],
            "actions": [{"type": "URL", "url": "https://grace.example/{{1}}"}],
        }
    }
    template = read(content(types=types, variables={"name": "x"}))
    assert template.parameters == ("1", "2", "10", "name")
    assert template.text == "Hi {{10}}"


def test_a_text_is_rendered_as_twilio_lists_it() -> None:
    assert rendered("Hi {{1}}, {{ 2 }}, {{3}}", {"1": "Ada", "2": "b{{1}}"}) == "Hi Ada, b{{1}}, {{3}}"


async def test_all_pages_are_read_from_the_configured_host() -> None:
    following = f"https://content.twilio.com{PATH}?PageSize=100&Page=1&PageToken=DN1"
    http = ScriptedHttp(page(REMINDER, following=following), page(approval(name="second")))
    found = await whatsapp(http, content_url="https://content.eu.example").templates()
    assert [template.name for template in found] == ["sunday_reminder", "second"]
    assert [call.url for call in http.calls] == [
        f"https://content.eu.example{PATH}?PageSize=100",
        f"https://content.eu.example{PATH}?PageSize=100&Page=1&PageToken=DN1",
    ]


@pytest.mark.parametrize("following", ["https://elsewhere.example/v2/x?a=b", "https://[", 7, ""])
async def test_a_next_page_that_is_none_ends_the_list(following: Any) -> None:
    http = ScriptedHttp(page(REMINDER, following=following))
    assert len(await whatsapp(http).templates()) == 1
    assert len(http.calls) == 1


async def test_a_list_without_end_is_cut_and_told() -> None:
    log = RecordingLog()
    http = ScriptedHttp(page(REMINDER, following=f"https://content.twilio.com{PATH}?Page=1"))
    assert len(await whatsapp(http, log=log).templates()) == 1
    assert len(http.calls) == PAGES_MAX
    assert log.events == ["template_list_cut"]


@pytest.mark.parametrize(("first", "second"), [("rejected", "approved"), ("approved", "rejected")])
async def test_of_two_with_one_name_the_approved_one_counts(first: str, second: str) -> None:
    found = await whatsapp(ScriptedHttp(page(approval(status=first), approval(status=second)))).templates()
    assert [template.status for template in found] == ["approved"]


@pytest.mark.parametrize("answer", [refusal(20003, "Authenticate", 401), json_reply(200, {}), json_reply(200, [])])
async def test_an_answer_that_is_no_list_leaves_what_is_known(answer: Any) -> None:
    with pytest.raises(TemplatesUnavailable):
        await whatsapp(ScriptedHttp(answer)).templates()


@pytest.mark.parametrize("value", [None, 7, [], {}, {"sid": "HX1", "friendly_name": "x"}, content(sid=7)])
def test_what_is_no_template_is_left_out(value: object) -> None:
    assert template_of(value) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(REMINDER)), json_values))
def test_any_value_in_any_place_is_survived(changes: dict[str, Any]) -> None:
    template = template_of({**REMINDER, **changes})
    if template is not None:
        assert template.name
        assert template.details["content_sid"]
