"""Every refusal as `application/problem+json` (RFC 9457), and the one table from a code to its HTTP status.

A refusal of a policy or an adapter brings a code of its own that is not in the table: it is a 422. `more` of a
`Refused` becomes further members of the document; `retry_after` among them, in seconds, is also sent as the header.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from gateway.errors import Invalid, Refused, StoreUnavailable

CONTENT_TYPE: Final = "application/problem+json"
COMMON_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "dripgate"}
)
"""Of every answer, whoever made it."""

STORE_RETRY_SECONDS: Final = 5  # a lock or a checkpoint is over by then; a full disk is not, but asking costs little

CODES: Final[Mapping[str, tuple[int, str]]] = MappingProxyType(
    {
        "malformed_request": (400, "The request cannot be read"),
        "malformed_json": (400, "The body is not JSON"),
        "unauthenticated": (401, "A valid API key is needed"),
        "permission_denied": (403, "The API key lacks a permission"),
        "callback_refused": (403, "The callback is not genuine"),
        "host_not_allowed": (403, "The Host header names another machine"),
        "origin_not_allowed": (403, "The Origin header names another machine"),
        "not_found": (404, "There is no such thing"),
        "method_not_allowed": (405, "The path has no such method"),
        "not_acceptable": (406, "The answer has no such media type"),
        "request_timeout": (408, "The body did not arrive in time"),
        "in_progress": (409, "The same request is still being carried out"),
        "completed_not_editable": (409, "Completed bulk actions cannot be edited"),
        "only_batch_quantity_editable": (409, "Only batch quantity is editable once processing begins"),
        "nothing_left_to_send": (409, "Everything has been handed over"),
        "recipients_not_editable": (409, "Recipients and operation are fixed at creation"),
        "not_cancellable": (409, "The bulk action cannot be cancelled"),
        "not_pausable": (409, "The bulk action cannot be paused"),
        "not_resumable": (409, "The bulk action cannot be resumed"),
        "nothing_to_retry": (409, "No recipient is in the states asked for"),
        "nothing_to_resolve": (409, "No recipient is unknown"),
        "name_taken": (409, "Another template of the channel has the name"),
        "not_reviewable": (409, "The version's status does not allow it"),
        "too_many_templates": (409, "The org has as many templates as it may"),
        "too_many_webhooks": (409, "The org has as many webhooks as it may"),
        "revision_mismatch": (412, "The revision is no longer the one in If-Match"),
        "body_too_large": (413, "The body is over the limit"),
        "unsupported_media_type": (415, "The body has another media type than expected"),
        "invalid": (422, "The content is not valid"),
        "unknown_operation": (422, "There is no such operation"),
        "unknown_channel": (422, "No sender is configured for the channel"),
        "unknown_sender": (422, "There is no such sender"),
        "sender_ambiguous": (422, "Several senders, none of them the default"),
        "no_recipients": (422, "Nobody matches"),
        "never_runs": (422, "The schedule can never run"),
        "template_required": (422, "The channel requires an approved template"),
        "template_not_approved": (422, "The template is not approved"),
        "opted_out": (422, "The person has opted out"),
        "window_closed": (422, "The message may not be sent now"),
        "no_address": (422, "The contact has no address on the channel"),
        "idempotency_key_reused": (422, "The Idempotency-Key was used for another request"),
        "bulk_action_rate": (429, "Too many bulk actions in a minute"),
        "too_many_streams": (429, "Too many streams of events are open"),
        "internal_error": (500, "Something went wrong"),
        "policy_error": (503, "A policy failed; nothing was sent"),
        "store_unavailable": (503, "The database cannot be used now"),
    }
)
FALLBACK: Final = (422, "Refused")

BY_STATUS: Final[Mapping[int, str]] = MappingProxyType(
    {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}
)
"""The codes of the few refusals that aiohttp makes itself; any other 4xx of it is a `malformed_request`."""


class FieldProblem(msgspec.Struct, frozen=True):
    """One thing that is wrong with the request."""

    pointer: str
    detail: str


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457, with a stable `code` to branch on, and for validation every error at once."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: tuple[FieldProblem, ...] | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemAnswer:
    """A refusal, ready to be sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def status_of(code: str) -> int:
    """The HTTP status of a code."""
    return CODES.get(code, FALLBACK)[0]


def response(told: ProblemAnswer) -> web.Response:
    """A refusal as aiohttp sends it."""
    headers = {**COMMON_HEADERS, **told.headers}
    return web.Response(status=told.status, body=told.body, content_type=CONTENT_TYPE, headers=headers)


def problem(refused: Refused, headers: Mapping[str, str] | None = None) -> ProblemAnswer:
    """The document of a refusal, with the headers that belong to it."""
    status, title = CODES.get(refused.code, FALLBACK)
    document: dict[str, Any] = dict(refused.more)
    document |= msgspec.to_builtins(
        ProblemDocument(
            type=f"urn:dripgate:problem:{refused.code}",
            title=title,
            status=status,
            detail=refused.detail,
            code=refused.code,
            errors=_errors(refused),
        )
    )
    extra = dict(headers or {})
    retry_after = refused.more.get("retry_after")
    if isinstance(retry_after, int | float):
        extra["Retry-After"] = str(max(1, math.ceil(retry_after)))
    if status == 401:
        extra["WWW-Authenticate"] = "Bearer"
    return ProblemAnswer(status=status, headers=extra, body=msgspec.json.encode(document))


def _errors(refused: Refused) -> tuple[FieldProblem, ...] | msgspec.UnsetType:
    if not isinstance(refused, Invalid):
        return msgspec.UNSET
    return tuple(FieldProblem(pointer=one.pointer, detail=one.detail) for one in refused.problems)


def explain(error: Exception, *, method: str, route: str) -> ProblemAnswer:
    """What the caller is told of any error. What was not expected is logged, and told only as an incident's id."""
    if isinstance(error, Refused):
        return problem(error)
    if isinstance(error, StoreUnavailable):
        structlog.get_logger("gateway.http").warning("store_unavailable", detail=str(error))
        detail = "The database cannot be used now. Nothing was changed; try again later."
        return problem(Refused("store_unavailable", detail, more={"retry_after": STORE_RETRY_SECONDS}))
    if isinstance(error, web.HTTPException):
        return _of_aiohttp(error)
    incident = secrets.token_hex(6)
    structlog.get_logger("gateway.http").error(
        "request_failed", incident=incident, method=method, route=route, exc_info=error, may_quote=True
    )
    detail = f"An error that was not expected. The log tells more under incident {incident}."
    return problem(Refused("internal_error", detail, more={"incident": incident}))


def _of_aiohttp(error: web.HTTPException) -> ProblemAnswer:
    code = BY_STATUS.get(error.status, "malformed_request" if error.status < 500 else "internal_error")
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return problem(Refused(code, f"The path has no {error.method}; it has: {allowed}."), {"Allow": allowed})
    details = {"not_found": "There is nothing at this path.", "body_too_large": "The body is over the limit."}
    return problem(Refused(code, details.get(code, "The request cannot be read.")))
