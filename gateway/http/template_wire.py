"""Templates as JSON: the shapes of what is asked and answered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.core.ids import TEMPLATE, format_id
from gateway.engine.action_requests import RequestedBy, merged
from gateway.engine.template_trials import Rendering
from gateway.http.messages import Address
from gateway.http.paging import PageQuery
from gateway.store.message_templates import MessageTemplate, TemplateVersion
from gateway.store.templates import StoredTemplate
from gateway.validation import convert

Status = Literal["draft", "pending", "approved", "rejected", "paused"]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Language = Annotated[str, Meta(pattern="^[A-Za-z]{2,3}([-_][A-Za-z0-9]+)*$", max_length=35)]
Reason = Annotated[str, Meta(min_length=1, max_length=1_000)]
VersionNumber = Annotated[int, Meta(ge=1, le=1_000_000_000, description="The newest if absent.")]


class TemplateQuery(PageQuery, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which templates to list. `status` may be given several times; `kind`: `own` or `provider`."""

    channel: str | None = None
    sender: str | None = None
    status: tuple[Status, ...] = ()
    language: str | None = None
    kind: Literal["own", "provider"] | None = None


class TemplateFields(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What a template of the org's own says: texts, or a `provider_template` with `parameters`.

    The texts are templates as in a message.
    """

    name: Name
    description: Annotated[str, Meta(max_length=1_000)] | None = None
    subject: str | None = None
    body: str | None = None
    html: str | None = None
    media: tuple[str, ...] = ()
    provider_template: Annotated[str, Meta(description="The name of one that the provider keeps.")] | None = None
    parameters: dict[str, str] = {}
    language: Language | None = None
    category: Annotated[str, Meta(description="`general` if absent.")] | None = None
    requested_by: RequestedBy | None = None


class NewTemplate(TemplateFields, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A template of the org's own. Its name is unique on its channel, which is fixed."""

    channel: str


class Approval(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which version is meant."""

    version: VersionNumber | None = None


class Objection(Approval, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which version is meant, the one in use if absent, and why."""

    reason: Reason | None = None


class RejectionOrder(Objection, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Which version is meant, and why it is rejected."""

    reason: Reason


class RenderOrder(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """With what to fill a template in: a contact's values, and `variables` over them.

    `parameters` and `media` are for a template that the provider keeps.
    """

    contact: Annotated[str, Meta(min_length=1)] | None = None
    variables: dict[str, Any] = {}
    parameters: dict[str, str] = {}
    media: tuple[str, ...] = ()
    sender: str | None = None
    version: VersionNumber | None = None


class TestOrder(RenderOrder, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The same, and whom to send it: `to` or `contact`."""

    to: Address | None = None
    requested_by: RequestedBy | None = None


class SyncOrder(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Whom to ask: every provider that keeps templates, or those of one channel."""

    channel: str | None = None


class VariableView(msgspec.Struct, kw_only=True, frozen=True):
    """A value that a template is filled in with. Without a required one a recipient fails."""

    name: str
    required: bool


class TemplateWarningView(msgspec.Struct, kw_only=True, frozen=True):
    """Something odd that does not stand in the way."""

    code: str
    detail: str


class VersionSummary(msgspec.Struct, kw_only=True, frozen=True):
    """One version, and what was decided about it."""

    version: int
    status: Status
    in_use: bool
    reason: str | None
    created_at: datetime
    created_by: str | None
    requested_by: str | None
    decided_at: datetime | None
    decided_by: str | None


class VersionView(VersionSummary, kw_only=True, frozen=True):
    """One version with what it says. `segments`: about as many, where the provider counts them."""

    subject: str | None
    body: str | None
    html: str | None
    media: list[str]
    provider_template: str | None
    parameters: dict[str, str]
    language: str | None
    category: str | None
    variables: list[VariableView]
    segments: int | None
    warnings: list[TemplateWarningView]


class MessageTemplateView(msgspec.Struct, kw_only=True, frozen=True, tag_field="kind", tag="own"):
    """A template of the org's own, with what its newest version says.

    `version` is the one that messages are made from, null before the first approval. `status` is that version's, before
    it the newest's. `segments`: about as many, where the provider counts them.
    """

    id: str
    name: str
    channel: str
    description: str | None
    status: Status
    version: int | None
    latest_version: int
    latest_status: Status
    reason: str | None
    subject: str | None
    body: str | None
    html: str | None
    media: list[str]
    provider_template: str | None
    parameters: dict[str, str]
    language: str | None
    category: str | None
    variables: list[VariableView]
    segments: int | None
    warnings: list[TemplateWarningView]
    created_at: datetime
    created_by: str | None
    updated_at: datetime
    requested_by: str | None
    deleted_at: datetime | None
    revision: int


class MessageTemplateWithVersions(MessageTemplateView, kw_only=True, frozen=True, tag_field="kind", tag="own"):
    """A template of the org's own with all its versions, newest first."""

    versions: list[VersionSummary]


class ProviderTemplateView(msgspec.Struct, kw_only=True, frozen=True, tag_field="kind", tag="provider"):
    """A template that the provider keeps, in one language.

    `parameters` are the names of its placeholders: give each a text in a message. `media`: the kind of file that a
    message with it must bring; `reason`: why it is not approved.
    """

    id: str
    name: str
    language: str
    channel: str
    sender: str | None
    status: str
    category: str | None
    text: str
    parameters: list[str]
    media: str | None
    reason: str | None
    synced_at: datetime


class RenderingView(msgspec.Struct, kw_only=True, frozen=True):
    """What would be sent. A variable that is `missing` stands in the texts as its placeholder.

    `problem`: why nothing would be sent, beside what is missing. `segments`: null where the provider counts messages.
    """

    version: int | None
    sender: str
    subject: str | None
    text: str | None
    html: str | None
    media: list[str]
    segments: int | None
    missing: list[str]
    problem: str | None


class SyncView(msgspec.Struct, kw_only=True, frozen=True):
    """What one sender's provider answered; `problem` null: its templates are up to date."""

    sender: str
    problem: str | None


class SyncAnswer(msgspec.Struct, kw_only=True, frozen=True):
    """What every provider answered."""

    senders: list[SyncView]


def patched(template: MessageTemplate, patch: Mapping[str, Any]) -> TemplateFields:
    """A merge patch (RFC 7396) applied to what the newest version says: null takes a field away. Invalid."""
    present = {"name": template.name, "description": template.description, **_content(template.latest)}
    return convert(merged({name: value for name, value in present.items() if value is not None}, patch), TemplateFields)


def template_view(template: MessageTemplate) -> MessageTemplateView:
    """A template of the org's own as lists show it."""
    latest = template.latest
    return MessageTemplateView(
        id=format_id(TEMPLATE, template.id),
        name=template.name,
        channel=template.channel,
        description=template.description,
        status=template.current.status.value,
        version=None if template.in_use is None else template.in_use.number,
        latest_version=latest.number,
        latest_status=latest.status.value,
        reason=template.current.reason,
        **_content(latest),
        **_found(latest),
        created_at=template.created_at,
        created_by=template.created_by,
        updated_at=template.updated_at,
        requested_by=template.requested_by,
        deleted_at=template.deleted_at,
        revision=template.revision,
    )


def provider_view(template: StoredTemplate, sender: str | None) -> ProviderTemplateView:
    """A template of a provider; `sender` None: it is not configured any more."""
    return ProviderTemplateView(
        id=format_id(TEMPLATE, template.id),
        name=template.name,
        language=template.language,
        channel=template.channel,
        sender=sender,
        status=template.status,
        category=template.category,
        text=template.text,
        parameters=list(template.parameters),
        media=template.media,
        reason=template.reason,
        synced_at=template.synced_at,
    )


def summary_view(template: MessageTemplate, version: TemplateVersion) -> VersionSummary:
    """A version without what it says."""
    return VersionSummary(**_decided(template, version))


def version_view(template: MessageTemplate, version: TemplateVersion) -> VersionView:
    """A version with what it says."""
    return VersionView(**_decided(template, version), **_content(version), **_found(version))


def rendering_view(rendering: Rendering) -> RenderingView:
    """What would be sent."""
    outbound = rendering.outbound
    return RenderingView(
        version=rendering.version,
        sender=rendering.sender,
        subject=None if outbound is None else outbound.subject,
        text=rendering.shown,
        html=None if outbound is None else outbound.html,
        media=[] if outbound is None else [one.url for one in outbound.media],
        segments=rendering.units,
        missing=[*rendering.missing],
        problem=rendering.problem,
    )


def _content(version: TemplateVersion) -> dict[str, Any]:
    source = version.source
    return {
        "subject": source.subject,
        "body": source.body,
        "html": source.html,
        "media": [*source.media],
        "provider_template": source.provider_template,
        "parameters": dict(source.parameters),
        "language": source.language,
        "category": source.category,
    }


def _found(version: TemplateVersion) -> dict[str, Any]:
    checks = version.checks
    return {
        "variables": [VariableView(name=one.name, required=one.required) for one in checks.variables],
        "segments": checks.units,
        "warnings": [TemplateWarningView(code=one.code, detail=one.detail) for one in checks.warnings],
    }


def _decided(template: MessageTemplate, version: TemplateVersion) -> dict[str, Any]:
    return {
        "version": version.number,
        "status": version.status.value,
        "in_use": template.uses(version.number),
        "reason": version.reason,
        "created_at": version.created_at,
        "created_by": version.created_by,
        "requested_by": version.requested_by,
        "decided_at": version.decided_at,
        "decided_by": version.decided_by,
    }
