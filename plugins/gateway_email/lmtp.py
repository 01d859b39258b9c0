"""A small LMTP server (RFC 2033): where a mail server of the operator's own delivers bounces.

A mail is acknowledged when it is on disk, and with 451 if it could not be put there: the mail server keeps it then.
Long mails are cut, not refused: what a report says stands at its beginning, and a bounce that is refused is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from gateway import Deliver, Log

KEPT_OCTETS_MAX: Final = 1024 * 1024  # of a mail with its envelope: as much as a callback may have
SIZE_MAX: Final = 64 * 1024 * 1024  # octets that are read of one mail
LINE_MAX: Final = 2_048  # octets of a command; RFC 5321 4.5.3.1.4 asks for 512, parameters need more
PIECE_MAX: Final = 65_536  # octets of a line that are read at once
RECIPIENTS_MAX: Final = 100  # of one mail; RFC 5321 4.5.3.1.8
CONNECTIONS_MAX: Final = 20
ERRORS_MAX: Final = 20  # commands that are none, on one connection
COMMAND_SECONDS: Final = 300.0  # RFC 5321 4.5.3.2.7
CONTENT_SECONDS: Final = 600.0
SOCKET_PATH_MAX: Final = 107  # octets; unix(7)

_PATH: Final = re.compile(rb"\s*<([^<>\x00-\x20\x7f]{0,320})>(?:\s+(.*))?", re.DOTALL)


class LmtpPlace(str):
    """Where to listen: `host` and `port`, or `path`."""

    __slots__ = ("host", "path", "port")
    expected: ClassVar[str] = '"127.0.0.1:2424", "[::1]:2424" or "unix:/run/gateway/bounce.sock"'
    host: str
    port: int
    path: Path | None

    @classmethod
    def parse(cls, value: object) -> LmtpPlace:
        """ValueError with a sentence."""
        if not isinstance(value, str):
            raise ValueError(f"Must be {cls.expected}.")
        place = cls(value)
        place.host, place.port, place.path = "", 0, None
        if value.startswith("unix:"):
            place.path = Path(value.removeprefix("unix:"))
            if not place.path.is_absolute() or len(str(place.path).encode()) > SOCKET_PATH_MAX:
                raise ValueError(f"The path of a socket is absolute and has at most {SOCKET_PATH_MAX} octets.")
            return place
        host, _, port = value.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
            raise ValueError(f"Must be {cls.expected}.")
        place.host, place.port = host.removeprefix("[").removesuffix("]"), int(port)
        return place

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class LmtpServer:
    """Listens while it is entered. OSError if it cannot."""

    def __init__(self, place: LmtpPlace, deliver: Deliver, log: Log) -> None:
        self._place = place
        self._deliver = deliver
        self._log = log
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The TCP port it listens at: another one than asked for only if 0 was."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        place = self._place
        if place.path is None:
            self._server = await asyncio.start_server(self._accept, place.host, place.port, limit=PIECE_MAX)
        else:
            self._server = await asyncio.start_unix_server(self._accept, place.path, limit=PIECE_MAX)
            # Like a loopback port: whoever reaches it may deliver. The folder's permissions say who reaches it.
            _open_to_all(place.path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Conversations are broken off: what was not acknowledged comes again."""
        assert self._server is not None
        self._server.close()
        conversations = list(self._conversations)
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        await self._server.wait_closed()
        if self._place.path is not None:
            _remove(self._place.path)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        try:
            if len(self._conversations) > CONNECTIONS_MAX:
                writer.write(b"421 4.3.2 Too many connections\r\n")
                return
            await Conversation(reader, writer, self._deliver, self._log).run()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the other side is gone, or is no mail server: nothing was acknowledged
        except asyncio.CancelledError:
            pass  # we close; a stream's own callback in Python 3.11 would log it as an error
        finally:
            self._conversations.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Conversation:
    """One connection: commands, and the mails that they bring."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, deliver: Deliver, log: Log) -> None:
        self._reader = reader
        self._writer = writer
        self._deliver = deliver
        self._log = log
        self._greeted = False
        self._sender: bytes | None = None
        self._recipients: list[bytes] = []
        self._errors = 0
        self._commands: dict[bytes, Callable[[bytes], str]] = {
            b"LHLO": self._lhlo,
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"RSET": self._rset,
            b"NOOP": lambda rest: "250 2.0.0 OK",
            b"VRFY": lambda rest: "252 2.5.0 Try and see",
        }

    async def run(self) -> None:
        """Until QUIT. OSError, TimeoutError, IncompleteReadError, LimitOverrunError: it ended in another way."""
        await self._say("220 gateway LMTP")
        while self._errors < ERRORS_MAX:
            async with asyncio.timeout(COMMAND_SECONDS):
                line = (await self._reader.readuntil(b"\r\n"))[:-2]
            verb, _, rest = line.partition(b" ")
            match verb.upper():
                case b"QUIT":
                    await self._say("221 2.0.0 Bye")
                    return
                case b"DATA":
                    await self._data()
                case command:
                    await self._say(self._answer(command, rest))
        await self._say("421 4.7.0 Too many errors")

    async def _say(self, *answers: str) -> None:
        self._writer.write("".join(f"{answer}\r\n" for answer in answers).encode("ascii"))
        async with asyncio.timeout(COMMAND_SECONDS):
            await self._writer.drain()

    def _answer(self, command: bytes, rest: bytes) -> str:
        known = self._commands.get(command)
        if known is None or len(rest) > LINE_MAX:
            return self._wrong("500 5.5.1 What?")
        return known(rest)

    def _wrong(self, answer: str) -> str:
        self._errors += 1
        return answer

    def _lhlo(self, rest: bytes) -> str:
        self._greeted = True
        self._rset(b"")
        extensions = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8")
        return "\r\n".join(("250-gateway", *(f"250-{each}" for each in extensions), f"250 SIZE {SIZE_MAX}"))

    def _mail(self, rest: bytes) -> str:
        found = _PATH.fullmatch(rest[5:]) if rest[:5].upper() == b"FROM:" else None
        if found is None:
            return self._wrong("501 5.5.4 MAIL FROM:<address>")
        if not self._greeted or self._sender is not None:
            return self._wrong("503 5.5.1 Not now")
        if _declared_size(found[2] or b"") > SIZE_MAX:
            return "552 5.3.4 Too large"
        self._sender = found[1]
        return "250 2.1.0 OK"

    def _rcpt(self, rest: bytes) -> str:
        found = _PATH.fullmatch(rest[3:]) if rest[:3].upper() == b"TO:" else None
        if found is None or not found[1]:
            return self._wrong("501 5.5.4 RCPT TO:<address>")
        if self._sender is None:
            return self._wrong("503 5.5.1 MAIL first")
        if len(self._recipients) >= RECIPIENTS_MAX:
            return "452 4.5.3 Too many recipients"
        self._recipients.append(found[1])
        return "250 2.1.5 OK"

    def _rset(self, rest: bytes) -> str:
        self._sender = None
        self._recipients = []
        return "250 2.0.0 OK"

    async def _data(self) -> None:
        """One answer for each recipient (RFC 2033 4.2), all the same: it is one mail to us."""
        if not self._recipients:
            await self._say(self._wrong("503 5.5.1 RCPT first"))
            return
        await self._say("354 Go ahead")
        envelope = b"Return-Path: <%b>\r\n" % (self._sender or b"")
        envelope += b"".join([b"Delivered-To: %b\r\n" % recipient for recipient in self._recipients])
        async with asyncio.timeout(CONTENT_SECONDS):
            content = await self._content(KEPT_OCTETS_MAX - len(envelope))
        answer = "552 5.3.4 Too large" if content is None else await self._deliver_mail(envelope + content)
        answers = [answer] * len(self._recipients)
        self._rset(b"")
        await self._say(*answers)

    async def _deliver_mail(self, mail: bytes) -> str:
        try:
            await self._deliver(mail)
        # Whatever kept it from our disk, the mail server still has it on its own and tries again.
        except Exception as exc:  # noqa: BLE001
            self._log.warning("lmtp_delivery_failed", error=type(exc).__name__)
            return "451 4.3.0 Not now"
        return "250 2.0.0 OK"

    async def _content(self, kept_max: int) -> bytes | None:
        """A mail up to its dot, its dots undone, cut at `kept_max` octets. None: it is larger than all limits.

        Only CRLF ends a line, so that nothing inside a mail can be taken for its end.
        """
        pieces: list[bytes] = []
        kept = size = 0
        at_start = True
        while True:
            try:
                piece = await self._reader.readuntil(b"\r\n")
                whole = True
            except asyncio.LimitOverrunError as exc:
                piece = await self._reader.readexactly(exc.consumed)
                whole = False
            if at_start and piece == b".\r\n":
                return b"".join(pieces) if size <= SIZE_MAX else None
            if at_start and piece.startswith(b"."):
                piece = piece[1:]
            at_start = whole
            size += len(piece)
            if kept < kept_max:
                pieces.append(piece[: kept_max - kept])
                kept += len(pieces[-1])


def _declared_size(parameters: bytes) -> int:
    sizes = [each[5:] for each in parameters.upper().split() if each.startswith(b"SIZE=")]
    return int(sizes[0]) if sizes and sizes[0].isdigit() and len(sizes[0]) < 20 else 0


def _open_to_all(path: Path) -> None:
    path.chmod(0o666)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
