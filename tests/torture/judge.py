"""The three records against each other: what was asked, what the books say, what the provider received."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.torture.asked import Asked, Ledger, Silence
from tests.torture.plan import Scenario, W
from tests.torture.providers import Provider, Sent
from tests.torture.tally import Tally

ENDED_BADLY: Final = frozenset({"failed", "undelivered", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the API says at the end: recipients by action, single messages, by tag. `ambiguous`: refs, of all kills."""

    recipients: Mapping[str, Sequence[Mapping[str, Any]]]
    counts: Mapping[str, Mapping[str, int]]
    singles: Mapping[str, Mapping[str, Any]]
    ambiguous: frozenset[str]


class Judge:
    """Compares, counts into a tally, and says what does not hold."""

    def __init__(self, scenario: Scenario, ledger: Ledger, provider: Provider, tally: Tally) -> None:
        self._scenario = scenario
        self._ledger = ledger
        self._provider = provider
        self._tally = tally
        self._sent: Sequence[Sent] = provider.sent()
        self._received = Counter((sent.tag, sent.address) for sent in self._sent)
        self._refs = Counter(sent.ref for sent in self._sent)

    def judge(self, books: Books) -> None:
        """Everything."""
        self._tally.received += len(self._sent)
        for action in self._ledger.actions:
            self._judge_action(action, books)
        for single in self._ledger.singles:
            self._judge_single(single, books)
        self._judge_strangers()
        self._judge_duplicates(books)
        for silence in self._ledger.silences:
            self._judge_silence(silence)

    def _fault(self, sentence: str) -> None:
        self._tally.faults.append(sentence)

    def _lost(self, sentence: str) -> None:
        self._tally.lost += 1
        self._fault(f"lost: {sentence}")

    def _contradicted(self, sentence: str) -> None:
        self._tally.contradicted += 1
        self._fault(f"contradicted: {sentence}")

    def _count(self, received: int, state: str, code: str | None) -> None:
        if received:
            self._tally.reached += 1
        else:
            why = "failed" if state in ("undelivered", "bounced") else state
            self._tally.unreached["skipped" if code == "opted_out" else why] += 1

    # ---- recipients -----------------------------------------------------------------------------------------------

    def _judge_action(self, action: Asked, books: Books) -> None:
        rows = {row["address"]: row for row in books.recipients[action.tag]}
        if action.sleeper:
            if any(tag == action.tag for tag, _ in self._received):
                self._fault(f"{action.tag} was not to be sent before 2099")
            return
        self._tally.asked += len(action.may)
        if len(rows) != len(books.recipients[action.tag]):
            self._fault(f"{action.tag}: somebody is in two states")
        states = Counter(row["state"] for row in books.recipients[action.tag])
        counted = {state: number for state, number in books.counts[action.tag].items() if state in states}
        if counted != dict(states) or books.counts[action.tag]["total"] != len(rows):
            self._tally.unbalanced += 1
            self._fault(f"{action.tag}: its counts are {counted}, its recipients {dict(states)}")
        for address in action.may:
            if address in rows:
                self._judge_recipient(action, rows[address])
            else:
                self._lost(f"{address} of {action.tag} is in no state")
        for stranger in rows.keys() - action.may.keys():
            self._fault(f"{action.tag}: {stranger} was not asked for")

    def _judge_recipient(self, action: Asked, row: Mapping[str, Any]) -> None:
        """Whether the state is one that can be, and what the provider has to say about it."""
        address, state, code = row["address"], row["state"], row["code"]
        received, may = self._received[action.tag, address], action.may[address]
        name = f"{address} of {action.tag} is {state}, {code}, received {received} times of {may}"
        self._count(received, state, code)
        if state == "unknown":
            self._judge_unknown(action, name)
        elif not self._may_be(action, address, state, code):
            self._lost(name)
        elif state == "succeeded":
            if received == 0:
                self._lost(name)
        elif self._is_belied(state, received, may):
            self._contradicted(name)

    def _is_belied(self, state: str, received: int, may: int) -> bool:
        """Whether the provider's record contradicts that it was not sent, or was sent in vain."""
        if state == "failed":
            return self._provider.takes_doomed() != (received > 0)
        return received >= may

    def _may_be(self, action: Asked, address: str, state: str, code: str | None) -> bool:
        """Whether something was done that leads to this state; nobody is left half-way."""
        match state:
            case "succeeded":
                return True
            case "failed":
                return self._provider.doomed(address)
            case "skipped":
                return code == "opted_out" and self._has_left(address)
            case "cancelled":
                return action.cancelled
            case _:
                return False

    def _has_left(self, address: str) -> bool:
        """By their own wish, or because mails to them bounced for good, which counts as one."""
        return address in self._ledger.opted_out or self._bounces(address)

    def _bounces(self, address: str) -> bool:
        return self._provider.channel == "email" and self._provider.doomed(address)

    def _judge_unknown(self, action: Asked, name: str) -> None:
        """A person has resolved what could be: left are doubts about actions that were cancelled."""
        if not action.was_cancelled:
            self._fault(f"unresolved: {name}")

    def _judge_single(self, single: Asked, books: Books) -> None:
        address = next(iter(single.may), None)
        if address is None:
            if any(tag == single.tag for tag, _ in self._received):
                self._fault(f"{single.tag} was refused and sent")
            return
        self._tally.asked += 1
        message = books.singles[single.tag]
        status, received = message["status"], self._received[single.tag, address]
        name = f"{single.tag} to {address} is {status}, {message['code']}, received {received} times"
        self._count(received, status, message["code"])
        left = message["code"] == "opted_out" and self._has_left(address)
        if status == "unknown":
            if self._scenario.on_unknown == "resend" or message["id"] not in books.ambiguous:
                self._fault(f"unresolved: {name}")
        elif status in ("accepted", "sent", "delivered"):
            if received == 0:
                self._lost(name)
        elif not (status in ENDED_BADLY and (left or self._provider.doomed(address))):
            self._lost(name)

    # ---- the provider's record ------------------------------------------------------------------------------------

    def _judge_strangers(self) -> None:
        asked = {(one.tag, address) for one in (*self._ledger.actions, *self._ledger.singles) for address in one.may}
        for tag, address in self._received.keys() - asked:
            self._fault(f"{address} got {tag}, which nobody asked for")

    def _judge_duplicates(self, books: Books) -> None:
        """Beyond what was asked for; and by the gateway's own refs, each of which must have been named as ambiguous."""
        may = {
            (one.tag, address): times
            for one in (*self._ledger.actions, *self._ledger.singles)
            for address, times in one.may.items()
        }
        duplicated = {
            key: number - may.get(key, 0) for key, number in self._received.items() if number > may.get(key, 0)
        }
        self._tally.duplicated += sum(duplicated.values())
        twice = {ref for ref, number in self._refs.items() if number > 1}
        if not self._scenario.may_duplicate:
            for (tag, address), number in duplicated.items():
                self._fault(f"duplicated: {address} got {tag} {number} times too often")
            if twice:
                self._fault(f"duplicated: {len(twice)} refs came twice")
        for ref in twice - books.ambiguous:
            self._fault(f"duplicated: {ref}, which no kill had left in doubt")
        limit = W * self._tally.kills
        if self._tally.duplicated > limit:
            self._fault(f"duplicated: {self._tally.duplicated} after {self._tally.kills} kills with W = {W}")

    # ---- silence --------------------------------------------------------------------------------------------------

    def _judge_silence(self, silence: Silence) -> None:
        """After the answer only what was in flight; after the next start nothing at all."""
        end = len(self._sent) if silence.end is None else silence.end
        starts = self._ledger.starts
        restart = starts[silence.life + 1] if silence.life + 1 < len(starts) else len(self._sent)
        late = [
            position
            for position in range(silence.start, end)
            if silence.tag in (None, self._sent[position].tag)
            and silence.address in (None, self._sent[position].address)
        ]
        self._tally.silences[silence.why] += 1
        self._tally.late[silence.why] += len(late)
        self._tally.late_most = max(self._tally.late_most, len(late))
        whom = silence.tag or silence.address
        if len(late) > W:
            self._fault(f"{len(late)} messages left after the {silence.why} of {whom}, W = {W}")
        too_late = [position for position in late if position >= restart]
        if too_late:
            self._tally.too_late += len(too_late)
            self._fault(f"{len(too_late)} messages left after the {silence.why} of {whom} and a start")
