"""An SMTP server on loopback that really receives, remembers exactly what, and can be told to misbehave.

The demo, the tests and the benchmark send to it. In the process of a test:

    async with SmtpServer() as server:
        server.port, server.messages, server.faults = Faults([Fault(stage=Stage.RCPT, reply="450 4.2.1 Later")])

or in a process of its own, which survives the daemon's death and whose record survives its own:

    python -m gateway.testing.smtp_server --port 0 --record mails.tsv --print-port
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import ssl
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

try:
    import uvloop
except ImportError:  # an extra: without it everything works, only slower
    _fast_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
else:
    _fast_loop = uvloop.new_event_loop

from gateway.testing.smtp_faults import Act, Fault, Faults, Stage
from gateway.testing.smtp_process import SmtpProcess
from gateway.testing.smtp_record import Mail, decoded, header_field, record_line
from gateway.testing.smtp_session import SmtpSession

__all__ = ["Act", "Fault", "Faults", "Mail", "SmtpProcess", "SmtpServer", "Stage"]

SIZE_MAX: Final = 25_000_000  # octets of one message, as large providers have it
BACKLOG: Final = 512


class SmtpServer:
    """Listens on 127.0.0.1 while it is entered. Everything that does not say otherwise may be changed at run time."""

    def __init__(
        self,
        *,
        port: int = 0,
        record: Path | None = None,
        keep: bool = True,
        faults: Sequence[Fault] = (),
        credentials: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        lenient: bool = False,
        smtputf8: bool = True,
        pipelining: bool = True,
        size_max: int = SIZE_MAX,
    ) -> None:
        """`port` 0 takes a free one. `record`: append a line for each accepted mail. `keep`: remember whole messages.

        `credentials` (user to password): AUTH by the `mechanisms` (PLAIN, LOGIN, CRAM-MD5), without which MAIL is
        refused. `tls`: STARTTLS is offered, or with `implicit_tls` spoken from the first byte. `lenient`: bare CR and
        LF count as ends of lines around a final dot, as in servers that fall for SMTP smuggling. `pipelining` False: it
        is not offered, and a command that comes before the answer to the one before it is refused.
        """
        self.port = port
        self.keep = keep
        self.faults = Faults(faults)
        self.credentials: Mapping[str, str] = dict(credentials or {})
        self.mechanisms: Sequence[str] = ("PLAIN", "LOGIN")
        self.tls = tls
        self.implicit_tls = implicit_tls
        self.lenient = lenient
        self.smtputf8 = smtputf8
        self.pipelining = pipelining
        self.size_max = size_max
        self.count = 0  # mails accepted, one for each recipient
        self.connections = 0  # accepted so far
        self.improper = 0  # groups of commands that RFC 2920 does not allow
        self.messages: list[Mail] = []
        self.message_ids: Counter[str] = Counter()
        self._record = record
        self._file: int | None = None
        self._lines: list[bytes] = []
        self._server: asyncio.Server | None = None
        self._sessions: set[SmtpSession] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted = 0
        self._enough = asyncio.Event()
        self._nobody = asyncio.Event()
        self._nobody.set()

    async def __aenter__(self) -> Self:
        if self._record is not None:
            self._file = os.open(self._record, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        self.drop()
        await self._nobody.wait()
        for task in self._tasks:
            task.cancel()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    # ---- what tests ask and do ------------------------------------------------------------------------------------

    @property
    def open_connections(self) -> int:
        """How many connections are open at this moment."""
        return len(self._sessions)

    @property
    def duplicates(self) -> dict[str, int]:
        """Message-IDs that came more than once, with how often."""
        return {message_id: times for message_id, times in self.message_ids.items() if times > 1}

    async def listen(self) -> None:
        """Accept connections; after `refuse`, again on the same port."""
        loop = asyncio.get_running_loop()
        context = self.tls if self.implicit_tls else None
        self._server = await loop.create_server(
            lambda: SmtpSession(self), "127.0.0.1", self.port, ssl=context, backlog=BACKLOG
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse new connections until `listen`. Open ones stay."""
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)  # the listening socket closes in the loop's next round

    def drop(self) -> None:
        """Close all open connections without a word."""
        for session in list(self._sessions):
            session.abort()

    async def all_closed(self) -> None:
        """Return as soon as no connection is open."""
        await self._nobody.wait()

    async def received(self, count: int) -> None:
        """Return as soon as at least `count` mails have been accepted."""
        self._wanted, self._enough = count, asyncio.Event()
        if self.count < count:
            await self._enough.wait()

    # ---- what sessions call ---------------------------------------------------------------------------------------

    def opened(self, session: SmtpSession) -> None:
        self.connections += 1
        self._sessions.add(session)
        self._nobody.clear()

    def closed(self, session: SmtpSession) -> None:
        self._sessions.discard(session)
        if not self._sessions:
            self._nobody.set()

    def background(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` beside everything else, until the server ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def accept(self, sender: bytes, recipients: Sequence[bytes], options: bytes, content: bytes) -> None:
        """Count a mail. It is in the record file after the next `write_record`, before its 250 is sent."""
        headers = content[: content.find(b"\r\n\r\n") + 2]
        message_id = header_field(headers, b"message-id:")
        subject = header_field(headers, b"subject:")
        self.message_ids[message_id.decode("utf-8", "replace")] += 1
        self.count += len(recipients)
        if self._wanted and self.count >= self._wanted:
            self._enough.set()
        for recipient in recipients:
            if self._file is not None:
                self._lines.append(record_line(message_id, recipient, subject))
            if self.keep:
                self.messages.append(
                    Mail(
                        message_id=message_id.decode("utf-8", "replace"),
                        recipient=recipient.decode("utf-8", "replace"),
                        subject=decoded(subject.decode("utf-8", "replace")),
                        sender=sender.decode("utf-8", "replace"),
                        content=content,
                        options=options.decode("utf-8", "replace"),
                    )
                )

    def write_record(self) -> None:
        """Append what was accepted since the last time. The kernel has it then: it survives a kill of this process."""
        if self._lines and self._file is not None:
            os.write(self._file, b"".join(self._lines))
            self._lines.clear()


# ---- as a process of its own ----------------------------------------------------------------------------------------


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gateway.testing.smtp_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--record", type=Path, help="append message_id<TAB>recipient<TAB>subject for each accepted mail"
    )
    parser.add_argument("--print-port", action="store_true", help="print `port N` when connections are accepted")
    parser.add_argument("--faults", default="[]", help='JSON: [{"stage": "rcpt", "reply": "450 4.2.1 Later"}]')
    parser.add_argument("--no-pipelining", action="store_true", help="do not offer PIPELINING, and do not stand it")
    parser.add_argument("--user", help="demand AUTH, as NAME:PASSWORD")
    return parser.parse_args(arguments)


async def serve(options: argparse.Namespace) -> None:
    """Receive until SIGTERM or the end of standard input; each line of which is a JSON list of faults to have now."""
    credentials = dict([options.user.split(":", 1)]) if options.user else None
    faults = msgspec.json.decode(options.faults, type=list[Fault])
    server = SmtpServer(
        port=options.port,
        record=options.record,
        keep=False,
        faults=faults,
        credentials=credentials,
        pipelining=not options.no_pipelining,
    )
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    async with server:
        with contextlib.suppress(PermissionError):  # /dev/null and files cannot be waited for: then nobody commands
            loop.add_reader(sys.stdin.fileno(), _obey, server, ended)
        if options.print_port:
            sys.stdout.write(f"port {server.port}\n")
            sys.stdout.flush()
        await ended.wait()
        loop.remove_reader(sys.stdin.fileno())


def _obey(server: SmtpServer, ended: asyncio.Event) -> None:
    lines = os.read(sys.stdin.fileno(), 65_536)
    if not lines:
        ended.set()
    for line in lines.splitlines():
        server.faults = Faults(msgspec.json.decode(line, type=list[Fault]))
        sys.stdout.write("faults\n")
        sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a program, on uvloop where that is installed: the server must not be what a benchmark measures."""
    with asyncio.Runner(loop_factory=_fast_loop) as runner:
        runner.run(serve(_arguments(arguments)))


if __name__ == "__main__":
    main()
