"""The SMTP adapter against a real server on loopback that misbehaves as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import Accepted, Code, NotSent, Outcome, Rejected, Retry, Unknown
from gateway.testing.smtp_server import Act, Fault, Faults, SmtpServer, Stage
from tests.plugins.email.harness import PATIENCE_SECONDS, adapter_for, mail, send_one


@pytest.fixture(params=[True, False], ids=["pipelining", "one command at a time"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[SmtpServer]:
    """Everything here holds with servers of both kinds."""
    async with SmtpServer(pipelining=request.param) as running:
        yield running


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_mail_arrives_with_its_envelope(server: SmtpServer) -> None:
    assert await send_one(server) == Accepted()
    (received,) = server.messages
    assert (received.sender, received.recipient) == ("news@grace.example", "m1@example.org")
    assert (received.message_id, received.subject) == ("<msg_1@grace.example>", "News")


async def test_a_second_attempt_has_the_same_message_id(server: SmtpServer) -> None:
    async with adapter_for(server) as adapter:
        await adapter.send(mail())
        await adapter.send(mail())
    assert server.duplicates == {"<msg_1@grace.example>": 2}


async def test_many_mails_share_one_connection(server: SmtpServer) -> None:
    async with adapter_for(server) as adapter:
        for number in range(5):
            assert await adapter.send(mail(number)) == Accepted()
    assert (server.count, server.connections) == (5, 1)


async def test_a_connection_is_replaced_after_its_share_of_messages(server: SmtpServer) -> None:
    async with adapter_for(server, messages_per_connection=2) as adapter:
        for number in range(5):
            assert await adapter.send(mail(number)) == Accepted()
    assert (server.count, server.connections) == (5, 3)


async def test_twenty_at_once_use_no_more_connections_than_they_need_and_each_mail_arrives_once(
    server: SmtpServer,
) -> None:
    async with adapter_for(server) as adapter:
        numbers = iter(range(400))

        async def work() -> set[Outcome]:
            return {await adapter.send(mail(number)) for number in numbers}

        outcomes = await asyncio.gather(*(work() for _ in range(20)))
    assert set().union(*outcomes) == {Accepted()}
    assert (server.count, server.duplicates) == (400, {})
    assert server.connections <= 20
    assert server.connections >= (10 if server.pipelining else 20)


async def test_no_more_connections_than_the_settings_allow(server: SmtpServer) -> None:
    async with adapter_for(server, connections=3) as adapter:
        outcomes = await asyncio.gather(*(adapter.send(mail(number)) for number in range(30)))
    assert set(outcomes) == {Accepted()}
    assert (server.count, server.connections) == (30, 3)


async def test_a_server_with_a_limit_of_its_own_is_sent_to_over_what_it_grants(server: SmtpServer) -> None:
    server.faults = Faults([Fault(stage=Stage.GREETING, reply="421 4.7.0 Too many connections", first=3)])
    async with adapter_for(server) as adapter:
        outcomes = await asyncio.gather(*(adapter.send(mail(number)) for number in range(30)))
        assert server.open_connections <= 2
    assert set(outcomes) == {Accepted()}
    assert server.count == 30


async def test_an_idle_connection_is_closed(server: SmtpServer) -> None:
    async with adapter_for(server, idle_seconds=0.05) as adapter:
        await adapter.send(mail())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await server.all_closed()
        assert await adapter.send(mail(2)) == Accepted()
    assert server.connections == 2


async def test_a_mail_goes_through_after_the_server_was_restarted(server: SmtpServer) -> None:
    async with adapter_for(server) as adapter:
        await asyncio.gather(*(adapter.send(mail(number)) for number in range(4)))
        await server.refuse()
        server.drop()
        await server.all_closed()
        with pytest.raises(NotSent, match="cannot be reached"):
            await adapter.send(mail(5))
        await server.listen()
        assert await adapter.send(mail(5)) == Accepted()
    assert server.count == 5


@pytest.mark.parametrize(
    "fault",
    [
        Fault(stage=Stage.MAIL, reply="421 4.4.2 Idle for too long", first=2, times=1),
        Fault(stage=Stage.MAIL, act=Act.DISCONNECT, first=2, times=1),
        Fault(stage=Stage.DATA, act=Act.DISCONNECT, first=2, times=1),
    ],
    ids=["421", "disconnect at MAIL", "disconnect at DATA"],
)
async def test_a_kept_connection_that_the_server_ended_is_replaced_in_silence(server: SmtpServer, fault: Fault) -> None:
    server.faults = Faults([fault])
    async with adapter_for(server) as adapter:
        assert await adapter.send(mail(1)) == Accepted()
        assert await adapter.send(mail(2)) == Accepted()
    assert (server.count, server.duplicates, server.connections) == (2, {}, 2)


async def test_after_a_refused_recipient_the_connection_serves_the_next(server: SmtpServer) -> None:
    server.faults = Faults([Fault(stage=Stage.RCPT, reply="550 5.1.1 Nobody", to="m1@*")])
    async with adapter_for(server) as adapter:
        assert isinstance(await adapter.send(mail(1)), Rejected)
        assert await adapter.send(mail(2)) == Accepted()
    assert ([received.recipient for received in server.messages], server.connections) == (["m2@example.org"], 1)


# ---- what is certain when something breaks ------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA])
@pytest.mark.parametrize("act", [Act.DISCONNECT, Act.GARBAGE])
async def test_lost_before_the_text_it_is_certainly_not_sent(server: SmtpServer, stage: Stage, act: Act) -> None:
    outcome = await send_one(server, Fault(stage=stage, act=act))
    assert isinstance(outcome, Retry)
    assert outcome.scope == "message"
    assert server.count == 0


@pytest.mark.parametrize("act", [Act.DISCONNECT, Act.GARBAGE])
async def test_lost_after_the_final_dot_it_is_unknown(server: SmtpServer, act: Act) -> None:
    outcome = await send_one(server, Fault(stage=Stage.DOT, act=act))
    assert isinstance(outcome, Unknown)
    assert server.count == 1


async def test_lost_in_the_middle_of_the_text_it_is_unknown(server: SmtpServer) -> None:
    server.faults = Faults([Fault(stage=Stage.CONTENT, act=Act.DISCONNECT)])
    async with adapter_for(server) as adapter:
        assert isinstance(await adapter.send(mail(text="x" * 70 + "\n" + "line\n" * 400_000)), Unknown)
    assert server.count == 0


@pytest.mark.parametrize("reply", ["250", "25", "2xx fine", "354 again", "999 what", "250-a\n999 b"], ids=repr)
async def test_only_a_whole_positive_answer_after_the_dot_counts_as_accepted(server: SmtpServer, reply: str) -> None:
    fault = Fault(stage=Stage.DOT, act=Act.GARBAGE, reply=reply.replace("\n", "\r\n"))
    outcome = await send_one(server, fault)
    assert isinstance(outcome, Accepted if reply == "250" else Unknown)


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.EHLO, Stage.GREETING])
async def test_silence_before_the_text_ends_by_itself_and_is_certain(server: SmtpServer, stage: Stage) -> None:
    server.faults = Faults([Fault(stage=stage, act=Act.HANG)])
    async with adapter_for(server, envelope_timeout_seconds=0.1) as adapter:
        assert isinstance(await adapter.send(mail()), Retry)
    assert server.count == 0


async def test_a_server_that_accepts_connections_and_says_nothing_cannot_be_reached(server: SmtpServer) -> None:
    server.faults = Faults([Fault(stage=Stage.GREETING, act=Act.HANG)])
    async with adapter_for(server, connect_timeout_seconds=0.1) as adapter:
        with pytest.raises(NotSent, match=r"did not answer within 0\.1 s"):
            await adapter.send(mail())


@pytest.mark.parametrize(
    ("stage", "act"),
    [
        *((stage, Act.HANG) for stage in (Stage.GREETING, Stage.EHLO, Stage.MAIL, Stage.RCPT, Stage.DATA)),
        (Stage.CONTENT, Act.HANG),
        (Stage.DOT, Act.HANG),
        (Stage.DOT, Act.TRICKLE),
        (Stage.GREETING, Act.TRICKLE),
    ],
)
async def test_cancelled_at_the_deadline_it_leaves_no_connection(server: SmtpServer, stage: Stage, act: Act) -> None:
    server.faults = Faults([Fault(stage=stage, act=act)])
    async with adapter_for(server) as adapter:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await adapter.send(mail(text="line\n" * 200_000))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await server.all_closed()
        server.faults = Faults()
        assert await adapter.send(mail(2)) == Accepted()


async def test_cancelled_with_a_text_that_nobody_reads_it_leaves_no_descriptor(server: SmtpServer) -> None:
    ended = asyncio.Event()

    async def stop_reading_at_the_text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x\r\n")
        for answer in (b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 x\r\n"):
            await reader.readline()
            writer.write(answer)
        await ended.wait()
        writer.close()

    deaf = await asyncio.start_server(stop_reading_at_the_text, "127.0.0.1", 0, limit=1_024)
    async with deaf:
        async with adapter_for(server, port=deaf.sockets[0].getsockname()[1]) as adapter:
            before = open_descriptors()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await adapter.send(mail(text="line\n" * 1_900_000))
            for _ in range(200):  # on a busy machine it may have been cancelled while it was connecting
                if open_descriptors() == before + 1:
                    break
                await asyncio.sleep(0.01)
            assert open_descriptors() == before + 1, "the server's end is open, ours is not"
        ended.set()


async def test_cancelled_while_waiting_for_a_connection_it_takes_none_with_it(server: SmtpServer) -> None:
    server.faults = Faults([Fault(stage=Stage.DOT, act=Act.HANG, to="m1@*")])
    async with adapter_for(server, connections=1) as adapter:
        first = asyncio.create_task(adapter.send(mail(1)))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await server.received(1)
        waiting = [asyncio.create_task(adapter.send(mail(number))) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        first.cancel()
        outcomes = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2 + [Accepted] * 2


# ---- what the server's words mean ---------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_cannot_be_reached(server: SmtpServer) -> None:
    await server.refuse()
    with pytest.raises(NotSent, match=rf"127\.0\.0\.1:{server.port} cannot be reached"):
        await send_one(server)


@pytest.mark.parametrize("reply", ["554 5.3.2 No service here", "421 4.3.2 Closing", "450 4.7.1 Later"])
async def test_a_greeting_that_refuses_holds_the_sender_for_a_while(server: SmtpServer, reply: str) -> None:
    outcome = await send_one(server, Fault(stage=Stage.GREETING, reply=reply))
    assert isinstance(outcome, Retry)
    assert outcome.scope == "sender"


async def test_a_greeting_that_is_not_smtp_cannot_be_reached(server: SmtpServer) -> None:
    with pytest.raises(NotSent, match="not SMTP"):
        await send_one(server, Fault(stage=Stage.GREETING, act=Act.GARBAGE))


async def test_a_recipient_beyond_ascii_is_written_to_where_the_server_can(server: SmtpServer) -> None:
    async with adapter_for(server) as adapter:
        assert await adapter.send(mail(to="zoë@bücher.example")) == Accepted()
    (received,) = server.messages
    assert received.recipient == "zoë@xn--bcher-kva.example"
    assert received.options.endswith("SMTPUTF8")


async def test_a_recipient_beyond_ascii_is_refused_where_the_server_cannot(server: SmtpServer) -> None:
    server.smtputf8 = False
    async with adapter_for(server) as adapter:
        outcome = await adapter.send(mail(to="zoë@example.org"))
        assert await adapter.send(mail(to="zoe@bücher.example")) == Accepted()
    assert isinstance(outcome, Rejected)
    assert outcome.code is Code.INVALID_ADDRESS
    assert (server.messages[0].recipient, server.connections) == ("zoe@xn--bcher-kva.example", 1)


async def test_a_mail_that_the_server_has_said_is_too_large_is_not_begun(server: SmtpServer) -> None:
    server.size_max = 1_000
    async with adapter_for(server) as adapter:
        outcome = await adapter.send(mail(text="word " * 300))
    assert isinstance(outcome, Rejected)
    assert outcome.code is Code.TOO_LONG


@pytest.mark.parametrize("text", ["a\0b", "half \ud83d"], ids=["NUL", "surrogate"])
async def test_a_text_that_no_mail_can_carry_is_refused_without_a_connection(server: SmtpServer, text: str) -> None:
    async with adapter_for(server) as adapter:
        message = mail(text=text)
        assert adapter.refuse(message) == await adapter.send(message)
        assert isinstance(adapter.refuse(message), Rejected)
    assert server.connections == 0
