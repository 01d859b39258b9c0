"""What a turn wants to send, and how a message and its outcome are written into the turn."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core.bucket import Bucket
from gateway.core.ids import ActionId, MessageId
from gateway.engine.feed import Feed
from gateway.engine.gatekeeper import Prepared
from gateway.engine.rulings import Decision
from gateway.store.codec import to_json
from gateway.store.turn import Granted, Intent, Result


@dataclass(slots=True)
class Wanted:
    """The messages that one turn wants to send. `cost`: of all of them, not yet taken out of the bucket."""

    singles: list[Prepared]
    bulk: dict[ActionId, list[Prepared]]
    bucket: Bucket
    cost: int = 0

    def affords(self, prepared: Prepared) -> bool:
        """Whether the rate lets this one go too."""
        return self.bucket.affords(prepared.cost, besides=self.cost)

    @property
    def spent(self) -> Bucket:
        """The bucket without what they cost."""
        return self.bucket.spent(self.cost)

    def refund(self, granted: Granted) -> int:
        """The cost of those that were not granted: nothing was spent on them."""
        wanted = (*self.singles, *(prepared for each in self.bulk.values() for prepared in each))
        return sum(prepared.cost for prepared in wanted if prepared.message not in granted.messages)

    @property
    def count(self) -> int:
        return len(self.singles) + sum(len(prepared) for prepared in self.bulk.values())


def intent_of(prepared: Prepared, feed: Feed, *, segmented: bool) -> Intent:
    """A bulk message about to be written as an intent. `segmented`: its cost is the number of its segments."""
    candidate = prepared.candidate
    assert candidate is not None
    return Intent(
        message=prepared.message,
        seq=candidate.seq,
        again=prepared.again,
        address=prepared.outbound.to,
        contact=candidate.contact,
        seen_contact=candidate.seen_contact,
        seen_batch=candidate.batch,
        batch=candidate.batch or feed.action.batch,
        variables=None if prepared.again else to_json(prepared.frozen),
        segments=prepared.cost if segmented else None,
    )


def result_of(prepared: Prepared, decision: Decision) -> Result:
    """What came of it, for the record."""
    return Result(
        message=MessageId(prepared.message),
        action=prepared.action,
        seq=None if prepared.candidate is None else prepared.candidate.seq,
        ruling=decision.ruling,
        not_before=decision.not_before,
        provider_ids=decision.provider_ids,
    )
