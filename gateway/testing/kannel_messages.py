"""What the Kannel simulator keeps of a message, and how it writes reports and messages of people.

Sources: Kannel 1.4.5, user guide; runs of Debian's kannel 1.4.5-12 with fakesmsc, 2026-11.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote

ESCAPE: Final = re.compile(r"%(.)")
DELIVERED, FAILED, BUFFERED, SUBMITTED, REJECTED = 1, 2, 4, 8, 16


@dataclass(slots=True)
class KannelMessage:
    """A message that smsbox took. `id` is Kannel's own, which nobody but its reports tells."""

    id: str
    to: str
    sender: str | None
    text: str
    coding: str
    smsc: str
    dlr_mask: int
    dlr_url: str | None
    at: int  # seconds since 1970
    foreign_id: str = ""  # the SMSC's


@dataclass(frozen=True, slots=True)
class Report:
    """One delivery report: its bit, and the words of the SMSC."""

    status: int
    reply: str


def reports_of(
    message: KannelMessage, end: Literal["delivered", "undelivered", "rejected", "submitted"], code: int | None
) -> list[Report]:
    """What a message's life looks like in reports. `code`: an SMPP status, of a rejected one."""
    if end == "rejected":
        return [Report(REJECTED, f"NACK/{code or 0x45}/{_SMPP.get(code or 0x45, 'Submit failed')}")]
    submitted = Report(SUBMITTED, "ACK/")
    if end == "submitted":
        return [submitted]
    stat, bit = ("DELIVRD", DELIVERED) if end == "delivered" else ("UNDELIV", FAILED)
    words = (
        f"id:{message.foreign_id} sub:001 dlvrd:{int(end == 'delivered'):03d} submit date:2606010800 "
        f"done date:2606010801 stat:{stat} err:000 text:{message.text[:20]}"
    )
    return [submitted, Report(bit, words)]


_SMPP: Final[Mapping[int, str]] = {0x0B: "Invalid Destination Address", 0x45: "Submit failed", 0x58: "Throttled"}


def filled(url: str, values: Mapping[str, str]) -> str:
    """A callback URL with its escapes filled in, each value encoded; unknown escapes stay as they are."""
    return ESCAPE.sub(lambda found: quote(values[found[1]], safe="") if found[1] in values else found[0], url)


def report_values(message: KannelMessage, report: Report) -> Mapping[str, str]:
    """The escapes of a dlr-url."""
    return {
        "d": str(report.status),
        "A": report.reply,
        "F": message.foreign_id,
        "I": message.id,
        "i": message.smsc,
        "T": str(message.at),
        # In a report the two have changed places: it comes from whom the message went to.
        "p": message.to,
        "P": message.sender or "",
    }
