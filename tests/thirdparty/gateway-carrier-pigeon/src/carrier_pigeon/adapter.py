"""The adapter `loft`: asks a loft for flights over its HTTP API.

Source: the Loft API, version 2, 2026-03-01.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from urllib.parse import quote

from gateway import (
    Absent,
    Accepted,
    Adapter,
    Answer,
    CallbackRequest,
    CannotTell,
    Capabilities,
    Code,
    Event,
    Found,
    HttpResponse,
    Misconfigured,
    Outbound,
    Outcome,
    Question,
    Rejected,
    Retry,
    Unknown,
    parse_retry_after,
)

from carrier_pigeon.problems import PROBLEMS
from carrier_pigeon.reading import members, objects, receipt_of, text
from carrier_pigeon.reports import events_of, is_genuine
from carrier_pigeon.settings import LoftSettings

BIRD_CARRIES: Final = 200  # characters
BIRDS_MAX: Final = 3  # for one note
FLIGHT_MAX: Final = 100  # characters of a flight's number


def birds(note: str) -> int:
    """How many birds a note takes."""
    return max(1, -(-len(note) // BIRD_CARRIES))


class LoftAdapter(Adapter[LoftSettings]):
    """One keeper's account."""

    channel = "pigeon"
    name = "loft"
    settings_type = LoftSettings

    @property
    def capabilities(self) -> Capabilities:
        """The loft knows a repeated ring for a day, and can be asked for it."""
        return Capabilities(
            receipts=self.tools.callback_url is not None,
            receipt_deadline=timedelta(hours=48),
            lookup=True,
            lookup_settle=timedelta(seconds=30),
            idempotent_for=timedelta(hours=24),
            on_unknown="resend",
            rate=2.0,
            concurrency=self.settings.birds,
        )

    def refuse(self, message: Outbound) -> Rejected | None:
        if not message.text:
            return Rejected(Code.CONTENT, "A bird does not fly without a note")
        if birds(message.text) > BIRDS_MAX:
            most = BIRD_CARRIES * BIRDS_MAX
            return Rejected(Code.TOO_LONG, f"A note has at most {most} characters")
        return None

    def cost(self, message: Outbound) -> int:
        return birds(message.text or "")

    async def send(self, message: Outbound) -> Outcome:
        answer = await self._ask(
            "POST",
            "/v2/flights",
            {
                "coop": message.to,
                "note": message.text,
                "ring": message.ref,
                "report_to": self.tools.callback_url,
            },
        )
        if answer.status in {200, 202}:
            number = text(members(answer.body).get("flight"))
            if 0 < len(number) <= FLIGHT_MAX:
                return Accepted((number,))
        if 400 <= answer.status < 500:
            return self._refused(answer)
        return Unknown(f"The loft answered {answer.status}")

    def _refused(self, answer: HttpResponse) -> Outcome:
        problem = text(members(answer.body).get("problem"))
        if problem in PROBLEMS:
            return PROBLEMS[problem]
        if answer.status == 401:
            return Misconfigured("The loft does not know our token")
        if answer.status == 429:
            asked = answer.headers.get("retry-after", "")
            after = parse_retry_after(asked, self.tools.now())
            return Retry("All birds are out", after=after, scope="sender")
        reason = f"The loft answered {answer.status}"
        return Rejected(Code.PROVIDER, reason, provider_code=problem[:100] or None)

    async def lookup(self, question: Question) -> Answer:
        """The loft lists the flights of a ring; an empty list means none."""
        ring = question.message.ref
        answer = await self._ask("GET", f"/v2/flights?ring={quote(ring)}")
        listed = members(answer.body).get("flights")
        if answer.status != 200 or not isinstance(listed, list):
            return CannotTell(f"The loft answered {answer.status}")
        for flight in objects(listed):
            receipt = receipt_of(flight)
            if receipt is not None and receipt.ref == ring:
                return Found(receipt, receipt.provider_ids)
        return CannotTell("The loft lists other flights") if listed else Absent()

    async def check(self) -> str | None:
        answer = await self._ask("GET", "/v2/keeper")
        feed = text(members(answer.body).get("feed"))
        if answer.status == 200 and feed == "paid":
            return None
        if answer.status == 200 and feed:
            return f"The loft says that the feed is {feed[:40]}."
        return f"The loft answered {answer.status} when asked for the keeper."

    async def authenticate(self, request: CallbackRequest) -> bool:
        return is_genuine(request, self.settings.seal_secret)

    def parse(self, request: CallbackRequest) -> Sequence[Event]:
        return events_of(request.body)

    async def _ask(self, method: str, path: str, json: object = None) -> HttpResponse:
        return await self.tools.http(
            method,
            f"{self.settings.url}{path}",
            json=json,
            headers={"Authorization": f"Bearer {self.settings.token}"},
        )
