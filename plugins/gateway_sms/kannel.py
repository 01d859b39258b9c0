"""SMS through the operator's own Kannel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode

from yarl import URL

from gateway import (
    Adapter,
    CallbackAnswer,
    CallbackRequest,
    Capabilities,
    Code,
    Event,
    Outbound,
    Outcome,
    Rejected,
    Tools,
    count_segments,
)
from gateway_sms.answers import AnswerTable, cleaned, discreet
from gateway_sms.callbacks import events_of, is_genuine, report_url
from gateway_sms.settings import DELIVERED_BIT, KannelSettings

RATE: Final = 10.0  # segments per second: what a modem does; a bind to an SMSC takes far more
CONCURRENCY: Final = 10
GSM7, UCS2 = "0", "2"  # values of `coding`
_EMPTY: Final = URL()


class Kannel(Adapter[KannelSettings]):
    """One `sendsms-user`. Kannel keeps what it took on its own disk, and cannot be asked about it afterwards."""

    channel = "sms"
    name = "kannel"
    settings_type = KannelSettings

    def __init__(self, settings: KannelSettings, tools: Tools) -> None:
        super().__init__(settings, tools)
        self._table = AnswerTable(settings.errors)
        self._start = f"{settings.url}?{urlencode(self._constant())}&"

    @property
    def capabilities(self) -> Capabilities:
        asked = self.settings.dlr_mask & DELIVERED_BIT
        return Capabilities(
            receipts=self.tools.callback_url is not None and bool(asked),
            on_unknown="hold",
            rate=RATE,
            concurrency=CONCURRENCY,
        )

    async def send(self, message: Outbound) -> Outcome:
        answer = await self.tools.http("GET", self._start + quoted(self._parameters(message)))
        return self._table.outcome(answer, self.tools.now())

    def _constant(self) -> dict[str, str]:
        """What every message is sent with."""
        parameters = {**self._user(), "charset": "UTF-8"}
        if self.settings.from_ is not None:
            parameters["from"] = self.settings.from_
        if self.settings.smsc is not None:
            parameters["smsc"] = self.settings.smsc
        return parameters

    def _parameters(self, message: Outbound) -> dict[str, str]:
        """What is this message's own."""
        text = message.text or ""
        coding = GSM7 if count_segments(text).encoding == "gsm7" else UCS2
        parameters = {"to": message.to, "text": text, "coding": coding}
        if self.tools.callback_url is not None and self.settings.dlr_mask:
            parameters["dlr-mask"] = str(self.settings.dlr_mask)
            parameters["dlr-url"] = report_url(self.tools.callback_url, self.settings.secret, message.ref)
        return parameters

    def _user(self) -> dict[str, str]:
        return {"username": self.settings.username, "password": str(self.settings.password)}

    def refuse(self, message: Outbound) -> Rejected | None:
        if message.media:
            return Rejected(Code.MEDIA, "Kannel sends texts, no files")
        if not message.text:
            return Rejected(Code.CONTENT, "There is no text to send")  # Kannel itself would send an empty SMS
        segments, most = count_segments(message.text).segments, self.settings.segments_max
        if segments > most:
            return Rejected(Code.TOO_LONG, f"The text takes {segments} SMS, {most} are allowed (segments_max)")
        return None

    def cost(self, message: Outbound) -> int:
        """Segments: links to SMSCs are limited by them."""
        return max(1, count_segments(message.text or "").segments)

    async def authenticate(self, request: CallbackRequest) -> bool | CallbackAnswer:
        return is_genuine(request, self.settings.secret)

    def parse(self, request: CallbackRequest) -> Sequence[Event]:
        return events_of(request, self.settings.secret, self._table)

    def answer(self, request: CallbackRequest) -> CallbackAnswer:
        """Nothing: smsbox would send what it is answered as an SMS."""
        return CallbackAnswer(200, b"", "text/plain")

    async def check(self) -> str | None:
        """A request without a receiver: Kannel looks at the user first, and sends nothing."""
        answer = await self.tools.http("GET", f"{self.settings.url}?{urlencode({**self._user(), 'text': 'check'})}")
        said = cleaned(answer.body.decode("utf-8", "replace"))
        if answer.status == 400 and "receiver" in said.lower():
            return None
        return f"Kannel does not let us in: HTTP {answer.status}: {discreet(said)}."


def quoted(parameters: Mapping[str, str]) -> str:
    """What `urlencode` makes, in a quarter of the time. UnicodeEncodeError for half a character."""
    for value in parameters.values():
        value.encode()  # yarl would leave half a character out
    return _EMPTY.with_query(parameters).raw_query_string
