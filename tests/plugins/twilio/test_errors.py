"""The table of Twilio's errors: complete, overridable, and the same for answers and receipts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway import Code, Misconfigured, OptedOut, Receipt, Rejected, Retry, Status
from gateway.testing.cases import Cases
from gateway_twilio import errors
from gateway_twilio.errors import (
    ERRORS,
    REASON_MAX,
    ErrorTable,
    Meaning,
    cleaned,
    discreet,
    error_code,
    failed_receipt,
    outcome_of,
)
from tests.plugins.twilio.cases import SMS_CASES, WHATSAPP_CASES

# Every code that concerns messages (twilio.com/docs/api/errors, 2026-11). Not 20500 and 20503: they come with a 5xx,
# after which nobody knows.
LISTED = """
20003 20005 20404 20429 21211 21212 21214 21217 21408 21601 21602 21603 21604 21606 21608 21609 21610 21611 21612 21614
21617 21620 21623 21654 21655 21656 21659 21660 21701 21702 21703 21704 21705 30001 30002 30003 30004 30005 30006 30007
30008 30009 30010 30011 30012 30013 30017 30018 30019 30022 30023 30024 30027 30032 30034 30036 30409 30410 30450 30610
30640 63001 63003 63005 63006 63007 63009 63010 63012 63013 63014 63015 63016 63017 63018 63019 63020 63021 63024 63026
63027 63028 63030 63031 63032 63033 63034 63038 63040 63041 63042 63049 68001
"""
FAILED = Receipt(status=Status.FAILED, ref="msg_1", provider_ids=("SM1",))


def meaning(code: int, **overrides: errors.Verdict) -> Meaning:
    found = ErrorTable({name.removeprefix("c"): verdict for name, verdict in overrides.items()}).meaning(code)
    assert found is not None
    return found


def test_every_listed_code_has_a_row() -> None:
    assert set(ERRORS) == {int(code) for code in LISTED.split()}


def test_no_code_has_two_rows() -> None:
    source = Path(errors.__file__).read_text()
    codes = re.findall(r"^    (\d{5}): Meaning", source, re.MULTILINE)
    assert len(codes) == len(set(codes)) == len(ERRORS)


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_each_row_yields_an_outcome_and_a_receipt_that_name_the_code(code: int) -> None:
    row = ERRORS[code]
    outcome = outcome_of(code, row, "")
    assert str(code) in outcome.reason  # type: ignore[union-attr]
    assert row.title in outcome.reason  # type: ignore[union-attr]
    receipt = failed_receipt(FAILED, code, row, "")
    assert receipt.provider_code == str(code)
    assert receipt.code is row.why
    assert (receipt.ref, receipt.provider_ids) == (FAILED.ref, FAILED.provider_ids)


def test_only_a_number_that_cannot_exist_is_dead() -> None:
    assert [code for code, row in ERRORS.items() if row.verdict == "address_dead"] == [21211]


def test_the_classes_of_outcomes() -> None:
    assert isinstance(outcome_of(20003, ERRORS[20003], ""), Misconfigured)
    assert isinstance(outcome_of(21610, ERRORS[21610], ""), OptedOut)
    assert isinstance(outcome_of(21611, ERRORS[21611], ""), Retry)
    paused = outcome_of(63041, ERRORS[63041], "")
    assert isinstance(paused, Misconfigured)
    assert paused.scope == "action"
    dead = outcome_of(21211, ERRORS[21211], "")
    assert isinstance(dead, Rejected)
    assert (dead.code, dead.address_dead) == (Code.INVALID_ADDRESS, True)
    window = outcome_of(63016, ERRORS[63016], "")
    assert isinstance(window, Rejected)
    assert (window.code, window.provider_code) == (Code.WINDOW_CLOSED, "63016")


def test_an_expired_message_has_a_receipt_that_says_so() -> None:
    assert failed_receipt(FAILED, 30036, ERRORS[30036], "").status is Status.EXPIRED


def test_an_unknown_code_fails_with_what_twilio_said() -> None:
    assert ErrorTable({}).meaning(39999) is None
    receipt = failed_receipt(FAILED, 39999, None, "Something new")
    assert (receipt.code, receipt.reason, receipt.provider_code) == (Code.PROVIDER, "Something new", "39999")
    assert failed_receipt(FAILED, None, None, "").reason is None


def test_an_operator_overrides_a_known_and_an_unknown_code() -> None:
    table = ErrorTable({"21408": "sender", "39999": "transient", "21614": "address_dead"})
    known, unknown, dead = (table.meaning(code) for code in (21408, 39999, 21614))
    assert known is not None
    assert (known.verdict, known.title) == ("sender", ERRORS[21408].title)
    assert unknown is not None
    assert isinstance(outcome_of(39999, unknown, ""), Retry)
    assert dead is not None
    rejected = outcome_of(21614, dead, "")
    assert isinstance(rejected, Rejected)
    assert rejected.address_dead
    assert ErrorTable({}).meaning(21614) == ERRORS[21614], "the table itself stays as it is"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (21211, 21211),
        ("21211", 21211),
        (None, None),
        ("", None),
        ("0", None),
        (0, None),
        (-1, None),
        (True, None),
        (21211.0, None),
        ("21211x", None),
        ("\N{SUPERSCRIPT TWO}", None),
        ("9" * 5000, None),
        (10**30, None),
        ([21211], None),
    ],
)
def test_a_code_is_read_from_what_comes(value: object, code: int | None) -> None:
    assert error_code(value) == code


def test_a_stranger_s_text_is_kept_short_and_clean() -> None:
    assert cleaned("a\x00\r\nb\ud800") == "a b"
    assert len(cleaned("x" * 10_000)) == REASON_MAX
    assert cleaned({"message": "no"}) == ""


def test_what_is_said_of_a_sender_names_nobody() -> None:
    assert discreet("To +14155550100 and whatsapp:+14155550100") == "To (a number) and (a number)"
    outcome = outcome_of(21408, meaning(21408, c21408="sender"), "No region for +14155550100")
    assert "4155550100" not in outcome.reason  # type: ignore[union-attr]
    assert "21408" in outcome.reason  # type: ignore[union-attr]


@pytest.mark.parametrize("cases", [SMS_CASES, WHATSAPP_CASES])
def test_the_recorded_cases_have_names_of_their_own(cases: Cases) -> None:
    """They are run by the conformance suite, which names its tests by them."""
    for names in ([case.name for case in cases.sends], [case.name for case in cases.callbacks]):
        assert len(names) == len(set(names)) > 10
