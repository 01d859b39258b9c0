"""The SMTP server for tests: it receives what was sent, counts it once, and misbehaves exactly as told."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import smtplib
from collections.abc import AsyncIterator
from pathlib import Path

import aiosmtplib
import pytest

from gateway.testing.smtp_process import SmtpProcess
from gateway.testing.smtp_record import Mail, header_field, read_record
from gateway.testing.smtp_server import Act, Fault, Faults, SmtpServer, Stage
from tests.plugins.email.tls import server_context

PATIENCE_SECONDS = 10.0
MESSAGE = "Message-ID: <1@grace.example>\r\nSubject: =?utf-8?q?Sunday_=E2=9C=A8?=\r\n\r\n.dots\r\nand text\r\n"


class Client:
    """Writes bytes and reads whole answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def answers(self, count: int = 1) -> list[str]:
        """The next `count` answers, each as its last line. EOFError if the server closes."""
        found: list[str] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(found) < count:
                line = (await self._reader.readline()).decode(errors="replace")
                if not line:
                    raise EOFError
                if line[3:4] != "-":
                    found.append(line.rstrip("\r\n"))
        return found

    async def say(self, text: str, count: int = 1) -> list[str]:
        self._writer.write(text.encode())
        return await self.answers(count)

    async def closed(self) -> bool:
        """Whether the server closes now, having said nothing more."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self._reader.read() == b""
            except ConnectionResetError:
                return True


@contextlib.asynccontextmanager
async def client(server: SmtpServer) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def greeted(server: SmtpServer) -> AsyncIterator[Client]:
    async with client(server) as found:
        await found.answers()
        await found.say("EHLO me.example\r\n")
        yield found


def transaction(number: int = 1, message: str = MESSAGE) -> str:
    """What a client sends in one go after it knows the extensions."""
    return f"MAIL FROM:<a@b.example>\r\nRCPT TO:<m{number}@example.org>\r\nDATA\r\n{message}.\r\n"


async def test_a_pipelined_group_is_answered_in_order(server: SmtpServer) -> None:
    async with greeted(server) as connection:
        answers = await connection.say(transaction(1) + transaction(2) + "QUIT\r\n", 9)
    assert [answer[:3] for answer in answers] == ["250", "250", "354", "250"] * 2 + ["221"]
    assert [received.recipient for received in server.messages] == ["m1@example.org", "m2@example.org"]


async def test_without_pipelining_a_command_ahead_of_an_answer_is_refused_and_counted() -> None:
    async with SmtpServer(pipelining=False) as server, client(server) as connection:
        await connection.answers()
        await connection.say("EHLO me.example\r\n")
        answers = await connection.say("MAIL FROM:<a@b.example>\r\nRCPT TO:<m1@example.org>\r\n", 2)
        assert ([answer[:3] for answer in answers], server.improper) == (["250", "503"], 1)
        assert (await connection.say("RCPT TO:<m1@example.org>\r\n"))[0].startswith("250")


async def test_a_text_ahead_of_the_go_ahead_is_taken_and_counted(server: SmtpServer) -> None:
    async with greeted(server) as connection:
        await connection.say(transaction(), 4)
    assert (server.count, server.improper) == (1, 1)


async def test_it_reads_the_same_however_the_bytes_are_cut(server: SmtpServer) -> None:
    async with greeted(server) as connection:
        for letter in transaction():
            connection._writer.write(letter.encode())
            await asyncio.sleep(0)
        await connection.answers(4)
    assert (server.count, server.messages[0].content.count(b"\r\n")) == (1, 5)


async def test_it_counts_repeated_message_ids(server: SmtpServer) -> None:
    async with greeted(server) as connection:
        await connection.say(transaction(1) + transaction(1) + transaction(2, "Message-ID: <2@b>\r\n\r\n"), 12)
    assert (server.count, server.duplicates) == (3, {"<1@grace.example>": 2})


async def test_an_empty_message_is_a_message(server: SmtpServer) -> None:
    async with greeted(server) as connection:
        await connection.say(transaction(1, ""), 4)
    assert [(received.content, received.message_id) for received in server.messages] == [(b"", "")]


async def test_several_recipients_are_several_mails_of_one_message(server: SmtpServer) -> None:
    async with greeted(server) as connection:
        rcpt = "RCPT TO:<m1@example.org>\r\nRCPT TO:<m2@example.org>\r\n"
        await connection.say(f"MAIL FROM:<a@b.example>\r\n{rcpt}DATA\r\n{MESSAGE}.\r\n", 5)
    assert (server.count, len(server.messages), sum(server.message_ids.values())) == (2, 2, 1)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("RCPT TO:<a@b.example>", "503"),
        ("DATA", "503"),
        ("MAIL FROM: nobody", "501"),
        ("MAIL FROM:<a@b.example>\r\nMAIL FROM:<a@b.example>", "503"),
        ("MAIL FROM:<a@b.example>\r\nRCPT TO:<>", "501"),
        ("MAIL FROM:<a@b.example>\r\nRCPT TO:<zoë@b.example>", "553"),
        ("MAIL FROM:<a@b.example> SIZE=99999999999", "552"),
        ("STARTTLS", "502"),
        ("AUTH PLAIN AGEAYg==", "504"),
        ("VRFY me", "500"),
        ("NOOP", "250"),
        ("RSET", "250"),
        ("HELO me", "250"),
    ],
)
async def test_commands_have_their_order(server: SmtpServer, command: str, code: str) -> None:
    async with greeted(server) as connection:
        answers = await connection.say(command + "\r\n", command.count("\r\n") + 1)
    assert answers[-1][:3] == code


async def test_a_line_without_end_is_not_read_for_ever(server: SmtpServer) -> None:
    async with greeted(server) as connection:
        assert await connection.say("x" * 5_000) == ["500 5.5.2 Line too long"]
        assert await connection.closed()


async def test_a_message_over_the_limit_is_refused(server: SmtpServer) -> None:
    server.size_max = 20
    async with greeted(server) as connection:
        answers = await connection.say(transaction(), 4)
    assert (answers[-1][:3], server.count) == ("552", 0)


# ---- the record ---------------------------------------------------------------------------------------------------


async def test_a_mail_is_in_the_record_before_its_answer_is_sent(tmp_path: Path) -> None:
    record = tmp_path / "mails.tsv"
    async with SmtpServer(record=record, keep=False) as server, greeted(server) as connection:
        await connection.say(transaction(), 4)
        assert read_record(record) == [
            Mail(message_id="<1@grace.example>", recipient="m1@example.org", subject="Sunday ✨")
        ]
        assert server.messages == []


async def test_a_record_grows_over_restarts_and_a_cut_line_is_left_out(tmp_path: Path) -> None:
    record = tmp_path / "mails.tsv"
    assert read_record(record) == []
    for number in (1, 2):
        async with SmtpServer(record=record) as server, greeted(server) as connection:
            await connection.say(transaction(number), 4)
    with record.open("ab") as file:
        file.write(b"<3@grace.exam")
    assert [mail.recipient for mail in read_record(record)] == ["m1@example.org", "m2@example.org"]


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        (b"Subject: one\r\nTo: x\r\n", b"one"),
        (b"To: x\r\nSUBJECT: one\r\n two\r\n\tthree\r\n", b"one two\tthree"),
        (b"X-Subject: no\r\nTo: x\r\n", b""),
        (b"Subject:\r\n", b""),
        (b"", b""),
    ],
)
def test_a_header_field_is_found_and_unfolded(headers: bytes, value: bytes) -> None:
    assert header_field(headers, b"subject:") == value


# ---- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "answers"),
    [
        (Stage.MAIL, ["450", "503", "503"]),
        (Stage.RCPT, ["250", "450", "503"]),
        (Stage.DATA, ["250", "250", "450"]),
        (Stage.DOT, ["250", "250", "354", "450"]),
    ],
)
async def test_a_scripted_reply_takes_the_place_of_the_usual_one(
    server: SmtpServer, stage: Stage, answers: list[str]
) -> None:
    server.faults = Faults([Fault(stage=stage, reply="450 4.2.1 Later")])
    async with greeted(server) as connection:
        said = await connection.say("MAIL FROM:<a@b.example>\r\nRCPT TO:<m1@example.org>\r\nDATA\r\n", 3)
        if said[-1].startswith("354"):
            said += await connection.say(f"{MESSAGE}.\r\n")
    assert ([answer[:3] for answer in said], server.count) == (answers, 0)


async def test_a_fault_acts_on_the_recipients_and_the_passes_it_names(server: SmtpServer) -> None:
    server.faults = Faults([Fault(stage=Stage.RCPT, reply="450 4.2.1 Later", to="*@slow.example", first=2, times=2)])
    async with greeted(server) as connection:
        await connection.say("MAIL FROM:<a@b.example>\r\n")
        codes = []
        for recipient in ("a@b.example", *(f"m{number}@slow.example" for number in range(1, 6))):
            codes += await connection.say(f"RCPT TO:<{recipient}>\r\n")
        assert [code[:3] for code in codes] == ["250", "250", "450", "450", "250", "250"]


async def test_faults_can_be_replaced_while_connections_are_open(server: SmtpServer) -> None:
    async with greeted(server) as connection:
        server.faults = Faults([Fault(stage=Stage.DOT, reply="451 4.3.0 Later")])
        assert (await connection.say(transaction(), 4))[-1].startswith("451")
        server.faults = Faults()
        assert (await connection.say(transaction(), 4))[-1].startswith("250")
    assert server.count == 1


async def test_a_disconnect_in_the_middle_of_the_text_records_nothing(server: SmtpServer) -> None:
    server.faults = Faults([Fault(stage=Stage.CONTENT, act=Act.DISCONNECT)])
    async with greeted(server) as connection:
        await connection.say("MAIL FROM:<a@b.example>\r\nRCPT TO:<m1@example.org>\r\nDATA\r\n", 3)
        connection._writer.write(b"Subject: x\r\n")
        assert await connection.closed()
    assert server.count == 0


@pytest.mark.parametrize("recorded", [True, False])
async def test_a_disconnect_after_the_dot_records_the_mail_or_not(server: SmtpServer, recorded: bool) -> None:
    server.faults = Faults([Fault(stage=Stage.DOT, act=Act.DISCONNECT, recorded=recorded)])
    async with greeted(server) as connection:
        await connection.say("MAIL FROM:<a@b.example>\r\nRCPT TO:<m1@example.org>\r\nDATA\r\n", 3)
        connection._writer.write(f"{MESSAGE}.\r\n".encode())
        assert await connection.closed()
    assert server.count == int(recorded)


async def test_a_trickle_is_the_usual_answer_byte_by_byte(server: SmtpServer) -> None:
    server.faults = Faults([Fault(stage=Stage.MAIL, act=Act.TRICKLE, seconds=0.001, times=1)])
    async with greeted(server) as connection:
        answers = await connection.say(transaction(), 4)
    assert ([answer[:3] for answer in answers], server.count) == (["250", "250", "354", "250"], 1)


async def test_trickles_follow_one_another_also_when_mails_are_pipelined(server: SmtpServer) -> None:
    server.faults = Faults([Fault(stage=stage, act=Act.TRICKLE, seconds=0.001) for stage in (Stage.DATA, Stage.DOT)])
    async with greeted(server) as connection:
        answers = await connection.say(transaction() * 2, 8)
    assert ([answer[:3] for answer in answers], server.count) == (["250", "250", "354", "250"] * 2, 2)


async def test_a_hanging_server_keeps_the_connection_and_says_nothing(server: SmtpServer) -> None:
    server.faults = Faults([Fault(stage=Stage.MAIL, act=Act.HANG)])
    async with greeted(server) as connection:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connection.say("MAIL FROM:<a@b.example>\r\n")
        assert server.open_connections == 1


async def test_a_421_is_the_last_word(server: SmtpServer) -> None:
    server.faults = Faults([Fault(stage=Stage.MAIL, reply="421 4.3.2 Closing")])
    async with greeted(server) as connection:
        assert (await connection.say("MAIL FROM:<a@b.example>\r\nNOOP\r\n"))[0].startswith("421")
        assert await connection.closed()


async def test_it_refuses_connections_and_listens_again_on_the_same_port(server: SmtpServer) -> None:
    port = server.port
    await server.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await server.listen()
    async with greeted(server):
        assert (server.port, server.open_connections) == (port, 1)
    await server.all_closed()


# ---- credentials and encryption, with clients that are not ours ----------------------------------------------------


async def test_without_credentials_nothing_is_taken(server: SmtpServer) -> None:
    server.credentials = {"grace": "right"}
    async with greeted(server) as connection:
        assert (await connection.say("MAIL FROM:<a@b.example>\r\n"))[0].startswith("530")
        wrong = base64.b64encode(b"\0grace\0wrong").decode()
        assert (await connection.say(f"AUTH PLAIN {wrong}\r\n"))[0].startswith("535")
        assert (await connection.say("AUTH PLAIN\r\n")) == ["334 "]
        right = base64.b64encode(b"\0grace\0right").decode()
        assert (await connection.say(f"{right}\r\n"))[0].startswith("235")
        assert (await connection.say("MAIL FROM:<a@b.example>\r\n"))[0].startswith("250")


async def test_the_standard_librarys_client_gets_its_mail_through(tmp_path: Path) -> None:
    def send(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, local_hostname="me.example") as smtp:
            smtp.starttls()
            smtp.login("grace", "right")
            smtp.sendmail("a@b.example", ["m1@example.org"], MESSAGE.encode())

    async with SmtpServer(tls=server_context(tmp_path), credentials={"grace": "right"}) as server:
        await asyncio.to_thread(send, server.port)
        assert server.messages[0].content == MESSAGE.encode()


async def test_aiosmtplib_gets_its_mail_through(tmp_path: Path) -> None:
    async with SmtpServer(tls=server_context(tmp_path), implicit_tls=True) as server:
        smtp = aiosmtplib.SMTP(hostname="127.0.0.1", port=server.port, use_tls=True, validate_certs=False)
        async with smtp:
            await smtp.sendmail("a@b.example", ["m1@example.org"], MESSAGE.encode())
        assert server.messages[0].content == MESSAGE.encode()


# ---- as a process of its own --------------------------------------------------------------------------------------


async def send_to(port: int, number: int) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False, local_hostname="me.example") as smtp:
        await smtp.sendmail("a@b.example", [f"m{number}@example.org"], MESSAGE.encode())


async def test_a_process_keeps_its_record_over_kill_and_restart(tmp_path: Path) -> None:
    async with SmtpProcess(tmp_path / "mails.tsv") as smtp:
        port = smtp.port
        await send_to(port, 1)
        await smtp.kill()
        assert len(smtp.record()) == 1
        await smtp.start()
        assert smtp.port == port
        await send_to(port, 2)
    assert [mail.recipient for mail in smtp.record()] == ["m1@example.org", "m2@example.org"]


async def test_a_process_takes_new_faults_while_it_runs(tmp_path: Path) -> None:
    async with SmtpProcess(tmp_path / "mails.tsv", faults=[Fault(stage=Stage.MAIL, reply="451 4.3.0 Later")]) as smtp:
        with pytest.raises(aiosmtplib.SMTPSenderRefused):
            await send_to(smtp.port, 1)
        await smtp.set_faults([])
        await send_to(smtp.port, 2)
        assert [mail.recipient for mail in smtp.record()] == ["m2@example.org"]


@pytest.mark.parametrize("how", ["SIGTERM", "end of input"])
async def test_a_process_ends_when_it_is_told_or_left_alone(tmp_path: Path, how: str) -> None:
    smtp = SmtpProcess(tmp_path / "mails.tsv")
    await smtp.start()
    process = smtp._process
    assert process is not None
    assert process.stdin is not None
    if how == "SIGTERM":
        os.kill(process.pid, signal.SIGTERM)
    else:
        process.stdin.close()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await process.wait() == 0
    await smtp.stop()
