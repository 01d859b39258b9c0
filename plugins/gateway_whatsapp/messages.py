"""A message as the Cloud API takes it, and what it refuses.

Source: facebook/openapi, business-messaging-api_v23.0.yaml (POST messages), 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from gateway import Code, Media, Outbound, Rejected, TemplateUse
from gateway_whatsapp.channel import USER_ID
from gateway_whatsapp.media import CAPTIONED, SIZE_MAX, Kind, content_type, filename, kind_of
from gateway_whatsapp.template_use import ButtonKind, Shape

TEXT_MAX: Final = 4_096  # characters
CAPTION_MAX: Final = 1_024  # characters under a file
PARAMETER_MAX: Final = 1_024  # characters of one parameter
TAKEN: Final = "WhatsApp takes pictures as jpeg or png, films as mp4 or 3gp, recordings as mp3, m4a, aac, amr or ogg"
# Meta refuses these in a parameter (github.com/netflie/whatsapp-cloud-api, issue 201, 2024-07; dimagi/open-chat-studio,
# pull request 4277, 2026-08). In the template's own text they may stand.
UNFIT_IN_PARAMETER: Final = re.compile(r"[\r\n\t]| {5}")

Fields = Mapping[str, object]


def payload(message: Outbound, *, link_previews: bool) -> Fields:
    """The body of POST messages."""
    fields = {"messaging_product": "whatsapp", "recipient_type": "individual", **_recipient(message.to)}
    if message.quotes is not None:
        fields["context"] = {"message_id": message.quotes}
    # Echoed in each status webhook: the only way to a message whose answer was lost.
    fields["biz_opaque_callback_data"] = message.ref
    return {**fields, **_content(message, link_previews)}


def _recipient(to: str) -> dict[str, object]:
    return {"recipient": to} if USER_ID.fullmatch(to) else {"to": to.removeprefix("+")}


def _content(message: Outbound, link_previews: bool) -> Fields:
    if message.template is not None:
        return {"type": "template", "template": _template(message.template, message.media)}
    if message.media:
        kind = kind_of(message.media[0]) or "document"
        caption = {"caption": message.text} if message.text else {}
        return {"type": kind, kind: {**_link(message.media[0], kind), **caption}}
    return {"type": "text", "text": {"body": message.text or "", "preview_url": link_previews}}


def _link(media: Media, kind: str) -> dict[str, object]:
    """A file that Meta fetches; only a document shows its name."""
    name = filename(media) if kind == "document" else ""
    return {"link": media.url, **({"filename": name} if name else {})}


def _template(use: TemplateUse, media: Sequence[Media]) -> Fields:
    components = list(_components(use, media))
    language = {"code": use.language, "policy": "deterministic"}
    return {"name": use.name, "language": language, **({"components": components} if components else {})}


def _components(use: TemplateUse, media: Sequence[Media]) -> Sequence[Fields]:
    shape = Shape.of(use)
    header: list[Fields] = [_text(name, value, shape.named) for name, value in shape.header_parameters]
    if media:
        kind = shape.media_header or kind_of(media[0]) or "document"
        header = [{"type": kind, kind: _link(media[0], kind)}]
    body = [_text(name, value, shape.named) for name, value in shape.body_parameters]
    return [
        *([{"type": "header", "parameters": header}] if header else []),
        *([{"type": "body", "parameters": body}] if body else []),
        *(_button(index, kind, value) for index, kind, value in shape.button_parameters),
    ]


def _text(name: str, value: str, named: bool) -> Fields:
    return {"type": "text", **({"parameter_name": name} if named else {}), "text": value}


def _button(index: str, kind: ButtonKind, value: str) -> Fields:
    parameter = {
        "url": {"type": "text", "text": value},
        "copy_code": {"type": "coupon_code", "coupon_code": value},
    }[kind]
    return {"type": "button", "sub_type": kind, "index": index, "parameters": [parameter]}


def refusal(message: Outbound) -> Rejected | None:
    """What is known beforehand to be wrong."""
    if message.template is not None:
        return _refuse_template(message.template, message.media)
    if message.media:
        return _refuse_file(message)
    if not message.text:
        return Rejected(Code.CONTENT, "There is neither a text nor a file to send")
    if len(message.text) > TEXT_MAX:
        reason = f"WhatsApp takes at most {TEXT_MAX:,} characters, this text has {len(message.text):,}"
        return Rejected(Code.TOO_LONG, reason)
    return None


def _refuse_file(message: Outbound) -> Rejected | None:
    if len(message.media) > 1:
        return Rejected(Code.MEDIA, f"WhatsApp takes one file in a message, this one has {len(message.media)}")
    media, kind, text = message.media[0], kind_of(message.media[0]), message.text or ""
    if kind is not None and text and kind not in CAPTIONED:
        return Rejected(Code.CONTENT, "WhatsApp shows no text under a sticker or a recording: send it by itself")
    if len(text) > CAPTION_MAX:
        reason = f"WhatsApp takes at most {CAPTION_MAX:,} characters under a file, this text has {len(text):,}"
        return Rejected(Code.TOO_LONG, reason)
    return _refuse_media(media, kind)


def _refuse_media(media: Media, kind: Kind | None) -> Rejected | None:
    if not media.url.lower().startswith(("https://", "http://")):
        return Rejected(Code.MEDIA, "WhatsApp fetches files from http and https URLs only")
    if kind is None:
        return Rejected(Code.MEDIA, f"{TAKEN}, this file is {content_type(media)}")
    limit = SIZE_MAX[kind]
    if media.size is not None and media.size > limit:
        reason = f"WhatsApp takes files of the kind {kind} up to {limit:,} bytes, this one has {media.size:,}"
        return Rejected(Code.MEDIA, reason)
    return None


def _refuse_template(use: TemplateUse, media: Sequence[Media]) -> Rejected | None:
    shape = Shape.of(use)
    if shape.unsupported is not None:
        return Rejected(Code.TEMPLATE, f"The template {use.name} has a part that we cannot fill: {shape.unsupported}")
    for name, value in use.parameters.items():
        if not value.strip():
            return Rejected(Code.TEMPLATE, f"The parameter {name!r} of the template {use.name} is empty")
        if len(value) > PARAMETER_MAX:
            reason = f"A parameter has at most {PARAMETER_MAX:,} characters, {name!r} of {use.name} has {len(value):,}"
            return Rejected(Code.TEMPLATE, reason)
        if UNFIT_IN_PARAMETER.search(value):
            reason = (
                f"A parameter has no line break, tab, or more than four spaces in a row: {name!r} of {use.name} has"
            )
            return Rejected(Code.TEMPLATE, reason)
    return _refuse_header(use, shape, media)


def _refuse_header(use: TemplateUse, shape: Shape, media: Sequence[Media]) -> Rejected | None:
    wanted = shape.media_header
    if wanted is None:
        # Without knowledge of the template (no details) the file is handed on: Meta will say.
        return Rejected(Code.MEDIA, f"The template {use.name} takes no file") if media and shape.known else None
    if len(media) != 1:
        return Rejected(Code.MEDIA, f"The template {use.name} begins with one file ({wanted}), here: {len(media)}")
    given, kind = content_type(media[0]), kind_of(media[0])
    if kind is None or given is None or kind == wanted:
        return _refuse_media(media[0], kind and wanted)
    return Rejected(Code.MEDIA, f"The template {use.name} begins with a file of the kind {wanted}, not {given}")
