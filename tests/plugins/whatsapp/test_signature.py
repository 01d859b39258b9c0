"""X-Hub-Signature-256 and the handshake: a vector, forgeries, rotations.

The vector was computed with pywa 4.5.0, which accepts it, 2026-11.
"""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import CallbackAnswer, CallbackRequest
from gateway.testing.cases import callback
from gateway_whatsapp.signature import CHALLENGE_MAX, Verifier, signature

URL = "https://gateway.example/callbacks/main"
SECRET = "app-secret-123"
BODY = b'{"object":"whatsapp_business_account","entry":[]}'
CLAIMED = "sha256=20e391a99a86fc5adf7e3a453236d20c906360291977896cf2f671e03bb95703"
VERIFIER = Verifier([SECRET], "meatyhamhock")
HANDSHAKE = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "meatyhamhock"}


def post(body: bytes = BODY, claimed: str | None = CLAIMED) -> CallbackRequest:
    headers = {} if claimed is None else {"X-Hub-Signature-256": claimed}
    return callback(URL, body, headers=headers, content_type="application/json")


def handshake(**changes: str | None) -> CallbackRequest:
    named = {f"hub.{name}": value for name, value in changes.items()}
    query = {name: value for name, value in {**HANDSHAKE, **named}.items() if value is not None}
    return callback(f"{URL}?{urlencode(query, errors='replace')}", method="GET", content_type="")


def test_the_vector_is_genuine() -> None:
    assert signature(SECRET.encode(), BODY) == CLAIMED.encode()
    assert len(CLAIMED) == 71
    assert VERIFIER.verify(post()) is True


def test_the_same_json_written_otherwise_is_a_forgery() -> None:
    escaped = b'{"text":"\\u00e9"}'
    claimed = signature(SECRET.encode(), escaped).decode()
    assert VERIFIER.verify(post(escaped, claimed)) is True
    assert VERIFIER.verify(post('{"text":"é"}'.encode(), claimed)) is False


@pytest.mark.parametrize(
    "claimed", [None, "", "sha256=", CLAIMED[7:], CLAIMED.upper(), "sha1" + CLAIMED[6:], CLAIMED + " ", "sha256=\u20ac"]
)
def test_another_header_is_a_forgery(claimed: str | None) -> None:
    assert VERIFIER.verify(post(claimed=claimed)) is False


def test_during_a_rotation_both_secrets_are_good_and_afterwards_one() -> None:
    both = Verifier(["the new one", SECRET], "token")
    assert both.verify(post()) is True
    assert both.verify(post(claimed=signature(b"the new one", BODY).decode())) is True
    assert Verifier(["the new one"], "token").verify(post()) is False


@given(st.binary(max_size=200), st.text(max_size=80))
def test_nobody_guesses_a_signature(body: bytes, claimed: str) -> None:
    assert VERIFIER.verify(post(body, claimed)) is False


def test_the_handshake_is_answered_with_the_challenge() -> None:
    assert VERIFIER.verify(handshake()) == CallbackAnswer(200, b"1158201444", "text/plain")


@pytest.mark.parametrize(
    "changes",
    [
        {"verify_token": "wrong"},
        {"verify_token": ""},
        {"verify_token": None},
        {"verify_token": "meatyhamhoc\u20ac"},
        {"mode": "unsubscribe"},
        {"mode": None},
        {"challenge": None},
        {"challenge": ""},
        {"challenge": "1" * (CHALLENGE_MAX + 1)},
    ],
)
def test_any_other_handshake_is_refused(changes: dict[str, str | None]) -> None:
    assert VERIFIER.verify(handshake(**changes)) is False


def test_a_get_is_never_a_callback_even_if_it_is_signed() -> None:
    signed = callback(URL, BODY, method="GET", headers={"X-Hub-Signature-256": CLAIMED})
    assert VERIFIER.verify(signed) is False
