"""The gate: may this message leave now, and what exactly leaves.

It judges by facts read just before; the turn's transaction reads the ones that matter most (opt-outs, the action's
status, the contact's revision) once more, so nothing that was prepared can slip past a change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from gateway.contract import Allow, Defer, Deny, Facts, Outbound, Rejected, SendPolicy, Verdict
from gateway.core.ids import ACTION as ACTION_PREFIX
from gateway.core.ids import ActionId, ContactKey, IdSequence, MessageId, format_id
from gateway.core.states import RecipientEvent
from gateway.core.template import MissingVariable, TemplateFault
from gateway.core.zones import zones_of_person
from gateway.engine.catalogue import Sender
from gateway.engine.composing import ContentPolicyFailed
from gateway.engine.rendering import CompiledContent
from gateway.engine.standing import Declined, refusal_of
from gateway.engine.verdicts import strictest
from gateway.store.candidates import Candidate
from gateway.store.facts import FactStore, History

Source = Literal["bulk_action", "api", "reply", "campaign"]


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A message that passed the gate, rendered. `frozen`: the values its templates use.

    `judged_at`: when the policies let it pass; None where there are none, and time changes nothing.
    """

    message: MessageId
    again: bool
    outbound: Outbound
    cost: int
    frozen: Mapping[str, Any]
    first_attempt_at: datetime | None
    candidate: Candidate | None = None  # of a bulk action
    action: ActionId | None = None
    judged_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """Not now."""

    until: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFailed:
    """A policy, or the adapter that was asked what it refuses, raised: the message is neither sent nor spent."""

    policy: str
    detail: str


Judgement = Prepared | Declined | Deferred | PolicyFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one policy says."""

    policy: str
    verdict: Verdict | PolicyFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a policy judges about."""

    address: str
    category: str
    source: Source
    action: ActionId | None
    contact: ContactKey | None
    contact_id: str | None
    time_zone: str | None
    phone: str | None
    tags: frozenset[str]


class Gatekeeper:
    """One per sender; holds no state of its own."""

    def __init__(self, sender: Sender, policies: Sequence[SendPolicy[Any]], facts: FactStore, ids: IdSequence) -> None:
        self._sender = sender
        self._policies = tuple(policies)
        self._facts = facts
        self._ids = ids
        needs = frozenset().union(*(policy.needs for policy in policies)) if policies else frozenset()
        self._needs: frozenset[str] = needs
        self.charges_by_unit = sender.charges_by_unit

    @property
    def has_policies(self) -> bool:
        """Whether candidates must be read with their tags, and may be deferred: only policies do either."""
        return bool(self._policies)

    async def histories(self, people: Sequence[tuple[ContactKey | None, str]], now: datetime) -> Sequence[History]:
        """What policies ask about these people (contact, address) that costs a query: one for all of them, or none."""
        if not self._needs & {"sent_counts", "last_inbound"}:
            return [History()] * len(people)
        return await self._facts.histories(self._sender.org.id, self._sender.channel.name, people, now)

    def judge(
        self, content: CompiledContent, action: ActionId, candidate: Candidate, history: History, now: datetime
    ) -> Judgement:
        """One candidate of a bulk action."""
        declined = refusal_of(candidate, self._sender.channel)
        if declined is not None:
            return declined
        assert candidate.address is not None
        if self._policies:
            subject = Subject(
                address=candidate.address,
                category=content.content.category,
                source="bulk_action",
                action=action,
                contact=candidate.contact,
                contact_id=candidate.contact_id,
                time_zone=candidate.zone if candidate.contact is None else candidate.contact_zone,
                phone=candidate.contact_phone,
                tags=candidate.tags,
            )
            verdict = concluded(self._ask_all(self._facts_of(subject, history, now)))
            if not isinstance(verdict, Allow):
                return _as_judgement(verdict)
        return self.prepare(content, action, candidate, now if self._policies else None)

    async def verdict(self, subject: Subject, now: datetime) -> Verdict | PolicyFailed:
        """The most restrictive verdict of all policies; one that raises holds the message."""
        return concluded(await self.opinions(subject, now)) if self._policies else Allow()

    async def opinions(self, subject: Subject, now: datetime) -> tuple[Opinion, ...]:
        """What each policy says."""
        (history,) = await self.histories([(subject.contact, subject.address)], now)
        return self._ask_all(self._facts_of(subject, history, now))

    def _ask_all(self, facts: Facts) -> tuple[Opinion, ...]:
        return tuple(Opinion(policy=policy.name, verdict=_ask(policy, facts)) for policy in self._policies)

    def prepare(
        self, content: CompiledContent, action: ActionId, candidate: Candidate, judged_at: datetime | None
    ) -> Prepared | Declined | PolicyFailed:
        """Render and let the adapter refuse what it knows it cannot send."""
        again = candidate.message is not None
        message = candidate.message if candidate.message is not None else MessageId(self._ids.take())
        frozen = candidate.values if again else content.frozen(candidate.values)
        try:
            outbound = content.render(message, candidate.attempt + 1, candidate.address or "", frozen)
        except MissingVariable as exc:
            return Declined(event=RecipientEvent.FAIL, code="missing_variable", reason=f"No value for {exc.name}")
        except TemplateFault as exc:
            return Declined(event=RecipientEvent.FAIL, code="content_rejected", reason=str(exc))
        except ContentPolicyFailed as exc:
            return PolicyFailed(policy=exc.policy, detail=exc.detail)
        try:
            rejected = self._sender.adapter.refuse(outbound)
            cost = self.cost(outbound)
        # A stranger's code, asked before anything is written: like a policy that raises it neither sends nor spends.
        except Exception as exc:  # noqa: BLE001
            return PolicyFailed(policy=f"adapter {self._sender.adapter_name}", detail=f"{type(exc).__name__}: {exc}")
        if rejected is not None:
            return _refused(rejected)
        return Prepared(
            message=message,
            again=again,
            outbound=outbound,
            cost=cost,
            frozen=frozen,
            first_attempt_at=candidate.first_attempt_at,
            candidate=candidate,
            action=action,
            judged_at=judged_at,
        )

    def cost(self, outbound: Outbound) -> int:
        """Units of the sender's rate."""
        return self._sender.adapter.cost(outbound) if self.charges_by_unit else 1

    def _facts_of(self, subject: Subject, history: History, now: datetime) -> Facts:
        org, channel, sent = self._sender.org, self._sender.channel, history.sent
        time_zones: tuple[str, ...] = ()
        if "time_zones" in self._needs:
            number = subject.address if channel.address_from == "phone" else subject.phone
            time_zones = zones_of_person(subject.time_zone, number, org.time_zone)
        return Facts(
            now=now,
            org=org.name,
            channel=channel.name,
            sender=self._sender.name,
            address=subject.address,
            category=subject.category,
            time_zone=subject.time_zone or org.time_zone,
            source=subject.source,
            bulk_action_id=None if subject.action is None else format_id(ACTION_PREFIX, subject.action),
            contact_id=subject.contact_id,
            tags=subject.tags,
            sent_last_day=sent.day,
            sent_last_week=sent.week,
            sent_last_day_on_channel=sent.day_on_channel,
            sent_last_week_on_channel=sent.week_on_channel,
            last_inbound_at=history.last_inbound_at,
            time_zones=time_zones,
        )


def concluded(opinions: Sequence[Opinion]) -> Verdict | PolicyFailed:
    """What follows from all of them."""
    verdicts: list[Verdict] = []
    for opinion in opinions:
        if isinstance(opinion.verdict, PolicyFailed):
            return opinion.verdict
        verdicts.append(opinion.verdict)
    return strictest(verdicts)


def _ask(policy: SendPolicy[Any], facts: Facts) -> Verdict | PolicyFailed:
    try:
        return policy.judge(facts)
    # A policy is a stranger's code: whatever it raises must neither send nor spend the message.
    except Exception as exc:  # noqa: BLE001
        return PolicyFailed(policy=policy.name, detail=f"{type(exc).__name__}: {exc}")


def _as_judgement(verdict: Verdict | PolicyFailed) -> Judgement:
    if isinstance(verdict, Defer):
        return Deferred(until=verdict.until, reason=verdict.reason)
    if isinstance(verdict, Deny):
        event = RecipientEvent.FAIL if verdict.failed else RecipientEvent.REFUSE
        return Declined(event=event, code=verdict.code, reason=verdict.reason)
    assert isinstance(verdict, PolicyFailed)
    return verdict


def _refused(rejected: Rejected) -> Declined:
    return Declined(event=RecipientEvent.FAIL, code=rejected.code.value, reason=rejected.reason)
