"""Commands in groups, and servers that answer them as none should: what is sent once, not at all, or perhaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway import Accepted, NotSent, Rejected, Retry, Unknown
from gateway.validation import convert
from gateway_email.connection import LINE_OCTETS_MAX, REPLY_OCTETS_MAX
from gateway_email.handshake import connect
from gateway_email.rounds import Rounds
from gateway_email.settings import SmtpSettings
from gateway_email.smtp import SmtpAdapter
from gateway_email.transaction import Overdue, Phase, Transaction
from tests.plugins.email.harness import PATIENCE_SECONDS, mail, tools
from tests.plugins.email.hostile import CLOSE, SILENCE, USUAL, HostileServer, hostile


@asynccontextmanager
async def adapter_for(server: HostileServer, **more: Any) -> AsyncIterator[SmtpAdapter]:
    """An open adapter that sends over one connection unless told otherwise."""
    table = {"host": "127.0.0.1", "port": server.port, "security": "none", "from": "news@grace.example"}
    adapter = SmtpAdapter(convert({**table, "connections": 1, **more}, SmtpSettings), tools())
    await adapter.open()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield adapter
    finally:
        await adapter.close()


def transactions(server: HostileServer) -> list[str]:
    return [command for command in server.commands if command not in ("EHLO", "QUIT")]


async def in_the_round_in_which(reached: Callable[[], bool]) -> None:
    """Return in the first round of the event loop that finds it so."""
    ends = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not reached():
        assert asyncio.get_running_loop().time() < ends
        await asyncio.sleep(0)


# ---- commands in groups -------------------------------------------------------------------------------------------


async def test_the_envelope_goes_in_one_write_and_the_text_in_the_next() -> None:
    async with hostile() as server, adapter_for(server) as adapter:
        assert await adapter.send(mail(1)) == Accepted()
    _, envelope, text, _ = server.writes
    assert [line[:4] for line in envelope.split("\r\n")] == ["MAIL", "RCPT", "DATA", ""]
    assert text.startswith("Message-ID:")
    assert text.endswith("\r\n.\r\n")


async def test_the_next_envelope_rides_behind_the_final_dot() -> None:
    async with hostile() as server, adapter_for(server) as adapter:
        outcomes = await asyncio.gather(*(adapter.send(mail(number)) for number in range(4)))
    assert outcomes == [Accepted()] * 4
    riding, last = server.writes[2:5], server.writes[5]
    assert [write.count("\r\n.\r\nMAIL FROM:") for write in riding] == [1, 1, 1]
    assert (last.endswith("\r\n.\r\n"), "MAIL" in last) == (True, False)


async def test_without_the_extension_each_command_waits_for_the_answer_to_the_one_before() -> None:
    async with hostile(EHLO="250 hostile.example\r\n") as server, adapter_for(server) as adapter:
        assert await asyncio.gather(*(adapter.send(mail(number)) for number in (1, 2))) == [Accepted()] * 2
    assert [write[:4] for write in server.writes] == ["EHLO", *["MAIL", "RCPT", "DATA", "Mess"] * 2, "QUIT"]


async def test_extensions_are_known_in_any_spelling() -> None:
    ehlo = "250-hostile.example hello\r\n250-pipelining\r\n250-Size 1000000\r\n250-AUTH=PLAIN\r\n250 dsn\r\n"
    answers = {"EHLO": ehlo, "AUTH": "235 welcome\r\n"}
    async with hostile(**answers) as server, adapter_for(server, username="grace", password="right") as adapter:
        assert await adapter.send(mail(1)) == Accepted()
    assert "\r\nRCPT" in server.writes[2]
    assert " SIZE=" in server.writes[2]
    assert " RET=HDRS ENVID=msg_1@grace.example\r\n" in server.writes[2]


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
async def test_after_a_refusal_the_transaction_is_reset_in_the_next_group(stage: str) -> None:
    refusals: dict[str, str | list[str]] = {stage: ["550 5.1.1 no\r\n", "250 fine\r\n"]}
    refusals.setdefault("DATA", ["503 no\r\n", "354 go ahead\r\n"])
    if stage == "DATA":
        refusals["DATA"] = ["550 5.1.1 no\r\n", "354 go ahead\r\n"]
    async with hostile(**refusals) as server, adapter_for(server) as adapter:
        assert not isinstance(await adapter.send(mail(1)), Accepted)
        assert await adapter.send(mail(2)) == Accepted()
    assert transactions(server) == ["MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA", "DOT"]


async def test_a_server_that_promises_pipelining_and_cannot_do_it_is_sent_to_one_command_at_a_time() -> None:
    """What comes with a command is lost there: MAIL is answered, RCPT and DATA behind it never."""
    async with hostile() as server:
        server.forgetful = True
        async with adapter_for(server, envelope_timeout_seconds=0.2) as adapter:
            assert isinstance(await adapter.send(mail(1)), Retry)
        async with adapter_for(server, pipelining=False) as adapter:
            assert await asyncio.gather(*(adapter.send(mail(number)) for number in (2, 3))) == [Accepted()] * 2
    assert server.commands.count("DOT") == 2


# ---- a message that ends before its text --------------------------------------------------------------------------


async def test_a_message_whose_time_is_up_in_the_very_round_of_its_text_is_not_sent() -> None:
    """It was told to be certainly not sent; the text that the server has asked for is due in the same round."""
    async with hostile() as server:
        table = {"host": "127.0.0.1", "port": server.port, "security": "none", "from": "news@grace.example"}
        session = await connect(convert(table, SmtpSettings), None, Rounds())
        message = Transaction(b"news@grace.example", b"m1@example.org", b"e1", b"Hello.\r\n.\r\n", 0.0)
        session.take(message)
        await in_the_round_in_which(lambda: message.phase == Phase.TEXT_DUE)
        message.overdue()
        with pytest.raises(Overdue):
            await message.answer
        await in_the_round_in_which(lambda: not session.usable)
    assert transactions(server) == ["MAIL", "RCPT", "DATA"]
    assert "Hello." not in "".join(server.writes)


@pytest.mark.parametrize(("stage", "answer"), [("MAIL", "252"), ("RCPT", "252"), ("RCPT", "354"), ("DATA", "250")])
async def test_a_refusal_that_is_none_ends_the_connection(stage: str, answer: str) -> None:
    answers: dict[str, str | list[str]] = {stage: [f"{answer} perhaps\r\n", USUAL[stage]]}
    async with hostile(**answers) as server, adapter_for(server) as adapter:
        outcome = await adapter.send(mail(1))
        assert await adapter.send(mail(2)) == Accepted()
    assert isinstance(outcome, Retry)
    assert "not SMTP" in outcome.reason
    assert (len(server.dialogues), server.commands.count("DOT")) == (2, 1)


# ---- a text that is asked for although it should not be -----------------------------------------------------------


@pytest.mark.parametrize("dot", ["554 5.5.1 no valid recipients\r\n", "250 whatever\r\n"])
async def test_a_text_for_a_refused_recipient_is_a_lone_dot(dot: str) -> None:
    answers: dict[str, str | list[str]] = {
        "RCPT": ["550 5.1.1 nobody\r\n", "250 fine\r\n"],
        "DOT": [dot, "250 taken\r\n"],
    }
    async with hostile(**answers) as server, adapter_for(server) as adapter:
        outcome = await adapter.send(mail(1))
        assert await adapter.send(mail(2)) == Accepted()
    assert isinstance(outcome, Rejected)
    assert "5.1.1" in outcome.reason
    assert transactions(server) == ["MAIL", "RCPT", "DATA", "DOT"] * 2
    assert server.writes[2] == ".\r\n"


@pytest.mark.parametrize("dot", ["421 4.3.2 closing\r\n", "354 what\r\n"])
async def test_a_connection_whose_lone_dot_is_answered_with_its_end_is_not_used_again(dot: str) -> None:
    answers: dict[str, str | list[str]] = {"RCPT": ["550 5.1.1 nobody\r\n", "250 fine\r\n"]}
    async with hostile(DOT=[dot, "250 taken\r\n"], **answers) as server, adapter_for(server) as adapter:
        outcome = await adapter.send(mail(1))
        assert await adapter.send(mail(2)) == Accepted()
    assert isinstance(outcome, Rejected)
    assert (len(server.dialogues), server.commands.count("DOT")) == (2, 2)


async def test_no_dot_is_sent_where_it_would_send_an_empty_mail_to_somebody() -> None:
    async with hostile(MAIL="451 4.3.0 later\r\n") as server, adapter_for(server) as adapter:
        outcome = await adapter.send(mail(1))
    assert isinstance(outcome, Retry)
    assert "451" in outcome.reason
    assert transactions(server) == ["MAIL", "RCPT", "DATA"]


# ---- a message behind another one's text --------------------------------------------------------------------------


async def test_what_rode_behind_a_text_when_the_connection_broke_is_sent_over_another_one() -> None:
    async with hostile(DOT=[SILENCE, "250 taken\r\n"]) as server, adapter_for(server) as adapter:
        first, second = (asyncio.create_task(adapter.send(mail(number))) for number in (1, 2))
        await server.seen("DATA", 2)
        server.dialogues[0].say(CLOSE)
        assert isinstance(await first, Unknown)
        assert await second == Accepted()
    assert server.commands.count("DOT") == 2


async def test_what_rode_behind_a_text_when_it_was_given_up_is_sent_over_another_connection() -> None:
    async with hostile(DOT=[SILENCE, "250 taken\r\n"]) as server, adapter_for(server) as adapter:
        first, second = (asyncio.create_task(adapter.send(mail(number))) for number in (1, 2))
        await server.seen("DATA", 2)
        first.cancel()
        assert await second == Accepted()
    assert (len(server.dialogues), server.commands.count("DOT")) == (2, 2)


async def test_a_text_is_still_answered_when_what_rode_behind_it_was_given_up() -> None:
    async with hostile(DOT=[SILENCE, "250 taken\r\n"]) as server, adapter_for(server) as adapter:
        first, second = (asyncio.create_task(adapter.send(mail(number))) for number in (1, 2))
        await server.seen("DATA", 2)
        second.cancel()
        await asyncio.wait([second])
        server.dialogues[0].say("250 taken\r\n250 fine\r\n250 fine\r\n354 go ahead\r\n")
        assert await first == Accepted()
        assert await adapter.send(mail(3)) == Accepted()
    assert (len(server.dialogues), server.commands.count("DOT")) == (2, 2)


async def test_what_rides_behind_a_text_that_is_never_answered_is_put_off_and_the_text_still_waited_for() -> None:
    async with hostile(DOT=SILENCE) as server, adapter_for(server, envelope_timeout_seconds=0.2) as adapter:
        first, second = (asyncio.create_task(adapter.send(mail(number))) for number in (1, 2))
        assert isinstance(await second, Retry)
        assert not first.done()
        server.dialogues[0].say("250 taken\r\n")
        assert await first == Accepted()


async def test_a_421_after_a_text_moves_what_rode_behind_it_to_another_connection() -> None:
    async with hostile(DOT=["421 4.3.2 closing\r\n", "250 taken\r\n"]) as server, adapter_for(server) as adapter:
        first, second = await asyncio.gather(adapter.send(mail(1)), adapter.send(mail(2)))
    assert isinstance(first, Retry)
    assert second == Accepted()
    assert len(server.dialogues) == 2


async def test_each_of_many_messages_arrives_once_over_connections_that_break_at_every_stage() -> None:
    answers: dict[str, str | list[str]] = {
        stage: [good, good, CLOSE, good, good, good, CLOSE, good]
        for stage, good in (("MAIL", "250 fine\r\n"), ("RCPT", "250 fine\r\n"), ("DATA", "354 go ahead\r\n"))
    }
    async with hostile(**answers) as server, adapter_for(server, connections=4) as adapter:
        outcomes = await asyncio.gather(*(adapter.send(mail(number)) for number in range(40)))
    accepted = outcomes.count(Accepted())
    assert server.commands.count("DOT") == accepted
    assert {type(outcome) for outcome in outcomes} <= {Accepted, Retry}
    assert accepted >= 30


# ---- answers that nobody asked for --------------------------------------------------------------------------------


@pytest.mark.parametrize("stuffed", ["250 fine\r\n" * 3 + "354 go\r\n250 taken\r\n", "250 fine\r\n", "2"], ids=repr)
async def test_answers_that_come_before_their_commands_are_answers_to_nothing(stuffed: str) -> None:
    ehlo = "250-hostile.example\r\n250 PIPELINING\r\n"
    async with (
        hostile(EHLO=ehlo + stuffed, MAIL=SILENCE) as server,
        adapter_for(server, envelope_timeout_seconds=0.2) as adapter,
    ):
        (outcome,) = await asyncio.gather(adapter.send(mail(1)), return_exceptions=True)
    assert isinstance(outcome, Retry | NotSent)
    assert "DOT" not in server.commands


async def test_an_answer_too_many_after_a_text_is_not_taken_for_the_next_ones() -> None:
    async with hostile(DOT="250 taken\r\n250 taken\r\n") as server, adapter_for(server) as adapter:
        assert await adapter.send(mail(1)) == Accepted()
        assert await adapter.send(mail(2)) == Accepted()
    assert len(server.dialogues) == 2


async def test_a_kept_connection_that_the_server_ends_with_a_word_is_replaced() -> None:
    async with hostile() as server, adapter_for(server) as adapter:
        assert await adapter.send(mail(1)) == Accepted()
        server.dialogues[0].say("421 4.4.2 idle for too long\r\n")
        await server.seen("DOT")
        assert await adapter.send(mail(2)) == Accepted()
    assert len(server.dialogues) == 2


@pytest.mark.parametrize("stuffed", ["250 injected\r\n", "250-inj"], ids=repr)
async def test_what_is_said_between_starttls_and_the_encryption_ends_the_connection(stuffed: str) -> None:
    ehlo = "250-hostile.example\r\n250 STARTTLS\r\n"
    async with (
        hostile(EHLO=ehlo, STAR="220 go ahead\r\n" + stuffed) as server,
        adapter_for(server, security="starttls", tls_verify=False) as adapter,
    ):
        with pytest.raises(NotSent, match="the server said"):
            await adapter.send(mail(1))
    assert server.commands == ["EHLO", "STAR"]


# ---- answers without end ------------------------------------------------------------------------------------------

ENDLESS = {
    "a line": "2" * (LINE_OCTETS_MAX + 1),
    "many lines": "250-and more\r\n" * (REPLY_OCTETS_MAX // 8),
    "many short lines": "250-\r\n" * (REPLY_OCTETS_MAX // 4),
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS.keys())
async def test_an_answer_without_end_ends_the_connection(answer: str) -> None:
    async with hostile(EHLO=answer) as server, adapter_for(server) as adapter:
        with pytest.raises(NotSent, match="the answer has"):
            await adapter.send(mail(1))
    async with hostile(RCPT=answer) as server, adapter_for(server) as adapter:
        assert isinstance(await adapter.send(mail(1)), Retry)
    async with hostile(DOT=answer) as server, adapter_for(server) as adapter:
        assert isinstance(await adapter.send(mail(1)), Unknown)


async def test_an_answer_of_several_lines_counts_by_its_last_one_and_is_shown_whole() -> None:
    refusal = "550-5.1.1 nobody\r\n550 5.1.1 of that name\r\n"
    async with hostile(RCPT=refusal, DATA="503 no\r\n") as server, adapter_for(server) as adapter:
        outcome = await adapter.send(mail(1))
    assert isinstance(outcome, Rejected)
    assert "nobody 5.1.1 of that name" in outcome.reason


async def test_lines_that_end_with_a_line_feed_alone_are_lines() -> None:
    plain = {"EHLO": "250-hostile.example\n250 PIPELINING\n", "MAIL": "250\n", "DATA": "354 go\n", "DOT": "250\n"}
    async with hostile(**plain) as server, adapter_for(server) as adapter:
        assert await adapter.send(mail(1)) == Accepted()
