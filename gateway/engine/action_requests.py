"""What a person asks for when they create, edit or retry a bulk action: the shapes, as they come over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from gateway.contract import Caller
from gateway.core.content import DEFAULT_CATEGORY, MessageContent
from gateway.core.ids import OrgId
from gateway.core.schedule import Schedule, format_days, format_every, format_window

LABEL_CHARACTERS_MAX: Final = 200
REQUESTED_BY_CHARACTERS_MAX: Final = 200
RETRIED_BY_NAME_MAX: Final = 10_000  # recipients of one retry or resolve; they are moved in one transaction

Label = Annotated[str, msgspec.Meta(max_length=LABEL_CHARACTERS_MAX)]
RequestedBy = Annotated[
    str, msgspec.Meta(max_length=REQUESTED_BY_CHARACTERS_MAX, description="Opaque, such as `user:42`.")
]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body, or part of one."""


class DripRequest(Request, frozen=True, kw_only=True):
    """Release `batch_quantity` contacts every `repeat_after`, on the chosen days, inside the window."""

    batch_quantity: int
    repeat_after: Annotated[str, msgspec.Meta(description="`30s`, `15m`, `1h` elapsed, or `1d`, `7d` calendar days.")]
    send_on: Annotated[list[str], msgspec.Meta(description="Days, `mon` to `sun`; every day if absent.")] | None = None
    process_between: (
        Annotated[list[str], msgspec.Meta(description='`["09:00", "17:00"]`, the end exclusive.')] | None
    ) = None
    time_zone_mode: Literal["account", "contact"] = "account"


class ScheduleRequest(Request, frozen=True, kw_only=True):
    """When. A `start_at` without offset is read in `time_zone`, which is the org's if absent."""

    mode: Literal["now", "at", "drip"] = "now"
    start_at: Annotated[str, msgspec.Meta(description="RFC 3339.")] | None = None
    time_zone: Annotated[str, msgspec.Meta(description="An IANA name.")] | None = None
    drip: DripRequest | None = None


class ContentRequest(Request, frozen=True, kw_only=True):
    """What. `subject`, `body` and `html` are templates; `body` or `template`, or `html` where the channel takes it.

    `template` is one that the provider keeps or one of ours, by its name or our id. `parameters` are the texts for the
    placeholders of a provider's, templates themselves; one that is not given is the variable of its name.
    """

    channel: str
    sender: str | None = None
    subject: str | None = None
    body: str | None = None
    html: str | None = None
    template: str | None = None
    language: Annotated[str, msgspec.Meta(description="Of the template, if it exists in several.")] | None = None
    parameters: dict[str, str] = {}
    variables: dict[str, Any] = {}
    media: list[str] = []
    reply_to: str | None = None
    category: (
        Annotated[str, msgspec.Meta(description="`general` if absent, or the template's own, such as `marketing`.")]
        | None
    ) = None


class MessageRequest(ContentRequest, frozen=True, kw_only=True):
    """What a bulk action sends to everybody."""

    on_duplicate_address: Literal["skip", "send"] = "skip"


class TagsRequest(Request, frozen=True, kw_only=True):
    """Tags of a contact: at least one of `any`, each of `all`, not one of `none`."""

    any: list[str] = []
    all: list[str] = []
    none: list[str] = []


class WhereRequest(Request, frozen=True, kw_only=True):
    """Conditions that all must apply."""

    tags: TagsRequest = TagsRequest()
    attributes: dict[str, Any] = {}
    seen_before: Annotated[str, msgspec.Meta(description="Last synced earlier than this, RFC 3339.")] | None = None
    channel: Annotated[str, msgspec.Meta(description="Who has an address there.")] | None = None


class AddressRequest(Request, frozen=True, kw_only=True, gc=False):
    """A bare address. It needs no contact."""

    to: str
    variables: dict[str, Any] | None = None
    time_zone: str | None = None


class RecipientsRequest(Request, frozen=True, kw_only=True):
    """To whom: exactly one of `contacts`, `all`, `where`, `addresses`, `bulk_action` (with `states`)."""

    contacts: list[str] | None = None
    all: bool | None = None
    where: WhereRequest | None = None
    addresses: list[AddressRequest] | None = None
    bulk_action: str | None = None
    states: list[Literal["handed_over", "succeeded", "failed", "skipped", "unknown", "cancelled"]] | None = None


class ActionRequest(Request, frozen=True, kw_only=True):
    """A new bulk action."""

    operation: str
    recipients: RecipientsRequest
    label: Label | None = None
    message: MessageRequest | None = None
    parameters: dict[str, Any] = {}
    schedule: ScheduleRequest = ScheduleRequest()
    requested_by: RequestedBy | None = None


class ActionEdit(Request, frozen=True, kw_only=True):
    """What of a bulk action can be edited. A merge patch: absent is left alone, null goes back to the default."""

    label: Label | None = None
    message: MessageRequest | None = None
    schedule: ScheduleRequest = ScheduleRequest()
    requested_by: RequestedBy | None = None


class RetryRequest(Request, frozen=True, kw_only=True):
    """Whom to try again: everybody in `states`, or of them the named `recipients`; `schedule` replaces the stored."""

    states: list[Literal["failed", "skipped", "unknown", "cancelled"]] | None = None
    recipients: Annotated[list[str], msgspec.Meta(min_length=1, max_length=RETRIED_BY_NAME_MAX)] | None = None
    schedule: ScheduleRequest | None = None
    requested_by: RequestedBy | None = None


class ResolveRequest(Request, frozen=True, kw_only=True, rename={"verdict": "as"}):
    """What became of unknown recipients, as a person found out."""

    recipients: Annotated[list[str], msgspec.Meta(min_length=1, max_length=RETRIED_BY_NAME_MAX)] | Literal["all"]
    verdict: Literal["sent", "failed"]


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: the caller, its org, and where the request came in (`api`, `cli`)."""

    caller: Caller
    org: OrgId
    origin: str = "api"


def schedule_request(schedule: Schedule) -> ScheduleRequest:
    """A stored schedule as it would be asked for: what the API shows, and what a merge patch is applied to."""
    drip = schedule.drip
    return ScheduleRequest(
        mode=schedule.mode,
        start_at=None if schedule.start_at is None else msgspec.to_builtins(schedule.start_at),
        time_zone=schedule.time_zone,
        drip=None
        if drip is None
        else DripRequest(
            batch_quantity=drip.batch_quantity,
            repeat_after=format_every(drip.repeat_after),
            send_on=format_days(drip.send_on),
            process_between=None if drip.process_between is None else list(format_window(drip.process_between)),
            time_zone_mode=drip.time_zone_mode,
        ),
    )


def message_request(content: MessageContent) -> MessageRequest:
    """A stored content as it would be asked for: what a template of ours has given is not asked for again.

    Nor is the default category, so that a template that takes the text's place may bring its own.
    """
    template, ours = content.template, content.message_template
    brings = () if ours is None else ours.brings
    default = template is None and ours is None and content.category == DEFAULT_CATEGORY
    named = None if template is None else template.name
    return MessageRequest(
        channel=content.channel,
        sender=content.sender,
        subject=None if "subject" in brings else content.subject,
        body=None if "body" in brings else content.body,
        html=None if "html" in brings else content.html,
        template=named if ours is None else ours.id,
        language=None if template is None else template.language,
        parameters={} if template is None else dict(template.parameters),
        variables=dict(content.variables),
        media=[] if "media" in brings else [one.url for one in content.media],
        reply_to=content.reply_to,
        category=None if default or "category" in brings else content.category,
        on_duplicate_address=content.on_duplicate_address,
    )


def merged(present: object, patch: object) -> object:
    """RFC 7396: `patch` applied to `present`. Neither is changed."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(present) if isinstance(present, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
