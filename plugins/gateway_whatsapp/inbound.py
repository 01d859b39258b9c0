"""What people write: the messages in Meta's webhooks, of every kind.

Source: pywa 4.5.0, tests/data/updates, and nyaruka/courier, handlers/meta testdata, 2026-11.

| kind | read as |
|---|---|
| text | its text |
| button, interactive (a pressed button, a chosen row) | the title as text, the payload or id as button |
| interactive (a filled-in flow) | its text, and the answers as Meta's JSON |
| image, video, audio, document, sticker | the file by reference, its caption as text |
| location, contacts, order | lines of text |
| reaction | the emoji, as an answer to the message it stands under; one that is taken back is left out |
| edit | the new text: a person may correct a word into STOP |
| unsupported | a sentence that says so |
| system (another number, another id) | an automatic text: no reply, and no wish |
| revoke, and every kind that nobody knows | left out |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway import Inbound, Media
from gateway_whatsapp.values import Json, address, instant, mapping, mappings, provider_id, text

UNSUPPORTED: Final = "(a message of a kind that WhatsApp does not pass on)"
LINES_MAX: Final = 50  # of an order, or of shared contacts

_MEDIA_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_OWN_IDS: Final = ("from", "from_user_id", "from_parent_user_id")
_CONTACT_IDS: Final = ("wa_id", "user_id", "parent_user_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a message says. `quoted`: the provider id of the message that it is about, if that stands inside it."""

    text: str = ""
    button: str | None = None
    media: tuple[Media, ...] = ()
    quoted: str | None = None
    people: tuple[str, ...] = ()  # ids of the person, where the message itself has none
    automatic: bool = False


@dataclass(frozen=True, slots=True)
class People:
    """The `contacts` beside messages, by each of their ids: names, and other ids of the same person."""

    by_id: Mapping[str, Json] = field(default_factory=dict)
    only: Json | None = None  # of a webhook with one contact: whose message it is, if that does not say it

    @classmethod
    def of(cls, contacts: object) -> People:
        """From the list in a webhook, which may be missing."""
        known = mappings(contacts)
        by_id = {id: contact for contact in known for id in _addresses(contact, _CONTACT_IDS)}
        return cls(by_id, known[0] if len(known) == 1 else None)

    def find(self, ids: Sequence[str]) -> Json:
        """The contact with one of these ids; without ids the only one there is."""
        found = next((self.by_id[id] for id in ids if id in self.by_id), None)
        return mapping(found if ids else self.only)


def inbound_of(message: Json, people: People, media_url: str) -> Inbound | None:
    """One message; None for what is left out. `media_url`: where files are asked for by their ids."""
    id = provider_id(message.get("id"))
    content = content_of(message, media_url)
    if id is None or content is None:
        return None
    own = _addresses(message, _OWN_IDS) or content.people
    contact = people.find(own)
    ids = tuple(dict.fromkeys((*own, *_addresses(contact, _CONTACT_IDS))))
    if not ids:
        return None
    quoted = content.quoted or provider_id(mapping(message.get("context")).get("id"))
    return Inbound(
        provider_id=id,
        address=ids[0],
        aliases=ids[1:],
        text=content.text,
        at=instant(message.get("timestamp")),
        quotes=(quoted,) if quoted is not None else (),
        button=content.button,
        media=content.media,
        name=_name(mapping(contact.get("profile"))),
        automatic=content.automatic,
    )


def _addresses(holder: Json, names: Sequence[str]) -> tuple[str, ...]:
    found = (address(holder.get(name)) for name in names)
    return tuple(dict.fromkeys(one for one in found if one))


def _name(profile: Json) -> str | None:
    return text(profile.get("name")) or text(profile.get("username")) or None


def content_of(message: Json, media_url: str) -> Content | None:
    """What a message says; None for a kind that says nothing to us."""
    kind = message.get("type")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    return read(message.get(str(kind)), media_url) if read is not None else None


def _text(value: object, _: str) -> Content:
    return Content(text=text(mapping(value).get("body")))


def _button(value: object, _: str) -> Content:
    """A quick reply of a template."""
    said, payload = (text(mapping(value).get(name)) for name in ("text", "payload"))
    return Content(text=said or payload, button=payload or said or None)


def _interactive(value: object, _: str) -> Content | None:
    part = mapping(value)
    kind = part.get("type")
    if kind in ("button_reply", "list_reply"):
        chosen = mapping(part.get(str(kind)))
        return Content(text=text(chosen.get("title")), button=text(chosen.get("id")) or None)
    if kind == "nfm_reply":
        reply = mapping(part.get("nfm_reply"))
        return Content(text=_lines(text(reply.get("body")), text(reply.get("response_json"))))
    return None


def _media(value: object, media_url: str) -> Content:
    """By reference: whoever wants the file asks for its id with the access token, and gets a URL for five minutes.

    Such a URL may stand in the webhook too, but it is dead before anybody looks: it is kept only without an id.
    """
    part = mapping(value)
    id, url = text(part.get("id")), text(part.get("url"))
    reference = f"{media_url}/{id}" if _MEDIA_ID.fullmatch(id) else url if url.startswith("https://") else ""
    file = Media(
        url=reference,
        content_type=text(part.get("mime_type")) or None,
        filename=text(part.get("filename")) or None,
    )
    return Content(text=text(part.get("caption")), media=(file,) if reference else ())


def _location(value: object, _: str) -> Content:
    part = mapping(value)
    place = ", ".join(_number(part.get(name)) for name in ("latitude", "longitude"))
    return Content(text=_lines(text(part.get("name")), text(part.get("address")), place if place != ", " else ""))


def _number(value: object) -> str:
    return repr(value) if isinstance(value, int | float) else text(value)


def _contacts(value: object, _: str) -> Content:
    return Content(text=_lines(*map(_card, mappings(value)[:LINES_MAX])))


def _card(contact: Json) -> str:
    """A shared contact in one line: the name, and the numbers."""
    name = text(mapping(contact.get("name")).get("formatted_name"))
    phones = (text(phone.get("phone")) or text(phone.get("wa_id")) for phone in mappings(contact.get("phones")))
    return ", ".join(part for part in (name, *list(phones)[:LINES_MAX]) if part)


def _order(value: object, _: str) -> Content:
    part = mapping(value)
    items = mappings(part.get("product_items"))[:LINES_MAX]
    return Content(text=_lines(text(part.get("text")), *("".join(_item(item)) for item in items)))


def _item(item: Json) -> Iterator[str]:
    """`2 x sku-17 (9.5 EUR)`."""
    yield f"{_number(item.get('quantity')) or '1'} x {text(item.get('product_retailer_id'))}"
    price = _number(item.get("item_price"))
    if price:
        yield f" ({price} {text(item.get('currency'))})"


def _reaction(value: object, _: str) -> Content | None:
    part = mapping(value)
    emoji = text(part.get("emoji"))
    return Content(text=emoji, quoted=provider_id(part.get("message_id"))) if emoji else None


def _edit(value: object, media_url: str) -> Content | None:
    """One message in another: no deeper, or a stranger decides how deep we go."""
    inner = mapping(mapping(value).get("message"))
    return content_of(inner, media_url) if inner.get("type") != "edit" else None


def _unsupported(_: object, __: str) -> Content:
    return Content(text=UNSUPPORTED)


def _system(value: object, _: str) -> Content | None:
    """WhatsApp's own words. After a change of the user id both ids are the same person's.

    After a change of number they are not joined: somebody else may get the old number, and would be taken for the one
    who had it.
    """
    part = mapping(value)
    said = text(part.get("body"))
    people = _addresses(part, ("user_id", "previous_user_id"))
    return Content(text=said, people=people, automatic=True) if said else None


def _lines(*lines: str) -> str:
    return "\n".join(line for line in lines if line)


_READERS: Final[Mapping[str, Callable[[object, str], Content | None]]] = {
    "text": _text,
    "button": _button,
    "interactive": _interactive,
    "image": _media,
    "video": _media,
    "audio": _media,
    "document": _media,
    "sticker": _media,
    "location": _location,
    "contacts": _contacts,
    "order": _order,
    "reaction": _reaction,
    "edit": _edit,
    "unsupported": _unsupported,
    "system": _system,
}
