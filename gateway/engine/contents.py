"""From a message as it was asked for to content that can be sent, with everything that is wrong with it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import msgspec

from gateway.contract import Code, FileRefused, FileUnavailable, Media, Outbound, TemplateUse
from gateway.core.address import plain_email
from gateway.core.content import MediaContent, MessageContent, TemplateContent
from gateway.core.template import MissingVariable, Renderer, Template, TemplateFault
from gateway.engine.action_requests import ContentRequest, MessageRequest
from gateway.engine.catalogue import Catalogue, Sender
from gateway.engine.findings import Findings
from gateway.engine.provider_templates import ProviderTemplates
from gateway.engine.rendering import OUTPUT_CHARACTERS_MAX, PARAMETER_CHARACTERS_MAX, SUBJECT_CHARACTERS_MAX
from gateway.errors import Refused

MEDIA_MAX: Final = 10  # URLs in one message; no provider takes more
CATEGORY_CHARACTERS_MAX: Final = 100
VARIABLES_BYTES_MAX: Final = 64 * 1024  # JSON of a message's own variables: it is read again for each recipient
DEFAULT_CATEGORY: Final = "general"
TEMPLATE_OVERRIDE: Final = "messaging.template_override"  # the permission to use one that is not approved

_CATEGORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LINE_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_STAND_IN: Final = "x"  # for a variable while the others' absence is tried out
_ABOUT: Final = {Code.MEDIA: "media", Code.TEMPLATE: "template"}

Describe = Callable[[str], Awaitable[Media]]
"""What a file's server says of it: `gateway.files.FileFetcher.describe`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedContent:
    """Content that compiles, its sender, and the variables without which it cannot be rendered for anybody."""

    content: MessageContent
    sender: Sender
    required: frozenset[str]


class Contents:
    """Reads the messages that callers ask for. One for the life of the daemon; it keeps nothing."""

    def __init__(
        self, catalogue: Catalogue, renderer: Renderer, templates: ProviderTemplates, describe: Describe
    ) -> None:
        self._catalogue = catalogue
        self._renderer = renderer
        self._templates = templates
        self._describe = describe

    async def read(
        self,
        asked: ContentRequest,
        org: str,
        found: Findings,
        *,
        bulk: bool,
        at: str = "/message",
        any_template: bool = False,
    ) -> CheckedContent | None:
        """The content, or None with the reasons in `found`.

        `bulk`: where a channel may insist on a template. `at`: the pointer of the message in the request.
        `any_template`: also one that is not approved.
        """
        before = len(found.problems)
        sender = self._sender(asked, org, found, at)
        _check_texts(asked, found, at)
        _check_rest(asked, found, at)
        if sender is not None:
            _check_channel(asked, sender, found, at, bulk=bulk)
        compiled = self._compile(asked, found, at)
        if sender is None or len(found.problems) > before:
            return None
        template = await self._template(asked, sender, found, at, any_template)
        media = await self._media(asked, found, at)
        if len(found.problems) > before:
            return None
        content = _content(asked, sender, template, media)
        compiled |= self._compile_parameters(content, found, at)
        if len(found.problems) == before:
            _check_adapter(content, sender, compiled, found, at)
        if len(found.problems) > before:
            return None
        required = frozenset().union(*map(_required, compiled.values())) - asked.variables.keys()
        return CheckedContent(content=content, sender=sender, required=required)

    def _sender(self, asked: ContentRequest, org: str, found: Findings, at: str) -> Sender | None:
        try:
            return self._catalogue.sender_for(org, asked.channel, asked.sender)
        except Refused as refused:
            found.refused(f"{at}/channel" if refused.code == "unknown_channel" else f"{at}/sender", refused)
            return None

    def _compile(self, asked: ContentRequest, found: Findings, at: str) -> dict[str, Template]:
        sources = {"subject": asked.subject, "body": asked.body, "html": asked.html}
        limits = {"subject": SUBJECT_CHARACTERS_MAX}
        compiled: dict[str, Template] = {}
        for name, source in sources.items():
            if source is not None:
                output_max = limits.get(name, OUTPUT_CHARACTERS_MAX)
                self._compile_one(compiled, name, source, output_max, found, f"{at}/{name}")
        return compiled

    def _compile_parameters(self, content: MessageContent, found: Findings, at: str) -> dict[str, Template]:
        compiled: dict[str, Template] = {}
        for name, source in (content.template.parameters if content.template else {}).items():
            pointer = f"{at}/parameters/{name}"
            self._compile_one(compiled, f"parameter {name}", source, PARAMETER_CHARACTERS_MAX, found, pointer)
        return compiled

    def _compile_one(
        self, compiled: dict[str, Template], name: str, source: str, output_max: int, found: Findings, pointer: str
    ) -> None:
        try:
            compiled[name] = self._renderer.compile(source, output_max, html=name == "html")
        except TemplateFault as fault:
            found.problem(pointer, f"Line {fault.line}: {fault.detail}" if fault.line else fault.detail)

    async def _template(
        self, asked: ContentRequest, sender: Sender, found: Findings, at: str, any_template: bool
    ) -> tuple[TemplateContent, str | None] | None:
        """The template with its parameters, and its own category."""
        if asked.template is None:
            for name in ("parameters", "language"):
                if getattr(asked, name):
                    found.problem(f"{at}/{name}", "It belongs to a template, and there is none.")
            return None
        return await self._templates.chosen(asked, sender, found, at, any_template=any_template)

    async def _media(self, asked: ContentRequest, found: Findings, at: str) -> tuple[MediaContent, ...]:
        described = await asyncio.gather(*map(self._describe, asked.media), return_exceptions=True)
        media = []
        for index, (url, traits) in enumerate(zip(asked.media, described, strict=True)):
            match traits:
                case Media():
                    media.append(MediaContent(url=url, content_type=traits.content_type, size=traits.size))
                case FileRefused():
                    found.problem(f"{at}/media/{index}", str(traits), Code.MEDIA.value)
                case FileUnavailable():
                    found.warn("media_unavailable", f"{traits}; it is sent all the same.")
                    media.append(MediaContent(url=url))
                case _:
                    raise traits
        return tuple(media)


def check_names(label: str | None, requested_by: str | None, found: Findings) -> None:
    """Both are shown in lists, notices and logs: one line each."""
    for name, text in (("label", label), ("requested_by", requested_by)):
        if text is not None and _LINE_CONTROLS.search(text):
            found.problem(f"/{name}", "It must be one line, without control characters.")


def _content(
    asked: ContentRequest,
    sender: Sender,
    template: tuple[TemplateContent, str | None] | None,
    media: tuple[MediaContent, ...],
) -> MessageContent:
    chosen, own_category = template if template is not None else (None, None)
    return MessageContent(
        channel=asked.channel,
        sender=sender.name,
        subject=asked.subject,
        body=asked.body,
        html=asked.html,
        template=chosen,
        variables=asked.variables,
        media=media,
        reply_to=asked.reply_to,
        category=asked.category or own_category or DEFAULT_CATEGORY,
        on_duplicate_address=asked.on_duplicate_address if isinstance(asked, MessageRequest) else "send",
    )


def _check_texts(asked: ContentRequest, found: Findings, at: str) -> None:
    """What is wrong with the texts whatever the channel."""
    for name in ("body", "html"):
        text = getattr(asked, name)
        if text is not None and _CONTROLS.search(text):
            found.problem(f"{at}/{name}", "It contains a control character; only tabs and line ends are allowed.")
        if text is not None and not text.strip():
            found.problem(f"{at}/{name}", "It is empty: leave it out.")
    if asked.subject is not None and _LINE_CONTROLS.search(asked.subject):
        found.problem(f"{at}/subject", "A subject is one line, without control characters.")


def _check_rest(asked: ContentRequest, found: Findings, at: str) -> None:
    """What is wrong with everything else whatever the channel."""
    category = asked.category or DEFAULT_CATEGORY
    if not _CATEGORY.fullmatch(category) or len(category) > CATEGORY_CHARACTERS_MAX:
        found.problem(f"{at}/category", "Write letters, digits, '_', '-' and '.', at most 100 of them.")
    if category == "all":
        found.problem(f"{at}/category", "'all' stands for every category in opt-outs; no message is of it.")
    if len(msgspec.json.encode(asked.variables)) > VARIABLES_BYTES_MAX:
        found.problem(f"{at}/variables", f"The variables are over {VARIABLES_BYTES_MAX:,} bytes.")
    if len(asked.media) > MEDIA_MAX:
        found.problem(f"{at}/media", f"{len(asked.media)} URLs are too many: at most {MEDIA_MAX}.")
    for index, url in enumerate(asked.media[:MEDIA_MAX]):
        if not _is_web_url(url):
            found.problem(f"{at}/media/{index}", f"{url!r} is no http or https URL.")


def _is_web_url(url: str) -> bool:
    if _LINE_CONTROLS.search(url) or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _check_channel(asked: ContentRequest, sender: Sender, found: Findings, at: str, *, bulk: bool) -> None:
    """What this channel takes, and what it insists on."""
    channel = sender.channel
    given = {"html": asked.html, "subject": asked.subject, "media": asked.media, "template": asked.template}
    for part, value in given.items():
        if value and part not in channel.takes:
            found.problem(f"{at}/{part}", f"{channel.title} takes no {part}.")
    if bulk and channel.template_required and not asked.template:
        detail = f"{channel.title} takes nothing but approved templates in bulk: name one."
        found.problem(f"{at}/template", detail, "template_required")
    elif not (asked.body or asked.html or asked.template or asked.media):
        takes = [
            name
            for kind, name in (("text", "body"), ("html", "html"), ("template", "template"))
            if kind in channel.takes
        ]
        found.problem(at or "/body", f"There is nothing to send: give {' or '.join(takes)}.")
    if asked.template is not None and (asked.body is not None or asked.html is not None):
        found.problem(f"{at}/template", "Give a text or a template, not both.")
    _check_reply_to(asked, sender, found, at)


def _check_reply_to(asked: ContentRequest, sender: Sender, found: Findings, at: str) -> None:
    if asked.reply_to is None:
        return
    if sender.channel.conversations:
        found.problem(f"{at}/reply_to", f"Answers on {sender.channel.title} come to the sender itself.")
        return
    try:
        plain_email(asked.reply_to)
    except ValueError as exc:
        found.problem(f"{at}/reply_to", str(exc))


def _check_adapter(
    content: MessageContent, sender: Sender, compiled: Mapping[str, Template], found: Findings, at: str
) -> None:
    """What the adapter refuses whatever the recipients' own values are: each of them a single letter."""
    try:
        texts = {
            name: template.render(dict.fromkeys(template.variables, _STAND_IN)) for name, template in compiled.items()
        }
    except (MissingVariable, TemplateFault):
        return  # a letter does not suit the template, such as where it loops over a list: nothing is known
    parameters = content.template.parameters if content.template else {}
    outbound = Outbound(
        ref="msg_0",
        attempt=1,
        to="",
        text=texts.get("body"),
        subject=texts.get("subject"),
        html=texts.get("html"),
        template=None
        if content.template is None
        else TemplateUse(
            content.template.name,
            content.template.language,
            {name: texts[f"parameter {name}"] for name in parameters},
            content.template.details,
        ),
        media=tuple(Media(url=one.url, content_type=one.content_type, size=one.size) for one in content.media),
        reply_to=content.reply_to,
    )
    rejected = sender.adapter.refuse(outbound)
    if rejected is not None:
        found.problem(f"{at}/{_ABOUT.get(rejected.code, 'body')}", rejected.reason, rejected.code.value)


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
