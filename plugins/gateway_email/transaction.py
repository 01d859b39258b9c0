"""One message on its way over a connection, and what is certain of it at each moment."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway import Rejected, Retry
from gateway_email.connection import Lost
from gateway_email.replies import Reply, Stage

TAKEN: Final = Reply(250, "")  # the answer to nearly every mail; its words interest nobody


class Phase:
    """How far a message has come, as plain numbers: an enumeration's cost a microsecond in each message.

    Before `TEXT` it cannot have been sent.
    """

    WAITING: Final = 0  # nothing of it was written
    ENVELOPE: Final = 1  # MAIL was written, and perhaps RCPT and DATA
    TEXT_DUE: Final = 2  # the server waits for the text
    DOT_DUE: Final = 3  # the server waits for a text after it refused the recipient: a lone dot ends it
    TEXT: Final = 4  # the text with its final dot was given to the connection: only an answer makes it certain
    ENDED: Final = 5


class Impossible(Exception):
    """This message is not sent, or not now, for no fault of the server's."""

    def __init__(self, outcome: Rejected | Retry) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Refused(Exception):
    """The server refused a step before the text."""

    def __init__(self, stage: Stage, reply: Reply) -> None:
        super().__init__(str(reply))
        self.stage = stage
        self.reply = reply


class Uncertain(Exception):
    """The connection was lost after the text was written and before its answer."""


class Overdue(Exception):
    """The server did not ask for the text in time."""


class Transaction:
    """`answer` is the reply to the text: 2xx, 4xx or 5xx. Or it raises what ended it before.

    `Refused`, `Lost`, `Overdue`, `Impossible`: certainly not sent. `Uncertain`: perhaps.
    """

    __slots__ = (
        "answer",
        "deadline",
        "envelope_id",
        "kept",
        "phase",
        "recipient",
        "refusal",
        "sender",
        "unheard",
        "wire",
    )

    def __init__(self, sender: bytes, recipient: bytes, envelope_id: bytes, wire: bytes, deadline: float) -> None:
        """`wire`: the text with its final dot. `deadline`: by the loop's clock, for everything before the text.

        A server with delivery reports (RFC 3461) is told `envelope_id`, which reports say again: letters, digits and
        `_-.@`.
        """
        self.sender = sender
        self.recipient = recipient
        self.envelope_id = envelope_id
        self.wire = wire
        self.deadline = deadline
        self.answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.phase: int = Phase.WAITING
        self.kept = False  # its connection has served others: that one may have been closed without our knowing
        self.refusal: Refused | None = None  # the first one
        self.unheard = False  # the server has refused the recipient, so that no text can reach anybody

    def answered(self, reply: Reply) -> None:
        """The server's verdict on the text."""
        self.phase = Phase.ENDED
        if not self.answer.done():  # else it is cancelled
            self.answer.set_result(reply)

    def failed(self, exc: BaseException) -> None:
        """It ended otherwise. A refusal that was heard before says more."""
        self.phase = Phase.ENDED
        if not self.answer.done():
            self.answer.set_exception(self.refusal or exc)

    def overdue(self) -> None:
        """Its time is up. What it left on a connection is not told by this."""
        if not self.answer.done():
            self.answer.set_exception(self.refusal or Overdue())

    def lost(self, reason: str) -> None:
        """Its connection ended."""
        self.failed(Uncertain(reason) if self.phase == Phase.TEXT else Lost(reason))
