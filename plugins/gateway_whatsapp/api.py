"""Meta's Graph API: requests with a number's token, and what the answers mean.

Sources: facebook/openapi, business-messaging-api_v23.0.yaml, 2026-11, and developers.facebook.com, WhatsApp,
support/error-codes, 2026-05-15. The HTTP status of an error tells little: Meta says to go by the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from gateway import (
    Accepted,
    Code,
    Http,
    HttpResponse,
    Misconfigured,
    Outcome,
    Rejected,
    Retry,
    Unknown,
    parse_retry_after,
)
from gateway_whatsapp.errors import ErrorTable, MetaError, cleaned, discreet, meta_error, outcome_of
from gateway_whatsapp.settings import CloudSettings
from gateway_whatsapp.values import Json, mapping, mappings, provider_id

THROTTLED_FOR: Final = timedelta(seconds=5)  # without a Retry-After, which Meta does not promise
OURS_TO_REPAIR: Final = frozenset({401, 403, 404, 405, 407})  # without a code: the token, an id, or api_url
REQUEST_TIMEOUT: Final = 408  # from a proxy, which may have handed the request on


class CloudApi:
    """Requests with one number's token. NotSent and whatever else `Http` raises escapes."""

    def __init__(self, settings: CloudSettings, http: Http) -> None:
        self._headers = {"Authorization": f"Bearer {settings.access_token}", "Accept": "application/json"}
        self._url = settings.graph_url
        self._messages_url = f"{settings.graph_url}/{settings.phone_number_id}/messages"
        self._http = http

    async def send(self, message: Mapping[str, object]) -> HttpResponse:
        """Hand over a message."""
        return await self._http("POST", self._messages_url, json=message, headers=self._headers)

    async def get(self, path: str) -> HttpResponse:
        """Read something: `path` comes after the version."""
        return await self._http("GET", f"{self._url}{path}", headers=self._headers)


def send_outcome(answer: HttpResponse, said: Json, table: ErrorTable, now: datetime, attempt: int) -> Outcome:
    """What the answer to a message means. `said`: the object in its body."""
    if 200 <= answer.status < 300:
        return _taken(answer, said)
    error = meta_error(said.get("error"))
    meaning = table.meaning(error.code) if error is not None else None
    if error is None or error.code is None or meaning is None:
        return _uncoded(answer, error, said, now)
    outcome = outcome_of(error.code, meaning, error.said, attempt)
    asked = _asked(answer, now) if isinstance(outcome, Retry) else None
    return msgspec.structs.replace(outcome, after=asked) if asked is not None else outcome


def _taken(answer: HttpResponse, said: Json) -> Outcome:
    id = provider_id(first_message(said).get("id"))
    # An error beside it, or no id: whatever that is, it is not what Meta answers to a message that it took.
    if id is None or "error" in said:
        return Unknown(f"Meta answered HTTP {answer.status} with something that is no message")
    return Accepted((id,))


def first_message(said: Json) -> Json:
    """The message in an answer; there is never a second one."""
    return mapping(next(iter(mappings(said.get("messages"))), None))


def _uncoded(answer: HttpResponse, error: MetaError | None, said: Json, now: datetime) -> Outcome:
    """Without a code of the table there is the HTTP status only, and perhaps a word that it will pass."""
    words = description(answer, said)
    if answer.status == 429:
        return Retry(f"Meta asks to send more slowly: {words}", _asked(answer, now) or THROTTLED_FOR, "sender")
    if not 400 <= answer.status < 500 or answer.status == REQUEST_TIMEOUT:
        # A 5xx does not say whether the message was taken before the fault; a redirect comes from somebody in between.
        return Unknown(f"Meta answered {words}")
    if error is not None and error.transient:
        return Retry(f"Meta says that it will pass: {words}", _asked(answer, now))
    if error is None or error.code is None:
        if answer.status in OURS_TO_REPAIR:
            return Misconfigured(f"Meta does not let us in: {words}")
        return Rejected(Code.PROVIDER, f"Meta refused it: {words}", f"HTTP {answer.status}")
    return Rejected(Code.PROVIDER, f"Meta refused it: {error.said or f'code {error.code}'}", str(error.code))


def _asked(answer: HttpResponse, now: datetime) -> timedelta | None:
    return parse_retry_after(answer.headers.get("retry-after", ""), now)


def description(answer: HttpResponse, said: Json) -> str:
    """An answer in words: for reasons that are about the sender, so without anybody's number."""
    error = meta_error(said.get("error"))
    words = f"HTTP {answer.status}" + (f", code {error.code}" if error is not None and error.code is not None else "")
    text = cleaned(error.said) if error is not None else ""
    return f"{words}: {discreet(text)}" if text else words
