"""Files that WhatsApp takes: which kind of message each makes, and how large it may be.

Source: developers.facebook.com, WhatsApp, cloud-api/messages/audio-messages and reference/media, as copied by
meta-preview.mintlify.io and docs.weni.ai, 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from gateway import Media

Kind = Literal["image", "video", "audio", "document", "sticker"]

MEGABYTE: Final = 1024 * 1024
SIZE_MAX: Final[Mapping[Kind, int]] = {
    "image": 5 * MEGABYTE,
    "video": 16 * MEGABYTE,
    "audio": 16 * MEGABYTE,
    "document": 100 * MEGABYTE,
    "sticker": 500 * 1024,  # an animated one; others 100 kB, which nobody can tell beforehand
}
"""Octets of one file."""

CAPTIONED: Final[frozenset[Kind]] = frozenset({"image", "video", "document"})
"""The kinds that a text can stand under."""

FILENAME_MAX: Final = 240  # characters that are handed on

_TYPES: Final[Mapping[str, Kind]] = {
    "image/jpeg": "image",
    "image/jpg": "image",
    "image/png": "image",
    "image/webp": "sticker",
    "video/mp4": "video",
    "video/3gp": "video",
    "video/3gpp": "video",
    "audio/aac": "audio",
    "audio/amr": "audio",
    "audio/m4a": "audio",
    "audio/mp3": "audio",
    "audio/mp4": "audio",
    "audio/mpeg": "audio",
    "audio/ogg": "audio",  # opus alone; which codec is in it nobody can tell beforehand
    "audio/opus": "audio",
    "audio/x-m4a": "audio",
}
_OTHER_FAMILIES: Final = frozenset(
    {"audio", "image", "video"}
)  # of which nothing else is taken; all else is a document
_TYPE_OF_EXTENSION: Final[Mapping[str, str]] = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "mp4": "video/mp4",
    "3gp": "video/3gpp",
    "mov": "video/quicktime",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "aac": "audio/aac",
    "amr": "audio/amr",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
}


def content_type(media: Media) -> str | None:
    """What its server said, in lower case and without parameters; else what the name's ending says, if it does."""
    if media.content_type:
        return media.content_type.partition(";")[0].strip().lower()
    _, dot, ending = filename(media).rpartition(".")
    return _TYPE_OF_EXTENSION.get(ending.lower()) if dot else None


def kind_of(media: Media) -> Kind | None:
    """The kind of message that it makes; None for pictures, films and recordings that WhatsApp does not take."""
    known = content_type(media)
    if known is None:
        return "document"
    return _TYPES.get(known) or (None if known.partition("/")[0] in _OTHER_FAMILIES else "document")


def filename(media: Media) -> str:
    """Its name, or the last part of the URL's path."""
    if media.filename:
        return media.filename[-FILENAME_MAX:]
    try:
        path = urlsplit(media.url).path
    except ValueError:
        return ""
    return unquote(path.rpartition("/")[2])[-FILENAME_MAX:]
