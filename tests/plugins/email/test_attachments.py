"""Files that go with mails: whole, safely named, in their places, and encoded once."""

from __future__ import annotations

import asyncio
from email.message import EmailMessage
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway import Accepted, Code, File, FileRefused, FileUnavailable, Media, Rejected, Retry
from gateway.testing.doubles import MemoryFiles
from gateway.testing.smtp_server import SmtpServer
from gateway_email import attachments
from gateway_email.attachments import Attached, Attachments, file_part, media_type, safe_name, shown_files
from gateway_email.channel import EMAIL
from gateway_email.smtp import LARGE_AT_ONCE, SmtpAdapter
from tests.plugins.email.harness import NOW, adapter_for, mail, settings, tools
from tests.plugins.email.test_headers import HOSTILE
from tests.plugins.email.test_mime import COMPOSER, assert_sound, body, parsed

PDF = File(b"%PDF-1.7\n" + bytes(range(256)) * 20, "application/pdf", "Programme.pdf")
LOGO = File(b"\x89PNG\r\n\x1a\n" + bytes(1_000), "image/png", "logo.png")
FILES = {"https://files.example/p": PDF, "https://files.example/logo": LOGO}
BOTH = tuple(Media(url) for url in FILES)


async def built(files: dict[str, File] | None = None, **fields: Any) -> EmailMessage:
    """A mail with all of these files, read back."""
    given_files = FILES if files is None else files
    message = mail(media=tuple(Media(url) for url in given_files), **fields)
    attached = await Attachments(MemoryFiles(given_files), 1_000_000).fetched(message)
    raw = COMPOSER.build(message, NOW, attached)
    assert_sound(raw)
    return parsed(raw)


def shape(part: Any) -> Any:
    """The types of a mail's parts, nested as they are."""
    if not part.is_multipart():
        return part.get_content_type()
    return part.get_content_subtype(), *map(shape, part.iter_parts())


async def test_files_are_attached_to_the_text() -> None:
    message = await built(text="Hé")
    assert shape(message) == ("mixed", "text/plain", "application/pdf", "image/png")
    files = list(message.iter_attachments())
    assert [(part.get_filename(), part.get_content_disposition()) for part in files] == [
        ("Programme.pdf", "attachment"),
        ("logo.png", "attachment"),
    ]
    assert [part.get_payload(decode=True) for part in files] == [PDF.body, LOGO.body]
    assert body(message, "plain") == "Hé\n"


async def test_an_image_that_the_html_names_is_shown_in_its_place() -> None:
    message = await built(html='<p>Hello <img src="cid:logo.png"></p>')
    assert shape(message) == (
        "mixed",
        ("alternative", "text/plain", ("related", "text/html", "image/png")),
        "application/pdf",
    )
    (image,) = [part for part in message.walk() if part.get_content_type() == "image/png"]
    assert (image["content-id"], image.get_content_disposition()) == ("<logo.png>", "inline")
    assert image.get_payload(decode=True) == LOGO.body


async def test_html_alone_with_its_image_is_related() -> None:
    files = {"https://files.example/logo": LOGO}
    message = await built(files, text=None, html="<img src='CID:logo.png'>")
    assert shape(message) == ("related", "text/html", "image/png")


async def test_a_file_needs_no_text() -> None:
    message = await built({"https://files.example/p": PDF}, text=None)
    assert shape(message) == ("mixed", "application/pdf")


@pytest.mark.parametrize("name", ["my logo.png", "Grüße.png", "a(b).png", "=?utf-8?q?x?=.png"])
async def test_a_name_that_can_be_no_content_id_is_replaced_in_both_places(name: str) -> None:
    files = {"https://files.example/1": File(b"png", "image/png", name)}
    (image,) = parts_of(await built(files, html=f'<img src="cid:{quote(name)}"> cid:other.png'), "image/png")
    html = body(await built(files, html=f'<img src="cid:{quote(name)}">'), "html")
    assert html == f'<img src="cid:{image["content-id"].strip("<>")}">\n'
    assert image.get_filename() == name.replace("?", "_")


def parts_of(message: EmailMessage, content_type: str) -> list[Any]:
    return [part for part in message.walk() if part.get_content_type() == content_type]


async def test_of_two_files_with_one_name_the_first_is_shown_and_the_other_attached() -> None:
    files = {f"https://files.example/{n}": File(str(n).encode(), "image/png", "logo.png") for n in (1, 2)}
    message = await built(files, text=None, html='<img src="cid:logo.png"><img src="cid:logo.png">')
    assert shape(message) == ("mixed", ("related", "text/html", "image/png"), "image/png")
    assert [part.get_payload(decode=True) for part in parts_of(message, "image/png")] == [b"1", b"2"]


def test_html_without_such_names_stays_as_it_is() -> None:
    html = '<a href="https://grace.example/?cid:9">acid:logo.png</a><img src="cid:unknown.png">'
    assert shown_files(html, ["logo.png"]) == (html, {})
    assert shown_files(None, ["logo.png"]) == (None, {})


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Programme.pdf", "Programme.pdf"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\Windows\\x.exe", "C__Windows_x.exe"),
        ("a\r\nBcc: x", "a Bcc_ x"),
        ('a"b.pdf', "a_b.pdf"),
        ("invoice\u202egnp.exe", "invoice_gnp.exe"),
        ("", "file"),
        (" . ", "file"),
        ("日本語.pdf", "日本語.pdf"),
        ("x" * 300 + ".jpeg", "x" * 235 + ".jpeg"),
        ("é" * 200 + ".pdf", "é" * 118 + ".pdf"),
        ("x." + "y" * 300, ("x." + "y" * 300)[:240]),
        ("half \ud83d.pdf", "half \ufffd.pdf"),
    ],
)
def test_a_file_name_is_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@hypothesis_settings(max_examples=300)
@given(name=HOSTILE, content_type=HOSTILE | st.sampled_from(["text/html; charset=utf-8", "image/png"]))
def test_no_name_and_no_type_become_more_than_that(name: str, content_type: str) -> None:
    raw = COMPOSER.build(mail(), NOW, Attached(None, (), (file_part(File(b"x", content_type, name), None),)))
    assert_sound(raw)
    text, file = parsed(raw).iter_parts()
    assert text.get_content_type() == "text/plain"
    assert file.keys() == ["Content-Type", "Content-Disposition", "Content-Transfer-Encoding"]
    assert file.get_filename() == safe_name(name)
    assert file.get_payload(decode=True) == b"x"


@pytest.mark.parametrize(
    ("given_type", "written"),
    [
        ("application/pdf", "application/pdf"),
        ("Image/PNG", "image/png"),
        ('text/csv; charset="UTF-8"', "text/csv; charset=utf-8"),
        ("text/html; charset=utf-8; boundary=x", "application/octet-stream"),
        ("message/rfc822", "application/octet-stream"),
        ("multipart/mixed", "application/octet-stream"),
        ("image/png\r\nBcc: x", "application/octet-stream"),
        ("nonsense", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_a_media_type_is_one_or_none_is_told(given_type: str, written: str) -> None:
    assert media_type(given_type) == written


def test_files_that_are_known_to_be_too_large_are_refused_beforehand(server: SmtpServer) -> None:
    adapter = adapter_of(server, size_max_bytes=1_000)
    two = (Media("https://files.example/1", size=600), Media("https://files.example/2", size=401))
    refusal = adapter.refuse(mail(media=two))
    assert refusal == Rejected(
        Code.MEDIA, "The files have 1,001 octets together, and at most 1,000 are sent with a mail."
    )
    assert adapter.refuse(mail(media=two[:1])) is None
    assert adapter.refuse(mail(media=(Media("https://files.example/3"),))) is None


def adapter_of(server: SmtpServer, **more: Any) -> SmtpAdapter:
    return SmtpAdapter(settings(server, **more), tools())


async def test_files_that_turn_out_to_be_too_large_are_refused(server: SmtpServer) -> None:
    async with adapter_for(server, files=MemoryFiles(FILES), size_max_bytes=1_000) as adapter:
        outcome = await adapter.send(mail(media=BOTH))
    assert isinstance(outcome, Rejected)
    assert (outcome.code, server.connections) == (Code.MEDIA, 0)


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [
        (FileRefused("It is not there."), Rejected(Code.MEDIA, "It is not there.")),
        (FileUnavailable("Its server is down."), Retry("Its server is down.")),
    ],
)
async def test_a_file_that_cannot_be_had_stops_the_mail(
    server: SmtpServer, raised: Exception, outcome: Rejected | Retry
) -> None:
    async def files(media: Media) -> File:
        raise raised

    async with adapter_for(server, files=files) as adapter:
        assert await adapter.send(mail(media=BOTH)) == outcome
    assert server.connections == 0


async def test_a_file_that_does_not_come_is_tried_again_later(server: SmtpServer) -> None:
    async def files(media: Media) -> File:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async with adapter_for(server, files=files, envelope_timeout_seconds=0.05) as adapter:
        assert isinstance(await adapter.send(mail(media=BOTH)), Retry)


async def test_a_mail_with_files_arrives_whole(server: SmtpServer) -> None:
    async with adapter_for(server, files=MemoryFiles(FILES)) as adapter:
        assert await adapter.send(mail(media=BOTH)) == Accepted()
    (_, *files) = parsed(server.messages[0].content).iter_parts()
    assert [part.get_payload(decode=True) for part in files] == [PDF.body, LOGO.body]


async def test_large_mails_arrive_whole_a_few_at_a_time(server: SmtpServer) -> None:
    large = File(bytes(range(256)) * 8_000, "application/zip", "large.zip")
    many = LARGE_AT_ONCE + 3
    async with adapter_for(server, files=MemoryFiles({"https://files.example/l": large})) as adapter:
        media = (Media("https://files.example/l"),)
        outcomes = await asyncio.gather(*(adapter.send(mail(n, media=media)) for n in range(many)))
    assert outcomes == [Accepted()] * many
    for received in server.messages:
        (_, file) = parsed(received.content).iter_parts()
        assert file.get_payload(decode=True) == large.body
    assert 0 < server.connections <= LARGE_AT_ONCE


async def test_a_file_is_encoded_once_for_all_mails(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []

    def counted(file: File, cid: str | None) -> bytes:
        encoded.append(file.filename)
        return file_part(file, cid)

    monkeypatch.setattr(attachments, "file_part", counted)
    large = File(bytes(attachments.THREAD_OCTETS + 1), "application/zip", "large.zip")
    getter = Attachments(MemoryFiles({**FILES, "https://files.example/l": large}), 1_000_000)
    media = (*BOTH, Media("https://files.example/l"))
    await asyncio.gather(*(getter.fetched(mail(n, media=media)) for n in range(20)))
    assert sorted(encoded) == ["Programme.pdf", "large.zip", "logo.png"]


async def test_encoded_files_are_forgotten_when_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments, "KEPT_OCTETS_MAX", 3_500)
    many = {f"https://files.example/{n}": File(bytes(1_000), "image/png", f"{n}.png") for n in range(9)}
    getter = Attachments(MemoryFiles(many), 1_000_000)
    for _ in range(2):
        for number, url in enumerate(many):
            attached = await getter.fetched(mail(media=(Media(url),)))
            assert f'filename="{number}.png"'.encode() in attached.apart[0]
    assert len(getter._kept) == 2
    assert getter._kept_octets == sum(map(len, getter._kept.values()))


def test_the_channel_takes_files() -> None:
    assert "media" in EMAIL.takes
