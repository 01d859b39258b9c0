"""Templates looked at and tried out: filled in with a contact's values or given ones, and sent to somebody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.contract import Outbound
from gateway.core.ids import TEMPLATE, MessageId, OrgId, parse_id
from gateway.core.message_template import ChosenTemplate
from gateway.core.template import MissingVariable, TemplateFault
from gateway.engine.action_requests import ContentRequest
from gateway.engine.catalogue import Catalogue, Org, Sender
from gateway.engine.composing import Composer, ContentPolicyFailed
from gateway.engine.contents import CheckedContent, Contents
from gateway.engine.findings import Findings
from gateway.engine.message_templates import chosen_version
from gateway.engine.provider_templates import ProviderTemplates
from gateway.engine.rendering import CompiledContent
from gateway.engine.singles import SingleDraft, SingleMessages
from gateway.engine.template_desk import NOBODY, TemplateDesk
from gateway.engine.template_senders import TemplateSenders
from gateway.errors import Invalid, NotFound, Problem
from gateway.store.idempotency import Claim
from gateway.store.singles import SingleStore


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


class TemplateTrials:
    """One for the life of the daemon; it keeps nothing."""

    def __init__(
        self,
        desk: TemplateDesk,
        providers: ProviderTemplates,
        senders: TemplateSenders,
        contents: Contents,
        composer: Composer,
        people: SingleStore,
        singles: SingleMessages,
        catalogue: Catalogue,
    ) -> None:
        self._desk = desk
        self._providers = providers
        self._senders = senders
        self._contents = contents
        self._composer = composer
        self._people = people
        self._singles = singles
        self._catalogue = catalogue

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
        own = await self._desk.find(org.id, id)
        if own is not None:
            if own.deleted_at is not None:
                raise NotFound("template", id)
            version = own.latest if trial.version is None else await self._desk.version(own, trial.version)
            chosen = chosen_version(own, version)
            sender = trial.sender or (await self._senders.fitting(org, own.channel, version.source)).name
            return _message(own.channel, sender, id, trial), chosen
        number = parse_id(TEMPLATE, id)
        kept = None if number is None else await self._providers.one(org.id, number)
        keeper = None if kept is None else self._catalogue.sender_by_id(kept.sender)
        if kept is None or keeper is None:
            raise NotFound("template", id)
        if trial.version is not None:
            raise Invalid([Problem("/version", "It belongs to a template of the org's own: leave it out.")])
        return _message(kept.channel, trial.sender or keeper.name, id, trial), None

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
        except MissingVariable as exc:
            missing, problem = (exc.name,), str(exc)
        except (TemplateFault, ContentPolicyFailed) as exc:
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


def _message(channel: str, sender: str, id: str, trial: Trial) -> ContentRequest:
    return ContentRequest(
        channel=channel,
        sender=sender,
        template=id,
        variables=dict(trial.variables),
        parameters=dict(trial.parameters),
        media=[*trial.media],
    )


def _filled(compiled: CompiledContent, values: Mapping[str, Any]) -> tuple[Outbound, tuple[str, ...]]:
    """The message, with its placeholder for each variable that is missing, and their names.

    MissingVariable: it wants more of a variable than a text; TemplateFault, ContentPolicyFailed.
    """
    missing: dict[str, str] = {}
    while True:
        try:
            return compiled.render(NOBODY, 1, "", {**values, **missing}), tuple(missing)
        except MissingVariable as exc:
            if exc.name in missing:
                raise
            missing[exc.name] = f"{{{{ {exc.name} }}}}"
