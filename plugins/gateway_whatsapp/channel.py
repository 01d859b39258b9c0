"""The WhatsApp channel: what every adapter that sends WhatsApp messages shares."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from gateway import Channel, phone

USER_ID: Final = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")


def normalise(address: str, region: str | None) -> str:
    """The one spelling: a telephone number as E.164, or a business-scoped user id as it is (`US.13491208655302741918`).

    A person with a user name may be known to a business by such an id alone (Meta, 2026-05-28). ValueError in a
    sentence.
    """
    stripped = address.strip()
    return stripped if USER_ID.fullmatch(stripped) else phone(address, region)


WHATSAPP: Final = Channel(
    name="whatsapp",
    title="WhatsApp",
    normalise=normalise,
    address_from="phone",
    takes=frozenset({"text", "media", "template"}),
    template_required=True,
    reply_window=timedelta(hours=24),
)
