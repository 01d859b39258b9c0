"""Signatures of deliveries, held to the published vector."""

from __future__ import annotations

import base64

from gateway.core.webhook_signing import headers, secret_text, signature

# The vector of the scheme's reference libraries (standard-webhooks/standard-webhooks, read 2026-11).
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1_614_265_330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_published_vector_comes_out() -> None:
    assert signature(SECRET, ID, TIMESTAMP, BODY) == SIGNATURE


def test_a_delivery_names_its_event_the_time_of_the_attempt_and_its_signature() -> None:
    assert headers([SECRET], ID, TIMESTAMP, BODY) == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_while_a_secret_changes_both_sign() -> None:
    new = secret_text(bytes(range(32)))
    assert headers([new, SECRET], ID, TIMESTAMP, BODY)["webhook-signature"].split() == [
        signature(new, ID, TIMESTAMP, BODY),
        SIGNATURE,
    ]


def test_a_secret_is_base64_behind_its_prefix() -> None:
    text = secret_text(bytes(range(32)))
    assert base64.b64decode(text.removeprefix("whsec_"), validate=True) == bytes(range(32))
