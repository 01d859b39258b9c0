"""The providers as witnesses: what they received, in order, whatever became of the daemon meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from gateway.testing.provider_faults import Fate, ReceiptTrouble
from gateway.testing.smtp_faults import Act, Fault, Stage
from gateway.testing.smtp_process import SmtpProcess
from gateway.testing.twilio_simulator import TwilioSimulator
from tests.torture.plan import RATE, Scenario, W

RECEIPT_SECONDS = 3  # after which a message whose receipt was lost counts as delivered, unconfirmed
RECEIPTS = ReceiptTrouble(delayed=True, copies=3, shuffled=True, lost=0.5)
SENDER = """
[senders.sms]
channel = "sms"
adapter = "twilio"
rate = "{rate}/s"
burst = {w}
concurrency = {w}
on_unknown = "{on_unknown}"
receipt_deadline = "{receipt_seconds}s"
lookup = {lookup}
lookup_settle_seconds = 1
account_sid = "{sid}"
auth_token = "{token}"
from = "+14155552345"
api_url = "{url}"
"""


class Sent(NamedTuple):
    """A message that a provider took. `tag` is the word by which we know what asked for it, `ref` the gateway's own."""

    tag: str
    address: str
    ref: str


class Provider(Protocol):
    """Survives the daemon."""

    channel: str

    @property
    def smtp_port(self) -> int:
        """Of the sender `mail`, which every installation here has."""

    @property
    def section(self) -> str:
        """More of gateway.toml."""

    def address(self, number: int) -> str:
        """Of a person."""

    def doomed(self, address: str) -> bool:
        """Whether messages to this person fail for good."""

    def takes_doomed(self) -> bool:
        """Whether they are taken, and reported as failed afterwards."""

    def sent(self) -> Sequence[Sent]:
        """Everything that was taken so far, in order."""

    def call_back(self, gateway_url: str) -> None:
        """Post the receipts that are due."""

    def call_back_again(self) -> None:
        """Post once more what nobody took, as providers do for a while."""

    def calm_down(self) -> None:
        """Lose no more receipts."""


class MailProvider:
    """An SMTP server in a process of its own, whose record is a file."""

    channel = "email"
    section = ""

    def __init__(self, folder: Path) -> None:
        self._record = folder / "mails.tsv"
        self._smtp = SmtpProcess(
            self._record,
            faults=[
                Fault(stage=Stage.RCPT, to="m*[05]0@example.org", reply="550 5.1.1 No such person"),
                # Octet by octet: both the word to go on, and the one that a mail was taken, are long under way.
                Fault(stage=Stage.DATA, act=Act.TRICKLE, seconds=0.0005),
                Fault(stage=Stage.DOT, act=Act.TRICKLE, seconds=0.0005),
            ],
        )
        self._read = 0  # bytes of the record
        self._sent: list[Sent] = []

    async def __aenter__(self) -> Self:
        await self._smtp.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._smtp.stop()

    @property
    def smtp_port(self) -> int:
        return self._smtp.port

    def address(self, number: int) -> str:
        return f"m{number:04d}@example.org"

    def doomed(self, address: str) -> bool:
        return address.endswith(("00@example.org", "50@example.org"))

    def takes_doomed(self) -> bool:
        return False

    def sent(self) -> Sequence[Sent]:
        if not self._record.exists():
            return self._sent
        with self._record.open("rb") as record:
            record.seek(self._read)
            complete, newline, _ = record.read().rpartition(b"\n")
        self._read += len(complete) + len(newline)
        for line in complete.decode().splitlines():
            message_id, recipient, subject = line.split("\t")
            self._sent.append(Sent(subject.partition(":")[0], recipient, message_id.strip("<>").partition("@")[0]))
        return self._sent

    def call_back(self, gateway_url: str) -> None:
        """Mail has no receipts here."""

    call_back_again = calm_down = lambda self: None


class TextProvider:
    """Twilio, in our own event loop. Half of its receipts get lost, each is posted three times, in another order."""

    channel = "sms"
    smtp_port = 9  # nobody is written to by mail

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        self._twilio = TwilioSimulator(seed=seed)
        self._twilio.receipt_trouble = RECEIPTS
        self._twilio.delays = (0.03, 0.03)  # with our rate, all W are in flight most of the time
        self._twilio.fates = [Fate(to="*[05]0", status="undelivered", error_code=30006)]
        self._sent: list[Sent] = []

    async def __aenter__(self) -> Self:
        await self._twilio.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._twilio.__aexit__(kind, error, trace)

    @property
    def section(self) -> str:
        return SENDER.format(
            rate=RATE,
            w=W,
            on_unknown=self._scenario.on_unknown,
            receipt_seconds=RECEIPT_SECONDS,
            lookup=str(self._scenario.lookup).lower(),
            sid=self._twilio.account_sid,
            token=self._twilio.auth_token,
            url=self._twilio.url,
        )

    def address(self, number: int) -> str:
        return f"+1415555{1000 + number:04d}"

    def doomed(self, address: str) -> bool:
        return address.endswith(("00", "50"))

    def takes_doomed(self) -> bool:
        return True

    def sent(self) -> Sequence[Sent]:
        self._sent += [
            Sent(message.body.partition(":")[0], message.to, message.ref)
            for message in self._twilio.record[len(self._sent) :]
        ]
        return self._sent

    def call_back(self, gateway_url: str) -> None:
        self._twilio.callback_base = gateway_url
        self._twilio.release_receipts()

    def call_back_again(self) -> None:
        self._twilio.post_missed()

    def calm_down(self) -> None:
        self._twilio.receipt_trouble = ReceiptTrouble(copies=3, shuffled=True)
