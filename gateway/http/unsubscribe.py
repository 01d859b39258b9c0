"""`/u/{token}`: the door for people who want to leave. It takes no key; the link itself is the proof.

GET shows a page and changes nothing: mail scanners and link previews fetch every link. POST leaves, without asking back
and without a redirect; it is what the page's buttons do, and what mail programs do for one click (RFC 8058).
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.core.links import TOKEN_CHARACTERS
from gateway.engine.unsubscribing import Offer, Scope, Unsubscribing
from gateway.http.reading import BodyReader, HttpLimits

PATH: Final = "/u/{token}"
BODY_BYTES_MAX: Final = 8 * 1024  # one field of a form
FIELDS_MAX: Final = 10

_STYLE: Final = (
    "body{font:1.1em/1.5 system-ui,sans-serif;max-width:32em;margin:12vh auto;padding:0 1em}"
    "button{font:inherit;padding:.6em 1.2em;margin:.3em 0;display:block}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "Cache-Control": "no-store",
    # Nothing is loaded or run; this one style, by its hash, and no other is applied (CSP level 2, 8.2).
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Server": "dripgate",
}
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{style}</style></head>
<body><h1>{title}</h1>{content}</body></html>
"""
_FORM: Final = '<form method="post"><button name="scope" value="{value}">{label}</button></form>'


class UnsubscribeDoor:
    """The handlers of the path."""

    def __init__(self, unsubscribing: Unsubscribing, limits: HttpLimits | None = None) -> None:
        self._unsubscribing = unsubscribing
        self._reader = BodyReader(limits or HttpLimits())

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Register the path."""
        router.add_get(PATH, self.show)
        router.add_post(PATH, self.leave)

    async def show(self, request: web.Request) -> web.StreamResponse:
        """The page with its buttons; nothing is changed."""
        offer = await self._unsubscribing.offer(_token(request))
        return _unknown() if offer is None else _page(200, "Unsubscribe", _question(offer))

    async def leave(self, request: web.Request) -> web.StreamResponse:
        """Leave. Refused: the form is too large or too slow."""
        scope = _scope(request, await self._reader.raw(request, BODY_BYTES_MAX))
        offer = await self._unsubscribing.leave(_token(request), scope)
        return _unknown() if offer is None else _page(200, "Unsubscribed", _goodbye(offer, scope))


def _token(request: web.Request) -> str:
    return request.match_info["token"][: TOKEN_CHARACTERS + 1]


def _scope(request: web.Request, body: bytes) -> Scope:
    """What was clicked. Only our own page asks for everything; a mail program's one click says nothing of the kind.

    Who clicked has clicked, whatever their program made of the form: RFC 8058 3.1 knows two spellings of it.
    """
    if request.content_type != "application/x-www-form-urlencoded":
        return "this"
    try:
        fields = dict(parse_qsl(body.decode("utf-8", "replace"), max_num_fields=FIELDS_MAX))
    except ValueError:
        return "this"
    return "all" if fields.get("scope") == "all" else "this"


def _question(offer: Offer) -> str:
    from_whom = f" from {escape(offer.title)}" if offer.title else ""
    everything = f"Stop all messages by {escape(offer.channel)}{from_whom}"
    if offer.category is None:
        return f"<p>Do you want no more messages by {escape(offer.channel)}{from_whom}?</p>" + _button(
            "all", everything
        )
    some = f"Stop only messages of the kind “{escape(offer.category)}”"
    return f"<p>Which messages{from_whom} do you want no more?</p>" + _button("this", some) + _button("all", everything)


def _button(value: Scope, label: str) -> str:
    return _FORM.format(value=value, label=label)


def _goodbye(offer: Offer, scope: Scope) -> str:
    from_whom = f" from {escape(offer.title)}" if offer.title else ""
    if scope == "this" and offer.category is not None:
        return f"<p>You will get no more messages of the kind “{escape(offer.category)}”{from_whom}.</p>" + _button(
            "all", f"Stop all messages by {escape(offer.channel)}"
        )
    return f"<p>You will get no more messages by {escape(offer.channel)}{from_whom}.</p>"


def _unknown() -> web.Response:
    return _page(
        404,
        "This link is not valid",
        "<p>It may have been cut off, or be very old. Open it from the message once more, or answer the message.</p>",
    )


def _page(status: int, title: str, content: str) -> web.Response:
    return web.Response(
        status=status,
        text=_PAGE.format(title=title, style=_STYLE, content=content),
        content_type="text/html",
        headers=_HEADERS,
    )
