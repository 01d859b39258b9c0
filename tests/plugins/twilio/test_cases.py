"""The recorded cases, run against the adapters as the daemon makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gateway.testing.cases import CallbackCase, Cases, SendCase
from gateway_twilio.adapter import TwilioAdapter
from tests.plugins.twilio.cases import SMS_CASES, WHATSAPP_CASES
from tests.plugins.twilio.harness import PERSON, ScriptedHttp, make_message, sms, whatsapp

ADAPTERS: Mapping[str, tuple[Callable[[ScriptedHttp | None], TwilioAdapter[Any]], Cases]] = {
    "sms": (sms, SMS_CASES),
    "whatsapp": (whatsapp, WHATSAPP_CASES),
}


def adapter(channel: str, http: ScriptedHttp | None = None) -> TwilioAdapter[Any]:
    return ADAPTERS[channel][0](http)


@pytest.mark.parametrize(
    ("channel", "case"),
    [
        pytest.param(channel, case, id=f"{channel} {case.name}")
        for channel, (_, cases) in ADAPTERS.items()
        for case in cases.sends
    ],
)
async def test_an_answer_to_a_send_means_what_the_case_says(channel: str, case: SendCase) -> None:
    http = ScriptedHttp(case.answer)
    outcome = await adapter(channel, http).send(case.message or make_message(PERSON))
    assert outcome == case.outcome
    assert len(http.calls) == 1


@pytest.mark.parametrize(
    ("channel", "case"),
    [
        pytest.param(channel, case, id=f"{channel} {case.name}")
        for channel, (_, cases) in ADAPTERS.items()
        for case in cases.callbacks
    ],
)
async def test_a_callback_means_what_the_case_says(channel: str, case: CallbackCase) -> None:
    judge = adapter(channel)
    assert await judge.authenticate(case.request) is case.genuine
    assert list(judge.parse(case.request)) == list(case.events)


def test_the_cases_have_names_of_their_own() -> None:
    for _, cases in ADAPTERS.values():
        for names in ([case.name for case in cases.sends], [case.name for case in cases.callbacks]):
            assert len(names) == len(set(names)) > 10
