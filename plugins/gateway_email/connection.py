"""The bytes of one connection to a mail server: commands out, whole replies in, and one end."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final, cast

from gateway_email.replies import Reply

LINE_OCTETS_MAX: Final = 4_096  # of a reply; RFC 5321 4.5.3.1.5 asks for 512
REPLY_OCTETS_MAX: Final = 65_536  # of all lines of a reply: a stranger's list of extensions has 1,000
_CODES: Final = {b"%d" % code: code for code in range(200, 600)}
_MARKS: Final = (b" ", b"-", b"\r", b"")  # what stands behind the code

Answer = tuple[int, bytes]
"""A reply: its code, and the text of its lines with LF between them."""
Answered = Callable[[int, bytes], None]
"""Takes a reply."""


class Lost(Exception):
    """The connection broke, or what came over it was not SMTP. It is closed."""


class Connection(asyncio.Protocol):
    """Cuts what the server sends into replies, and gives each to who awaits it, in the order of the commands.

    What nobody awaits (RFC 5321 allows a 421 at any time), what is no reply, and the end of the stream close the
    connection at once, without waiting for a silent peer. `lost` says why then.
    """

    def __init__(self) -> None:
        self.lost: str | None = None
        self.awaited: deque[Answered] = deque()  # one for each command that was written and is not answered yet
        self.on_lost: Callable[[str], None] | None = None
        self._transport: asyncio.Transport | None = None
        self._asked: asyncio.Future[Answer] | None = None
        self._rest = b""  # the beginning of a line
        self._lines: list[bytes] = []  # of a reply whose last line has not come
        self._octets = 0  # of those lines
        self._code = 0  # of those lines

    # ---- asyncio --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses
        if self.lost is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail("the connection was closed" if exc is None else str(exc) or type(exc).__name__)

    def eof_received(self) -> None:
        self.fail("the connection was closed")

    def data_received(self, data: bytes) -> None:
        lines = (self._rest + data if self._rest else data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if self.lost is not None:
                return
            code = _CODES.get(line[:3])
            if code is None:
                self._fail_at(line)
            elif line[3:4] == b" " and not self._lines and self.awaited:  # nearly always
                self.awaited.popleft()(code, line[4:])
            else:
                self._read(code, line)
        if len(self._rest) > LINE_OCTETS_MAX:
            self.fail("the answer has a line without end")

    # ---- reading --------------------------------------------------------------------------------------------------

    def _read(self, code: int, line: bytes) -> None:
        """One line of several, or of a reply that nobody awaits. All have the same code, and the last one no hyphen."""
        mark = line[3:4]
        self._lines.append(line[4:].removesuffix(b"\r"))
        self._octets += len(line)
        if mark not in _MARKS or (self._code and code != self._code):
            self._fail_at(line)
        elif mark == b"-":
            self._code = code
            if self._octets > REPLY_OCTETS_MAX:
                self.fail("the answer has no end")
        else:
            text = b"\n".join(self._lines)
            self._lines, self._octets, self._code = [], 0, 0
            if self.awaited:
                self.awaited.popleft()(code, text)
            else:
                self.fail(f"the server said {reply_of(code, text)}")

    def _fail_at(self, line: bytes) -> None:
        self.fail(f"the answer was not SMTP: {reply_of(0, line).text}")

    # ---- writing, and the end -------------------------------------------------------------------------------------

    def write(self, parts: list[bytes]) -> None:
        """Everything in one go. After `lost` it goes nowhere."""
        if self._transport is not None and self.lost is None:
            self._transport.write(b"".join(parts))

    def listen(self) -> asyncio.Future[Answer]:
        """The next answer. Nothing else may be awaited meanwhile. `Lost`."""
        asked = self._asked = asyncio.get_running_loop().create_future()
        self.awaited.append(self._tell)
        return asked

    async def ask(self, command: bytes) -> Answer:
        """One command, and its answer. `Lost`."""
        if self.lost is not None:
            raise Lost(self.lost)
        asked = self.listen()
        self.write([command, b"\r\n"])
        return await asked

    def _tell(self, code: int, text: bytes) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and not asked.done():
            asked.set_result((code, text))

    async def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Negotiate TLS after the server's 220. `Lost`, or an OSError such as that of a certificate.

        What came in the clear after the 220 would be taken for the server's words under encryption (CVE-2011-0411 and
        its kin): it ends the connection.
        """
        if self._rest or self._lines:
            self.fail("the server said something between its 220 and the encryption")
        if self.lost is not None or self._transport is None:
            raise Lost(self.lost or "the connection was closed")
        upgraded = await asyncio.get_running_loop().start_tls(self._transport, self, context, server_hostname=host)
        if upgraded is None:
            raise Lost("the connection was closed")
        self._transport = upgraded

    def fail(self, reason: str) -> None:
        """Close it now, without a word, and tell who waits for answers. The descriptor is free after the next round."""
        if self.lost is not None:
            return
        self.lost = reason
        self.awaited.clear()
        if self._transport is not None:
            self._transport.abort()
        if self._asked is not None and not self._asked.done():
            self._asked.set_exception(Lost(reason))
            self._asked.exception()  # nobody may be listening any more
        if self.on_lost is not None:
            self.on_lost(reason)


def reply_of(code: int, text: bytes) -> Reply:
    """A reply with its text as it may be shown."""
    return Reply.received(code, text.decode("utf-8", "replace"))
