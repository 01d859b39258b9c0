"""The adapter `smtp`: hands messages to a mail server, one recipient a transaction, over kept connections."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack
from hmac import compare_digest
from typing import Final

from gateway import (
    Accepted,
    Adapter,
    CallbackRequest,
    Capabilities,
    Code,
    Deliver,
    Event,
    FileRefused,
    FileUnavailable,
    NotSent,
    Outbound,
    Outcome,
    Rejected,
    Retry,
    Tools,
    Unknown,
)
from gateway_email.attachments import Attached, Attachments
from gateway_email.bounces import BounceReader
from gateway_email.connection import Lost
from gateway_email.handshake import Unusable, connect
from gateway_email.lmtp import LmtpServer
from gateway_email.mime import Composer, on_the_wire, wire_address
from gateway_email.pool import Pool
from gateway_email.replies import Stage, outcome_of
from gateway_email.rounds import Rounds
from gateway_email.session import Session
from gateway_email.settings import SmtpSettings
from gateway_email.transaction import Impossible, Overdue, Refused, Transaction, Uncertain
from gateway_email.unsubscribe import Unsubscribe

CONNECTIONS_MAX: Final = 1_000  # as many as the gateway lets messages be in flight on one sender
KEPT_TRIES: Final = 3  # kept connections that turn out to be closed, one after another, before a message is put off
CLOSING: Final = 421
ACCEPTED: Final = Accepted()
BOUNCE_TAIL: Final = "/bounce"
RUN_METHOD: Final = "RUN"  # of what `run` delivered; contract.CallbackRequest
LARGE_OCTETS: Final = 1_000_000  # a mail with files of more than this is built in a thread, and few at once
LARGE_AT_ONCE: Final = 4  # at 14 MB, and copies while it is built and written, some 200 MB


class SmtpAdapter(Adapter[SmtpSettings]):
    """Sends through one account. SMTP tells nothing after the server's 250: no receipts, no look-up."""

    channel = "email"
    name = "smtp"
    settings_type = SmtpSettings

    def __init__(self, settings: SmtpSettings, tools: Tools) -> None:
        super().__init__(settings, tools)
        self._composer = Composer(
            settings.from_,
            settings.reply_to,
            unsubscribe=Unsubscribe(settings.unsubscribe_url, settings.unsubscribe_mailto),
            signer=settings.signer(),
        )
        self._attachments = Attachments(tools.files, settings.size_max_bytes)
        self._return_paths = settings.return_paths()
        self._bounces = BounceReader(self._composer.domain, self._return_paths, settings.errors)
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._tls: ssl.SSLContext | None = None
        self._rounds = Rounds()
        self._pool = Pool(
            self._connect,
            limit=settings.connections or CONNECTIONS_MAX,
            uses=settings.messages_per_connection,
            idle_seconds=settings.idle_seconds,
        )

    @property
    def capabilities(self) -> Capabilities:
        """A repeated mail is recognised by its Message-ID, so an unknown one is sent again."""
        return Capabilities(on_unknown="resend", rate=50.0, concurrency=64)

    async def open(self) -> None:
        """Read the certificates. Connections are made when there is something to send."""
        self._tls = await asyncio.to_thread(self.settings.tls_context)
        if self.settings.password and self.settings.security == "none" and not _is_loopback(self.settings.host):
            self.tools.log.warning("smtp_password_in_the_clear", host=self.settings.host)
        for key in self.settings.dkim:
            if not _is_aligned(self.settings.dkim_domain(key), self.settings.domain):
                self.tools.log.warning("dkim_domain_not_aligned", selector=key.selector, domain=key.domain)

    async def close(self) -> None:
        """Close the kept connections."""
        await self._pool.close()

    def refuse(self, message: Outbound) -> Rejected | None:
        """No body, too large a body or files, characters that no mail can carry, fields that cannot be written."""
        return self._attachments.refusal(message) or self._composer.refusal(message)

    async def send(self, message: Outbound) -> Outcome:
        """Hand over one mail. What fails before the text is certainly not sent; what fails after it is unknown."""
        deadline = asyncio.get_running_loop().time() + self.settings.envelope_timeout_seconds
        try:
            if not message.media:
                return await self._sent(message, self._built(message, None), deadline)
            async with AsyncExitStack() as held:
                async with asyncio.timeout_at(deadline):
                    wire = await self._with_files(message, held)
                return await self._sent(message, wire, deadline)
        except (Overdue, TimeoutError):
            return Retry(
                f"The mail server did not ask for the text within {self.settings.envelope_timeout_seconds:g} s."
            )
        except Refused as exc:
            return outcome_of(exc.stage, exc.reply, self.settings.errors)
        except (Impossible, Unusable) as exc:
            return exc.outcome
        except Lost as exc:
            return Retry(f"The connection to the mail server was lost before the text: {exc}")
        except Uncertain as exc:
            return Unknown(f"The connection to the mail server was lost after the text: {exc}")

    async def authenticate(self, request: CallbackRequest) -> bool:
        """A mail posted to `/callbacks/NAME/bounce` by somebody who knows `bounce_token`."""
        token = self.settings.bounce_token
        if token is None or request.method != "POST" or request.tail != BOUNCE_TAIL:
            return False
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        offered = [bearer.strip()] if scheme.lower() == "bearer" else []
        offered += [value for name, value in request.query if name == "token"]
        return any(compare_digest(each.encode(errors="backslashreplace"), token.encode()) for each in offered)

    def parse(self, request: CallbackRequest) -> Sequence[Event]:
        """A bounce or a complaint, posted or delivered by LMTP; () for every other mail."""
        if request.method != RUN_METHOD and request.tail != BOUNCE_TAIL:
            return ()
        return self._bounces.events(request.body)

    async def run(self, deliver: Deliver) -> None:
        """Take bounces by LMTP, if the settings say where."""
        if self.settings.lmtp_listen is None:
            return
        async with LmtpServer(self.settings.lmtp_listen, deliver, self.tools.log):
            await asyncio.Event().wait()

    async def check(self) -> str | None:
        """Connect, encrypt, authenticate, and leave."""
        try:
            session = await self._connect()
        except NotSent as exc:
            return str(exc)
        except Unusable as exc:
            return exc.outcome.reason
        await session.quit()
        return None

    async def _connect(self) -> Session:
        return await connect(self.settings, self._tls, self._rounds)

    async def _with_files(self, message: Outbound, held: AsyncExitStack) -> bytes:
        """The mail as it goes over the wire. `held` keeps the room for a large one until it is handed over."""
        try:
            attached = await self._attachments.fetched(message)
        except FileRefused as exc:
            raise Impossible(Rejected(Code.MEDIA, str(exc))) from exc
        except FileUnavailable as exc:
            raise Impossible(Retry(str(exc))) from exc
        if attached.size < LARGE_OCTETS:
            return self._built(message, attached)
        await held.enter_async_context(self._large)
        return await asyncio.to_thread(self._built, message, attached)

    def _built(self, message: Outbound, attached: Attached | None) -> bytes:
        try:
            return on_the_wire(self._composer.build(message, self.tools.now(), attached))
        except ValueError as exc:
            raise Impossible(Rejected(Code.CONTENT, str(exc))) from exc

    async def _sent(self, message: Outbound, wire: bytes, deadline: float) -> Outcome:
        """What the server says of it. A kept connection that turns out to be closed is replaced in silence."""
        recipient = wire_address(message.to).encode("utf-8")
        return_path, envelope_id = self._envelope(message.ref)
        for go in range(1, KEPT_TRIES + 1):
            transaction = Transaction(return_path, recipient, envelope_id, wire, deadline)
            try:
                reply = await self._pool.hand_over(transaction)
            except (Lost, Refused) as exc:
                closed = isinstance(exc, Lost) or exc.reply.code == CLOSING
                if not closed or not transaction.kept or go == KEPT_TRIES:
                    raise
            else:
                return ACCEPTED if reply.code < 300 else outcome_of(Stage.DOT, reply, self.settings.errors)
        raise AssertionError("unreachable")

    def _envelope(self, ref: str) -> tuple[bytes, bytes]:
        """The return path of a message, and the name by which a report of its delivery speaks of it."""
        paths = self._return_paths
        if paths is None:
            return self._composer.envelope_from, f"{ref}@{self._composer.domain}".encode("ascii")
        envelope_id = paths.envelope_id(ref)
        return paths.path_of(envelope_id).encode("ascii"), envelope_id.encode("ascii")


def _is_aligned(signing: str, author: str) -> bool:
    """Whether DMARC could count a signature for mails from `author`: one domain is, or is under, the other one.

    What both are under must be a domain that somebody registered (RFC 7489 3.1.1); lists of those are not kept here.
    """
    return signing == author or author.endswith(f".{signing}") or signing.endswith(f".{author}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
