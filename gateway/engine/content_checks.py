"""What is wrong with a message as it was asked for, before any template of it is read."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from gateway.core.address import plain_email
from gateway.core.content import DEFAULT_CATEGORY
from gateway.engine.action_requests import ContentRequest
from gateway.engine.catalogue import Sender
from gateway.engine.findings import Findings

MEDIA_MAX: Final = 10  # URLs in one message; no provider takes more
CATEGORY_CHARACTERS_MAX: Final = 100
VARIABLES_BYTES_MAX: Final = 64 * 1024  # JSON of a message's own variables: it is read again for each recipient

_CATEGORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LINE_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def is_one_line(text: str) -> bool:
    """Whether a text can be shown in lists, notices and logs: no line ends and no control characters."""
    return _LINE_CONTROLS.search(text) is None


def check_names(label: str | None, requested_by: str | None, found: Findings) -> None:
    """Both are shown in lists, notices and logs: one line each."""
    for name, text in (("label", label), ("requested_by", requested_by)):
        if text is not None and not is_one_line(text):
            found.problem(f"/{name}", "It must be one line, without control characters.")


def check_texts(asked: ContentRequest, found: Findings, at: str) -> None:
    """What is wrong with the texts whatever the channel."""
    for name in ("body", "html"):
        text = getattr(asked, name)
        if text is not None and _CONTROLS.search(text):
            found.problem(f"{at}/{name}", "It contains a control character; only tabs and line ends are allowed.")
        if text is not None and not text.strip():
            found.problem(f"{at}/{name}", "It is empty: leave it out.")
    if asked.subject is not None and not is_one_line(asked.subject):
        found.problem(f"{at}/subject", "A subject is one line, without control characters.")


def category_fault(category: str) -> str | None:
    """Why no message can be of this category; None if one can."""
    if _CATEGORY.fullmatch(category) and len(category) <= CATEGORY_CHARACTERS_MAX:
        return None
    return f"Write letters, digits, '_', '-' and '.', at most {CATEGORY_CHARACTERS_MAX} of them."


def check_rest(asked: ContentRequest, found: Findings, at: str) -> None:
    """What is wrong with everything else whatever the channel."""
    fault = category_fault(asked.category or DEFAULT_CATEGORY)
    if fault is not None:
        found.problem(f"{at}/category", fault)
    if asked.category == "all":
        found.problem(f"{at}/category", "'all' stands for every category in opt-outs; no message is of it.")
    if len(msgspec.json.encode(asked.variables)) > VARIABLES_BYTES_MAX:
        found.problem(f"{at}/variables", f"The variables are over {VARIABLES_BYTES_MAX:,} bytes.")
    if len(asked.media) > MEDIA_MAX:
        found.problem(f"{at}/media", f"{len(asked.media)} URLs are too many: at most {MEDIA_MAX}.")
    for index, url in enumerate(asked.media[:MEDIA_MAX]):
        if not _is_web_url(url):
            found.problem(f"{at}/media/{index}", f"{url!r} is no http or https URL.")


def _is_web_url(url: str) -> bool:
    if not is_one_line(url) or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def check_channel(asked: ContentRequest, sender: Sender, found: Findings, at: str, *, bulk: bool) -> None:
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
