"""Idempotency-Key: the same request twice is carried out once.

The key is scoped to the org; what was asked is compared as canonical JSON of method, path, query and body. Which
requests are running is known here, in memory: a key whose process died is nobody's, so nothing has to be taken over or
waited for (`gateway.store.idempotency` says what a crash leaves behind). Only answers with 2xx are kept, for 24 hours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import structlog

from gateway.core.ids import OrgId
from gateway.errors import Invalid, Problem, Refused, StoreError
from gateway.store.idempotency import Claim, IdempotencyStore, KeptAnswer

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
KEY_CHARACTERS_MAX: Final = 255
ANSWER_BYTES_MAX: Final = (
    1024 * 1024
)  # what is worth keeping for a day; the largest answer of a creation is a tenth of it

_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)"')  # RFC 8941 section 3.3.3, a String
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer as it goes over the wire."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"


def read_key(header: str) -> str:
    """The key in the header, quoted (as the draft standard has it) or bare (as everybody sends it)."""
    text = header.strip()
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        text = re.sub(r'\\(["\\])', r"\1", quoted.group(1)) if quoted else ""
    if not _PRINTABLE.fullmatch(text) or len(text) > KEY_CHARACTERS_MAX:
        detail = f"Give 1 to {KEY_CHARACTERS_MAX} printable ASCII characters, bare or in double quotes."
        raise Invalid([Problem(HEADER, detail)])
    return text


def fingerprint(method: str, path: str, body: object) -> bytes:
    """What was asked, whatever the spacing and the order of names. `path` with its query."""
    return hashlib.sha256(msgspec.json.encode([method, path, body], order="sorted")).digest()


class Idempotency:
    """Carries requests with a key out, once."""

    def __init__(self, store: IdempotencyStore) -> None:
        self._store = store
        self._running: set[tuple[OrgId, str]] = set()

    async def perform(
        self,
        claim: Claim,
        run: Callable[[], Awaitable[Reply]],
        show: Callable[[str], Awaitable[Reply]] | None,
        *,
        secret: bool = False,
    ) -> Reply:
        """The answer of `run`, or of the time it ran before.

        `show(made)` answers with what was created, where the answer itself is not known. `secret`: the body is never
        stored.
        Refused: `in_progress`, `idempotency_key_reused`.
        """
        running = (claim.org, claim.key)
        if running in self._running:
            raise Refused("in_progress", f"A request with the {HEADER} {claim.key!r} is still being carried out.")
        self._running.add(running)
        try:
            kept = await self._store.find(claim.org, claim.key)
            if kept is not None:
                return await _replay(claim, kept, show)
            reply = await run()
            if 200 <= reply.status < 300:
                await self._keep(claim, reply, secret=secret)
            return reply
        finally:
            self._running.discard(running)

    async def _keep(self, claim: Claim, reply: Reply, *, secret: bool) -> None:
        """Keep the answer. If that fails the work is done all the same, and must not be answered with an error."""
        too_long = reply.body is not None and len(reply.body) > ANSWER_BYTES_MAX
        headers = {**reply.headers, "Content-Type": reply.content_type}
        try:
            await self._store.keep(claim, reply.status, headers, None if secret or too_long else reply.body)
        except StoreError as exc:
            structlog.get_logger("gateway.http").warning("answer_not_kept", detail=str(exc))


async def _replay(claim: Claim, kept: KeptAnswer, show: Callable[[str], Awaitable[Reply]] | None) -> Reply:
    if kept.fingerprint != claim.fingerprint:
        detail = f"The {HEADER} {claim.key!r} was used for another request within the last 24 hours: take a new one."
        raise Refused("idempotency_key_reused", detail)
    headers: dict[str, Any] = dict(kept.headers)
    content_type = headers.pop("Content-Type", "application/json")
    if kept.status is not None and kept.body is not None:
        reply = Reply(status=kept.status, headers=headers, body=kept.body, content_type=content_type)
    elif kept.made is not None and show is not None:
        reply = await show(kept.made)
    else:
        reply = Reply(status=kept.status or 200, headers=headers)
    return replace(reply, headers={**reply.headers, REPLAYED: "true"})
