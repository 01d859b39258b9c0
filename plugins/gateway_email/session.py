"""Messages over one connection, in steps that say what is certain.

A server with PIPELINING (RFC 2920) gets MAIL, RCPT and DATA in one write, and those of the next message behind the
final dot of the one before, so that each costs about one round trip. Any other server gets one command at a time.

Until a message's text is written it cannot have been sent. From then on only an answer makes it certain.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from gateway import Code, Rejected
from gateway_email.connection import Answered, Connection, Lost, reply_of
from gateway_email.replies import Stage
from gateway_email.rounds import Rounds
from gateway_email.transaction import TAKEN, Impossible, Phase, Refused, Transaction

QUIT_SECONDS: Final = 1.0  # politeness has its limit: the connection is closed then
RIDING: Final = 2  # messages at once on a connection with PIPELINING: one whose text is out, one behind it


class Session:
    """A connection that is ready for messages, up to `capacity` at once. `handshake.connect` makes it."""

    def __init__(
        self, connection: Connection, extensions: Mapping[str, str], rounds: Rounds, *, pipelining: bool = True
    ) -> None:
        """`extensions`: what the server offers, in capitals, with their parameters. `pipelining` False: PIPELINING is
        not believed.
        """
        self._connection = connection
        self._rounds = rounds
        self._now = asyncio.get_running_loop().time
        self._messages: deque[Transaction] = deque()  # those at work; answers are about the first one
        self._steps: deque[tuple[bytes, Answered]] = deque()  # commands that wait for an answer to the one before
        self._unfinished = False  # a transaction was begun and refused: RSET comes first
        self._planned = False  # what is due is written at the end of this round
        self._condemned: str | None = None  # why it is closed as soon as no text is unanswered
        self._text_at = 0.0  # when the last text was written, by the loop's clock
        self.transactions = 0  # begun so far
        self.idle_since = 0.0  # by the loop's clock
        self.answer_seconds = 0.0  # from a text to its answer, lately
        self.when_free: Callable[[Session], None] = _nobody
        self.when_lost: Callable[[Session], None] = _nobody
        self._pipelines = pipelining and "PIPELINING" in extensions
        self.capacity = RIDING if self._pipelines else 1
        self._takes_utf8 = "SMTPUTF8" in extensions
        size = extensions.get("SIZE", "")
        self._size_max = int(size) if size.isdecimal() and int(size) else None  # octets; None: not told
        self._tells_size = "SIZE" in extensions
        self._reports = "DSN" in extensions
        connection.on_lost = self._lost

    @property
    def load(self) -> int:
        """How many messages it is at work on."""
        return len(self._messages)

    @property
    def usable(self) -> bool:
        """False as soon as it takes no further message."""
        return self._connection.lost is None and self._condemned is None

    # ---- what the pool does ---------------------------------------------------------------------------------------

    def take(self, message: Transaction) -> None:
        """Send a message as soon as those before it allow. The session has room for it."""
        impossible = self._impossible(message)
        if impossible is not None:
            message.failed(Impossible(impossible))
            return
        message.kept = self.transactions > 0
        message.phase = Phase.WAITING
        self.transactions += 1
        self._messages.append(message)
        self._plan()

    def withdraw(self, message: Transaction) -> bool:
        """Nobody waits for this message any more: it is not sent, unless its text is written, and nothing is left open.

        The answer to another one's text is waited for, though: that text has been sent. False: it is not here.
        """
        if message not in self._messages:
            return False
        if message.phase == Phase.WAITING:
            self._messages.remove(message)
            self.when_free(self)
        elif message is not self._messages[0] and self._messages[0].phase == Phase.TEXT:
            message.phase = Phase.ENDED
            self._condemned = "a message was given up before its text"
            self.when_free(self)
        else:
            self._connection.fail("a message was given up")
        return True

    async def quit(self) -> None:
        """End it politely, at most a second long. Raises nothing."""
        try:
            async with asyncio.timeout(QUIT_SECONDS):
                await self._connection.ask(b"QUIT")
        except (Lost, TimeoutError):
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Close it now, without a word."""
        self._connection.fail("the connection was given up")

    # ---- writing --------------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            self._rounds.later(self._write)

    def _write(self) -> None:
        """The text that the server waits for, and the next envelope behind it."""
        self._planned = False
        if not self._messages or self._connection.lost is not None:
            return
        parts: list[bytes] = []
        first = self._messages[0]
        if first.phase == Phase.TEXT_DUE:
            if first.answer.done():  # given up in this very round: half a message is left otherwise
                self._connection.fail("a message was given up")
                return
            first.phase = Phase.TEXT
            self._unfinished = False  # whatever the answer will be (RFC 5321 4.1.1.4)
            self._text_at = self._now()
            self._connection.awaited.append(self._text_answered)
            parts.append(first.wire)
        elif first.phase == Phase.DOT_DUE:
            self._unfinished = False
            self._connection.awaited.append(self._dot_answered)
            parts.append(b".\r\n")
        behind = first if first.phase == Phase.WAITING else self._rider()
        if behind is not None:
            self._begin(behind, parts)
        if parts:
            self._connection.write(parts)

    def _rider(self) -> Transaction | None:
        """The message whose envelope may follow the text before it, which leaves nothing to be taken back."""
        if len(self._messages) == 1 or self._messages[0].phase != Phase.TEXT:
            return None
        second = self._messages[1]
        return second if second.phase == Phase.WAITING and self._condemned is None else None

    def _begin(self, message: Transaction, parts: list[bytes]) -> None:
        message.phase = Phase.ENVELOPE
        reset = [(b"RSET\r\n", self._mail_answered)] if self._unfinished else []
        self._unfinished = True
        mail, rcpt = self._envelope(message)
        if self._pipelines:
            if reset:
                parts.append(b"RSET\r\n")
                self._connection.awaited.append(self._mail_answered)
            parts.append(b"%b%bDATA\r\n" % (mail, rcpt))
            self._connection.awaited.extend((self._mail_answered, self._rcpt_answered, self._data_answered))
        else:
            steps = [*reset, (mail, self._mail_answered), (rcpt, self._rcpt_answered)]
            self._steps = deque([*steps, (b"DATA\r\n", self._data_answered)])
            command, answered = self._steps.popleft()
            self._connection.awaited.append(answered)
            parts.append(command)

    def _envelope(self, message: Transaction) -> tuple[bytes, bytes]:
        recipient = message.recipient
        options = b" SIZE=%d" % len(message.wire) if self._tells_size else b""
        if not recipient.isascii():
            options += b" SMTPUTF8"
        if self._reports:
            options += b" RET=HDRS ENVID=" + message.envelope_id  # no report need bring the whole mail back
        return b"MAIL FROM:<%b>%b\r\n" % (message.sender, options), b"RCPT TO:<%b>\r\n" % recipient

    # ---- answers --------------------------------------------------------------------------------------------------

    def _mail_answered(self, code: int, text: bytes) -> None:
        """Also to RSET."""
        if code != 250:
            self._refuse(Stage.MAIL, code, text)
        elif self._steps:
            self._next_step()

    def _rcpt_answered(self, code: int, text: bytes) -> None:
        if code not in (250, 251):
            self._messages[0].unheard = True
            self._refuse(Stage.RCPT, code, text)
        elif self._steps:
            self._next_step()

    def _next_step(self) -> None:
        command, answered = self._steps.popleft()
        self._connection.awaited.append(answered)
        self._connection.write([command])

    def _data_answered(self, code: int, text: bytes) -> None:
        message = self._messages[0]
        if code != 354:
            self._refuse(Stage.DATA, code, text)
        elif message.refusal is None:
            message.phase = Phase.TEXT_DUE
            self._plan()
        elif message.unheard:  # RFC 2920 3.1: the server waits for a text for nobody
            message.phase = Phase.DOT_DUE
            self._plan()
        else:  # an empty message would reach somebody
            self._connection.fail("the server wants a text although it refused the message")

    def _refuse(self, stage: Stage, code: int, text: bytes) -> None:
        """The message is over, as soon as what was written with this command is answered too."""
        reply = reply_of(code, text)
        if not 400 <= code < 600:
            self._connection.fail(f"the answer to {stage} was not SMTP: {reply}")
            return
        message = self._messages[0]
        if message.refusal is None:
            message.refusal = Refused(stage, reply)
        if code == 421:
            self._connection.fail(str(reply))
        elif stage is Stage.DATA or not self._pipelines:
            self._steps.clear()
            self._end_refused()

    def _dot_answered(self, code: int, text: bytes) -> None:
        """Of no text for nobody: good or bad, the transaction is over."""
        if code == 421 or 300 <= code < 400:
            self._connection.fail(str(reply_of(code, text)))
        else:
            self._end_refused()

    def _end_refused(self) -> None:
        message = self._messages.popleft()
        message.failed(Lost("it was refused"))
        self._free()

    def _text_answered(self, code: int, text: bytes) -> None:
        message = self._messages[0]
        if 200 <= code < 300:
            reply = TAKEN
        elif 400 <= code < 600:
            reply = reply_of(code, text)
        else:
            self._connection.fail(f"the answer was not SMTP: {reply_of(code, text)}")
            return
        self._messages.popleft()
        taken = self._now() - self._text_at
        self.answer_seconds += (taken - self.answer_seconds) / 8 if self.answer_seconds else taken
        message.answered(reply)
        if code == 421:
            self._connection.fail(str(reply))
        elif self._condemned is not None:
            self._connection.fail(self._condemned)
        else:
            self._free()

    def _free(self) -> None:
        """Go on with the next message, and say that there is room for one more."""
        if self._messages and self._messages[0].phase == Phase.WAITING:
            self._plan()
        self.when_free(self)

    def _lost(self, reason: str) -> None:
        self._steps.clear()
        messages, self._messages = self._messages, deque()
        self.when_lost(self)
        for message in messages:
            if message.phase != Phase.ENDED:
                message.lost(reason)

    def _impossible(self, message: Transaction) -> Rejected | None:
        """What this server has said beforehand that it does not take."""
        if not message.recipient.isascii() and not self._takes_utf8:
            return Rejected(
                Code.INVALID_ADDRESS, "The mail server takes no address with letters beyond ASCII before the @."
            )
        size = len(message.wire)
        if self._size_max is not None and size > self._size_max:
            return Rejected(Code.TOO_LONG, f"The mail has {size:,} octets, the mail server takes {self._size_max:,}.")
        return None


def _nobody(session: Session) -> None:
    """Nobody is told."""
