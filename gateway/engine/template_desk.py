"""Templates of an org's own as people work on them: written, checked, decided about, looked at and tried out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.clock import Clock
from gateway.contract import Outbound
from gateway.core.ids import TEMPLATE, MessageId, OrgId, TemplateId, format_id, parse_id
from gateway.core.message_template import (
    ChosenTemplate,
    Review,
    TemplateChecks,
    TemplateSource,
    TemplateVariable,
    TemplateWarning,
)
from gateway.core.segments import GSM7_BASIC, GSM7_EXTENSION, UCS2_SINGLE, count_segments
from gateway.core.template import MissingVariable, TemplateFault
from gateway.engine.action_requests import ContentRequest
from gateway.engine.catalogue import Catalogue, Org, Sender
from gateway.engine.composing import Composer, ContentPolicyFailed
from gateway.engine.content_checks import is_one_line
from gateway.engine.contents import CheckedContent, Contents
from gateway.engine.findings import Findings
from gateway.engine.message_templates import chosen_version, content_request
from gateway.engine.provider_templates import ProviderTemplates
from gateway.engine.rendering import CompiledContent
from gateway.engine.singles import SingleDraft, SingleMessages
from gateway.errors import Invalid, NotFound, Problem, Refused
from gateway.store.idempotency import Claim
from gateway.store.message_templates import (
    Decision,
    MessageTemplate,
    MessageTemplateFilter,
    MessageTemplateStore,
    NewVersion,
    TemplateEdit,
    TemplateVersion,
)
from gateway.store.singles import SingleStore

UNITS_WARNED_OF: Final = 3  # a text of more SMS than that is rarely meant
SAMPLE: Final = "x" * 10  # for a value that nobody knows yet
_GSM7: Final = frozenset(GSM7_BASIC + GSM7_EXTENSION)
_NOBODY: Final = MessageId(0)  # a message that is only looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateDraft:
    """A template as somebody wants it."""

    name: str
    description: str | None
    source: TemplateSource
    requested_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """With what a template is to be looked at or tried out: a contact's values, and `variables` over them.

    `parameters` and `media` are for a template that the provider keeps. `version` None: the newest.
    """

    contact: str | None = None
    to: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    media: Sequence[str] = ()
    sender: str | None = None
    version: int | None = None
    requested_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """What would be sent, with everything that every message gets.

    A missing variable stands in the texts as its placeholder. `problem`: why it would not be sent, beside what is
    missing; without texts if there are none. `units`: what the provider would count; None where it counts messages.
    """

    version: int | None
    sender: str
    outbound: Outbound | None
    shown: str | None
    units: int | None
    missing: tuple[str, ...]
    problem: str | None


class TemplateDesk:
    """One for the life of the daemon; it keeps nothing."""

    def __init__(
        self,
        store: MessageTemplateStore,
        providers: ProviderTemplates,
        contents: Contents,
        composer: Composer,
        people: SingleStore,
        singles: SingleMessages,
        catalogue: Catalogue,
        clock: Clock,
    ) -> None:
        self._store = store
        self._providers = providers
        self._contents = contents
        self._composer = composer
        self._people = people
        self._singles = singles
        self._catalogue = catalogue
        self._clock = clock

    async def listed(
        self, org: OrgId, wanted: MessageTemplateFilter, *, after: int, limit: int
    ) -> Sequence[MessageTemplate]:
        """A page, oldest first."""
        return await self._store.list(org, wanted, after=after, limit=limit)

    async def find(self, org: OrgId, id: str) -> MessageTemplate | None:
        """One of the org's own, also one that was deleted; None if there is none by that id."""
        number = parse_id(TEMPLATE, id)
        return None if number is None else await self._store.find(org, number)

    async def one(self, org: OrgId, id: str) -> MessageTemplate:
        """One of the org's own that was not deleted. NotFound."""
        template = await self.find(org, id)
        if template is None or template.deleted_at is not None:
            raise NotFound("template of the org's own", id)
        return template

    async def versions(
        self, template: TemplateId, *, before: int | None = None, limit: int
    ) -> Sequence[TemplateVersion]:
        """Newest first."""
        return await self._store.versions(template, before=before, limit=limit)

    async def create(
        self, org: OrgId, by: str, channel: str, draft: TemplateDraft, claim: Claim | None
    ) -> MessageTemplate:
        """A draft. Invalid with all problems; Refused `unknown_channel`, `name_taken`, `too_many_templates`."""
        version = await self._new_version(org, by, channel, draft)
        return await self._store.create(org, channel, draft.name, draft.description, version, claim=claim)

    async def edit(self, present: MessageTemplate, by: str, draft: TemplateDraft) -> MessageTemplate:
        """A change of what it says is a new version, a draft; what is in use stays. Invalid; Refused `name_taken`."""
        rewritten = draft.source != present.latest.source
        if not rewritten and (draft.name, draft.description) == (present.name, present.description):
            return present
        version = await self._new_version(present.org, by, present.channel, draft) if rewritten else None
        if version is None and (problems := _problems_of_name(draft.name)):
            raise Invalid(problems)
        edit = TemplateEdit(
            name=draft.name,
            description=draft.description,
            version=version,
            requested_by=draft.requested_by,
            now=self._clock.now(),
        )
        return await self._store.edit(present.org, present.id, present.revision, edit)

    async def decide(
        self, present: MessageTemplate, by: str, review: Review, *, version: int | None, reason: str | None = None
    ) -> MessageTemplate:
        """`version` None: the newest, or the one in use where it is paused. What is approved is checked once more.

        NotFound; Invalid; Refused `not_reviewable`.
        """
        if version is None:
            version = (present.current if review is Review.PAUSE else present.latest).number
        checks = None
        if review is Review.APPROVE:
            chosen = await self._version(present, version)
            checks = await self._checks(present.org, present.channel, chosen.source, any_template=False)
        decision = Decision(version=version, review=review, by=by, now=self._clock.now(), reason=reason, checks=checks)
        return await self._store.decide(present.org, present.id, decision)

    async def delete(self, present: MessageTemplate) -> None:
        """Nothing new is made from it; what was made goes on. NotFound."""
        await self._store.delete(present.org, present.id, self._clock.now())

    async def render(self, org: OrgId, id: str, trial: Trial) -> Rendering:
        """What would be sent. NotFound; Invalid; Refused as `SingleMessages.send`."""
        place = self._catalogue.org_by_id(org)
        asked, chosen = await self._asked(place, id, trial)
        found = Findings()
        checked = await self._contents.read(
            asked, place.name, found, bulk=False, at="", any_template=True, chosen=chosen
        )
        found.raise_problems()
        assert checked is not None
        values = await self._values(place, checked.sender, trial)
        return self._rendered(checked, values, chosen)

    async def test(self, org: OrgId, id: str, trial: Trial, claim: Claim | None) -> MessageId:
        """Send one message made from it, whatever its status. NotFound; Invalid; Refused as `SingleMessages.send`."""
        place = self._catalogue.org_by_id(org)
        asked, chosen = await self._asked(place, id, trial)
        draft = SingleDraft(
            content=asked,
            to=trial.to,
            contact=trial.contact,
            source="test",
            requested_by=trial.requested_by,
            any_template=True,
            chosen=chosen,
        )
        return await self._singles.send(place, draft, claim=claim)

    async def _asked(self, org: Org, id: str, trial: Trial) -> tuple[ContentRequest, ChosenTemplate | None]:
        """A message made from a template, ours or a provider's, of an id. NotFound."""
        own = await self.find(org.id, id)
        if own is not None:
            if own.deleted_at is not None:
                raise NotFound("template", id)
            version = own.latest if trial.version is None else await self._version(own, trial.version)
            chosen = chosen_version(own, version)
            return _message(own.channel, trial.sender or self._sender(org, own.channel).name, id, trial), chosen
        number = parse_id(TEMPLATE, id)
        kept = None if number is None else await self._providers.one(org.id, number)
        sender = None if kept is None else self._catalogue.sender_by_id(kept.sender)
        if kept is None or sender is None:
            raise NotFound("template", id)
        return _message(kept.channel, trial.sender or sender.name, id, trial), None

    async def _version(self, template: MessageTemplate, number: int) -> TemplateVersion:
        found = await self._store.versions(template.id, before=number + 1, limit=1)
        if not found or found[0].number != number:
            raise NotFound("version", f"{number} of {format_id(TEMPLATE, template.id)}")
        return found[0]

    async def _values(self, org: Org, sender: Sender, trial: Trial) -> dict[str, Any]:
        values: dict[str, Any] = {}
        if trial.contact is not None:
            person = await self._people.person(org.id, sender.channel, trial.contact)
            if person is None:
                raise NotFound("contact", trial.contact)
            values.update(person.values)
        return values | {name: value for name, value in trial.variables.items() if value is not None}

    def _rendered(self, checked: CheckedContent, values: Mapping[str, Any], chosen: ChosenTemplate | None) -> Rendering:
        sender, outbound, shown, units = checked.sender, None, None, None
        missing: tuple[str, ...] = ()
        problem = None
        try:
            compiled = self._composer.compile(checked.content, "api")
            outbound, missing = _filled(compiled, values)
            shown = compiled.shown(outbound)
            rejected = sender.adapter.refuse(outbound)
            problem = None if rejected is None else rejected.reason
            units = sender.adapter.cost(outbound) if sender.charges_by_unit else None
        except (MissingVariable, TemplateFault, ContentPolicyFailed) as exc:
            problem = str(exc)
        return Rendering(
            version=None if chosen is None else chosen.version,
            sender=sender.name,
            outbound=outbound,
            shown=shown,
            units=units,
            missing=missing,
            problem=problem,
        )

    async def _new_version(self, org: OrgId, by: str, channel: str, draft: TemplateDraft) -> NewVersion:
        problems = _problems_of_name(draft.name)
        try:
            checks = await self._checks(org, channel, draft.source, any_template=True)
        except Invalid as invalid:
            raise Invalid([*problems, *invalid.problems], "invalid" if problems else invalid.code) from invalid
        if problems:
            raise Invalid(problems)
        return NewVersion(
            source=draft.source, checks=checks, by=by, requested_by=draft.requested_by, now=self._clock.now()
        )

    async def _checks(self, org: OrgId, channel: str, source: TemplateSource, *, any_template: bool) -> TemplateChecks:
        """What is odd about a version. Invalid, with the reasons why it cannot be sent; Refused `unknown_channel`."""
        place, found = self._catalogue.org_by_id(org), Findings()
        sender = self._sender(place, channel)
        asked = content_request(channel, sender.name, source)
        checked = await self._contents.check_version(asked, place.name, found, any_template=any_template)
        found.problems = [
            Problem(f"/provider_template{one.pointer.removeprefix('/template')}", one.detail)
            if one.pointer.startswith("/template")
            else one
            for one in found.problems
        ]
        found.raise_problems()
        assert checked is not None
        outbound = self._sample(checked)
        units = None
        if outbound is not None and sender.charges_by_unit:
            units = sender.adapter.cost(outbound)
            _warn_of_units(units, outbound.text or "", found)
        return TemplateChecks(
            variables=tuple(
                TemplateVariable(name=name, required=name in checked.required) for name in sorted(checked.variables)
            ),
            units=units,
            warnings=tuple(TemplateWarning(code=one.code, detail=one.detail) for one in found.warnings),
        )

    def _sample(self, checked: CheckedContent) -> Outbound | None:
        """The message with every variable ten letters long; None where letters do not suit it."""
        try:
            compiled = self._composer.compile(checked.content, "api")
            return compiled.render(_NOBODY, 1, "", dict.fromkeys(checked.variables, SAMPLE))
        except (MissingVariable, TemplateFault, ContentPolicyFailed):
            return None

    def _sender(self, org: Org, channel: str) -> Sender:
        """The channel's default, or the first of several: one to check with. Refused `unknown_channel`."""
        try:
            return self._catalogue.sender_for(org.name, channel, None)
        except Refused as refused:
            if refused.code != "sender_ambiguous":
                raise
        own = (one for one in self._catalogue.senders.values() if (one.org.id, one.channel.name) == (org.id, channel))
        return min(own, key=lambda one: one.name)


def _message(channel: str, sender: str, id: str, trial: Trial) -> ContentRequest:
    return ContentRequest(
        channel=channel,
        sender=sender,
        template=id,
        variables=dict(trial.variables),
        parameters=dict(trial.parameters),
        media=[*trial.media],
    )


def _problems_of_name(name: str) -> list[Problem]:
    if name != name.strip() or not is_one_line(name):
        return [Problem("/name", "It must be one line, without spaces around it.")]
    if parse_id(TEMPLATE, name) is not None:
        return [Problem("/name", f"{name!r} is what our ids look like: choose another.")]
    return []


def _filled(compiled: CompiledContent, values: Mapping[str, Any]) -> tuple[Outbound, tuple[str, ...]]:
    """The message, with its placeholder for each variable that is missing, and their names.

    MissingVariable: it wants more of a variable than a text; TemplateFault, ContentPolicyFailed.
    """
    missing: dict[str, str] = {}
    while True:
        try:
            return compiled.render(_NOBODY, 1, "", {**values, **missing}), tuple(missing)
        except MissingVariable as exc:
            if exc.name in missing:
                raise
            missing[exc.name] = f"{{{{ {exc.name} }}}}"


def _warn_of_units(units: int, text: str, found: Findings) -> None:
    if units > UNITS_WARNED_OF:
        found.warn("many_segments", f"Each message is about {units} segments, all of which are paid for.", units)
    counted = count_segments(text)
    if counted.segments == units and counted.encoding == "ucs2":
        strange = ", ".join(repr(letter) for letter in dict.fromkeys(text) if letter not in _GSM7)
        detail = f"An SMS with {strange[:100]} holds {UCS2_SINGLE} characters: the GSM alphabet has no such letters."
        found.warn("not_gsm7", detail)
