"""Message templates of an org's own: what a version of one says, how it is reviewed, and what a message keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class TemplateStatus(StrEnum):
    """Of one version."""

    DRAFT = "draft"
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    PAUSED = "paused"


class Review(StrEnum):
    """What people decide about a version."""

    SUBMIT = "submit"
    APPROVE = "approve"
    REJECT = "reject"
    PAUSE = "pause"


REVIEWS: Final[Mapping[tuple[TemplateStatus, Review], TemplateStatus]] = {
    (TemplateStatus.DRAFT, Review.SUBMIT): TemplateStatus.PENDING,
    (TemplateStatus.REJECTED, Review.SUBMIT): TemplateStatus.PENDING,
    (TemplateStatus.DRAFT, Review.APPROVE): TemplateStatus.APPROVED,
    (TemplateStatus.PENDING, Review.APPROVE): TemplateStatus.APPROVED,
    (TemplateStatus.REJECTED, Review.APPROVE): TemplateStatus.APPROVED,
    (TemplateStatus.APPROVED, Review.APPROVE): TemplateStatus.APPROVED,  # an earlier one is used again
    (TemplateStatus.PAUSED, Review.APPROVE): TemplateStatus.APPROVED,
    (TemplateStatus.DRAFT, Review.REJECT): TemplateStatus.REJECTED,
    (TemplateStatus.PENDING, Review.REJECT): TemplateStatus.REJECTED,
    (TemplateStatus.APPROVED, Review.PAUSE): TemplateStatus.PAUSED,  # of the version in use alone
}
"""What becomes of a version; what is not here is refused."""

OUTCOMES: Final[Mapping[Review, TemplateStatus]] = {review: status for (_, review), status in REVIEWS.items()}
"""What each decision comes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSource:
    """What one version says. `subject`, `body` and `html` are sources, `media` URLs.

    `provider_template`: instead of texts, one that the provider keeps, with the sources of its `parameters`; `language`
    chooses its variant, and says what language the texts are in.
    """

    subject: str | None = None
    body: str | None = None
    html: str | None = None
    media: tuple[str, ...] = ()
    provider_template: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    language: str | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateVariable:
    """A value that a version is filled in with; without a required one nothing is sent."""

    name: str
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateWarning:
    """Something odd about a version that does not stand in the way."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateChecks:
    """What was found when a version was saved or approved.

    `units`: what the provider would count with every variable ten letters long, such as segments; None where it counts
    messages, or where that is not known.
    """

    variables: tuple[TemplateVariable, ...] = ()
    units: int | None = None
    warnings: tuple[TemplateWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageTemplateUse:
    """Which version a message was made from, for as long as the message is kept. `brings`: the fields that it gave."""

    id: str
    name: str
    version: int
    brings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenTemplate:
    """A version to make a message from."""

    id: str
    name: str
    version: int
    source: TemplateSource
