"""What a sender's table may say, and what is refused with a reason."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.errors import Invalid
from gateway.testing.doubles import make_settings
from gateway_whatsapp.settings import CloudSettings
from tests.plugins.whatsapp.harness import SECRET, SETTINGS, TOKEN, VERIFY_TOKEN, cloud, signed, webhook

NEEDED = ("phone_number_id", "business_account_id", "access_token", "app_secret", "verify_token")


def test_five_keys_are_enough() -> None:
    settings = make_settings(SETTINGS, CloudSettings)
    assert settings.graph_url == "https://graph.facebook.com/v23.0"
    assert settings.app_secrets == (SECRET,)
    assert (settings.link_previews, settings.errors) == (False, {})


@pytest.mark.parametrize("name", NEEDED)
def test_each_of_them_is_needed(name: str) -> None:
    table = {key: value for key, value in SETTINGS.items() if key != name}
    with pytest.raises(Invalid) as caught:
        make_settings(table, CloudSettings)
    assert [problem.pointer for problem in caught.value.problems] == [f"/{name}"]


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"phone_number_id": "+15550783881"}, "an id of digits"),
        ({"phone_number_id": 106540352242922}, "text"),
        ({"business_account_id": ""}, "an id of digits"),
        ({"access_token": ""}, "access_token must not be empty"),
        ({"access_token": "EAAJ two words"}, "access_token is no token"),
        ({"access_token": "EAAJ\nB"}, "access_token is no token"),
        ({"access_token": "EAAJ\u20ac"}, "access_token is no token"),
        ({"app_secret": ""}, "app_secret must not be empty"),
        ({"app_secret_secondary": ""}, "app_secret_secondary must not be empty"),
        ({"verify_token": ""}, "verify_token must not be empty"),
        ({"app_secret": "", "verify_token": ""}, "app_secret and verify_token must not be empty"),
        ({"version": "23.0"}, "v23.0"),
        ({"version": "v23.0/me"}, "v23.0"),
        ({"api_url": "https://graph.facebook.com/v23.0"}, "a URL without a path"),
        ({"api_url": "graph.facebook.com"}, "a URL without a path"),
        ({"errors": {"x": "permanent"}}, "an error code of Meta's"),
        ({"errors": {"007": "permanent"}}, "an error code of Meta's"),
        ({"errors": {"131026": "sometimes"}}, "permanent"),
        ({"app_secrt": "x"}, 'did you mean "app_secret"'),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_reason(more: dict[str, Any], complaint: str) -> None:
    with pytest.raises(Invalid) as caught:
        make_settings({**SETTINGS, **more}, CloudSettings)
    said = " ".join(problem.detail for problem in caught.value.problems)
    assert re.search(complaint, said), said
    assert "EAAJ" not in said, "a complaint about a secret does not tell it"


def test_secrets_do_not_show() -> None:
    shown = repr(make_settings({**SETTINGS, "app_secret_secondary": "hush-6Ty"}, CloudSettings))
    assert not [secret for secret in (TOKEN, SECRET, VERIFY_TOKEN, "hush-6Ty") if secret in shown]


async def test_during_a_rotation_callbacks_with_either_secret_are_genuine() -> None:
    rotating = cloud(app_secret="the new one", app_secret_secondary=SECRET)
    document = webhook("messages")
    assert await rotating.authenticate(signed(document, secret="the new one")) is True
    assert await rotating.authenticate(signed(document)) is True
    assert await cloud(app_secret="the new one").authenticate(signed(document)) is False


@pytest.mark.parametrize("code", ["0", "4", "131026", "139999"])
def test_an_override_may_name_any_code(code: str) -> None:
    assert cloud(errors={code: "transient"}).settings.errors == {code: "transient"}
