"""Types of files that Twilio passes on. It fetches any other one too, and then fails the message (12300, 63019).

Sources, both read on 2026-11-27: twilio.com/docs/messaging/guides/accepted-mime-types, and for WhatsApp
/docs/whatsapp/guidance-whatsapp-media-messages there, which lists fewer. Only what neither of them has is refused here.
"""

from __future__ import annotations

from typing import Final

_MMS_FAMILIES: Final = frozenset({"image", "audio", "video"})
_MMS_DOCUMENTS: Final = frozenset(
    {
        *("text/plain", "text/csv", "text/rtf", "text/richtext", "text/calendar", "text/directory"),
        *("text/vcard", "text/x-vcard", "application/vcard", "application/pdf", "application/ogg"),
        "application/vnd.apple.pkpass",
    }
)
_WHATSAPP_SHOWN: Final = frozenset(
    {
        *("image/jpeg", "image/jpg", "image/png", "image/webp", "image/gif", "image/heic", "image/heif"),
        *("image/tiff", "image/bmp", "video/mp4", "video/mpeg4", "video/mpeg", "video/webm", "video/quicktime"),
        *("video/3gp", "video/3gpp", "video/3gpp2", "audio/aac", "audio/amr", "audio/amr-nb", "audio/mp3"),
        *("audio/mp4", "audio/mpeg", "audio/ogg", "audio/opus", "audio/3gpp", "audio/3gpp2", "audio/webm"),
        *("audio/m4a", "audio/x-m4a"),
    }
)


def type_of(content_type: str | None) -> str | None:
    """In lower case and without parameters; None where nobody said."""
    return (content_type or "").partition(";")[0].strip().lower() or None


def is_mms(kind: str) -> bool:
    """Whether a file of this type can be part of an MMS."""
    return kind.partition("/")[0] in _MMS_FAMILIES or kind in _MMS_DOCUMENTS


def is_for_whatsapp(kind: str) -> bool:
    """Whether WhatsApp takes a file of this type: few pictures, films and recordings, and any document."""
    return kind in _WHATSAPP_SHOWN or kind.partition("/")[0] not in _MMS_FAMILIES
