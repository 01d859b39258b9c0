"""One spelling for every address, and a sentence for what is none."""

from __future__ import annotations

from random import Random

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.address import phone, plain_email, strict_email


@pytest.mark.parametrize(
    ("text", "region", "expected"),
    [
        ("+234 803 123 4567", None, "+2348031234567"),
        ("0803 123 4567", "NG", "+2348031234567"),
        ("(212) 555-2368", "US", "+12125552368"),
        ("+44 20 7946 0958", "NG", "+442079460958"),
    ],
)
def test_a_telephone_number_becomes_e164(text: str, region: str | None, expected: str) -> None:
    assert phone(text, region) == expected


@pytest.mark.parametrize(("text", "region"), [("0803 123 4567", None), ("12", "NG"), ("call me", "NG"), ("", "NG")])
def test_what_is_no_telephone_number_is_told_with_the_text(text: str, region: str | None) -> None:
    with pytest.raises(ValueError, match="telephone number") as raised:
        phone(text, region)
    assert repr(text) in str(raised.value)


def test_a_number_that_is_spelled_already_is_judged_like_any_other() -> None:
    random = Random(2)
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        example = phonenumbers.example_number(region)
        assert example is not None
        number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
        for _ in range(8):
            digits = list(number)
            for _ in range(random.choice((0, 1, 2))):
                digits[random.randrange(len(digits) // 2, len(digits))] = random.choice("0123456789")
            text = "".join(digits) + random.choice(("", "", "1"))
            spaced = f"{text[:-2]} {text[-2:]}"  # never taken as spelled already
            assert _or_fault(text) == _or_fault(spaced)


def _or_fault(text: str) -> str | None:
    try:
        return phone(text, None)
    except ValueError:
        return None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada@Example.ORG", "Ada@example.org"),
        (" ada@example.org ", "ada@example.org"),
        ("ada+news@MÜNCHEN.example", "ada+news@münchen.example"),
        ('"ada lovelace"@example.org', '"ada lovelace"@example.org'),
        ("a..b@example.org", "a..b@example.org"),
    ],
)
def test_an_email_address_is_kept_with_a_small_domain(text: str, expected: str) -> None:
    assert plain_email(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "ada",
        "@example.org",
        "ada@",
        "a@b@example.org",
        "ada @example.org",
        "ada@exam ple.org",
        "ada@example.org\r\nBcc: x@y.example",
        "ada\x00@example.org",
        "a" * 65 + "@example.org",
        "a@" + "b" * 300 + ".org",
        "ada@\ud800.org",
    ],
)
def test_what_is_no_email_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        plain_email(text)


@pytest.mark.parametrize(
    "text",
    [
        "a..b@example.org",
        ".ada@example.org",
        "ada@example",
        "ada@-x.org",
        "ada@exa_mple.org",
        "ada@1.2.3.4",
        "a(b)@c.org",
    ],
)
def test_what_may_be_kept_but_not_written_to_is_refused_strictly(text: str) -> None:
    assert plain_email(text)
    with pytest.raises(ValueError, match="cannot be written to"):
        strict_email(text)


@given(st.text(max_size=80))
def test_no_text_makes_the_reader_fail_otherwise_than_by_a_sentence(text: str) -> None:
    try:
        spelled = strict_email(text)
    except ValueError:
        return
    assert strict_email(spelled) == spelled
    assert "\r" not in spelled
    assert "\n" not in spelled


@given(st.text(max_size=40), st.sampled_from([None, "NG", "US"]))
def test_a_telephone_number_is_spelled_in_one_way(text: str, region: str | None) -> None:
    try:
        spelled = phone(text, region)
    except ValueError:
        return
    assert phone(spelled, None) == spelled
