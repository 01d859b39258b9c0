"""Recorded cases of an adapter: what a provider answers or calls back with, and what the adapter makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from gateway.contract import CallbackAnswer, CallbackRequest, Event, HttpResponse, Outbound, Outcome


@dataclass(frozen=True, kw_only=True)
class SendCase:
    """`message` is sent, the provider answers with `answer`, the adapter must say `outcome`.

    `source`: where the answer comes from, a page or a recording, with its date. Without `message` the suite's own.
    """

    name: str
    answer: HttpResponse
    outcome: Outcome
    source: str
    message: Outbound | None = None


@dataclass(frozen=True, kw_only=True)
class CallbackCase:
    """A callback, and the events that `parse` must read from it. `genuine`: what `authenticate` must say of it.

    `answer`: of a handshake, the answer that `authenticate` gives instead.
    """

    name: str
    request: CallbackRequest
    events: Sequence[Event]
    source: str
    genuine: bool = True
    answer: CallbackAnswer | None = None


def callback(
    url: str,
    body: bytes = b"",
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    content_type: str = "application/x-www-form-urlencoded",
) -> CallbackRequest:
    """A callback as the gateway hands it over, from its public URL (`https://host/callbacks/NAME/tail?query`)."""
    parts = urlsplit(url)
    sender_and_tail = parts.path.partition("/callbacks/")[2]
    tail = sender_and_tail.partition("/")[2]
    lowered = {name.lower(): value for name, value in (headers or {}).items()}
    return CallbackRequest(
        method=method,
        url=url,
        tail=f"/{tail}" if tail else "",
        query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
        headers={"content-type": content_type, **lowered},
        body=body,
    )


@dataclass(frozen=True, kw_only=True)
class Cases:
    """All recorded cases of one adapter."""

    sends: Sequence[SendCase] = field(default_factory=tuple)
    callbacks: Sequence[CallbackCase] = field(default_factory=tuple)
