"""X-Twilio-Signature: the vectors of twilio-python 9.13.0 (tests/unit/test_request_validator.py), and forgeries.

The vector for SHA-256 was computed with twilio-python 9.13.0, 2026-11.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway import CallbackRequest
from gateway.testing.cases import callback
from gateway_twilio.signature import FIELDS_MAX, Verifier, form_pairs, signature, signed_form, url_spellings

TOKEN = "12345"
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
Form = Sequence[tuple[str, str]]
CALL = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
    ("Caller", "+14158675309"),
]
BODY_HASH = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
JSON_BODY = b'{"property": "value", "boolean": true}'
KEY_NAME = "webhooks_sharedkey_0123456789"
SHA256_SETTINGS = f"key={KEY_NAME},algorithm=HMAC_SHA256"
VECTORS = [
    (URL, CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
    (URL.replace(".com", ".com:443"), CALL, "kvajT1Ptam85bY51eRf/AJRuM3w="),
    ("http://mycompany.com:1234/myapp.php?foo=1&bar=2", CALL, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
    ("http://mycompany.com:80/myapp.php?foo=1&bar=2", CALL, "0ZXoZLH/DfblKGATFgpif+LLRf4="),
    (
        URL,
        [("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234"), ("Digits", "1234")],
        "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
    ),
]


def request_of(
    url: str,
    form: Form = (),
    claimed: str = "",
    *,
    body: bytes | None = None,
    kind: str = "",
    settings: str | None = None,
) -> CallbackRequest:
    raw = urlencode(form).encode() if body is None else body
    named = {"x-twilio-signature": claimed}
    if settings is not None:
        named["x-twilio-webhooks-signature-settings"] = settings
    return callback(url, raw, headers=named, content_type=kind or "application/x-www-form-urlencoded")


def verifier(*tokens: str, **keys: str) -> Verifier:
    return Verifier(tokens or (TOKEN,), keys)


@pytest.mark.parametrize(("url", "form", "expected"), VECTORS)
def test_published_vectors_are_computed_as_written(url: str, form: Form, expected: str) -> None:
    pairs = form_pairs(urlencode(form).encode())
    assert pairs is not None
    assert signature(TOKEN.encode(), url, signed_form(pairs)).decode() == expected


@given(st.text("aZ1=&+%2Bf~ ", max_size=200).map(str.encode))
@example(b"a=1&&b&=2&a=%2&%zz=%26")
def test_a_form_is_split_as_the_standard_library_splits_it(body: bytes) -> None:
    pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, encoding="latin-1")
    assert form_pairs(body) == tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs)


@pytest.mark.parametrize(("url", "form", "expected"), VECTORS)
def test_published_vectors_are_accepted(url: str, form: Form, expected: str) -> None:
    assert verifier().verify(request_of(url, form, expected))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (URL, "kvajT1Ptam85bY51eRf/AJRuM3w="),  # they signed :443, we are configured without
        (URL.replace(".com", ".com:443"), "RSOYDt4T1cUTdK1PDd93/VVr8B8="),  # and the other way round
    ],
)
def test_the_default_port_may_be_signed_or_not(ours: str, theirs: str) -> None:
    assert verifier().verify(request_of(ours, CALL, theirs))


def test_a_json_body_is_vouched_for_by_its_hash_in_the_signed_url() -> None:
    url = f"{URL}&bodySHA256={BODY_HASH}"
    genuine = request_of(url, claimed="a9nBmqA0ju/hNViExpshrM61xv4=", body=JSON_BODY, kind="application/json")
    assert verifier().verify(genuine)
    changed = request_of(url, claimed="a9nBmqA0ju/hNViExpshrM61xv4=", body=JSON_BODY + b" ", kind="application/json")
    assert not verifier().verify(changed)


def test_a_body_that_nothing_vouches_for_is_refused() -> None:
    claimed = signature(TOKEN.encode(), URL, b"").decode()
    assert verifier().verify(request_of(URL, claimed=claimed, body=b"", kind="application/json"))
    assert not verifier().verify(request_of(URL, claimed=claimed, body=b"{}", kind="application/json"))


def test_sha_256_is_made_with_the_named_shared_key() -> None:
    expected = "033hgUJA9M/hXIZsYjwkerEP/DBm35nEri5FhCYjA5s="
    known = verifier("other", **{KEY_NAME: TOKEN})
    assert known.verify(request_of(URL, CALL, expected, settings=SHA256_SETTINGS))
    assert not verifier(TOKEN).verify(request_of(URL, CALL, expected, settings=SHA256_SETTINGS)), "the key is not known"
    assert not known.verify(request_of(URL, CALL, expected)), "without the header it is the token and SHA-1"


@pytest.mark.parametrize(
    "settings",
    [
        "",
        "key",
        f"key={KEY_NAME}",
        f"key={KEY_NAME},algorithm=HMAC_MD5",
        f"key={KEY_NAME},algorithm=",
        "algorithm=HMAC_SHA1",
    ],
)
def test_signature_settings_that_name_no_key_or_no_known_hash_are_refused(settings: str) -> None:
    claimed = "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    known = verifier(**{KEY_NAME: TOKEN})
    assert not known.verify(request_of(URL, CALL, claimed, settings=settings))


def test_both_tokens_are_good_during_a_rotation_and_no_other() -> None:
    claimed = "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    assert verifier("new", TOKEN).verify(request_of(URL, CALL, claimed))
    assert verifier(TOKEN, "new").verify(request_of(URL, CALL, claimed))
    assert not verifier("new", "newer").verify(request_of(URL, CALL, claimed))


def test_connection_overrides_are_not_signed() -> None:
    assert verifier().verify(request_of(f"{URL}#rc=5&rp=all", CALL, "RSOYDt4T1cUTdK1PDd93/VVr8B8="))


@pytest.mark.parametrize("claimed", ["", "x", "RSOYDt4T1cUTdK1PDd93/VVr8B9=", "\N{SNOWMAN}", "\ud800", "A" * 10_000])
def test_a_wrong_signature_is_refused(claimed: str) -> None:
    assert not verifier().verify(request_of(URL, CALL, claimed))


def test_any_changed_part_of_the_request_is_noticed() -> None:
    claimed = "RSOYDt4T1cUTdK1PDd93/VVr8B8="
    assert not verifier().verify(request_of(URL, [*CALL, ("Digits", "1235")], claimed))
    assert not verifier().verify(request_of(URL, [*CALL, ("Extra", "1")], claimed))
    assert not verifier().verify(request_of(URL.replace("bar=2", "bar=3"), CALL, claimed))
    assert not verifier().verify(request_of(URL.replace("https", "http"), CALL, claimed))


def test_names_and_values_are_signed_as_the_bytes_they_stand_for() -> None:
    body = b"Body=%F0%9F%98%80+caf%C3%A9&To=%2B1&Raw=%ff&Body=a"
    text = URL.encode() + b"Bodya" + b"Body" + "\N{GRINNING FACE} caf\xe9".encode() + b"Raw\xff" + b"To+1"
    by_hand = base64.b64encode(hmac.digest(TOKEN.encode(), text, "sha1")).decode()
    assert verifier().verify(request_of(URL, claimed=by_hand, body=body))


def test_a_form_of_absurdly_many_fields_is_refused() -> None:
    body = b"&".join(b"a=%d" % number for number in range(FIELDS_MAX + 1))
    assert form_pairs(body) is None
    assert not verifier().verify(request_of(URL, claimed="x", body=body))


@pytest.mark.parametrize(
    ("url", "spellings"),
    [
        ("https://a.example/x", ("https://a.example/x", "https://a.example:443/x")),
        ("http://a.example?x=1", ("http://a.example?x=1", "http://a.example:80?x=1")),
        ("https://a.example:8443/x?y=/z", ("https://a.example/x?y=/z", "https://a.example:8443/x?y=/z")),
        ("https://u:p@a.example/x", ("https://u:p@a.example/x", "https://u:p@a.example:443/x")),
        ("https://[2001:db8::1]/x", ("https://[2001:db8::1]/x", "https://[2001:db8::1]:443/x")),
        ("https://a.example:port/x", ("https://a.example:port/x",)),
        ("ftp://a.example/x", ("ftp://a.example/x",)),
        ("nonsense", ("nonsense",)),
    ],
)
def test_a_url_is_spelled_without_and_with_a_port(url: str, spellings: tuple[str, ...]) -> None:
    assert url_spellings(url) == spellings


@given(url=st.text(), claimed=st.text(), settings=st.none() | st.text(), kind=st.text(), body=st.binary())
@example(url="https://[", claimed="x", settings="key=k,algorithm=HMAC_SHA256", kind="", body=b"x")
def test_whatever_comes_is_judged_without_an_exception(
    url: str, claimed: str, settings: str | None, kind: str, body: bytes
) -> None:
    headers = {"x-twilio-signature": claimed, "content-type": kind}
    if settings is not None:
        headers["x-twilio-webhooks-signature-settings"] = settings
    request = CallbackRequest(method="POST", url=url, tail="", query=(), headers=headers, body=body)
    assert verifier(k=TOKEN).verify(request) is False
