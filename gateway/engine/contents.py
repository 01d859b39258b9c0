"""From a message as it was asked for to content that can be sent, with everything that is wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.contract import Code, FileRefused, FileUnavailable, Media, Outbound, TemplateUse
from gateway.core.content import DEFAULT_CATEGORY, MediaContent, MessageContent, TemplateContent
from gateway.core.message_template import ChosenTemplate, MessageTemplateUse
from gateway.core.plain_text import plain_text_of
from gateway.core.template import MissingVariable, Renderer, Template, TemplateFault
from gateway.engine.action_requests import ContentRequest, MessageRequest
from gateway.engine.catalogue import Catalogue, Sender
from gateway.engine.content_checks import check_channel, check_rest, check_texts
from gateway.engine.findings import Findings
from gateway.engine.message_templates import MessageTemplates, filled_in
from gateway.engine.provider_templates import ProviderTemplates
from gateway.engine.rendering import OUTPUT_CHARACTERS_MAX, PARAMETER_CHARACTERS_MAX, SUBJECT_CHARACTERS_MAX
from gateway.errors import Refused

TEMPLATE_OVERRIDE: Final = "messaging.template_override"  # the permission to use one that is not approved

_STAND_IN: Final = "x"  # for a variable while the others' absence is tried out
_ABOUT: Final = {Code.MEDIA: "media", Code.TEMPLATE: "template"}

Describe = Callable[[str], Awaitable[Media]]
"""What a file's server says of it: `gateway.files.FileFetcher.describe`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedContent:
    """Content that compiles, and its sender.

    `variables`: every name that it uses; `required`: those without which it cannot be rendered for anybody.
    """

    content: MessageContent
    sender: Sender
    variables: frozenset[str]
    required: frozenset[str]


class Contents:
    """Reads the messages that callers ask for. One for the life of the daemon; it keeps nothing."""

    def __init__(
        self,
        catalogue: Catalogue,
        renderer: Renderer,
        templates: ProviderTemplates,
        message_templates: MessageTemplates,
        describe: Describe,
        supplied: frozenset[str] = frozenset(),
    ) -> None:
        """`supplied`: variables that every message brings with it."""
        self._catalogue = catalogue
        self._renderer = renderer
        self._templates = templates
        self._message_templates = message_templates
        self._describe = describe
        self._supplied = supplied

    async def read(
        self,
        asked: ContentRequest,
        org: str,
        found: Findings,
        *,
        bulk: bool,
        at: str = "/message",
        any_template: bool = False,
        chosen: ChosenTemplate | None = None,
    ) -> CheckedContent | None:
        """The content, or None with the reasons in `found`.

        `bulk`: where a channel may insist on a template. `at`: the pointer of the message in the request.
        `any_template`: also one that is not approved. `chosen`: the version that is meant by its template's id, in the
        place of the one in use.
        """
        before = len(found.problems)
        sender = self._sender(asked, org, found, at)
        check_texts(asked, found, at)
        check_rest(asked, found, at)
        texts = len(found.problems)
        use = None
        if sender is not None and asked.template is not None:
            if chosen is None or asked.template != chosen.id:
                chosen = await self._message_templates.chosen(asked, sender, found, at, any_template=any_template)
            if chosen is not None:
                asked, use = filled_in(asked, chosen, found, at)
            if len(found.problems) > texts:
                return None
        return await self._read(asked, sender, use, found, at, before, bulk=bulk, any_template=any_template)

    async def check_version(
        self, asked: ContentRequest, org: str, found: Findings, *, any_template: bool
    ) -> CheckedContent | None:
        """What a version of a template of ours comes to; what it names as a template is the provider's."""
        before = len(found.problems)
        sender = self._sender(asked, org, found, "")
        check_texts(asked, found, "")
        check_rest(asked, found, "")
        return await self._read(asked, sender, None, found, "", before, bulk=False, any_template=any_template)

    async def _read(
        self,
        asked: ContentRequest,
        sender: Sender | None,
        use: MessageTemplateUse | None,
        found: Findings,
        at: str,
        before: int,
        *,
        bulk: bool,
        any_template: bool,
    ) -> CheckedContent | None:
        if sender is not None:
            check_channel(asked, sender, found, at, bulk=bulk)
        compiled = self._compile(asked, found, at)
        if sender is None or len(found.problems) > before:
            return None
        template = await self._template(asked, sender, found, at, any_template)
        media = await self._media(asked, found, at)
        if len(found.problems) > before:
            return None
        plain_text = self._plain_text(asked, sender, compiled, found)
        content = _content(asked, sender, template, media, plain_text, use)
        compiled |= self._compile_parameters(content, found, at)
        if len(found.problems) == before:
            _check_adapter(content, sender, compiled, found, at)
        if len(found.problems) > before:
            return None
        variables = frozenset().union(*(one.variables for one in compiled.values())) - self._supplied
        required = frozenset().union(*map(_required, compiled.values())) - asked.variables.keys() - self._supplied
        return CheckedContent(content=content, sender=sender, variables=variables, required=required)

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

    def _plain_text(
        self, asked: ContentRequest, sender: Sender, compiled: dict[str, Template], found: Findings
    ) -> str | None:
        """The text beside HTML alone, where the channel has a place for one; it is compiled too."""
        if asked.html is None or asked.body is not None or "text" not in sender.channel.takes:
            return None
        try:
            source = plain_text_of(asked.html)
            if source:
                compiled["body"] = self._renderer.compile(source, OUTPUT_CHARACTERS_MAX)
        except TemplateFault as fault:
            found.warn("no_plain_text", f"No plain text could be made of the HTML: give a `body`. {fault.detail}")
            return None
        return source or None

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
            template = self._renderer.compile(source, output_max, html=name == "html")
            if not template.variables:
                template.render(
                    {}
                )  # it is the same for everybody: what fails once, such as too long a loop, always does
            compiled[name] = template
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


def _content(
    asked: ContentRequest,
    sender: Sender,
    template: tuple[TemplateContent, str | None] | None,
    media: tuple[MediaContent, ...],
    plain_text: str | None,
    use: MessageTemplateUse | None,
) -> MessageContent:
    chosen, own_category = template if template is not None else (None, None)
    return MessageContent(
        channel=asked.channel,
        sender=sender.name,
        subject=asked.subject,
        body=asked.body,
        html=asked.html,
        plain_text=plain_text,
        template=chosen,
        message_template=use,
        variables=asked.variables,
        media=media,
        reply_to=asked.reply_to,
        category=asked.category or own_category or DEFAULT_CATEGORY,
        on_duplicate_address=asked.on_duplicate_address if isinstance(asked, MessageRequest) else "send",
    )


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
