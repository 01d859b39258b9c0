"""From a message as it was asked for to content that can be sent, with everything that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

import msgspec

from gateway.contract import Adapter
from gateway.core.address import plain_email
from gateway.core.content import MessageContent
from gateway.core.template import MissingVariable, Renderer, Template, TemplateFault
from gateway.engine.action_requests import MessageRequest
from gateway.engine.catalogue import Catalogue, Sender
from gateway.engine.findings import Findings
from gateway.engine.rendering import OUTPUT_CHARACTERS_MAX, SUBJECT_CHARACTERS_MAX
from gateway.errors import Refused

MEDIA_MAX: Final = 10  # URLs in one message; no provider takes more
CATEGORY_CHARACTERS_MAX: Final = 100
VARIABLES_BYTES_MAX: Final = 64 * 1024  # JSON of a message's own variables: it is read again for each recipient

_CATEGORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LINE_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_STAND_IN: Final = "x"  # for a variable while the others' absence is tried out


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedContent:
    """Content that compiles, its sender, and the variables without which it cannot be rendered for anybody."""

    content: MessageContent
    sender: Sender
    required: frozenset[str]


def read_content(
    asked: MessageRequest, org: str, catalogue: Catalogue, renderer: Renderer, found: Findings, *, bulk: bool
) -> CheckedContent | None:
    """The content, or None with the reasons in `found`. `bulk`: where a channel may insist on a template."""
    before = len(found.problems)
    sender = _sender(asked, org, catalogue, found)
    _check_texts(asked, found)
    _check_rest(asked, found)
    if sender is not None:
        _check_channel(asked, sender, found, bulk=bulk)
    templates = _compile(asked, renderer, found)
    if sender is None or len(found.problems) > before:
        return None
    content = replace(msgspec.convert(asked, MessageContent, from_attributes=True), sender=sender.name)
    required = frozenset().union(*(_required(template) for template in templates)) - asked.variables.keys()
    return CheckedContent(content=content, sender=sender, required=required)


def check_names(label: str | None, requested_by: str | None, found: Findings) -> None:
    """Both are shown in lists, notices and logs: one line each."""
    for name, text in (("label", label), ("requested_by", requested_by)):
        if text is not None and _LINE_CONTROLS.search(text):
            found.problem(f"/{name}", "It must be one line, without control characters.")


def charges_by_unit(sender: Sender) -> bool:
    """Whether the provider counts something finer than messages, such as segments of an SMS."""
    return type(sender.adapter).cost is not Adapter.cost


def _sender(asked: MessageRequest, org: str, catalogue: Catalogue, found: Findings) -> Sender | None:
    try:
        return catalogue.sender_for(org, asked.channel, asked.sender)
    except Refused as refused:
        about = "/message/channel" if refused.code == "unknown_channel" else "/message/sender"
        found.refused(about, refused)
        return None


def _check_texts(asked: MessageRequest, found: Findings) -> None:
    """What is wrong with the texts whatever the channel."""
    for name in ("body", "html"):
        text = getattr(asked, name)
        if text is not None and _CONTROLS.search(text):
            found.problem(f"/message/{name}", "It contains a control character; only tabs and line ends are allowed.")
        if text is not None and not text.strip():
            found.problem(f"/message/{name}", "It is empty: leave it out.")
    if asked.subject is not None and _LINE_CONTROLS.search(asked.subject):
        found.problem("/message/subject", "A subject is one line, without control characters.")


def _check_rest(asked: MessageRequest, found: Findings) -> None:
    """What is wrong with everything else whatever the channel."""
    if not _CATEGORY.fullmatch(asked.category) or len(asked.category) > CATEGORY_CHARACTERS_MAX:
        found.problem("/message/category", "Write letters, digits, '_', '-' and '.', at most 100 of them.")
    if asked.category == "all":
        found.problem("/message/category", "'all' stands for every category in opt-outs; no message is of it.")
    if len(msgspec.json.encode(asked.variables)) > VARIABLES_BYTES_MAX:
        found.problem("/message/variables", f"The variables are over {VARIABLES_BYTES_MAX:,} bytes.")
    if len(asked.media) > MEDIA_MAX:
        found.problem("/message/media", f"{len(asked.media)} URLs are too many: at most {MEDIA_MAX}.")
    for index, url in enumerate(asked.media[:MEDIA_MAX]):
        if not _is_web_url(url):
            found.problem(f"/message/media/{index}", f"{url!r} is no http or https URL.")


def _is_web_url(url: str) -> bool:
    if _LINE_CONTROLS.search(url) or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _check_channel(asked: MessageRequest, sender: Sender, found: Findings, *, bulk: bool) -> None:
    """What this channel takes, and what it insists on."""
    channel = sender.channel
    given = {"html": asked.html, "subject": asked.subject, "media": asked.media, "template": asked.template}
    for part, value in given.items():
        if value and part not in channel.takes:
            found.problem(f"/message/{part}", f"{channel.title} takes no {part}.")
    if bulk and channel.template_required and not asked.template:
        detail = f"{channel.title} takes nothing but approved templates in bulk: name one."
        found.problem("/message/template", detail, "template_required")
    elif not (asked.body or asked.html or asked.template or asked.media):
        texts = "body, html or template" if "html" in channel.takes else "body or template"
        found.problem("/message", f"There is nothing to send: give {texts}.")
    if asked.template is not None and (asked.body is not None or asked.html is not None):
        found.problem("/message/template", "Give a text or a template, not both.")
    if asked.template and "template" in channel.takes:
        found.problem("/message/template", f"There is no template {asked.template!r}.")
    _check_reply_to(asked, sender, found)


def _check_reply_to(asked: MessageRequest, sender: Sender, found: Findings) -> None:
    if asked.reply_to is None:
        return
    if sender.channel.conversations:
        found.problem("/message/reply_to", f"Answers on {sender.channel.title} come to the sender itself.")
        return
    try:
        plain_email(asked.reply_to)
    except ValueError as exc:
        found.problem("/message/reply_to", str(exc))


def _compile(asked: MessageRequest, renderer: Renderer, found: Findings) -> list[Template]:
    limits = {"subject": SUBJECT_CHARACTERS_MAX, "body": OUTPUT_CHARACTERS_MAX, "html": OUTPUT_CHARACTERS_MAX}
    templates = []
    for name, output_max in limits.items():
        source = getattr(asked, name)
        if source is None:
            continue
        try:
            templates.append(renderer.compile(source, output_max, html=name == "html"))
        except TemplateFault as fault:
            found.problem(f"/message/{name}", f"Line {fault.line}: {fault.detail}" if fault.line else fault.detail)
    return templates


def _required(template: Template) -> frozenset[str]:
    """The variables without which this template cannot be rendered: leave each one out and see.

    What a default stands for, or what is only looked at, is not among them.
    """
    values: Mapping[str, str] = dict.fromkeys(template.variables, _STAND_IN)
    required = set()
    for name in template.variables:
        try:
            template.render({other: value for other, value in values.items() if other != name})
        except MissingVariable as missing:
            required.add(missing.name)
        # A stand-in may not suit the template, such as a text where it loops over a list: then nothing is known.
        except TemplateFault:
            continue
    return frozenset(required & template.variables)
