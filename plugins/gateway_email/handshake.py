"""From nothing to a connection that is ready for messages: greeting, EHLO, STARTTLS, AUTH."""

from __future__ import annotations

import asyncio
import binascii
import hmac
import ssl
from collections.abc import Mapping
from typing import Final

from gateway import Misconfigured, NotSent, Retry
from gateway_email.connection import Answer, Connection, Lost, reply_of
from gateway_email.replies import Reply, Stage, outcome_of
from gateway_email.rounds import Rounds
from gateway_email.session import Session
from gateway_email.settings import SmtpSettings

_MECHANISMS: Final = ("plain", "login", "cram-md5")  # the first that the server offers; no second try that locks us out


class Unusable(Exception):
    """No connection can be had because of what the server said: `outcome` holds the sender."""

    def __init__(self, outcome: Retry | Misconfigured) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


async def connect(settings: SmtpSettings, tls: ssl.SSLContext | None, rounds: Rounds) -> Session:
    """Connect, encrypt and authenticate as the settings say, within `connect_timeout_seconds`.

    `NotSent` if the server cannot be reached, `Unusable` if it does not want us; cancellation leaves nothing open.
    """
    connection = Connection()
    where = f"{settings.host}:{settings.port}"
    try:
        async with asyncio.timeout(settings.connect_timeout_seconds):
            extensions = await _established(connection, settings, tls)
    except TimeoutError as exc:
        connection.fail("it took too long")
        raise NotSent(f"{where} did not answer within {settings.connect_timeout_seconds:g} s") from exc
    except (Lost, OSError) as exc:
        connection.fail(str(exc))
        if isinstance(exc, ssl.SSLCertVerificationError):
            fault = exc.verify_message or str(exc)
            raise Unusable(Misconfigured(f"The certificate of {where} is not trusted: {fault}")) from exc
        told = Reply.received(0, str(exc) or type(exc).__name__).text
        raise NotSent(f"{where} cannot be reached: {told}") from exc
    except BaseException:
        connection.fail("connecting was given up")
        raise
    return Session(connection, extensions, rounds, pipelining=settings.pipelining)


async def _established(connection: Connection, settings: SmtpSettings, tls: ssl.SSLContext | None) -> Mapping[str, str]:
    """What the server offers, in the end."""
    greeting = connection.listen()
    await asyncio.get_running_loop().create_connection(
        lambda: connection, settings.host, settings.port, ssl=tls if settings.security == "tls" else None
    )
    _expect(220, Stage.GREETING, await greeting)
    extensions = await _hello(connection, settings)
    if settings.security == "starttls":
        if "STARTTLS" not in extensions or tls is None:
            raise Unusable(Misconfigured('The mail server offers no STARTTLS: set security to "tls" or "none".'))
        _expect(220, Stage.STARTTLS, await connection.ask(b"STARTTLS"))
        await connection.encrypt(tls, settings.host)
        extensions = await _hello(connection, settings)  # RFC 3207 4.2: what was said in the clear counts no more
    if settings.username is not None:
        await _authenticate(connection, settings.username, settings.password or "", extensions.get("AUTH", ""))
    return extensions


async def _hello(connection: Connection, settings: SmtpSettings) -> Mapping[str, str]:
    """What the server offers now, by its name in capitals."""
    text = _expect(250, Stage.EHLO, await connection.ask(b"EHLO " + settings.helo_name.encode("ascii")))
    extensions: dict[str, str] = {}
    for line in text.decode("ascii", "replace").split("\n")[1:]:
        name, _, parameters = line.strip().replace("AUTH=", "AUTH ").partition(" ")  # as before RFC 2554
        known = extensions.get(name.upper())
        extensions[name.upper()] = f"{known} {parameters}" if known else parameters
    return extensions


async def _authenticate(connection: Connection, username: str, password: str, offered: str) -> None:
    mechanisms = offered.lower().split()
    mechanism = next((mechanism for mechanism in _MECHANISMS if mechanism in mechanisms), None)
    if mechanism == "plain":
        answer = await connection.ask(b"AUTH PLAIN " + _base64(f"\0{username}\0{password}".encode()))
    elif mechanism == "login":
        _expect(334, Stage.AUTH, await connection.ask(b"AUTH LOGIN " + _base64(username.encode())))
        answer = await connection.ask(_base64(password.encode()))
    elif mechanism == "cram-md5":
        challenge = _expect(334, Stage.AUTH, await connection.ask(b"AUTH CRAM-MD5"))
        answer = await connection.ask(_cram_md5(username, password, challenge))
    else:
        how = ", ".join(mechanisms) or "none"
        raise Unusable(
            Misconfigured(f"The mail server offers no way to authenticate that is known here; it has: {how}.")
        )
    _expect(235, Stage.AUTH, answer)


def _cram_md5(username: str, password: str, challenge: bytes) -> bytes:
    """RFC 2195 2."""
    try:
        asked = binascii.a2b_base64(challenge)
    except binascii.Error as exc:
        raise Lost("the answer to AUTH was not SMTP: no challenge") from exc
    digest = hmac.new(password.encode(), asked, "md5").hexdigest()
    return _base64(f"{username} {digest}".encode())


def _base64(text: bytes) -> bytes:
    return binascii.b2a_base64(text, newline=False)


def _expect(code: int, stage: Stage, answer: Answer) -> bytes:
    """The text of the answer if it is the wanted one. `Unusable` if it refuses, `Lost` if it is something else."""
    if answer[0] == code:
        return answer[1]
    reply = reply_of(*answer)
    if not 400 <= reply.code < 600:
        raise Lost(f"the answer to {stage} was not SMTP: {reply}")
    outcome = outcome_of(stage, reply)
    assert isinstance(outcome, Retry | Misconfigured), "the table blames no recipient for a session"
    raise Unusable(outcome)
