"""Single messages: gated before the answer, stored as waiting, sent before everything bulk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
import structlog

from gateway.clock import Clock
from gateway.contract import Defer, Deny, Outbound, Rejected
from gateway.core.content import MessageContent, TemplateContent
from gateway.core.gate import reason_text
from gateway.core.ids import IdSequence, MessageId
from gateway.core.message_template import ChosenTemplate
from gateway.core.template import MissingVariable, TemplateFault
from gateway.engine.action_requests import ContentRequest
from gateway.engine.catalogue import Catalogue, Org, Sender
from gateway.engine.composing import Composer, ContentPolicyFailed
from gateway.engine.contents import CheckedContent, Contents
from gateway.engine.findings import Findings
from gateway.engine.gatekeeper import Gatekeeper, PolicyFailed, Prepared, Subject
from gateway.engine.rendering import RenderedContent, verbatim
from gateway.engine.standing import window_closed
from gateway.errors import Invalid, NotFound, Problem, Refused
from gateway.store.candidates import Candidates, Single
from gateway.store.codec import from_micros, to_micros
from gateway.store.idempotency import Claim
from gateway.store.singles import NewSingle, Person, SingleStore

READ_AHEAD: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleDraft:
    """A single message as it was asked for. Either `to` or `contact` is given.

    `answers` is the inbound message that it replies to, `quotes` its provider's id. `chosen`: the version that is meant
    by the id of its template, in the place of the one in use. `gated` false: it is sent whatever policies and opt-outs
    say, as a sender's own test is.
    """

    content: ContentRequest
    to: str | None = None
    contact: str | None = None
    source: Literal["api", "reply", "test"] = "api"
    answers: MessageId | None = None
    quotes: str | None = None
    requested_by: str | None = None
    any_template: bool = False  # also one that is not approved
    chosen: ChosenTemplate | None = None
    gated: bool = True


class SingleMessages:
    """Accepts single messages. `gatekeepers` are the senders' own, by sender name; `nudge` is told a sender's name."""

    def __init__(
        self,
        catalogue: Catalogue,
        gatekeepers: Mapping[str, Gatekeeper],
        store: SingleStore,
        contents: Contents,
        composer: Composer,
        ids: IdSequence,
        clock: Clock,
        nudge: Callable[[str], None],
    ) -> None:
        self._catalogue = catalogue
        self._gatekeepers = gatekeepers
        self._store = store
        self._contents = contents
        self._composer = composer
        self._ids = ids
        self._clock = clock
        self._nudge = nudge

    async def send(self, org: Org, draft: SingleDraft, *, claim: Claim | None = None) -> MessageId:
        """Gate, render and store; returns after the commit, before the provider is asked.

        `claim` is the caller's Idempotency-Key: it is written down in the same transaction.
        Refused: what `Catalogue.sender_for` refuses, `no_address`, `opted_out`, `window_closed`, and any code of a
        policy. Invalid: the content.
        """
        asked = draft.content
        sender = self._catalogue.sender_for(org.name, asked.channel, asked.sender)
        person = await self._person(org, sender, draft)
        checked = await self._read(org, draft)
        now = self._clock.now()
        if draft.gated:
            await self._gate(sender, person, checked.content, draft, now)
        message = MessageId(self._ids.take())
        content = self._render(sender, checked.content, draft, person, message)
        await self._store.add(
            NewSingle(
                id=message,
                org=org.id,
                sender=sender.id,
                channel=sender.channel.name,
                address=person.address,
                contact=person.contact,
                source=draft.source,
                category=checked.content.category,
                content=_plain(content),
                template=content.template_name,
                in_reply_to=draft.answers,
                segments=sender.adapter.cost(content.outbound(message, 1, person.address))
                if sender.charges_by_unit
                else None,
                requested_by=draft.requested_by,
                dry_run=sender.dry_run,
                now=now,
                claim=claim,
            )
        )
        self._nudge(sender.name)
        return message

    async def _read(self, org: Org, draft: SingleDraft) -> CheckedContent:
        found = Findings()
        checked = await self._contents.read(
            draft.content, org.name, found, bulk=False, at="", any_template=draft.any_template, chosen=draft.chosen
        )
        found.raise_problems()
        assert checked is not None
        return checked

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

    async def _gate(
        self, sender: Sender, person: Person, content: MessageContent, draft: SingleDraft, now: datetime
    ) -> None:
        if await self._store.opted_out(sender.org.id, sender.channel.name, person, content.category):
            raise Refused("opted_out", f"{person.address} has opted out of {sender.channel.title}.")
        await self._check_window(sender, person, content, now)
        subject = Subject(
            address=person.address,
            category=content.category,
            source="reply" if draft.source == "reply" else "api",
            action=None,
            contact=person.contact,
            contact_id=person.contact_id,
            time_zone=person.time_zone,
            phone=person.phone,
            tags=person.tags,
        )
        verdict = await self._gatekeepers[sender.name].verdict(subject, now)
        if isinstance(verdict, Deny):
            raise Refused(verdict.code, verdict.reason)
        if isinstance(verdict, Defer):
            until = verdict.until.astimezone(UTC)
            raise Refused("window_closed", f"{verdict.reason} (until {until.isoformat()})", more={"until": until})
        if isinstance(verdict, PolicyFailed):
            raise Refused("policy_error", f"Policy {verdict.policy!r} failed; nothing was sent.")

    async def _check_window(self, sender: Sender, person: Person, content: MessageContent, now: datetime) -> None:
        if sender.channel.reply_window is None or content.template is not None:
            return
        last = await self._store.last_inbound(sender.id, person.address)
        closed = window_closed(sender.channel, person.address, last, now)
        if closed is not None:
            raise Refused("window_closed", closed)

    def _render(
        self, sender: Sender, content: MessageContent, draft: SingleDraft, person: Person, message: MessageId
    ) -> RenderedContent:
        """The texts as they will be sent. Invalid names the field that cannot be written."""
        values = {**person.values, **{k: v for k, v in draft.content.variables.items() if v is not None}}
        about = "/body" if content.template is None else "/parameters"
        about = about if content.message_template is None else "/variables"
        try:
            compiled = self._composer.compile(content, "reply" if draft.source == "reply" else "api")
            outbound = compiled.render(message, 1, person.address, values)
        except ContentPolicyFailed as exc:
            raise Refused("policy_error", f"{exc}; nothing was sent.") from exc
        except (MissingVariable, TemplateFault) as exc:
            raise Invalid([Problem(about, str(exc))]) from exc
        rejected = sender.adapter.refuse(outbound)
        if isinstance(rejected, Rejected):
            raise Invalid([Problem(about, rejected.reason)], code=rejected.code.value)
        template = content.template
        return RenderedContent(
            subject=outbound.subject,
            body=outbound.text,
            html=outbound.html,
            template=None
            if template is None or outbound.template is None
            else TemplateContent(
                name=template.name,
                language=template.language,
                text=template.text,
                parameters=outbound.template.parameters,
                details=template.details,
            ),
            message_template=content.message_template,
            media=content.media,
            headers=outbound.headers,
            reply_to=content.reply_to,
            quotes=draft.quotes,
        )


def _plain(content: RenderedContent) -> dict[str, Any]:
    """As JSON, without what is not there."""
    return {name: value for name, value in msgspec.to_builtins(content).items() if value}


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

    @property
    def later_at(self) -> datetime | None:
        """When the next of those who wait for a retry may go."""
        return self._later_at

    def rouse(self) -> None:
        """There may be new ones."""
        self._look = True

    def done_with(self, message: MessageId, *, again: bool) -> None:
        """It is neither prepared nor in flight any more. `again`: it may have to go once more."""
        self._taken.discard(message)
        self._look = self._look or again

    def put_back(self, prepared: list[Prepared]) -> None:
        """A turn that could not be written gives back what it wanted to send."""
        self.ready.extendleft(reversed(prepared))

    async def refill(self, now: datetime) -> None:
        """Read what waits, if there may be something that was not read yet."""
        due = self._later_at is not None and self._later_at <= now
        if self.ready or not (self._look or due):
            return
        self._look = False
        limit = READ_AHEAD + len(self._taken)
        found, waiting = await self._candidates.singles(self._sender.id, to_micros(now), limit)
        self._look = self._look or len(found) == limit
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
            cost=self._cost(outbound),
            frozen={},
            first_attempt_at=single.first_attempt_at,
        )

    def _cost(self, outbound: Outbound) -> int:
        try:
            return self._gatekeeper.cost(outbound)
        # A stranger's code: it must not stop the sender for a message that was accepted long ago.
        except Exception as exc:  # noqa: BLE001
            structlog.get_logger("gateway.singles").error(
                "cost_raised", sender=self._sender.name, exc_info=exc, may_quote=True
            )
            return 1
