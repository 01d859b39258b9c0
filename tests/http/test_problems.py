"""The table of codes, held to the names that the API promises."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

import gateway
from gateway.errors import Invalid, Problem, Refused
from gateway.http.problems import CODES, problem, status_of

PROMISED = {
    400: ["malformed_json"],
    401: ["unauthenticated"],
    403: ["permission_denied"],
    404: ["not_found"],
    409: [
        "completed_not_editable",
        "only_batch_quantity_editable",
        "nothing_left_to_send",
        "recipients_not_editable",
        "not_cancellable",
        "not_pausable",
        "not_resumable",
        "nothing_to_retry",
        "in_progress",
    ],
    412: ["revision_mismatch"],
    413: ["body_too_large"],
    422: [
        "invalid",
        "unknown_operation",
        "unknown_channel",
        "unknown_sender",
        "sender_ambiguous",
        "no_recipients",
        "never_runs",
        "template_required",
        "template_not_approved",
        "opted_out",
        "window_closed",
        "no_address",
        "idempotency_key_reused",
    ],
    429: ["bulk_action_rate"],
    503: ["store_unavailable"],
}

RAISED = re.compile(r"Refused\(\s*\"([a-z_]+)\"")
SOURCES = Path(next(iter(gateway.__path__)))


@pytest.mark.parametrize(("status", "code"), [(status, code) for status, codes in PROMISED.items() for code in codes])
def test_every_promised_code_has_its_promised_status(status: int, code: str) -> None:
    assert code in CODES
    assert status_of(code) == status


def test_every_code_that_the_gateway_raises_is_in_the_table() -> None:
    raised = {
        (code, path.name) for path in SOURCES.rglob("*.py") for code in RAISED.findall(path.read_text(encoding="utf-8"))
    }
    assert len(raised) > 10
    assert {(code, name) for code, name in raised if code not in CODES} == set()


def test_a_document_has_the_members_of_the_standard_and_ours() -> None:
    answer = problem(Refused("not_found", "There is no thing 'a'.", more={"hint": "b"}))
    assert msgspec.json.decode(answer.body) == {
        "type": "urn:dripgate:problem:not_found",
        "title": "There is no such thing",
        "status": 404,
        "detail": "There is no thing 'a'.",
        "code": "not_found",
        "hint": "b",
    }


def test_further_members_never_replace_the_standard_ones() -> None:
    answer = problem(Refused("not_found", "It is not there.", more={"status": 200, "code": "fine"}))
    document = msgspec.json.decode(answer.body)
    assert (document["status"], document["code"]) == (404, "not_found")


def test_all_errors_of_a_validation_are_in_the_document() -> None:
    answer = problem(Invalid([Problem("/a", "It is wrong."), Problem("/b/0", "It is missing.")]))
    assert msgspec.json.decode(answer.body)["errors"] == [
        {"pointer": "/a", "detail": "It is wrong."},
        {"pointer": "/b/0", "detail": "It is missing."},
    ]


def test_an_invalid_request_keeps_the_status_of_its_own_code() -> None:
    answer = problem(Invalid([Problem("/schedule", "It never runs.")], code="never_runs"))
    assert (answer.status, msgspec.json.decode(answer.body)["code"]) == (422, "never_runs")
