"""Twilio's REST API: what a request is made of, and what an answer means.

Sources: the OpenAPI description twilio/twilio-oai, twilio_api_v2010.json (POST and GET Messages), and
twilio.com/docs/api/errors, both 2026-11.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from gateway import (
    Accepted,
    Code,
    Http,
    HttpResponse,
    Misconfigured,
    Outcome,
    Receipt,
    Rejected,
    Retry,
    Status,
    Unknown,
    parse_retry_after,
)
from gateway_twilio.errors import ErrorTable, cleaned, discreet, error_code, failed_receipt, outcome_of
from gateway_twilio.settings import TwilioSettings

THROTTLED_FOR: Final = timedelta(seconds=1)  # without a Retry-After; Twilio advises 100 ms and doubling
OURS_TO_REPAIR: Final = frozenset({401, 403, 404, 405, 407})  # without a code: credentials, account or api_url
MESSAGE_SID: Final = re.compile(r"(?:SM|MM)[0-9a-fA-F]{32}")

STATUSES: Final[Mapping[str, Status]] = {
    "accepted": Status.ACCEPTED,
    "scheduled": Status.ACCEPTED,
    "queued": Status.ACCEPTED,
    "sending": Status.ACCEPTED,
    "sent": Status.SENT,
    "partially_delivered": Status.SENT,  # some recipients of a group: not delivered, and not failed either
    "delivered": Status.DELIVERED,
    "read": Status.READ,
    "failed": Status.FAILED,
    "undelivered": Status.UNDELIVERED,
    "canceled": Status.CANCELLED,
}
NEVER_LEFT: Final = frozenset({Status.FAILED, Status.UNDELIVERED, Status.CANCELLED})

Json = Mapping[str, object]


class _Created(msgspec.Struct):
    """All that is read of a message that was taken, in a quarter of the time that the whole object takes."""

    sid: str
    status: str


_CREATED: Final = msgspec.json.Decoder(_Created)


class TwilioApi:
    """Requests with one account's credentials. NotSent and whatever else `Http` raises escapes."""

    def __init__(self, settings: TwilioSettings, http: Http) -> None:
        user, password = settings.credentials
        credentials = b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {credentials}", "Accept": "application/json"}
        self._account = f"/2010-04-01/Accounts/{settings.account_sid}"
        self._create_url = f"{settings.api_url}{self.messages_path}.json"
        self._settings = settings
        self._http = http

    @property
    def messages_path(self) -> str:
        """Path of the account's messages, without `.json`."""
        return f"{self._account}/Messages"

    @property
    def check_path(self) -> str:
        """What answers 200 to good credentials: API keys may not read the account itself, but its messages."""
        if self._settings.api_key_sid is not None:
            return f"{self.messages_path}.json?PageSize=1"
        return f"{self._account}.json"

    async def create(self, form: Sequence[tuple[str, str]]) -> HttpResponse:
        """Create a message, which sends it."""
        return await self._http("POST", self._create_url, form=form, headers=self._headers)

    async def get(self, path: str) -> HttpResponse:
        """Read something of the account."""
        return await self._http("GET", f"{self._settings.api_url}{path}", headers=self._headers)

    async def get_content(self, path: str) -> HttpResponse:
        """Read something of the Content API, which has a host of its own."""
        return await self._http("GET", f"{self._settings.content_url}{path}", headers=self._headers)


def json_object(body: bytes) -> Json:
    """The object in a body; an empty one if there is none."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def send_outcome(answer: HttpResponse, table: ErrorTable, now: datetime) -> Outcome:
    """What the answer to POST Messages means."""
    if answer.status == 201 and (sid := _taken(answer.body)) is not None:
        return Accepted((sid,))
    said = json_object(answer.body)
    if answer.status == 429:
        return _throttled(answer, said, now)
    if 200 <= answer.status < 300:
        return _created(said, table, answer.status)
    if 400 <= answer.status < 500 and answer.status != 408:
        return _refused(answer, said, table, now)
    # A 5xx does not say whether the message was taken before the fault; a redirect comes from somebody in between.
    return Unknown(f"Twilio answered {description(answer, said)}")


def _taken(body: bytes) -> str | None:
    """The id of a message that was taken; None: look closer."""
    try:
        created = _CREATED.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    taken = STATUSES.get(created.status) not in NEVER_LEFT and MESSAGE_SID.fullmatch(created.sid)
    return created.sid if taken else None


def description(answer: HttpResponse, said: Json) -> str:
    """An answer in words: for reasons that are about the sender, so without anybody's number."""
    code = error_code(said.get("code"))
    words = f"HTTP {answer.status}" + (f", code {code}" if code is not None else "")
    text = _text_of(said)
    return discreet(f"{words}: {text}") if text else words


def _text_of(said: Json) -> str:
    """Twilio's sentence; newer services answer RFC 9457."""
    return next((text for key in ("message", "detail", "title") if (text := cleaned(said.get(key)))), "")


def _throttled(answer: HttpResponse, said: Json, now: datetime) -> Retry:
    """429: never processed and always safe to repeat (twilio.com/docs/errors/20429). It is the account's limit."""
    after = _asked(answer, now) or THROTTLED_FOR
    return Retry(f"Twilio asks to send more slowly: {description(answer, said)}", after, "sender")


def _asked(answer: HttpResponse, now: datetime) -> timedelta | None:
    try:
        return parse_retry_after(answer.headers.get("retry-after", ""), now)
    except (TypeError, OverflowError):  # dates that no calendar has
        return None


def _created(said: Json, table: ErrorTable, http_status: int) -> Outcome:
    sid = said.get("sid")
    if not isinstance(sid, str) or not MESSAGE_SID.fullmatch(sid):
        return Unknown(f"Twilio answered HTTP {http_status} with something that is no message")
    state = said.get("status")
    if not isinstance(state, str) or STATUSES.get(state) not in NEVER_LEFT:
        return Accepted((sid,))
    code, text = error_code(said.get("error_code")), cleaned(said.get("error_message"))
    meaning = table.meaning(code)
    if code is not None and meaning is not None:
        return outcome_of(code, meaning, text)
    provider_code = str(code) if code is not None else None
    return Rejected(Code.PROVIDER, f"Twilio says at once that it is {state}: {text}".rstrip(": "), provider_code)


def _refused(answer: HttpResponse, said: Json, table: ErrorTable, now: datetime) -> Outcome:
    code = error_code(said.get("code"))
    meaning = table.meaning(code)
    if code is not None and meaning is not None:
        outcome = outcome_of(code, meaning, _text_of(said))
        asked = _asked(answer, now) if isinstance(outcome, Retry) else None
        return msgspec.structs.replace(outcome, after=asked) if asked is not None else outcome
    if answer.status in OURS_TO_REPAIR:
        return Misconfigured(f"Twilio does not let us in: {description(answer, said)}")
    provider_code = str(code) if code is not None else f"HTTP {answer.status}"
    return Rejected(Code.PROVIDER, f"Twilio refused it: {_text_of(said) or provider_code}", provider_code)


def resource_receipt(resource: Json, table: ErrorTable) -> Receipt | None:
    """What a message resource says of its message; None for a status that nobody knows."""
    state, sid = resource.get("status"), resource.get("sid")
    status = STATUSES.get(state) if isinstance(state, str) else None
    if status is None or not isinstance(sid, str):
        return None
    receipt = Receipt(status=status, provider_ids=(sid,), at=instant(resource.get("date_updated")))
    if status not in NEVER_LEFT:
        return receipt
    code = error_code(resource.get("error_code"))
    return failed_receipt(receipt, code, table.meaning(code), cleaned(resource.get("error_message")))


def instant(value: object) -> datetime | None:
    """An RFC 2822 date as Twilio writes it, in UTC; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        found = parsedate_to_datetime(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
