"""How to leave, on every message that goes to many: the link under a mail, its header fields, a line under a text.

Sources: RFC 2369 (List-Unsubscribe), RFC 8058 (one click); CAN-SPAM wants a way out in every commercial mail.
"""

from __future__ import annotations

import re
from html import escape
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from gateway import ContentFacts, ContentPolicy, Outbound

EMAIL: Final = "email"
URL: Final = "{url}"
ORG: Final = "{org}"
ONE_CLICK: Final = "List-Unsubscribe=One-Click"

Line = Annotated[str, Meta(min_length=1, max_length=500)]
_END_OF_BODY: Final = re.compile(r"</body\s*>", re.IGNORECASE)
_FIELDS: Final = frozenset({"list-unsubscribe", "list-unsubscribe-post"})


class FooterSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table `[plugins.unsubscribe]`."""

    link_text: Line = "Unsubscribe"
    """What the link under a mail says."""
    address: Line | None = None
    """Your postal address, under every mail: some laws want it."""
    footers: dict[Annotated[str, Meta(min_length=1)], Line] = {}
    """A last line for texts on other channels: { sms = "Reply STOP to opt out" }. `{org}` and `{url}` are filled in."""
    exempt: tuple[Annotated[str, Meta(min_length=1)], ...] = ("transactional",)
    """Categories of messages that get neither: what people have asked for cannot be left."""
    headers: bool = True
    """False: no List-Unsubscribe fields."""


class Footers(ContentPolicy[FooterSettings]):
    """Adds them to what goes out in bulk. A text that shows `unsubscribe_url` itself gets no second link."""

    name = "unsubscribe"
    settings_type = FooterSettings

    def finish(self, message: Outbound, facts: ContentFacts) -> Outbound:
        if facts.source not in ("bulk_action", "campaign") or facts.category in self.settings.exempt:
            return message
        if facts.channel == EMAIL:
            return self._mail(message, facts)
        footer = self.settings.footers.get(facts.channel)
        if footer is None or not message.text or (URL in footer and facts.unsubscribe_url is None):
            return message
        line = footer.replace(ORG, facts.title).replace(URL, facts.unsubscribe_url or "")
        return msgspec.structs.replace(message, text=f"{message.text}\n{line}")

    def _mail(self, message: Outbound, facts: ContentFacts) -> Outbound:
        url = facts.unsubscribe_url
        lines = [] if self.settings.address is None else [self.settings.address]
        linked = url is not None and not facts.links_itself
        text, html = message.text, message.html
        if text is not None and (lines or linked):
            shown = [*lines, *([f"{self.settings.link_text}: {url}"] if linked else [])]
            text = f"{text.rstrip()}\n\n-- \n" + "\n".join(shown) + "\n"
        if html is not None and (lines or linked):
            html = _with_footer(html, [escape(line) for line in lines] + ([self._link(url)] if linked and url else []))
        return msgspec.structs.replace(message, text=text, html=html, headers=self._headers(message, url))

    def _link(self, url: str) -> str:
        return f'<a href="{escape(url)}">{escape(self.settings.link_text)}</a>'

    def _headers(self, message: Outbound, url: str | None) -> dict[str, str]:
        """A message that brings a field of its own has said all that there is to say."""
        given = dict(message.headers)
        if not self.settings.headers or url is None or _FIELDS & {name.lower() for name in given}:
            return given
        given["List-Unsubscribe"] = f"<{url}>"
        if url.startswith("https://"):  # RFC 8058 3.1: one click is for https alone
            given["List-Unsubscribe-Post"] = ONE_CLICK
        return given


def _with_footer(html: str, lines: list[str]) -> str:
    footer = f'<p style="font-size:small">{"<br>".join(lines)}</p>'
    ends = list(_END_OF_BODY.finditer(html))
    if not ends:
        return html + footer
    return html[: ends[-1].start()] + footer + html[ends[-1].start() :]
