"""Whether somebody can be written to now, and everything that is for and against it.

Nothing is decided here: each check is the one that the gate, the lane or the turn makes, asked without sending.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal

from gateway.clock import Clock
from gateway.contract import Allow, Defer, Deny
from gateway.core.gate import reason_text
from gateway.engine.caps import Cap, DailyCaps
from gateway.engine.catalogue import Catalogue, Org, Sender
from gateway.engine.gatekeeper import Gatekeeper, Opinion, PolicyFailed, Subject
from gateway.engine.standing import CHECKS, Declined, window_closed
from gateway.errors import NotFound
from gateway.store.facts import ContactStanding, FactStore, StandingOptOut
from gateway.store.senders import SenderStore
from gateway.store.singles import SingleStore

Says = Literal["allow", "defer", "deny"]

_RANKS: Final[Mapping[Says, int]] = MappingProxyType({"allow": 0, "defer": 1, "deny": 2})
_NOBODY_KNOWS: Final = datetime.max.replace(tzinfo=UTC)  # later than every instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """About which message to whom. `template`: one that the provider has approved, and no free text."""

    contact: str
    channel: str
    sender: str | None = None
    category: str = "general"
    source: Literal["bulk_action", "api", "reply"] = "api"
    template: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at. `until`: when it may be otherwise; None where nobody knows, or where it allows."""

    kind: Literal["gate", "policy", "sender"]
    name: str
    says: Says = "allow"
    code: str | None = None
    reason: str | None = None
    until: datetime | None = None
    opt_outs: Sequence[StandingOptOut] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The checks in the order in which they are made, and what follows from them all."""

    sender: str
    address: str | None
    at: datetime
    checks: Sequence[Check]

    @property
    def outcome(self) -> Check:
        """The check that decides: the first that denies, else the one that defers longest, else any."""

        def rank(check: Check) -> tuple[int, datetime]:
            return _RANKS[check.says], check.until or _NOBODY_KNOWS

        return max(self.checks, key=rank)


class Explainer:
    """Asks what the send path would ask. `gatekeepers` are the senders' own, by sender name."""

    def __init__(
        self,
        catalogue: Catalogue,
        gatekeepers: Mapping[str, Gatekeeper],
        facts: FactStore,
        singles: SingleStore,
        senders: SenderStore,
        caps: DailyCaps,
        clock: Clock,
    ) -> None:
        self._catalogue = catalogue
        self._gatekeepers = gatekeepers
        self._facts = facts
        self._singles = singles
        self._senders = senders
        self._caps = caps
        self._clock = clock

    async def explain(self, org: Org, question: Question) -> Explanation:
        """NotFound: no such contact, not even a deleted one. Refused: what `Catalogue.sender_for` refuses."""
        sender = self._catalogue.sender_for(org.name, question.channel, question.sender)
        standing = await self._facts.standing(org.id, sender.channel, question.contact, question.category)
        if standing is None:
            raise NotFound("contact", question.contact)
        now = self._clock.now()
        checks = list(_standing_checks(standing, sender))
        if standing.address is not None:
            checks += await self._window(sender, standing.address, question, now)
            subject = _subject(standing, standing.address, question)
            opinions = await self._gatekeepers[sender.name].opinions(subject, now)
            checks += [_policy_check(opinion) for opinion in opinions]
        checks += await self._sender_checks(sender)
        return Explanation(sender=sender.name, address=standing.address, at=now, checks=checks)

    async def _window(self, sender: Sender, address: str, question: Question, now: datetime) -> list[Check]:
        channel = sender.channel
        templated = question.template or (question.source == "bulk_action" and channel.template_required)
        if channel.reply_window is None or templated:
            return []
        closed = window_closed(channel, address, await self._singles.last_inbound(sender.id, address), now)
        if closed is None:
            return [Check(kind="gate", name="reply_window")]
        return [Check(kind="gate", name="reply_window", says="deny", code="window_closed", reason=closed)]

    async def _sender_checks(self, sender: Sender) -> list[Check]:
        hold = (await self._senders.holds(sender.org.id))[sender.name]
        day = await self._caps.of(sender.org)
        held = Check(kind="sender", name="held")
        if hold.held is not None:
            reason = f"The sender {sender.name} is held ({hold.held}): {hold.detail}"
            held = Check(kind="sender", name="held", says="defer", code="sender_down", reason=reason)
        return [
            held,
            _cap_check("daily_cap", f"The sender {sender.name}", day.senders[sender.name], day.ends_at),
            _cap_check("org_daily_cap", f"The org {sender.org.name}", day.org, day.ends_at),
        ]


def _standing_checks(standing: ContactStanding, sender: Sender) -> Iterator[Check]:
    for name, ask in CHECKS:
        if name == "duplicate":
            continue  # about the other recipients of a bulk action: here are none
        declined = ask(standing, sender.channel)
        yield Check(
            kind="gate",
            name=name,
            says="allow" if declined is None else "deny",
            code=None if declined is None else declined.code,
            reason=None if declined is None else _sentence(declined, sender),
            opt_outs=standing.opt_outs if name == "opt_out" else (),
        )


def _sentence(declined: Declined, sender: Sender) -> str:
    return declined.reason or reason_text(declined.code, sender.channel.title, sender.channel.address_from)


def _policy_check(opinion: Opinion) -> Check:
    match opinion.verdict:
        case Allow():
            return Check(kind="policy", name=opinion.policy)
        case Defer(until=until, reason=reason):
            return Check(kind="policy", name=opinion.policy, says="defer", reason=reason, until=until.astimezone(UTC))
        case Deny(code=code, reason=reason):
            return Check(kind="policy", name=opinion.policy, says="deny", code=code, reason=reason)
        case PolicyFailed(detail=detail):
            return Check(kind="policy", name=opinion.policy, says="defer", code="policy_error", reason=detail)


def _cap_check(name: str, who: str, cap: Cap, ends_at: datetime) -> Check:
    if cap.left is None or cap.left > 0:
        return Check(kind="sender", name=name)
    reason = f"{who} has sent {cap.sent} messages today; the most is {cap.most}"
    return Check(kind="sender", name=name, says="defer", code="daily_cap", reason=reason, until=ends_at)


def _subject(standing: ContactStanding, address: str, question: Question) -> Subject:
    return Subject(
        address=address,
        category=question.category,
        source=question.source,
        action=None,
        contact=standing.contact,
        contact_id=question.contact,
        time_zone=standing.time_zone,
        phone=standing.phone,
        tags=standing.tags,
    )
