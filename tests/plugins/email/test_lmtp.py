"""The LMTP listener, spoken to by the standard library's client and by hand."""

from __future__ import annotations

import asyncio
import smtplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gateway.errors import Invalid
from gateway.testing.doubles import RecordingLog
from gateway.testing.smtp_server import SmtpServer
from gateway_email import lmtp
from gateway_email.lmtp import LmtpPlace, LmtpServer
from gateway_email.smtp import SmtpAdapter
from tests.plugins.email.harness import PATIENCE_SECONDS, settings, tools

MAIL = b"Subject: Undelivered\r\n\r\nSorry.\r\n"


class Deliveries:
    """Keeps what is delivered, or cannot."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.broken = False
        self.gate: asyncio.Event | None = None

    async def __call__(self, raw: bytes) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.broken:
            raise OSError("the disk is full")
        self.mails.append(raw)


@asynccontextmanager
async def listening(deliveries: Deliveries, place: str = "127.0.0.1:0") -> AsyncIterator[LmtpServer]:
    async with LmtpServer(LmtpPlace.parse(place), deliveries, RecordingLog()) as server:
        yield server


class Client:
    """Speaks by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, text: bytes, answers: int = 1) -> list[str]:
        self.writer.write(text)
        async with asyncio.timeout(PATIENCE_SECONDS):
            lines: list[str] = []
            while len(lines) < answers:
                line = (await self.reader.readline()).decode()
                assert line, "the server closed"
                if line[3:4] == " ":
                    lines.append(line.rstrip())
            return lines

    async def ended(self) -> bool:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.read() == b""


@asynccontextmanager
async def client(server: LmtpServer, *, greet: bool = True) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    found = Client(reader, writer)
    try:
        await found.say(b"")
        if greet:
            await found.say(b"LHLO mx.example\r\n")
        yield found
    finally:
        writer.close()
        with suppress(ConnectionResetError):
            await writer.wait_closed()


def transaction(content: bytes = MAIL, *recipients: bytes) -> bytes:
    to = b"".join(b"RCPT TO:<%b>\r\n" % each for each in recipients or (b"bounce@grace.example",))
    return b"MAIL FROM:<>\r\n" + to + b"DATA\r\n" + content + b".\r\n"


@pytest.mark.parametrize("unix", [True, False])
async def test_the_standard_library_s_client_delivers(tmp_path: Path, unix: bool) -> None:
    deliveries = Deliveries()
    path = tmp_path / "bounce.sock"

    def send(port: int) -> None:
        with smtplib.LMTP(str(path) if unix else "127.0.0.1", port, local_hostname="mx.example") as client:
            client.sendmail("", ["bounce+1@grace.example"], MAIL)

    async with listening(deliveries, f"unix:{path}" if unix else "127.0.0.1:0") as server:
        await asyncio.to_thread(send, 0 if unix else server.port)
    assert deliveries.mails == [b"Return-Path: <>\r\nDelivered-To: bounce+1@grace.example\r\n" + MAIL]
    assert not path.exists()


async def test_a_mail_with_several_recipients_is_one_mail_and_answered_for_each() -> None:
    deliveries = Deliveries()
    async with listening(deliveries) as server, client(server) as connection:
        answers = await connection.say(transaction(MAIL, b"a@b.example", "zoë@grace.example".encode()), 6)
    assert answers[-2:] == ["250 2.0.0 OK", "250 2.0.0 OK"]
    recipients = "Delivered-To: a@b.example\r\nDelivered-To: zoë@grace.example\r\n".encode()
    assert deliveries.mails == [b"Return-Path: <>\r\n" + recipients + MAIL]


async def test_a_mail_is_acknowledged_only_when_it_is_stored() -> None:
    deliveries = Deliveries()
    deliveries.gate = asyncio.Event()
    async with listening(deliveries) as server, client(server) as connection:
        await connection.say(transaction(), 3)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connection.reader.readline()
        deliveries.gate.set()
        assert await connection.say(b"") == ["250 2.0.0 OK"]
    assert len(deliveries.mails) == 1


async def test_a_mail_that_cannot_be_stored_is_asked_for_again() -> None:
    deliveries = Deliveries()
    deliveries.broken = True
    async with listening(deliveries) as server, client(server) as connection:
        assert (await connection.say(transaction(MAIL, b"a@b.example", b"c@d.example"), 6))[-2:] == [
            "451 4.3.0 Not now",
            "451 4.3.0 Not now",
        ]
        deliveries.broken = False
        assert (await connection.say(transaction(), 4))[-1] == "250 2.0.0 OK"
    assert len(deliveries.mails) == 1


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"", b""),
        (b"..\r\n...\r\n..a\r\n", b".\r\n..\r\n.a\r\n"),
        (b"a\n.\nb\r\n", b"a\n.\nb\r\n"),  # only CRLF ends a line
        (b"a\r.\rb\n.\r\r\n", b"a\r.\rb\n.\r\r\n"),
        (b"x" * 200_000 + b"\r\n.." + b"y" * 70_000 + b"\r\n", b"x" * 200_000 + b"\r\n." + b"y" * 70_000 + b"\r\n"),
        (bytes(range(1, 10)) + b"\xff\r\n", bytes(range(1, 10)) + b"\xff\r\n"),
    ],
    ids=["empty", "dots", "bare line feeds", "bare returns", "long lines", "octets"],
)
async def test_what_is_kept_is_what_was_sent(sent: bytes, kept: bytes) -> None:
    deliveries = Deliveries()
    async with listening(deliveries) as server, client(server) as connection:
        assert (await connection.say(transaction(sent), 4))[-1] == "250 2.0.0 OK"
    assert deliveries.mails[0].partition(b"Delivered-To: bounce@grace.example\r\n")[2] == kept


async def test_it_reads_the_same_however_the_bytes_are_cut() -> None:
    deliveries = Deliveries()
    async with listening(deliveries) as server, client(server) as connection:
        for octet in transaction():
            connection.writer.write(bytes((octet,)))
            await asyncio.sleep(0)
        assert (await connection.say(b"QUIT\r\n", 5))[-1] == "221 2.0.0 Bye"
        assert await connection.ended()
    assert deliveries.mails[0].endswith(MAIL)


async def test_a_long_mail_is_cut_to_what_a_callback_may_have() -> None:
    deliveries = Deliveries()
    long = MAIL + b"x" * 76 * 1_000 + b"\r\n" + (b"y" * 76 + b"\r\n") * 20_000
    async with listening(deliveries) as server, client(server) as connection:
        assert (await connection.say(transaction(long), 4))[-1] == "250 2.0.0 OK"
    assert len(deliveries.mails[0]) == 1024 * 1024
    assert MAIL in deliveries.mails[0]


async def test_a_mail_over_all_limits_is_refused_and_nothing_of_it_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmtp, "SIZE_MAX", 1_000)
    deliveries = Deliveries()
    async with listening(deliveries) as server, client(server) as connection:
        assert (await connection.say(transaction(b"x" * 2_000 + b"\r\n"), 4))[-1] == "552 5.3.4 Too large"
        assert await connection.say(b"MAIL FROM:<> SIZE=1001\r\n") == ["552 5.3.4 Too large"]
    assert deliveries.mails == []


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (b"EHLO mx.example", "500"),
        (b"HELO mx.example", "500"),
        (b"RCPT TO:<a@b.example>", "503"),
        (b"DATA", "503"),
        (b"MAIL FROM: nobody", "501"),
        (b"MAIL FROM:<a b@c.example>", "501"),
        (b"MAIL FROM:<>\r\nMAIL FROM:<>", "503"),
        (b"MAIL FROM:<>\r\nRCPT TO:<>", "501"),
        (b"MAIL FROM:<>\r\nDATA", "503"),
        (b"MAIL FROM:<> SIZE=99999999999999999999999", "250"),
        (b"MAIL FROM:<" + b"x" * 3_000 + b">", "500"),
        (b"\xff\xfe\x00", "500"),
        (b"", "500"),
        (b"noop", "250"),
        (b"RSET", "250"),
        (b"VRFY a", "252"),
    ],
)
async def test_commands_have_their_order(command: bytes, code: str) -> None:
    async with listening(Deliveries()) as server, client(server) as connection:
        answers = await connection.say(command + b"\r\n", command.count(b"\r\n") + 1)
    assert answers[-1][:3] == code


async def test_a_client_says_who_it_is_first() -> None:
    async with listening(Deliveries()) as server, client(server, greet=False) as connection:
        assert (await connection.say(b"MAIL FROM:<>\r\n"))[0].startswith("503")


async def test_recipients_beyond_the_limit_come_later() -> None:
    async with listening(Deliveries()) as server, client(server) as connection:
        await connection.say(b"MAIL FROM:<>\r\n")
        many = b"RCPT TO:<a@b.example>\r\n" * (lmtp.RECIPIENTS_MAX + 1)
        assert (await connection.say(many, lmtp.RECIPIENTS_MAX + 1))[-2:] == [
            "250 2.1.5 OK",
            "452 4.5.3 Too many recipients",
        ]


@pytest.mark.parametrize(
    "nonsense", [b"GET / HTTP/1.1\r\n" * 30, b"x" * 200_000], ids=["another protocol", "a line without end"]
)
async def test_who_speaks_no_lmtp_is_hung_up_on(nonsense: bytes) -> None:
    async with listening(Deliveries()) as server, client(server) as connection:
        connection.writer.write(nonsense)
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(ConnectionResetError):
                await connection.reader.read()
        assert not server._conversations


async def test_a_silent_client_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmtp, "COMMAND_SECONDS", 0.05)
    async with listening(Deliveries()) as server, client(server) as connection:
        assert await connection.ended()


async def test_connections_beyond_the_limit_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmtp, "CONNECTIONS_MAX", 1)
    async with listening(Deliveries()) as server, client(server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert (await reader.readline()).startswith(b"421")
        writer.close()


async def test_a_broken_connection_delivers_nothing() -> None:
    deliveries = Deliveries()
    async with listening(deliveries) as server, client(server) as connection:
        await connection.say(transaction()[:-3], 3)
    assert deliveries.mails == []


async def test_an_adapter_listens_while_it_runs_and_no_longer(server: SmtpServer, tmp_path: Path) -> None:
    path = tmp_path / "bounce.sock"
    adapter = SmtpAdapter(settings(server, lmtp_listen=f"unix:{path}"), tools())
    deliveries = Deliveries()
    running = asyncio.create_task(adapter.run(deliveries))
    for _ in range(1_000):
        if path.exists():
            break
        await asyncio.sleep(0)
    reader, writer = await asyncio.open_unix_connection(path)
    hand = Client(reader, writer)
    assert (await hand.say(b"LHLO mx\r\n" + transaction(), 6))[-1] == "250 2.0.0 OK"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await hand.ended()
    assert running.cancelled()
    assert not path.exists()
    assert len(deliveries.mails) == 1
    writer.close()


async def test_an_adapter_without_a_place_to_listen_has_nothing_to_run(server: SmtpServer) -> None:
    await SmtpAdapter(settings(server), tools()).run(Deliveries())


async def test_a_port_that_is_taken_is_an_error(server: SmtpServer) -> None:
    adapter = SmtpAdapter(settings(server, lmtp_listen=f"127.0.0.1:{server.port}"), tools())
    with pytest.raises(OSError, match="in use"):
        await adapter.run(Deliveries())


@pytest.mark.parametrize("place", ["127.0.0.1:2424", "[::1]:2424", "localhost:2424", "unix:/run/gateway/bounce.sock"])
def test_places_on_this_machine_are_taken(server: SmtpServer, place: str) -> None:
    assert settings(server, lmtp_listen=place).lmtp_listen == place


@pytest.mark.parametrize("place", ["0.0.0.0:2424", "[::]:2424", "192.0.2.1:2424", "mail.grace.example:2424"])
def test_places_beyond_this_machine_are_taken_only_when_allowed(server: SmtpServer, place: str) -> None:
    with pytest.raises(Invalid, match="lmtp_allow_remote"):
        settings(server, lmtp_listen=place)
    assert settings(server, lmtp_listen=place, lmtp_allow_remote=True).lmtp_listen == place


@pytest.mark.parametrize(
    "place", ["2424", ":2424", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "unix:a", 2424, "unix:/" + "x" * 200]
)
def test_what_is_no_place_is_refused(server: SmtpServer, place: object) -> None:
    with pytest.raises(Invalid, match="lmtp_listen"):
        settings(server, lmtp_listen=place)
