"""What the body of a message to Meta is, and which messages are refused before Meta is asked."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import Code, Media, Outbound
from gateway_whatsapp.media import MEGABYTE
from gateway_whatsapp.messages import CAPTION_MAX, PARAMETER_MAX, TEXT_MAX, payload
from tests.plugins.whatsapp.harness import PERSON, QUOTED, USER, cloud, make_message, template_message

PICTURE = Media(url="https://files.example/cake.jpg", content_type="image/jpeg")
FILM = Media(url="https://files.example/choir.mp4", content_type="video/mp4")
SONG = Media(url="https://files.example/hymn.mp3", content_type="audio/mpeg")
STICKER = Media(url="https://files.example/hi.webp", content_type="image/webp")
PAPER = Media(url="https://files.example/a%20b.pdf?x=1", content_type="application/pdf")
UNKNOWN = Media(url="https://files.example/download")


def body(message: Outbound) -> dict[str, Any]:
    return dict(payload(message, link_previews=False))


def file(**traits: Any) -> Media:
    return Media(**{"url": "https://files.example/a", **traits})


def components(message: Outbound) -> Any:
    return body(message)["template"].get("components")


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


def test_a_user_id_is_no_number() -> None:
    said = body(make_message(USER))
    assert said["recipient"] == USER
    assert "to" not in said


def test_an_answer_quotes_what_it_answers() -> None:
    assert body(make_message(PERSON, quotes=QUOTED))["context"] == {"message_id": QUOTED}
    assert "context" not in body(make_message(PERSON))


@pytest.mark.parametrize(
    ("media", "words", "kind", "part"),
    [
        (PICTURE, "Our cake", "image", {"link": PICTURE.url, "caption": "Our cake"}),
        (PICTURE, None, "image", {"link": PICTURE.url}),
        (FILM, "We sing", "video", {"link": FILM.url, "caption": "We sing"}),
        (SONG, None, "audio", {"link": SONG.url}),
        (STICKER, None, "sticker", {"link": STICKER.url}),
        (PAPER, "Read this", "document", {"link": PAPER.url, "filename": "a b.pdf", "caption": "Read this"}),
        (file(filename="menu.pdf"), None, "document", {"link": "https://files.example/a", "filename": "menu.pdf"}),
        (file(url="https://files.example/"), None, "document", {"link": "https://files.example/"}),
    ],
)
def test_a_file_is_a_link_of_its_own_kind(media: Media, words: str | None, kind: str, part: object) -> None:
    said = body(make_message(PERSON, words, media=(media,)))
    assert (said["type"], said[kind]) == (kind, part)
    assert "text" not in said


def test_a_template_without_parameters_has_no_components() -> None:
    said = body(template_message())
    assert said["type"] == "template"
    assert said["template"] == {
        "name": "order_update",
        "language": {"code": "en_US", "policy": "deterministic"},
    }


def test_positional_parameters_come_in_the_order_of_their_numbers() -> None:
    values = {"10": "ten", "2": "two", "1": "one"}
    expected = [{"type": "body", "parameters": [text("one"), text("two"), text("ten")]}]
    assert components(template_message(values)) == expected
    assert components(template_message(values, details={"named": False, "header": None, "buttons": {}})) == expected


def test_named_parameters_carry_their_names() -> None:
    message = template_message({"header.day": "Sunday", "name": "Ada"}, details={"named": True, "header": "text"})
    assert components(message) == [
        {"type": "header", "parameters": [{"type": "text", "parameter_name": "day", "text": "Sunday"}]},
        {"type": "body", "parameters": [{"type": "text", "parameter_name": "name", "text": "Ada"}]},
    ]


@pytest.mark.parametrize(
    ("kind", "media", "part"),
    [
        ("image", PICTURE, {"link": PICTURE.url}),
        ("video", FILM, {"link": FILM.url}),
        ("document", PAPER, {"link": PAPER.url, "filename": "a b.pdf"}),
        ("image", UNKNOWN, {"link": UNKNOWN.url}),
    ],
)
def test_a_template_begins_with_its_file(kind: str, media: Media, part: object) -> None:
    message = template_message({"1": "Ada"}, media=(media,), details={"named": False, "header": kind, "buttons": {}})
    assert components(message) == [
        {"type": "header", "parameters": [{"type": kind, kind: part}]},
        {"type": "body", "parameters": [text("Ada")]},
    ]


def test_the_file_of_a_template_that_was_never_listed_is_of_the_kind_that_it_looks_like() -> None:
    (header,) = components(template_message(media=(FILM,)))
    assert header == {"type": "header", "parameters": [{"type": "video", "video": {"link": FILM.url}}]}


def test_buttons_are_filled_by_their_index_and_kind() -> None:
    details = {"named": False, "header": None, "buttons": {"0": "url", "2": "copy_code"}}
    message = template_message({"button.2": "FALL25", "button.0": "orders/7", "1": "Ada"}, details=details)
    assert components(message) == [
        {"type": "body", "parameters": [text("Ada")]},
        {"type": "button", "sub_type": "url", "index": "0", "parameters": [text("orders/7")]},
        {
            "type": "button",
            "sub_type": "copy_code",
            "index": "2",
            "parameters": [{"type": "coupon_code", "coupon_code": "FALL25"}],
        },
    ]


def test_a_button_of_a_named_template_has_no_name_of_its_own() -> None:
    message = template_message({"name": "Ada", "button.0": "x"}, details={"named": True, "buttons": {"0": "url"}})
    assert components(message)[1]["parameters"] == [text("x")]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (make_message(PERSON, "x" * TEXT_MAX), None),
        (make_message(PERSON, "x" * (TEXT_MAX + 1)), Code.TOO_LONG),
        (make_message(PERSON, None), Code.CONTENT),
        (make_message(PERSON, ""), Code.CONTENT),
        (make_message(PERSON, None, media=(PICTURE,)), None),
        (make_message(PERSON, "x" * CAPTION_MAX, media=(PICTURE,)), None),
        (make_message(PERSON, "x" * (CAPTION_MAX + 1), media=(PICTURE,)), Code.TOO_LONG),
        (make_message(PERSON, "Listen", media=(SONG,)), Code.CONTENT),
        (make_message(PERSON, "Hi", media=(STICKER,)), Code.CONTENT),
        (make_message(PERSON, None, media=(SONG,)), None),
        (make_message(PERSON, None, media=(STICKER,)), None),
        (make_message(PERSON, None, media=(PICTURE, PICTURE)), Code.MEDIA),
        (make_message(PERSON, None, media=(file(url="ftp://files.example/a.jpg"),)), Code.MEDIA),
        (make_message(PERSON, None, media=(file(url="data:image/png;base64,AA"),)), Code.MEDIA),
        (make_message(PERSON, None, media=(file(url="HTTPS://files.example/a.jpg"),)), None),
        (make_message(PERSON, None, media=(file(content_type="image/gif"),)), Code.MEDIA),
        (make_message(PERSON, None, media=(file(content_type="image/jpeg", size=5 * MEGABYTE),)), None),
        (make_message(PERSON, None, media=(file(content_type="image/jpeg", size=5 * MEGABYTE + 1),)), Code.MEDIA),
    ],
    ids=lambda one: "" if isinstance(one, Outbound) else str(one),
)
def test_what_meta_would_refuse_is_not_sent(message: Outbound, code: Code | None) -> None:
    refused = cloud().refuse(message)
    assert (refused.code if refused is not None else None) == code


LISTED: dict[str, object] = {"named": False, "header": None, "buttons": {}, "unsupported": None}
WITH_PICTURE: dict[str, object] = {**LISTED, "header": "image"}


@pytest.mark.parametrize(
    ("message", "code", "names"),
    [
        (template_message({"1": "Ada"}, details=LISTED), None, ""),
        (template_message({"1": "x" * PARAMETER_MAX}, details=LISTED), None, ""),
        (template_message({"1": "x" * (PARAMETER_MAX + 1)}, details=LISTED), Code.TEMPLATE, "1,025"),
        (template_message({"1": ""}, details=LISTED), Code.TEMPLATE, "'1'"),
        (template_message({"button.0": " "}, details=LISTED), Code.TEMPLATE, "'button.0'"),
        (template_message({"1": "Ada\nL."}, details=LISTED), Code.TEMPLATE, "line break"),
        (template_message({"1": "Ada\tL."}, details=LISTED), Code.TEMPLATE, "tab"),
        (template_message({"1": "Ada     L."}, details=LISTED), Code.TEMPLATE, "spaces"),
        (template_message({"1": "Ada    L."}, details=LISTED), None, ""),
        (template_message(details={**LISTED, "unsupported": "carousel"}), Code.TEMPLATE, "carousel"),
        (template_message(media=(PICTURE,), details=WITH_PICTURE), None, ""),
        (template_message(media=(UNKNOWN,), details=WITH_PICTURE), None, ""),
        (template_message(details=WITH_PICTURE), Code.MEDIA, "image"),
        (template_message(media=(PICTURE, PICTURE), details=WITH_PICTURE), Code.MEDIA, "2"),
        (template_message(media=(FILM,), details=WITH_PICTURE), Code.MEDIA, "video/mp4"),
        (template_message(media=(STICKER,), details=WITH_PICTURE), Code.MEDIA, "image/webp"),
        (template_message(media=(file(content_type="image/gif"),), details=WITH_PICTURE), Code.MEDIA, "image/gif"),
        (
            template_message(media=(file(content_type="image/png", size=6 * MEGABYTE),), details=WITH_PICTURE),
            Code.MEDIA,
            "6,291,456",
        ),
        (template_message(media=(PICTURE,), details=LISTED), Code.MEDIA, "no file"),
        (template_message(media=(PICTURE,)), None, ""),
    ],
    ids=lambda one: "" if isinstance(one, Outbound) else str(one),
)
def test_a_template_that_cannot_be_filled_is_refused_with_the_reason(
    message: Outbound, code: Code | None, names: str
) -> None:
    refused = cloud().refuse(message)
    assert (refused.code if refused is not None else None) == code
    assert refused is None or names in refused.reason
