"""One connection to a mail server, from the greeting to many messages, in steps that say what is certain.

Until `text` is called no message can have been sent. From then on only an answer makes it certain.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, cast

import aiosmtplib

from gateway import Misconfigured, NotSent, Retry
from gateway_email.replies import Reply, Stage, outcome_of
from gateway_email.settings import SmtpSettings

QUIT_SECONDS: Final = 1.0  # politeness has its limit: the connection is closed then
_MECHANISMS: Final = ("plain", "login", "cram-md5")  # the first that the server offers; no second try that locks us out


class Unusable(Exception):
    """No connection can be had because of what the server said: `outcome` holds the sender."""

    def __init__(self, outcome: Retry | Misconfigured) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class Refused(Exception):
    """The server refused a step of a transaction. The connection is in order unless the code is 421."""

    def __init__(self, stage: Stage, reply: Reply) -> None:
        super().__init__(str(reply))
        self.stage = stage
        self.reply = reply


class Lost(Exception):
    """The connection broke, or what came over it was not SMTP. It must be given up."""


class _Connection(aiosmtplib.SMTP):
    """A connection that closes at once: never waiting for a silent peer to take the rest or to end TLS politely."""

    def close(self) -> None:
        transport = self.transport
        super().close()
        if transport is not None:
            cast(asyncio.WriteTransport, transport).abort()


class Session:
    """A connection that is ready for messages. `connect` makes it."""

    def __init__(self, connection: aiosmtplib.SMTP) -> None:
        self._connection = connection
        self._unfinished = False  # a transaction was begun and refused: RSET comes first
        self.transactions = 0  # begun so far
        self.idle_since = 0.0  # by the loop's clock
        extensions = connection.esmtp_extensions
        self.takes_utf8 = "smtputf8" in extensions
        size = extensions.get("size", "")
        self.size_max = int(size) if size.isdecimal() and int(size) else None  # octets; None: not told
        self._tells_size = "size" in extensions
        self._reports = "dsn" in extensions

    @property
    def alive(self) -> bool:
        """False as soon as the server is known to have closed."""
        return self._connection.is_connected

    async def begin(self, sender: bytes, recipient: bytes, size: int, envelope_id: bytes) -> None:
        """MAIL, RCPT and DATA, up to the server's go-ahead for a text of `size` octets.

        A server with delivery reports (RFC 3461) is told `envelope_id`, which reports say again, and that they need not
        bring the whole mail back. It is letters, digits and `_-.@`.

        `Refused`, `Lost`; nothing has been sent then.
        """
        if self._unfinished:
            await self._step(Stage.MAIL, (250,), b"RSET")
        self.transactions += 1
        self._unfinished = True
        options = (b" SIZE=%d" % size if self._tells_size else b"") + (b"" if recipient.isascii() else b" SMTPUTF8")
        if self._reports:
            options += b" RET=HDRS ENVID=" + envelope_id
        await self._step(Stage.MAIL, (250,), b"MAIL FROM:<%b>%b" % (sender, options))
        await self._step(Stage.RCPT, (250, 251), b"RCPT TO:<%b>" % recipient)
        await self._step(Stage.DATA, (354,), b"DATA")

    async def text(self, wire: bytes) -> Reply:
        """The text with its final dot, and the server's verdict: 2xx, 4xx or 5xx.

        `Lost` means that it may have been sent.
        """
        protocol = self._connection.protocol
        if protocol is None:
            raise Lost("the connection was closed")
        try:
            protocol.write(wire)
            reply = await protocol.read_response()
        except (aiosmtplib.SMTPException, OSError) as exc:
            raise Lost(_told(exc)) from exc
        self._unfinished = False
        if not (200 <= reply.code < 300 or 400 <= reply.code < 600):
            raise Lost(f"the answer was not SMTP: {Reply.received(reply.code, reply.message)}")
        return Reply.received(reply.code, reply.message)

    async def _step(self, stage: Stage, wanted: tuple[int, ...], command: bytes) -> None:
        try:
            reply = await self._connection.execute_command(command, timeout=None)
        except (aiosmtplib.SMTPException, OSError) as exc:
            raise Lost(_told(exc)) from exc
        if reply.code in wanted:
            return
        received = Reply.received(reply.code, reply.message)
        if 400 <= reply.code < 600:
            raise Refused(stage, received)
        raise Lost(f"the answer to {stage} was not SMTP: {received}")

    async def quit(self) -> None:
        """End it politely, at most a second long. Raises nothing."""
        try:
            async with asyncio.timeout(QUIT_SECONDS):
                await self._connection.quit()
        except (aiosmtplib.SMTPException, OSError, TimeoutError):
            pass
        finally:
            self._connection.close()

    def abort(self) -> None:
        """Close it now, without a word. The descriptor is free after the loop's next round."""
        self._connection.close()


async def connect(settings: SmtpSettings, tls: ssl.SSLContext | None) -> Session:
    """Connect, encrypt and authenticate as the settings say, within `connect_timeout_seconds`.

    `NotSent` if the server cannot be reached, `Unusable` if it does not want us; cancellation leaves nothing open.
    """
    connection = _Connection(
        hostname=settings.host,
        port=settings.port,
        local_hostname=settings.helo_name,
        timeout=None,
        use_tls=settings.security == "tls",
        start_tls=False,
        tls_context=tls,
    )
    where = f"{settings.host}:{settings.port}"
    try:
        async with asyncio.timeout(settings.connect_timeout_seconds):
            await _establish(connection, settings)
    except TimeoutError as exc:
        connection.close()
        raise NotSent(f"{where} did not answer within {settings.connect_timeout_seconds:g} s") from exc
    except (aiosmtplib.SMTPException, OSError) as exc:
        connection.close()
        if (certificate := _certificate_fault(exc)) is not None:
            raise Unusable(Misconfigured(f"The certificate of {where} is not trusted: {certificate}")) from exc
        raise NotSent(f"{where} cannot be reached: {_told(exc)}") from exc
    except BaseException:
        connection.close()
        raise
    return Session(connection)


async def _establish(connection: aiosmtplib.SMTP, settings: SmtpSettings) -> None:
    stage = Stage.GREETING
    try:
        await connection.connect()
        stage = Stage.EHLO
        await connection.ehlo()
        if settings.security == "starttls":
            stage = Stage.STARTTLS
            if not connection.supports_extension("starttls"):
                raise Unusable(Misconfigured('The mail server offers no STARTTLS: set security to "tls" or "none".'))
            await connection.starttls()
            await connection.ehlo()
        if settings.username is not None:
            stage = Stage.AUTH
            await _authenticate(connection, settings.username, settings.password or "")
    except aiosmtplib.SMTPResponseException as exc:
        if not 400 <= exc.code < 600:
            raise
        outcome = outcome_of(stage, Reply.received(exc.code, exc.message))
        assert isinstance(outcome, Retry | Misconfigured), "the table blames no recipient for a session"
        raise Unusable(outcome) from exc


async def _authenticate(connection: aiosmtplib.SMTP, username: str, password: str) -> None:
    offered = connection.server_auth_methods
    mechanism = next((mechanism for mechanism in _MECHANISMS if mechanism in offered), None)
    if mechanism is None:
        how = ", ".join(offered) or "none"
        raise Unusable(
            Misconfigured(f"The mail server offers no way to authenticate that is known here; it has: {how}.")
        )
    if mechanism == "plain":
        await connection.auth_plain(username, password, timeout=None)
    elif mechanism == "login":
        await connection.auth_login(username, password, timeout=None)
    else:
        await connection.auth_crammd5(username, password, timeout=None)


def _certificate_fault(exc: BaseException) -> str | None:
    """Why a certificate was refused, if that is what lies behind `exc`."""
    cause: BaseException | None = exc
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__
    return None if cause is None else cause.verify_message or str(cause)


def _told(exc: BaseException) -> str:
    """A fault of the network in words, without the text of a stranger's control characters."""
    cause = exc.__cause__ if isinstance(exc.__cause__, OSError) else exc
    if isinstance(exc, aiosmtplib.SMTPResponseException):
        return f"the answer was not SMTP: {Reply.received(0, str(exc.message)).text}"
    return Reply.received(0, str(cause) or type(cause).__name__).text
