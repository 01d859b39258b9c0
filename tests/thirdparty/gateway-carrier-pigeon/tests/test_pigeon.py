"""The pigeon channel keeps the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from cases import CASES, REF, SEAL_SECRET, flight, receipt
from gateway import Absent, Answer, CannotTell, Found, HttpResponse, Question, Status
from gateway.testing.conformance import AdapterConformance
from gateway.testing.doubles import (
    NOW,
    ScriptedHttp,
    json_reply,
    make_message,
    make_settings,
    make_tools,
)

from carrier_pigeon.adapter import LoftAdapter
from carrier_pigeon.coops import PIGEON, normalise

SETTINGS: dict[str, object] = {
    "url": "https://loft.example",
    "token": "canary-of-tokens",
    "seal_secret": SEAL_SECRET,
}


class TestPigeon(AdapterConformance):
    adapter_type = LoftAdapter
    channel = PIGEON
    address = "Coop-17 Lagos"
    settings: ClassVar[dict[str, object]] = SETTINGS
    cases = CASES
    proof = "x-loft-seal"


@pytest.mark.parametrize(
    "given", ["Coop-17 Lagos", "coop 17, LAGOS", " COOP-017  lagos", "coop17 lagos"]
)
def test_a_coop_has_one_spelling(given: str) -> None:
    assert normalise(given, None) == "Coop-17 Lagos"


@pytest.mark.parametrize("given", ["Lagos", "Coop-0 Lagos", "Coop-17", "Coop-1 2"])
def test_what_is_no_coop_is_told(given: str) -> None:
    with pytest.raises(ValueError, match="no coop such as"):
        normalise(given, None)


def ask(answer: HttpResponse) -> Answer:
    adapter = LoftAdapter(
        make_settings(SETTINGS, LoftAdapter.settings_type),
        make_tools(ScriptedHttp(answer)),
    )
    question = Question(
        message=make_message("Coop-17 Lagos", ref=REF),
        provider_ids=(),
        attempted_at=NOW,
    )
    return asyncio.run(adapter.lookup(question))


@pytest.mark.parametrize(
    ("flights", "expected"),
    [
        ([flight("landed")], Found(receipt(Status.DELIVERED), ("F-000123",))),
        ([], Absent()),
        ([flight("landed", ring="other")], CannotTell("The loft lists other flights")),
    ],
)
def test_a_flight_is_looked_up_by_its_ring(
    flights: list[dict[str, Any]], expected: Answer
) -> None:
    assert ask(json_reply(200, {"flights": flights})) == expected


@pytest.mark.parametrize(("characters", "cost"), [(1, 1), (200, 1), (201, 2), (600, 3)])
def test_a_note_costs_as_many_birds_as_it_takes(characters: int, cost: int) -> None:
    adapter = LoftAdapter(
        make_settings(SETTINGS, LoftAdapter.settings_type), make_tools()
    )
    message = make_message("Coop-17 Lagos", "n" * characters)
    assert adapter.refuse(message) is None
    assert adapter.cost(message) == cost
    assert adapter.refuse(make_message("Coop-17 Lagos", "n" * 601)) is not None


def test_the_installed_plugin_offers_the_channel(
    gateway_plugin: Callable[[str], Any],
) -> None:
    offers = gateway_plugin("pigeon")
    assert offers.channels == (PIGEON,)
    assert offers.adapters == (LoftAdapter,)
