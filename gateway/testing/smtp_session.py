"""One connection of the SMTP server for tests: the protocol itself, pipelined, with its scripted faults."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, cast

from gateway.testing.smtp_faults import GARBAGE, Act, Fault, Stage

if TYPE_CHECKING:
    from gateway.testing.smtp_server import SmtpServer

LINE_MAX: Final = 4_096  # octets of a command line; RFC 5321 4.5.3.1.4 asks for 512, parameters and AUTH for more
HOST: Final = "sink.example"
CHALLENGE: Final = b"<1896.697170952@sink.example>"  # of AUTH CRAM-MD5; the same for all, as nothing is at stake
_END: Final = b"\r\n.\r\n"
# What tolerant servers have taken for the end of a message (SMTP smuggling, CVE-2023-51764 and its kin).
_LENIENT_END: Final = re.compile(rb"(?:\r\n|\r|\n)\.(?:\r\n|\r|\n)")
_PATH: Final = re.compile(rb"\s*<([^<>\x00-\x1f\x7f]*)>\s*(.*)")


class SmtpSession(asyncio.Protocol):
    """Reads commands and messages, answers each group of them with one write."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._scanned = 0  # how much of the buffer has no end of the message in it
        self._in_content = False
        self._answers: list[bytes] = []
        self._silent = False  # a fault hangs, or TLS is being negotiated: nothing is read or said
        self._pause: float | None = None  # seconds between two bytes of the next answers
        self._trickling = False  # what is to be answered next waits
        self._secure = server.implicit_tls
        self._authenticated = False
        self._awaits: Callable[[bytes], None] | None = None  # reads the next line of an AUTH dialogue
        self._user = ""
        self._sender: bytes | None = None
        self._options = b""
        self._recipients: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._commands: Mapping[bytes, Callable[[bytes], None]] = {
            b"EHLO": self._ehlo,
            b"HELO": self._helo,
            b"MAIL": self._mail,
            b"RCPT": self._rcpt,
            b"DATA": self._data,
            b"RSET": self._rset,
            b"NOOP": self._noop,
            b"AUTH": self._auth,
            b"STAR": self._starttls,
            b"QUIT": self._quit,
        }

    # ---- asyncio --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses
        self._server.opened(self)
        if not self._faulty(Stage.GREETING):
            self._answer(f"220 {HOST} ESMTP")
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._silent = True
        if self._timer is not None:
            self._timer.cancel()
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._step():
            pass
        if not self._silent or self._answers:
            self._flush()

    def _step(self) -> bool:
        """Take one line or one message from the buffer. False: nothing whole is left, or nothing may be read."""
        if self._silent:
            return False
        return self._read_content() if self._in_content else self._read_line()

    def abort(self) -> None:
        """Close the connection now, without an answer."""
        self._silent = True
        if self._transport is not None:
            self._transport.abort()

    # ---- reading --------------------------------------------------------------------------------------------------

    def _read_line(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > LINE_MAX:
                self._answer("500 5.5.2 Line too long")
                self._flush()
                self.abort()
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if self._awaits is not None:
            read, self._awaits = self._awaits, None
            read(line)
            return True
        command = self._commands.get(line[:4].upper())
        if self._answers and not self._server.pipelining:
            self._server.improper += 1
            self._answer("503 5.5.0 Improper use of SMTP command pipelining")
        elif command is None:
            self._answer("500 5.5.1 What?")
        else:
            command(line)
        return True

    def _read_content(self) -> bool:
        """The buffer begins with the CRLF of the DATA line, so that an empty message ends like any other."""
        if len(self._buffer) > 2 and self._faulty(Stage.CONTENT):
            return False
        if self._server.lenient:
            found = _LENIENT_END.search(self._buffer)
            end, after = (found.start(), found.end()) if found else (-1, 0)
        else:
            end = self._buffer.find(_END, max(0, self._scanned - len(_END)))
            after = end + len(_END)
        if end < 0:
            self._scanned = len(self._buffer)
            return False
        content = bytes(self._buffer[2 : end + 2])
        del self._buffer[:after]
        self._scanned = 0
        self._in_content = False
        self._finish(content)
        return True

    # ---- answering ------------------------------------------------------------------------------------------------

    def _answer(self, text: str) -> None:
        """`text` may have several lines; the code of the first one leads each."""
        lines = text.split("\n")
        code = lines[0][:3]
        for number, line in enumerate(lines):
            rest = line[4:] if number == 0 or line.startswith(code) else line
            self._answers.append(f"{code}{' ' if number == len(lines) - 1 else '-'}{rest}\r\n".encode())

    def _flush(self) -> None:
        """Record what was accepted, then say so: a server that is killed in between has it in its record."""
        self._server.write_record()
        if not self._answers or self._transport is None or self._trickling:
            return
        answers = b"".join(self._answers)
        self._answers.clear()
        if self._pause is None:
            self._transport.write(answers)
        else:
            seconds, self._pause = self._pause, None
            self._silent = self._trickling = True
            self._trickle(answers, seconds)

    def _faulty(self, stage: Stage) -> bool:
        """Act out a fault of this stage. False if there is none, or none that replaces the usual answer."""
        fault = self._next_fault(stage)
        if fault is None:
            return False
        self._act(fault)
        return fault.act is not Act.TRICKLE

    def _next_fault(self, stage: Stage) -> Fault | None:
        if not self._server.faults.active:
            return None
        recipient = self._recipients[-1].decode("utf-8", "replace") if self._recipients else ""
        return self._server.faults.next(stage, recipient)

    def _act(self, fault: Fault) -> None:
        match fault.act:
            case Act.REPLY:
                self._answer(fault.reply)
                if fault.reply.startswith("421"):
                    self._close()
            case Act.GARBAGE:
                self._answers.append((fault.reply or GARBAGE).encode("utf-8", "surrogateescape") + b"\r\n")
            case Act.HANG:
                self._silent = True
            case Act.DISCONNECT:
                self._flush()
                self.abort()
            case Act.TRICKLE:
                self._flush()
                self._pause = fault.seconds

    def _trickle(self, rest: bytes, seconds: float) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if not rest:
            self._silent = self._trickling = False
            self.data_received(b"")  # what came meanwhile
            return
        self._transport.write(rest[:1])
        self._timer = asyncio.get_running_loop().call_later(seconds, self._trickle, rest[1:], seconds)

    def _close(self) -> None:
        self._flush()
        self._silent = True
        if self._transport is not None:
            self._transport.close()

    # ---- commands -------------------------------------------------------------------------------------------------

    def _ehlo(self, line: bytes) -> None:
        self._forget()
        if not self._faulty(Stage.EHLO):
            self._answer("\n".join((f"250 {HOST}", *self._extensions())))

    def _extensions(self) -> list[str]:
        server = self._server
        extensions = ["8BITMIME", "ENHANCEDSTATUSCODES", f"SIZE {server.size_max}"]
        if server.pipelining:
            extensions.insert(0, "PIPELINING")
        if server.smtputf8:
            extensions.append("SMTPUTF8")
        if server.tls is not None and not self._secure:
            extensions.append("STARTTLS")
        if server.credentials:
            extensions.append("AUTH " + " ".join(server.mechanisms))
        return extensions

    def _helo(self, line: bytes) -> None:
        self._forget()
        self._answer(f"250 {HOST}")

    def _mail(self, line: bytes) -> None:
        found = _PATH.fullmatch(line, 10) if line[:10].upper() == b"MAIL FROM:" else None
        if found is None:
            self._answer("501 5.5.4 MAIL FROM:<address>")
        elif self._server.credentials and not self._authenticated:
            self._answer("530 5.7.0 Authentication required")
        elif self._sender is not None:
            self._answer("503 5.5.1 Nested MAIL")
        elif not self._faulty(Stage.MAIL):
            self._sender, self._options = found[1], found[2]
            if self._declared_size() > self._server.size_max:
                self._forget()
                self._answer("552 5.3.4 Message too big")
            else:
                self._answers.append(b"250 2.1.0 OK\r\n")

    def _declared_size(self) -> int:
        options = (option.partition(b"=") for option in self._options.upper().split())
        return next((int(size) for name, _, size in options if name == b"SIZE" and size.isdigit()), 0)

    def _rcpt(self, line: bytes) -> None:
        found = _PATH.fullmatch(line, 8) if line[:8].upper() == b"RCPT TO:" else None
        if found is None or not found[1]:
            self._answer("501 5.5.4 RCPT TO:<address>")
        elif self._sender is None:
            self._answer("503 5.5.1 MAIL first")
        elif not found[1].isascii() and b"SMTPUTF8" not in self._options.upper():
            self._answer("553 5.6.7 This address needs SMTPUTF8")
        else:
            self._recipients.append(found[1])
            if self._faulty(Stage.RCPT):
                self._recipients.pop()
            else:
                self._answers.append(b"250 2.1.5 OK\r\n")

    def _data(self, line: bytes) -> None:
        if self._buffer:  # RFC 2920 3.1: DATA is the last command of a group
            self._server.improper += 1
        if not self._recipients:
            self._answer("503 5.5.1 RCPT first")
        elif not self._faulty(Stage.DATA):
            self._answers.append(b"354 Go ahead\r\n")
            self._in_content = True
            self._buffer[:0] = b"\r\n"

    def _finish(self, content: bytes) -> None:
        """A whole message is there."""
        if len(content) > self._server.size_max:
            self._answer("552 5.3.4 Message too big")
            self._forget()
            return
        fault = self._next_fault(Stage.DOT)
        if fault is None or (fault.act is not Act.REPLY and fault.recorded) or fault.reply.startswith("2"):
            self._server.accept(self._sender or b"", self._recipients, self._options, _unstuffed(content))
        if fault is not None:
            self._act(fault)
        if fault is None or fault.act is Act.TRICKLE:
            self._answers.append(b"250 2.0.0 OK\r\n")
        self._forget()

    def _rset(self, line: bytes) -> None:
        self._forget()
        self._answer("250 2.0.0 OK")

    def _noop(self, line: bytes) -> None:
        self._answer("250 2.0.0 OK")

    def _quit(self, line: bytes) -> None:
        self._answer("221 2.0.0 Bye")
        self._close()

    def _forget(self) -> None:
        self._sender = None
        self._options = b""
        self._recipients = []

    # ---- TLS ------------------------------------------------------------------------------------------------------

    def _starttls(self, line: bytes) -> None:
        context = self._server.tls
        if line.upper() != b"STARTTLS" or context is None or self._secure:
            self._answer("502 5.5.1 Not here")
        elif not self._faulty(Stage.STARTTLS):
            assert self._transport is not None
            self._answer("220 2.0.0 Go ahead")
            self._silent = True
            # Whatever the client sent before the handshake must not be taken for part of the encrypted session.
            self._buffer.clear()
            self._transport.pause_reading()
            self._server.background(self._negotiate(context))

    async def _negotiate(self, context: ssl.SSLContext) -> None:
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        try:
            upgraded = await loop.start_tls(self._transport, self, context, server_side=True)
        except (OSError, ConnectionError):  # the client did not like our certificate, or went away
            self.abort()
            return
        if upgraded is not None:
            self._transport = upgraded
            self._secure = True
            self._forget()
            self._silent = False
            self.data_received(b"")  # what came with the end of the handshake

    # ---- AUTH -----------------------------------------------------------------------------------------------------

    def _auth(self, line: bytes) -> None:
        _, mechanism, initial = (*line.split(b" ", 2), b"", b"")[:3]
        if mechanism.decode("latin-1").upper() not in self._server.mechanisms or not self._server.credentials:
            self._answer("504 5.5.4 Unknown mechanism")
        elif self._faulty(Stage.AUTH):
            return
        elif mechanism.upper() == b"PLAIN":
            self._continue(self._plain, initial, "334 ")
        elif mechanism.upper() == b"CRAM-MD5":
            self._continue(self._cram_md5, b"", f"334 {base64.b64encode(CHALLENGE).decode()}")
        else:
            self._continue(self._login_user, initial, "334 VXNlcm5hbWU6")

    def _continue(self, read: Callable[[bytes], None], initial: bytes, challenge: str) -> None:
        if initial:
            read(initial)
        else:
            self._answer(challenge)
            self._awaits = read

    def _plain(self, line: bytes) -> None:
        _, user, password = (*_decoded(line).split("\0"), "", "", "")[:3]
        self._judge(user, password)

    def _login_user(self, line: bytes) -> None:
        self._user = _decoded(line)
        self._answer("334 UGFzc3dvcmQ6")
        self._awaits = lambda password: self._judge(self._user, _decoded(password))

    def _cram_md5(self, line: bytes) -> None:
        user, _, digest = _decoded(line).rpartition(" ")
        password = self._server.credentials.get(user, "")
        if hmac.new(password.encode(), CHALLENGE, "md5").hexdigest() != digest:
            password = ""  # whatever it was, it was another one
        self._judge(user, password)

    def _judge(self, user: str, password: str) -> None:
        if self._server.credentials.get(user) == password:
            self._authenticated = True
            self._answer("235 2.7.0 Welcome")
        else:
            self._answer("535 5.7.8 Bad credentials")


def _unstuffed(content: bytes) -> bytes:
    """RFC 5321 4.5.2: the first dot of a line is not part of it."""
    content = content.removeprefix(b".")
    return content.replace(b"\r\n.", b"\r\n") if b"\r\n." in content else content


def _decoded(line: bytes) -> str:
    try:
        return base64.b64decode(line, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
