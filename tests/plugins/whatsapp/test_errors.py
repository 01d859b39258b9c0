"""The table of Meta's errors: complete, overridable, and the same for answers and receipts."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from gateway import Code, Misconfigured, OptedOut, Outcome, Receipt, Rejected, Retry, Status
from gateway_whatsapp import errors
from gateway_whatsapp.errors import (
    ERRORS,
    REASON_MAX,
    ErrorTable,
    MetaError,
    cleaned,
    discreet,
    error_code,
    failed_receipt,
    meta_error,
    outcome_of,
)

# Every code of pywa 4.5.0 (errors.py), gokapso (src/errors) and courier (handlers/meta) that concerns sending, 2026-11.
LISTED = """
0 1 2 3 4 10 33 100 104 190 368 80007 130429 130472 130497 131000 131005 131008 131009 131014 131016 131021 131026
131030 131031 131037 131042 131044 131045 131047 131048 131049 131050 131051 131052 131053 131056 131057 131062 131063
131064 132000 132001 132005 132007 132008 132012 132015 132016 132018 132068 132069 133000 133004 133005 133006 133008
133009 133010 133015 133016 134011 135000 137000
"""
FAILED = Receipt(status=Status.FAILED, ref="msg_1", provider_ids=("wamid.1",))


def outcome(code: int, said: str = "", attempt: int = 1, **overrides: errors.Verdict) -> Outcome:
    meaning = ErrorTable({name.removeprefix("c"): verdict for name, verdict in overrides.items()}).meaning(code)
    assert meaning is not None
    return outcome_of(code, meaning, said, attempt)


def test_every_listed_code_has_a_row() -> None:
    assert set(ERRORS) == {int(code) for code in LISTED.split()} | set(range(200, 300))


def test_no_code_has_two_rows() -> None:
    source = Path(errors.__file__).read_text()
    codes = re.findall(r"^    (\d+): Meaning", source, re.MULTILINE)
    assert len(codes) == len(set(codes)) == len(ERRORS) - 100


@pytest.mark.parametrize("code", sorted(set(ERRORS) - set(range(201, 300))))
def test_each_row_yields_an_outcome_and_a_receipt_that_name_the_code(code: int) -> None:
    row = ERRORS[code]
    found = outcome(code)
    assert f"(Meta {code})" in found.reason  # type: ignore[union-attr]
    assert row.title in found.reason  # type: ignore[union-attr]
    receipt = failed_receipt(FAILED, MetaError(code), row)
    assert (receipt.provider_code, receipt.code) == (str(code), row.why)
    assert (receipt.status, receipt.ref, receipt.provider_ids) == (Status.FAILED, FAILED.ref, FAILED.provider_ids)


def test_no_error_of_meta_proves_that_an_address_is_dead() -> None:
    assert [code for code, row in ERRORS.items() if row.verdict == "address_dead"] == []


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (131047, Code.WINDOW_CLOSED),
        (131049, Code.BLOCKED),
        (131026, Code.UNREACHABLE),
        (132000, Code.TEMPLATE),
        (132005, Code.TEMPLATE),
        (132008, Code.TEMPLATE),
        (132012, Code.TEMPLATE),
        (132018, Code.TEMPLATE),
    ],
)
def test_some_errors_fail_the_recipient(code: int, why: Code) -> None:
    found = outcome(code)
    assert isinstance(found, Rejected)
    assert (found.code, found.provider_code, found.address_dead) == (why, str(code), False)


@pytest.mark.parametrize("code", [0, 10, 190, 200, 299, 368, 131005, 131031, 131042, 131045, 133005, 133010])
def test_some_errors_hold_the_sender(code: int) -> None:
    found = outcome(code)
    assert isinstance(found, Misconfigured)
    assert found.scope == "sender"


@pytest.mark.parametrize("code", [132001, 132015, 132016])
def test_a_template_that_cannot_be_sent_pauses_the_action(code: int) -> None:
    found = outcome(code)
    assert isinstance(found, Misconfigured)
    assert found.scope == "action"


@pytest.mark.parametrize("code", [4, 80007, 130429, 131048, 131057, 133016])
def test_a_limit_of_the_account_makes_the_whole_sender_wait(code: int) -> None:
    found = outcome(code)
    assert isinstance(found, Retry)
    assert found.scope == "sender"
    assert found.after is not None


@pytest.mark.parametrize("code", [1, 2, 131016, 133004])
def test_a_passing_fault_is_tried_again(code: int) -> None:
    found = outcome(code, attempt=9)
    assert isinstance(found, Retry)
    assert found.scope == "message"


def test_a_pair_that_is_too_fast_waits_four_times_as_long_each_time() -> None:
    waits = []
    for attempt in (1, 2, 3, 100):
        found = outcome(131056, attempt=attempt)
        assert isinstance(found, Retry)
        assert found.scope == "message"
        waits.append(found.after)
    assert waits == [timedelta(seconds=4), timedelta(seconds=16), timedelta(seconds=64), timedelta(seconds=4**7)]


@pytest.mark.parametrize("code", [131014, 131052, 131053])
def test_media_that_fails_twice_fails_the_recipient(code: int) -> None:
    assert isinstance(outcome(code, attempt=1), Retry)
    last = outcome(code, attempt=2)
    assert isinstance(last, Rejected)
    assert last.code is Code.MEDIA


def test_what_meta_cannot_explain_is_not_tried_for_ever() -> None:
    assert isinstance(outcome(131000, attempt=errors.FEW - 1), Retry)
    assert isinstance(outcome(131000, attempt=errors.FEW), Rejected)


def test_a_person_who_stopped_marketing_left_that_alone() -> None:
    assert outcome(131050) == OptedOut(f"{ERRORS[131050].title} (Meta 131050)", "marketing")


def test_an_operator_overrides_a_known_and_an_unknown_code() -> None:
    assert isinstance(outcome(131030, c131030="sender"), Misconfigured)
    assert isinstance(outcome(139999, c139999="transient"), Retry)
    assert isinstance(outcome(131053, attempt=2, c131053="transient"), Retry), "as often as the operator allows"
    assert outcome(139999, c139999="opt_out") == OptedOut(
        "An error of Meta's that is not in our table (Meta 139999)", None
    )
    dead = outcome(131026, c131026="address_dead")
    assert isinstance(dead, Rejected)
    assert (dead.code, dead.address_dead) == (Code.INVALID_ADDRESS, True)
    assert ErrorTable({}).meaning(131026) == ERRORS[131026], "the table itself stays as it is"


def test_an_unknown_code_fails_with_what_meta_said() -> None:
    assert ErrorTable({}).meaning(139999) is None
    receipt = failed_receipt(FAILED, MetaError(139999, "Something new"), None)
    assert (receipt.code, receipt.reason, receipt.provider_code) == (Code.PROVIDER, "Something new", "139999")
    assert failed_receipt(FAILED, MetaError(139999), None).reason == "Meta 139999"
    bare = failed_receipt(FAILED, None, None)
    assert (bare.code, bare.reason, bare.provider_code) == (Code.PROVIDER, None, None)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (131047, 131047),
        ("131047", 131047),
        (0, 0),
        ("0", 0),
        (None, None),
        ("", None),
        (-1, None),
        (True, None),
        (131047.0, None),
        ("131047x", None),
        ("\N{SUPERSCRIPT TWO}", None),
        ("9" * 5000, None),
        (10**30, None),
        ([131047], None),
    ],
)
def test_a_code_is_read_from_what_comes(value: object, code: int | None) -> None:
    assert error_code(value) == code


def test_the_details_say_more_than_the_message() -> None:
    told = {"message": "(#131030) Not on the list", "code": 131030}
    assert meta_error(told) == MetaError(131030, "Not on the list")
    assert meta_error({**told, "error_data": {"details": "Add it."}}) == MetaError(131030, "Add it.")
    assert meta_error({"code": 1, "title": "Oops", "error_data": []}) == MetaError(1, "Oops")


@pytest.mark.parametrize("value", [None, 7, [], {}, "x", {"code": "x"}, {"code": None, "message": 7}])
def test_what_is_no_error_is_none(value: object) -> None:
    assert meta_error(value) is None


@pytest.mark.parametrize("more", [{"error_subcode": 33}, {"type": "GraphMethodException"}])
def test_a_path_that_does_not_exist_is_no_recipient_s_fault(more: dict[str, object]) -> None:
    """The Graph API answers so to a wrong phone_number_id: code 100, "Object with ID ... does not exist"."""
    error = meta_error({"code": 100, "type": "OAuthException", "message": "Unsupported post request.", **more})
    assert error is not None
    assert error.code == 33
    assert isinstance(outcome(33), Misconfigured)
    plain = meta_error({"code": 100, "type": "OAuthException", "message": "(#100) Invalid parameter"})
    assert plain is not None
    assert isinstance(outcome(plain.code or 0), Rejected)


def test_a_stranger_s_text_is_kept_short_and_clean() -> None:
    assert cleaned("a\x00\r\nb\ud800") == "a b"
    assert len(cleaned("x" * 10_000)) == REASON_MAX
    assert cleaned({"message": "no"}) == ""


def test_what_is_said_of_a_sender_names_nobody() -> None:
    assert discreet("To +14155550100 and 14155550100") == "To (a number) and (a number)"
    assert discreet("Malformed access token EAAJB0x9-_Zd7.") == "Malformed access token (a token)."
    found = outcome(190, "No access to 14155550100")
    assert isinstance(found, Misconfigured)
    assert found.reason == f"{ERRORS[190].title} (Meta 190): No access to (a number)"
