"""What keeps a number from sending, by Meta's health status."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_whatsapp.health import UNUSABLE, complaint
from tests.plugins.whatsapp.harness import ACCOUNT, NUMBER_ID


def entity(kind: str, state: str, **more: Any) -> dict[str, Any]:
    return {"entity_type": kind, "id": ACCOUNT, "can_send_message": state, **more}


def number(*entities: object, overall: object = "AVAILABLE", **more: Any) -> dict[str, Any]:
    """The shape of developers.facebook.com, WhatsApp, cloud-api/health-status, 2026-11."""
    health = {"can_send_message": overall, "entities": list(entities)}
    return {"id": NUMBER_ID, "status": "CONNECTED", "health_status": health, **more}


BROKE = {
    "error_code": 141006,
    "error_description": f"There is an error with the payment method of {ACCOUNT}.",
    "possible_solution": "Update it.",
}


@pytest.mark.parametrize(
    "said",
    [
        {"id": NUMBER_ID},
        number(entity("PHONE_NUMBER", "AVAILABLE"), entity("WABA", "AVAILABLE")),
        number(entity("WABA", "LIMITED", additional_info=["Your business is not verified"]), overall="LIMITED"),
        number(entity("MESSAGE_TEMPLATE", "BLOCKED"), overall="LIMITED"),
        number(status="RESTRICTED"),
        number(overall=None),
        {"id": NUMBER_ID, "status": None, "health_status": "fine"},
    ],
)
def test_a_number_that_can_send_is_well(said: dict[str, Any]) -> None:
    assert complaint(said, NUMBER_ID) is None


@pytest.mark.parametrize("state", sorted(UNUSABLE))
def test_a_number_that_is_gone_is_not(state: str) -> None:
    assert complaint(number(status=state), NUMBER_ID) == f"The number is {state.lower()}."


@pytest.mark.parametrize("said", [{}, {"id": "7"}, {"id": int(NUMBER_ID)}, {"data": []}])
def test_another_s_number_tells_nothing_of_ours(said: dict[str, Any]) -> None:
    assert complaint(said, NUMBER_ID) == "Meta answered with something that is not this number."


def test_what_is_blocked_is_named_without_numbers() -> None:
    said = number(
        entity("PHONE_NUMBER", "AVAILABLE"),
        entity("WABA", "BLOCKED", errors=[BROKE, {"error_code": 7}]),
        entity("APP", "BLOCKED"),
        overall="BLOCKED",
    )
    assert complaint(said, NUMBER_ID) == (
        "Meta lets the number send nothing: "
        "waba, There is an error with the payment method of (a number) (Meta 141006); app."
    )


def test_blocked_without_a_reason_is_blocked_all_the_same() -> None:
    assert complaint(number(overall="BLOCKED"), NUMBER_ID) == "Meta lets the number send nothing."


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just("BLOCKED"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
entities = st.fixed_dictionaries(
    {"can_send_message": st.just("BLOCKED")},
    optional={"entity_type": json_values, "errors": json_values | st.lists(st.just(BROKE) | json_values)},
)


@given(json_values, st.lists(entities | json_values, max_size=3), json_values)
def test_whatever_is_said_is_a_sentence_or_nothing(state: object, parts: list[object], overall: object) -> None:
    found = complaint(number(*parts, overall=overall, status=state), NUMBER_ID)
    assert found is None or (found.endswith(".") and ACCOUNT not in found)
    assert isinstance(complaint(number(*parts, overall="BLOCKED"), NUMBER_ID), str)
