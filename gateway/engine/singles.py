"""Single messages: gated before the answer, stored as waiting, sent before everything bulk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from gateway.clock import Clock
from gateway.contract import Defer, Deny, Rejected
from gateway.core.content import MessageContent
from gateway.core.gate import reason_text
from gateway.core.ids import IdSequence, MessageId
from gateway.core.template import MissingVariable, Renderer, TemplateFault
from gateway.engine.catalogue import Catalogue, Org, Sender
from gateway.engine.gatekeeper import Gatekeeper, PolicyFailed, Prepared, Subject
from gateway.engine.rendering import CompiledContent, compile_content, verbatim
from gateway.errors import Invalid, NotFound, Problem, Refused
from gateway.store.candidates import Candidates, Single
from gateway.store.codec import from_micros, to_micros
from gateway.store.idempotency import Claim
from gateway.store.singles import NewSingle, Person, SingleStore

READ_AHEAD: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleDraft:
    """A single message as it was asked for. Either `to` or `contact` is given."""

    channel: str
    sender: str | None = None
    to: str | None = None
    contact: str | None = None
    subject: str | None = None
    body: str | None = None
    html: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    media: tuple[str, ...] = ()
    reply_to: str | None = None
    category: str = "general"
    requested_by: str | None = None


class SingleMessages:
    """Accepts single messages. `gatekeepers` are the senders' own, by sender name."""

    def __init__(
        self,
        catalogue: Catalogue,
        gatekeepers: Mapping[str, Gatekeeper],
        store: SingleStore,
        renderer: Renderer,
        ids: IdSequence,
        clock: Clock,
        nudge: Callable[[], None],
    ) -> None:
        self._catalogue = catalogue
        self._gatekeepers = gatekeepers
        self._store = store
        self._renderer = renderer
        self._ids = ids
        self._clock = clock
        self._nudge = nudge

    async def send(
        self,
        org: Org,
        draft: SingleDraft,
        *,
        created_by: str | None,
        source: str = "api",
        claim: Claim | None = None,
    ) -> MessageId:
        """Gate, render and store; returns after the commit, before the provider is asked.

        `claim` is the caller's Idempotency-Key: it is written down in the same transaction.
        Refused: what `Catalogue.sender_for` refuses, `no_address`, `opted_out`, and any code of a policy.
        """
        sender = self._catalogue.sender_for(org.name, draft.channel, draft.sender)
        person = await self._person(org, sender, draft)
        now = self._clock.now()
        if source != "test":
            await self._gate(sender, person, draft, now)
        message = MessageId(self._ids.take())
        content = self._render(sender, draft, person, message)
        await self._store.add(
            NewSingle(
                id=message,
                org=org.id,
                sender=sender.id,
                channel=sender.channel.name,
                address=person.address,
                contact=person.contact,
                source=source,
                category=draft.category,
                content=content,
                requested_by=draft.requested_by,
                dry_run=sender.dry_run,
                now=now,
                claim=claim,
            )
        )
        self._nudge()
        return message

    async def _person(self, org: Org, sender: Sender, draft: SingleDraft) -> Person:
        if draft.contact is not None:
            person = await self._store.person(org.id, sender.channel, draft.contact)
            if person is None:
                raise NotFound("contact", draft.contact)
            if not person.address:
                raise Refused(
                    "no_address", f"Contact {draft.contact!r} has {reason_text('no_address', sender.channel.title)}."
                )
            return person
        try:
            address = sender.channel.normalise(draft.to or "", org.default_region)
        except ValueError as exc:
            raise Invalid([Problem("/to", str(exc))]) from exc
        return await self._store.holder(org.id, sender.channel, address)

    async def _gate(self, sender: Sender, person: Person, draft: SingleDraft, now: datetime) -> None:
        if await self._store.opted_out(sender.org.id, sender.channel.name, person, draft.category):
            raise Refused("opted_out", f"{person.address} has opted out of {sender.channel.title}.")
        subject = Subject(
            address=person.address,
            category=draft.category,
            source="api",
            action=None,
            contact=person.contact,
            contact_id=person.contact_id,
            time_zone=person.time_zone,
            tags=person.tags,
        )
        verdict = await self._gatekeepers[sender.name].verdict(subject, now)
        if isinstance(verdict, Deny):
            raise Refused(verdict.code, verdict.reason)
        if isinstance(verdict, Defer):
            raise Refused("window_closed", f"{verdict.reason} (until {verdict.until.isoformat()})")
        if isinstance(verdict, PolicyFailed):
            raise Refused("policy_error", f"Policy {verdict.policy!r} failed; nothing was sent.")

    def _render(self, sender: Sender, draft: SingleDraft, person: Person, message: MessageId) -> dict[str, Any]:
        """The texts as they will be sent. Invalid names the field that cannot be written."""
        problems = _unsuitable(sender, draft)
        compiled: CompiledContent | None = None
        try:
            compiled = compile_content(self._renderer, _content(draft))
        except TemplateFault as exc:
            problems.append(Problem("/body", str(exc)))
        if problems or compiled is None:
            raise Invalid(problems)
        values = {**person.values, **{k: v for k, v in draft.variables.items() if v is not None}}
        try:
            outbound = compiled.render(message, 1, person.address, values)
        except (MissingVariable, TemplateFault) as exc:
            raise Invalid([Problem("/body", str(exc))]) from exc
        rejected = sender.adapter.refuse(outbound)
        if isinstance(rejected, Rejected):
            raise Invalid([Problem("/body", rejected.reason)], code=rejected.code.value)
        texts = {"subject": outbound.subject, "body": outbound.text, "html": outbound.html, "reply_to": draft.reply_to}
        return {name: text for name, text in texts.items() if text is not None} | (
            {"media": list(draft.media)} if draft.media else {}
        )


def _unsuitable(sender: Sender, draft: SingleDraft) -> list[Problem]:
    """Content that the channel does not take."""
    given = {"text": draft.body, "html": draft.html, "subject": draft.subject, "media": draft.media}
    pointers = {"text": "/body"}
    problems = [
        Problem(pointers.get(kind, f"/{kind}"), f"Channel {sender.channel.name!r} does not take {kind}.")
        for kind, value in given.items()
        if value and kind not in sender.channel.takes
    ]
    if not draft.body and not draft.html and not draft.media:
        problems.append(Problem("/body", "The message has no content: give a body."))
    return problems


def _content(draft: SingleDraft) -> MessageContent:
    return MessageContent(
        channel=draft.channel,
        sender=draft.sender,
        subject=draft.subject,
        body=draft.body,
        html=draft.html,
        variables=dict(draft.variables),
        media=draft.media,
        reply_to=draft.reply_to,
        category=draft.category,
    )


class SingleFeed:
    """The waiting single messages of one sender, ready to be sent."""

    def __init__(self, sender: Sender, gatekeeper: Gatekeeper, candidates: Candidates) -> None:
        self.ready: deque[Prepared] = deque()
        self._sender = sender
        self._gatekeeper = gatekeeper
        self._candidates = candidates
        self._taken: set[MessageId] = set()
        self._look = True
        self._later_at: datetime | None = None

    def rouse(self) -> None:
        """There may be new ones."""
        self._look = True

    def done_with(self, message: MessageId) -> None:
        """It is neither prepared nor in flight any more; it may have to go again."""
        self._taken.discard(message)
        self._look = True

    def put_back(self, prepared: list[Prepared]) -> None:
        """A turn that could not be written gives back what it wanted to send."""
        self.ready.extendleft(reversed(prepared))

    async def refill(self, now: datetime) -> None:
        """Read what waits, if there may be something that was not read yet."""
        due = self._later_at is not None and self._later_at <= now
        if self.ready or not (self._look or due):
            return
        self._look = False
        found, waiting = await self._candidates.singles(self._sender.id, to_micros(now), READ_AHEAD + len(self._taken))
        self._later_at = None if waiting is None else from_micros(waiting)
        for single in found:
            if single.id not in self._taken:
                self._taken.add(single.id)
                self.ready.append(self._prepared(single))

    def _prepared(self, single: Single) -> Prepared:
        outbound = verbatim(single.id, single.attempt + 1, single.address, single.content)
        return Prepared(
            message=single.id,
            again=True,
            outbound=outbound,
            cost=self._gatekeeper.cost(outbound),
            frozen={},
            first_attempt_at=single.first_attempt_at,
        )
