"""Return paths: each names its message, none can be made up."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Invalid
from gateway.testing.smtp_server import SmtpServer
from gateway.testing.smtp_session import SmtpSession
from gateway_email.verp import ReturnPaths
from tests.plugins.email.harness import adapter_for, mail, settings

SECRET = "a secret of this test"
PATHS = ReturnPaths("bounce@grace.example", SECRET)
REFS = st.from_regex(r"[a-z0-9_]{1,40}", fullmatch=True)


@given(ref=REFS, before=st.sampled_from(["", "<", "rfc822; ", "ada@x.example, <", '"A" <']))
def test_a_return_path_is_known_again(ref: str, before: str) -> None:
    path = PATHS.path(ref)
    assert len(path.partition("@")[0]) <= 64
    assert PATHS.ref_in(f"{before}{path}>") == ref
    assert PATHS.ref_in(path.upper()) == ref
    assert PATHS.ref_of_envelope_id(f" <{PATHS.envelope_id(ref)}> ") == ref


@given(ref=REFS, at=st.integers(0, 80), letter=st.sampled_from("abcdefg234567_"))
def test_a_changed_return_path_is_nobody_s(ref: str, at: int, letter: str) -> None:
    path = PATHS.path(ref)
    at %= len(path)
    changed = path[:at] + letter + path[at + 1 :]
    assert PATHS.ref_in(changed) == (ref if changed == path else None)


@pytest.mark.parametrize(
    "path",
    [
        "bounce@grace.example",
        "bounce+msg_1@grace.example",
        "bounce+msg_1-aaaaaaaaaa@grace.example",
        "xbounce+" + PATHS.envelope_id("msg_1"),
        PATHS.path("msg_1").replace("grace", "evil"),
        ReturnPaths("bounce@grace.example", "another secret of this test").path("msg_1"),
        ReturnPaths("other@grace.example", SECRET).path("msg_1"),
        "",
        "bounce+" * 1_000,
    ],
)
def test_what_is_no_return_path_of_ours_names_nothing(path: str) -> None:
    assert PATHS.ref_in(path) is None


def test_one_false_path_does_not_hide_the_true_one() -> None:
    assert PATHS.ref_in(f"bounce+msg_2-aaaaaaaaaa@grace.example, {PATHS.path('msg_1')}") == "msg_1"


async def test_every_mail_gets_a_return_path_of_its_own(server: SmtpServer) -> None:
    async with adapter_for(server, bounce_address="bounce@gräce.example", bounce_secret=SECRET) as adapter:
        await adapter.send(mail(1))
        await adapter.send(mail(2))
    paths = ReturnPaths("bounce@gräce.example", SECRET)
    assert [received.sender for received in server.messages] == [paths.path("msg_1"), paths.path("msg_2")]
    assert b"From: Grace Church <news@grace.example>" in server.messages[0].content


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({}, "msg_1@grace.example"),
        ({"bounce_address": "bounce@grace.example", "bounce_secret": SECRET}, PATHS.envelope_id("msg_1")),
    ],
)
async def test_a_server_with_delivery_reports_is_told_the_message_s_name(
    server: SmtpServer, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], name: str
) -> None:
    commands: list[bytes] = []
    extensions, read = SmtpSession._extensions, SmtpSession._mail
    monkeypatch.setattr(SmtpSession, "_extensions", lambda session: [*extensions(session), "DSN"])

    def remembered(session: SmtpSession, line: bytes) -> None:
        commands.append(line)
        read(session, line)

    monkeypatch.setattr(SmtpSession, "_mail", remembered)
    async with adapter_for(server, **more) as adapter:
        await adapter.send(mail())
    assert commands[0].endswith(f" RET=HDRS ENVID={name}".encode())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"bounce_address": "bounce@grace.example"}, "come together"),
        ({"bounce_secret": SECRET}, "come together"),
        ({"bounce_address": "bounce@grace.example", "bounce_secret": "short"}, "at least 16"),
        ({"bounce_token": "short"}, "at least 16"),
        ({"bounce_address": "much-too-long@grace.example", "bounce_secret": SECRET}, "at most 12"),
        ({"bounce_address": "nobody", "bounce_secret": SECRET}, "bounce_address"),
    ],
)
def test_settings_that_make_no_return_path_are_refused(server: SmtpServer, more: dict[str, str], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        settings(server, **more)
