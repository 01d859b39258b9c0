"""Templates of an org's own as people work on them: written, checked and decided about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.clock import Clock
from gateway.contract import Outbound
from gateway.core.ids import TEMPLATE, MessageId, OrgId, TemplateId, format_id, parse_id
from gateway.core.message_template import Review, TemplateChecks, TemplateSource, TemplateVariable, TemplateWarning
from gateway.core.segments import GSM7_BASIC, GSM7_EXTENSION, UCS2_SINGLE, count_segments
from gateway.core.template import MissingVariable, TemplateFault
from gateway.engine.catalogue import Catalogue
from gateway.engine.composing import Composer, ContentPolicyFailed
from gateway.engine.content_checks import is_one_line
from gateway.engine.contents import CheckedContent, Contents
from gateway.engine.findings import Findings
from gateway.engine.message_templates import content_request
from gateway.engine.template_senders import TemplateSenders
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

UNITS_WARNED_OF: Final = 3  # a text of more SMS than that is rarely meant
SAMPLE: Final = "x" * 10  # for a value that nobody knows yet
_GSM7: Final = frozenset(GSM7_BASIC + GSM7_EXTENSION)
NOBODY: Final = MessageId(0)  # a message that is only looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateDraft:
    """A template as somebody wants it."""

    name: str
    description: str | None
    source: TemplateSource
    requested_by: str | None


class TemplateDesk:
    """One for the life of the daemon; it keeps nothing."""

    def __init__(
        self,
        store: MessageTemplateStore,
        senders: TemplateSenders,
        contents: Contents,
        composer: Composer,
        catalogue: Catalogue,
        clock: Clock,
    ) -> None:
        self._store = store
        self._senders = senders
        self._contents = contents
        self._composer = composer
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
        await self._check_name_is_free(org, channel, draft.name)
        return await self._store.create(org, channel, draft.name, draft.description, version, claim=claim)

    async def edit(self, present: MessageTemplate, by: str, draft: TemplateDraft) -> MessageTemplate:
        """A change of what it says is a new version, a draft; what is in use stays.

        Invalid; NotFound; Refused `name_taken`, and `revision_mismatch` if somebody was faster.
        """
        rewritten = draft.source != present.latest.source
        if not rewritten and (draft.name, draft.description) == (present.name, present.description):
            return present
        version = await self._new_version(present.org, by, present.channel, draft) if rewritten else None
        if version is None and (problems := _problems_of_name(draft.name)):
            raise Invalid(problems)
        if draft.name != present.name:
            await self._check_name_is_free(present.org, present.channel, draft.name)
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
            chosen = await self.version(present, version)
            checks = await self._checks(present.org, present.channel, chosen.source, any_template=False)
        decision = Decision(version=version, review=review, by=by, now=self._clock.now(), reason=reason, checks=checks)
        return await self._store.decide(present.org, present.id, decision)

    async def delete(self, present: MessageTemplate) -> None:
        """Nothing new is made from it; what was made goes on. NotFound."""
        await self._store.delete(present.org, present.id, self._clock.now())

    async def version(self, template: MessageTemplate, number: int) -> TemplateVersion:
        """One of its versions. NotFound."""
        found = await self._store.versions(template.id, before=number + 1, limit=1)
        if not found or found[0].number != number:
            raise NotFound("version", f"{number} of {format_id(TEMPLATE, template.id)}")
        return found[0]

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

    async def _check_name_is_free(self, org: OrgId, channel: str, name: str) -> None:
        """Refused `name_taken`: in a message a provider's name comes first, so that ours would never be used."""
        keeper = await self._senders.keeper(self._catalogue.org_by_id(org), channel, name)
        if keeper is not None:
            detail = f"The provider of sender {keeper.name!r} keeps a template {name!r}: choose another name."
            raise Refused("name_taken", detail)

    async def _checks(self, org: OrgId, channel: str, source: TemplateSource, *, any_template: bool) -> TemplateChecks:
        """What is odd about a version. Invalid, with the reasons why it cannot be sent; Refused `unknown_channel`."""
        place, found = self._catalogue.org_by_id(org), Findings()
        sender = await self._senders.fitting(place, channel, source)
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
        outbound = self._sample(checked, found)
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

    def _sample(self, checked: CheckedContent, found: Findings) -> Outbound | None:
        """The message with every variable ten letters long; None where letters do not suit it."""
        try:
            compiled = self._composer.compile(checked.content, "api")
            return compiled.render(NOBODY, 1, "", dict.fromkeys(checked.variables, SAMPLE))
        except (MissingVariable, TemplateFault) as exc:
            found.warn(
                "not_tried", f"Texts for values do not suit it, so it was not tried: {exc}. Render it with others."
            )
        except ContentPolicyFailed as failed:
            found.warn("not_tried", str(failed))
        return None


def _problems_of_name(name: str) -> list[Problem]:
    if name != name.strip() or not is_one_line(name):
        return [Problem("/name", "It must be one line, without spaces around it.")]
    if parse_id(TEMPLATE, name) is not None:
        return [Problem("/name", f"{name!r} is what our ids look like: choose another.")]
    return []


def _warn_of_units(units: int, text: str, found: Findings) -> None:
    if units > UNITS_WARNED_OF:
        found.warn("many_segments", f"Each message is about {units} segments, all of which are paid for.", units)
    counted = count_segments(text)
    if counted.segments == units and counted.encoding == "ucs2":
        strange = ", ".join(repr(letter) for letter in dict.fromkeys(text) if letter not in _GSM7)
        detail = f"An SMS with {strange[:100]} holds {UCS2_SINGLE} characters: the GSM alphabet has no such letters."
        found.warn("not_gsm7", detail)
