"""`/v1/contacts/{id}/explain`: whether somebody can be written to now, and what is against it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.core.ids import OPT_OUT, format_id
from gateway.engine.catalogue import Catalogue
from gateway.engine.explain import Check, Explainer, Explanation, Question
from gateway.http.routing import Answer, Call, Route

Text = Annotated[str, Meta(min_length=1, max_length=200)]
Says = Literal["allow", "defer", "deny"]


class ExplainQuery(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """About which message. Without `sender`: the one that would be taken."""

    channel: Text
    sender: Text | None = None
    category: Text = "general"
    source: Literal["bulk_action", "api", "reply"] = "api"
    template: Annotated[bool, Meta(description="A template that the provider has approved, and no free text.")] = False


class OptOutAgainst(msgspec.Struct, kw_only=True, frozen=True):
    """An opt-out that stands against it."""

    id: str
    category: str
    source: str
    since: datetime


class CheckView(msgspec.Struct, kw_only=True, frozen=True):
    """One thing that was looked at: by the gate itself, by a policy, or about the sender.

    `until`: when it may be otherwise; null where nobody knows, or where it allows.
    """

    kind: Literal["gate", "policy", "sender"]
    check: str
    verdict: Says
    code: str | None
    reason: str | None
    until: datetime | None
    opt_outs: list[OptOutAgainst] | msgspec.UnsetType = msgspec.UNSET


class ExplanationView(msgspec.Struct, kw_only=True, frozen=True):
    """What would become of such a message at the instant `at`; `code`, `reason` and `until` are of what decides."""

    contact_id: str
    channel: str
    sender: str
    address: str | None
    category: str
    source: str
    at: datetime
    verdict: Says
    code: str | None
    reason: str | None
    until: datetime | None
    checks: list[CheckView]


class ExplainResource:
    """The handler of the route."""

    def __init__(self, explainer: Explainer, catalogue: Catalogue) -> None:
        self._explainer = explainer
        self._catalogue = catalogue

    async def show(self, call: Call) -> Answer:
        query: ExplainQuery = call.query
        question = Question(
            contact=call.path["id"],
            channel=query.channel,
            sender=query.sender,
            category=query.category,
            source=query.source,
            template=query.template,
        )
        explanation = await self._explainer.explain(self._catalogue.org_by_id(call.org), question)
        return Answer(body=_view(question, explanation))


def _view(question: Question, explanation: Explanation) -> ExplanationView:
    outcome = explanation.outcome
    return ExplanationView(
        contact_id=question.contact,
        channel=question.channel,
        sender=explanation.sender,
        address=explanation.address,
        category=question.category,
        source=question.source,
        at=explanation.at,
        verdict=outcome.says,
        code=outcome.code,
        reason=outcome.reason,
        until=outcome.until,
        checks=[_check(check) for check in explanation.checks],
    )


def _check(check: Check) -> CheckView:
    opt_outs = [
        OptOutAgainst(id=format_id(OPT_OUT, each.id), category=each.category, source=each.source, since=each.since)
        for each in check.opt_outs
    ]
    return CheckView(
        kind=check.kind,
        check=check.name,
        verdict=check.says,
        code=check.code,
        reason=check.reason,
        until=check.until,
        opt_outs=opt_outs or msgspec.UNSET,
    )


def explain_routes(explainer: Explainer, catalogue: Catalogue) -> list[Route]:
    """The one route."""
    return [
        Route(
            method="GET",
            path="/v1/contacts/{id}/explain",
            handler=ExplainResource(explainer, catalogue).show,
            summary="Tell whether a contact can be written to now, and what is against it",
            permissions=("members.read",),
            tag="contacts",
            query=ExplainQuery,
            answer=ExplanationView,
            refusals=("unknown_channel", "unknown_sender", "sender_ambiguous"),
        )
    ]
