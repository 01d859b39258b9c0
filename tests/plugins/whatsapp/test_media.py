"""Which kind of message a file makes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import Media
from gateway_whatsapp.media import FILENAME_MAX, MEGABYTE, SIZE_MAX, Kind, content_type, filename, kind_of
from tests.plugins.whatsapp.harness import PERSON, cloud, make_message


def file(kind: str | None = None, url: str = "https://files.example/a", name: str | None = None) -> Media:
    return Media(url=url, content_type=kind, filename=name)


@pytest.mark.parametrize(
    ("given_", "kind"),
    [
        ("image/jpeg", "image"),
        ("Image/PNG; q=1", "image"),
        ("image/webp", "sticker"),
        ("image/gif", None),
        ("image/svg+xml", None),
        ("video/mp4", "video"),
        ("video/3gpp", "video"),
        ("video/quicktime", None),
        ("audio/aac", "audio"),
        ("audio/amr", "audio"),
        ("audio/mpeg", "audio"),
        ("audio/mp4", "audio"),
        ("audio/ogg; codecs=opus", "audio"),
        ("audio/wav", None),
        ("audio/x-ms-wma", None),
        ("application/pdf", "document"),
        ("text/plain", "document"),
        ("application/octet-stream", "document"),
        ("nonsense", "document"),
        (None, "document"),
        ("", "document"),
    ],
)
def test_the_server_s_word_decides_the_kind(given_: str | None, kind: Kind | None) -> None:
    assert kind_of(file(given_)) == kind


@pytest.mark.parametrize(
    ("url", "name", "kind"),
    [
        ("https://files.example/a.JPG", None, "image"),
        ("https://files.example/a.jpg?size=large#x", None, "image"),
        ("https://files.example/download?id=7", "cake.png", "image"),
        ("https://files.example/a.gif", None, None),
        ("https://files.example/a.mov", None, None),
        ("https://files.example/a.wav", None, None),
        ("https://files.example/a.opus", None, "audio"),
        ("https://files.example/a.mp4", None, "video"),
        ("https://files.example/jpg", None, "document"),
        ("https://files.example/a.jpg/", None, "document"),
        ("https://[", None, "document"),
    ],
)
def test_where_nobody_could_ask_the_name_decides(url: str, name: str | None, kind: Kind | None) -> None:
    assert kind_of(file(None, url, name)) == kind


def test_the_server_is_believed_more_than_the_name() -> None:
    assert kind_of(file("application/pdf", "https://files.example/a.jpg")) == "document"
    assert content_type(file(" Image/JPEG ;x=y")) == "image/jpeg"


def test_a_name_is_the_url_s_last_part_and_not_endless() -> None:
    assert filename(file(url="https://files.example/x/a%20b.pdf?y=/z")) == "a b.pdf"
    assert filename(file(url="https://files.example")) == ""
    long = "x" * 1_000 + ".pdf"
    assert filename(file(name=long)) == long[-FILENAME_MAX:]
    assert filename(file(url=f"https://files.example/{long}")).endswith(".pdf")


@pytest.mark.parametrize(
    ("given_", "limit"),
    [
        ("image/png", 5 * MEGABYTE),
        ("video/mp4", 16 * MEGABYTE),
        ("audio/mpeg", 16 * MEGABYTE),
        ("application/pdf", 100 * MEGABYTE),
        ("image/webp", 500 * 1024),
    ],
)
def test_each_kind_has_its_own_limit(given_: str, limit: int) -> None:
    kind = kind_of(file(given_))
    assert kind is not None
    assert SIZE_MAX[kind] == limit
    for size, refused in ((limit, False), (limit + 1, True)):
        media = Media(url="https://files.example/a", content_type=given_, size=size)
        answer = cloud().refuse(make_message(PERSON, None, media=(media,)))
        assert (answer is not None) is refused
        assert answer is None or f"{size:,}" in answer.reason


@given(st.text(), st.none() | st.text(), st.none() | st.text())
def test_any_url_name_and_type_is_survived(url: str, kind: str | None, name: str | None) -> None:
    assert kind_of(file(kind, url, name)) in {*SIZE_MAX, None}
    assert len(filename(file(kind, url, name))) <= FILENAME_MAX
