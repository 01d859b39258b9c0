"""The judge of the torture convicts: each promise, broken in a record that is made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from tests.torture.asked import Asked, Ledger
from tests.torture.judge import Books, Judge
from tests.torture.plan import SCENARIOS, Deed, Scenario, W, plan
from tests.torture.providers import Sent
from tests.torture.tally import Tally

RESEND, LOOKUP, HOLD, _ = SCENARIOS
ADA, BOB = "ada@example.org", "bob@example.org"


class Witness:
    """A provider that received what it is told."""

    channel = "email"
    smtp_port = 0
    section = ""

    def __init__(self, *sent: Sent) -> None:
        self._sent = sent

    def address(self, number: int) -> str:
        return (ADA, BOB)[number]

    def doomed(self, address: str) -> bool:
        return False

    def takes_doomed(self) -> bool:
        return False

    def sent(self) -> Sequence[Sent]:
        return self._sent

    def call_back(self, gateway_url: str) -> None:
        """There are no receipts."""

    call_back_again = calm_down = lambda self: None


def row(address: str, state: str, code: str | None = None) -> dict[str, Any]:
    return {"address": address, "state": state, "code": code}


def judged(
    *rows: dict[str, Any],
    sent: Sequence[Sent],
    scenario: Scenario = HOLD,
    ambiguous: Sequence[str] = (),
    cancelled: bool = False,
    ledger: Ledger | None = None,
) -> Tally:
    """One action to Ada and Bob, as the books and the provider have it."""
    tally = Tally(scenario=scenario.name, random_kills=1)
    record = ledger or Ledger(starts=[0])
    record.actions.append(
        Asked(tag="A1", may=Counter([ADA, BOB]), id="ba_1", cancelled=cancelled, was_cancelled=cancelled)
    )
    states = Counter(one["state"] for one in rows)
    books = Books(
        recipients={"A1": rows},
        counts={"A1": {**states, "total": len(rows)}},
        singles={},
        ambiguous=frozenset(ambiguous),
    )
    Judge(scenario, record, Witness(*sent), tally).judge(books)
    return tally


BOTH = (Sent("A1", ADA, "m1"), Sent("A1", BOB, "m2"))
DONE = (row(ADA, "succeeded"), row(BOB, "succeeded"))


def test_three_records_that_agree_are_acquitted() -> None:
    tally = judged(*DONE, sent=BOTH)
    assert (tally.faults, tally.asked, tally.received, tally.lost) == ([], 2, 2, 0)
    assert (tally.reached, tally.unreached) == (2, Counter())


def test_whoever_was_not_reached_is_counted_by_why() -> None:
    ledger = Ledger(starts=[0], opted_out={BOB})
    tally = judged(row(ADA, "cancelled"), row(BOB, "skipped", "opted_out"), sent=(), cancelled=True, ledger=ledger)
    assert (tally.faults, tally.reached) == ([], 0)
    assert tally.unreached == {"cancelled": 1, "skipped": 1}


@pytest.mark.parametrize(
    "bob",
    [
        [row(BOB, "succeeded")],  # which the provider denies
        [],  # in no state at all
        [row(BOB, "pending")],
        [row(BOB, "in_flight")],
        [row(BOB, "handed_over")],
        [row(BOB, "failed")],  # though nothing was wrong with him
        [row(BOB, "skipped", "opted_out")],  # though he never left
        [row(BOB, "cancelled")],  # though nobody cancelled
    ],
)
def test_whoever_got_nothing_without_a_reason_is_lost(bob: list[dict[str, Any]]) -> None:
    tally = judged(row(ADA, "succeeded"), *bob, sent=BOTH[:1])
    assert tally.lost == 1
    assert tally.faults


def test_an_unknown_recipient_whom_nobody_has_resolved_is_a_fault() -> None:
    assert judged(row(ADA, "succeeded"), row(BOB, "unknown"), sent=BOTH, ambiguous=["m2"]).faults


def test_a_recipient_who_was_cancelled_and_got_it_contradicts_the_provider() -> None:
    tally = judged(row(ADA, "succeeded"), row(BOB, "cancelled"), sent=BOTH, cancelled=True)
    assert tally.contradicted == 1


def test_two_states_of_one_person_and_counts_that_do_not_add_up_are_faults() -> None:
    assert judged(*DONE, row(BOB, "failed"), sent=BOTH).faults


@pytest.mark.parametrize("scenario", [LOOKUP, HOLD])
def test_a_duplicate_is_a_fault_where_none_is_promised(scenario: Scenario) -> None:
    tally = judged(*DONE, sent=(*BOTH, BOTH[1]), scenario=scenario, ambiguous=["m2"])
    assert tally.duplicated == 1
    assert tally.faults


def test_a_duplicate_that_a_kill_had_left_in_doubt_is_only_counted_where_doubts_are_sent_again() -> None:
    tally = judged(*DONE, sent=(*BOTH, BOTH[1]), scenario=RESEND, ambiguous=["m2"])
    assert (tally.duplicated, tally.faults) == (1, [])
    assert judged(*DONE, sent=(*BOTH, BOTH[1]), scenario=RESEND, ambiguous=["m1"]).faults
    # A new ref does not hide it.
    assert judged(*DONE, sent=(*BOTH, Sent("A1", BOB, "m3")), scenario=RESEND).duplicated == 1


def test_more_duplicates_than_w_a_kill_are_a_fault() -> None:
    assert judged(*DONE, sent=(*BOTH, *[BOTH[1]] * (W + 1)), scenario=RESEND, ambiguous=["m2"]).faults


def test_a_message_that_nobody_asked_for_is_a_fault() -> None:
    assert judged(*DONE, sent=(*BOTH, Sent("A2", ADA, "m3"))).faults


def ledger_of(why: str, position: int, *, starts: Sequence[int], end: int | None = None) -> Ledger:
    """Something was answered at this position, in the first life."""
    ledger = Ledger(starts=[0])
    match why:
        case "opt_out":
            ledger.opted_out.add(BOB)
            ledger.hush("opt_out", position, address=BOB)
        case "pause" | "cancel":
            ledger.hush(why, position, tag="A1")
    if end is not None:
        ledger.speak("A1", end, ("pause", "cancel"))
    ledger.starts[:] = starts
    return ledger


@pytest.mark.parametrize("why", ["pause", "cancel", "opt_out"])
def test_what_was_in_flight_may_leave_after_the_answer_but_not_after_the_next_start(why: str) -> None:
    in_flight = judged(*DONE, sent=BOTH, ledger=ledger_of(why, 1, starts=[0, 2]))
    assert (in_flight.faults, in_flight.late[why], in_flight.late_most) == ([], 1, 1)
    again = judged(*DONE, sent=BOTH, ledger=ledger_of(why, 1, starts=[0, 1]))
    assert again.too_late == 1
    assert again.faults


def test_more_than_w_messages_after_a_pause_are_a_fault_unless_it_was_resumed() -> None:
    sent = (*BOTH, *[BOTH[1]] * W)
    doubts = {"scenario": RESEND, "ambiguous": ["m2"]}
    paused = judged(*DONE, sent=sent, ledger=ledger_of("pause", 0, starts=[0]), **doubts)  # type: ignore[arg-type]
    assert paused.late_most == W + 2
    assert any("after the pause" in fault for fault in paused.faults)
    resumed = judged(*DONE, sent=sent, ledger=ledger_of("pause", 0, starts=[0], end=1), **doubts)  # type: ignore[arg-type]
    assert (resumed.late_most, resumed.faults) == (1, [])


def test_tallies_of_several_runs_add_up() -> None:
    total = judged(*DONE, sent=BOTH)
    total.add(judged(row(ADA, "succeeded"), sent=BOTH[:1], ledger=ledger_of("pause", 0, starts=[0])))
    assert (total.runs, total.kills, total.asked, total.received, total.lost, total.late_most) == (2, 2, 4, 3, 1, 1)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_same_seed_makes_the_same_plan_with_every_named_point_in_it(scenario: Scenario) -> None:
    lives = plan(scenario, 50, "7")
    assert lives == plan(scenario, 50, "7")
    assert lives != plan(scenario, 50, "8")
    assert {life.death.point for life in lives} == {*scenario.points, None}
    assert {step.deed for life in lives for step in life.steps} == set(Deed)
    assert {life.whole for life in lives} == {True, False}
