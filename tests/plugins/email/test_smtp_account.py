"""The SMTP adapter's account: credentials, encryption, its own check, its settings, and the plugin it comes in."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

import gateway_email
from gateway import Accepted, Misconfigured, NotSent, Retry
from gateway.errors import Invalid
from gateway.testing.smtp_server import Act, Fault, Faults, SmtpServer, Stage
from gateway_email import gateway_adapters, gateway_channels
from gateway_email.settings import DkimKey, SmtpSettings
from gateway_email.smtp import SmtpAdapter
from tests.plugins.email.harness import RecordingLog, adapter_for, mail, send_one, settings, tools
from tests.plugins.email.tls import server_context, write_certificate

# ---- credentials and encryption -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
async def test_it_authenticates(server: SmtpServer, mechanism: str) -> None:
    server.credentials = {"grace": "pässword"}
    server.mechanisms = (mechanism,)
    assert await send_one(server, username="grace", password="pässword") == Accepted()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
async def test_bad_credentials_hold_the_sender(server: SmtpServer, mechanism: str) -> None:
    server.credentials = {"grace": "right"}
    server.mechanisms = (mechanism,)
    async with adapter_for(server, username="grace", password="wrong") as adapter:
        outcome = await adapter.send(mail())
        assert isinstance(outcome, Misconfigured)
        assert outcome.scope == "sender"
        assert "535" in outcome.reason
        assert "wrong" not in outcome.reason
        server.credentials = {"grace": "wrong"}
        assert await adapter.send(mail()) == Accepted()


async def test_bad_credentials_are_tried_once_for_all_messages_in_flight(server: SmtpServer) -> None:
    server.credentials = {"grace": "right"}
    async with adapter_for(server, username="grace", password="wrong") as adapter:
        outcomes = await asyncio.gather(*(adapter.send(mail(number)) for number in range(20)))
    assert {type(outcome) for outcome in outcomes} == {Misconfigured}
    assert server.connections == 1


async def test_a_server_that_is_down_is_told_to_all_messages_in_flight_at_once(server: SmtpServer) -> None:
    server.faults = Faults([Fault(stage=Stage.GREETING, act=Act.DISCONNECT)])
    async with adapter_for(server) as adapter:
        outcomes = await asyncio.gather(*(adapter.send(mail(n)) for n in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {NotSent}
    assert server.connections == 1


async def test_missing_credentials_hold_the_sender(server: SmtpServer) -> None:
    server.credentials = {"grace": "right"}
    outcome = await send_one(server)
    assert isinstance(outcome, Misconfigured)
    assert "530" in outcome.reason


async def test_no_mechanism_in_common_holds_the_sender(server: SmtpServer) -> None:
    server.credentials = {"grace": "right"}
    server.mechanisms = ("XOAUTH2",)
    outcome = await send_one(server, username="grace", password="right")
    assert isinstance(outcome, Misconfigured)
    assert "xoauth2" in outcome.reason


async def test_an_authentication_that_is_out_of_order_is_tried_later(server: SmtpServer) -> None:
    server.credentials = {"grace": "right"}
    fault = Fault(stage=Stage.AUTH, reply="454 4.7.0 Temporary authentication failure")
    outcome = await send_one(server, fault, username="grace", password="right")
    assert isinstance(outcome, Retry)
    assert outcome.scope == "sender"


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_it_encrypts(security: str, tmp_path: Path) -> None:
    context = server_context(tmp_path)
    async with SmtpServer(tls=context, implicit_tls=security == "tls", credentials={"grace": "right"}) as server:
        trusted = str(write_certificate(tmp_path))
        more = {"security": security, "tls_ca_file": trusted, "username": "grace", "password": "right"}
        assert await send_one(server, **more) == Accepted()


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_certificate_that_is_not_trusted_holds_the_sender(security: str, tmp_path: Path) -> None:
    async with SmtpServer(tls=server_context(tmp_path), implicit_tls=security == "tls") as server:
        outcome = await send_one(server, security=security)
        assert isinstance(outcome, Misconfigured)
        assert "certificate" in outcome.reason
        assert await send_one(server, security=security, tls_verify=False) == Accepted()


async def test_nothing_is_sent_in_the_clear_when_encryption_is_wanted(server: SmtpServer) -> None:
    outcome = await send_one(server, security="starttls")
    assert isinstance(outcome, Misconfigured)
    assert "STARTTLS" in outcome.reason
    assert server.count == 0


@pytest.mark.parametrize("stage", [Stage.STARTTLS, Stage.EHLO, Stage.MAIL, Stage.DOT])
async def test_a_silent_encrypted_server_leaves_no_connection(stage: Stage, tmp_path: Path) -> None:
    async with SmtpServer(tls=server_context(tmp_path)) as server:
        passes = 2 if stage is Stage.EHLO else 1  # the second one is inside TLS
        server.faults = Faults([Fault(stage=stage, act=Act.HANG, first=passes)])
        async with adapter_for(server, security="starttls", tls_verify=False) as adapter:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await adapter.send(mail())


async def test_a_server_that_speaks_no_tls_where_tls_is_wanted_cannot_be_reached(server: SmtpServer) -> None:
    with pytest.raises(NotSent, match="cannot be reached"):
        await send_one(server, security="tls")


async def test_an_encryption_that_is_never_negotiated_ends_by_itself(server: SmtpServer) -> None:
    silent = Fault(stage=Stage.GREETING, act=Act.HANG)
    with pytest.raises(NotSent, match=r"did not answer within 0\.1 s"):
        await send_one(server, silent, security="tls", connect_timeout_seconds=0.1)


# ---- check, settings, plugin --------------------------------------------------------------------------------------


async def test_check_finds_a_server_well_and_leaves_no_connection(server: SmtpServer) -> None:
    server.credentials = {"grace": "right"}
    async with adapter_for(server, username="grace", password="right") as adapter:
        assert await adapter.check() is None
        await server.all_closed()


async def test_check_says_what_is_wrong(server: SmtpServer) -> None:
    server.credentials = {"grace": "right"}
    async with adapter_for(server, username="grace", password="wrong") as adapter:
        assert "535" in (await adapter.check() or "")
        await server.refuse()
        assert "cannot be reached" in (await adapter.check() or "")


async def test_a_password_in_the_clear_beyond_this_machine_is_warned_of(server: SmtpServer) -> None:
    log = RecordingLog()
    account = {"username": "grace", "password": "right"}
    await SmtpAdapter(settings(server, **account), tools(log)).open()
    assert log.events == []
    await SmtpAdapter(settings(server, host="mail.example", **account), tools(log)).open()
    assert log.events == ["smtp_password_in_the_clear"]


async def test_a_ca_file_that_is_not_there_keeps_only_this_sender_from_opening(
    server: SmtpServer, tmp_path: Path
) -> None:
    adapter = SmtpAdapter(settings(server, security="tls", tls_ca_file=str(tmp_path / "none.pem")), tools())
    with pytest.raises(OSError, match="No such file"):
        await adapter.open()


def test_an_unknown_mail_is_sent_again_and_nothing_is_promised_that_smtp_has_not(server: SmtpServer) -> None:
    capabilities = SmtpAdapter(settings(server), tools()).capabilities
    assert capabilities.on_unknown == "resend"
    assert not capabilities.receipts
    assert not capabilities.lookup
    assert capabilities.idempotent_for is None


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("from", "Grace Church", "Must be an address such as"),
        ("from", "Grace\r\nBcc: x@y.example <news@grace.example>", "Must be an address such as"),
        ("from", "zoë@grace.example", "must be ASCII"),
        ("reply_to", "nobody", "Must be an address such as|needs exactly one @"),
        ("security", "ssl", "none"),
        ("port", 0, "1"),
        ("helo", "a b", "host name"),
        ("host", "a\r\nb", "host|pattern|match"),
        ("username", "grace", "come together"),
        ("idle_seconds", 0, "0"),
        ("hots", "x", "host"),
        ("errors", {"5.7.1": "whatever"}, "address_dead"),
        ("errors", {"tomorrow": "permanent"}, "errors"),
    ],
)
def test_a_bad_setting_is_named(server: SmtpServer, setting: str, value: object, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        settings(server, **{setting: value})


@pytest.mark.parametrize(("security", "port"), [("none", 25), ("starttls", 587), ("tls", 465)])
def test_the_port_follows_the_security(server: SmtpServer, security: str, port: int) -> None:
    assert settings(server, port=None, security=security).port == port


def test_a_password_is_never_shown(server: SmtpServer) -> None:
    assert "hunter2" not in repr(settings(server, username="grace", password="hunter2"))


def test_the_plugin_brings_the_channel_and_its_adapter() -> None:
    (channel,) = gateway_channels()
    assert (channel.name, gateway_adapters()) == ("email", (SmtpAdapter,))
    assert channel.normalise(" Ada@Example.ORG ", "NG") == "Ada@example.org"
    with pytest.raises(ValueError, match="before the @"):
        channel.normalise("a..b@example.org", None)


@pytest.mark.parametrize("kind", [SmtpSettings, DkimKey])
def test_every_setting_stands_in_the_readme(kind: type[msgspec.Struct]) -> None:
    readme = (Path(gateway_email.__file__).parent / "README.md").read_text()
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    assert [name for name in names if not re.search(rf"^\| [^|]*`{name}`", readme, re.MULTILINE)] == []
