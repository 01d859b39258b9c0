"""What `[senders.NAME]` may hold for Kannel beside the common keys."""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta, Struct

from gateway import Secret
from gateway_sms.answers import Verdict

SECRET_CHARACTERS_MIN: Final = 16
DELIVERED_BIT: Final = 1

# Kannel fills in what follows a percent sign in a callback URL, so nothing in it may need one.
_PATH_PART: Final = re.compile(rf"[A-Za-z0-9_-]{{{SECRET_CHARACTERS_MIN},128}}")

SendsmsUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^/?#\s@]+/[^?#\s]+$", extra={"expected": "a URL such as http://HOST:13013/cgi-bin/sendsms"}
    ),
]
Originator = Annotated[
    str,
    Meta(
        pattern=r"^(\+?[0-9]{3,16}|[A-Za-z0-9&._+-]([A-Za-z0-9 &._+-]{0,9}[A-Za-z0-9&._+-])?)$",
        extra={"expected": 'a number such as "+14155550100", a short code or a name of at most 11 characters'},
    ),
]
Word = Annotated[str, Meta(min_length=1, max_length=100)]
ErrorCode = Annotated[
    str,
    Meta(
        pattern=r"^(0x[0-9A-F]{2,8}|[A-Z]{3,10}|[a-z_]{3,40})$",
        extra={"expected": 'an error code such as "0x0B", "UNDELIV" or "not_routable"'},
    ),
]


class KannelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """`adapter = "kannel"`: one `sendsms-user` of a Kannel, and what is sent with it."""

    url: SendsmsUrl
    """Where smsbox takes messages: `http://127.0.0.1:13013/cgi-bin/sendsms`."""
    username: Word
    """Of the `sendsms-user`."""
    password: Secret
    """Of the `sendsms-user`: `{ env = "KANNEL_PASSWORD" }`, `{ file = "..." }` or `{ credential = "..." }`."""
    secret: Secret
    """A part of the path that Kannel calls back to, for Kannel signs nothing: 16 to 128 letters, digits, - and _."""
    from_: Originator | None = None
    """The number or name that messages come from. Unset: the `default-sender` of the user, or smsbox's own."""
    smsc: Word | None = None
    """The `smsc-id` to send through. Unset: what Kannel's own routing says."""
    dlr_mask: Annotated[int, Meta(ge=0, le=63)] = 31
    """Which reports Kannel is asked for, as a sum: 1 delivered, 2 not delivered, 4 buffered, 8 with the SMSC, 16
    rejected by it, 32 intermediate. Without 1 an accepted message counts as sent at once; 0 asks for none."""
    segments_max: Annotated[int, Meta(ge=1, le=255)] = 10
    """Texts that take more SMS are refused. Not more than `max-messages` of the `sendsms-user`: Kannel cuts there."""
    errors: dict[ErrorCode, Verdict] = {}
    """What an error means here, if not what the table says: `{ UNDELIV = "address_dead", "0x0B" = "address_dead" }`."""

    def __post_init__(self) -> None:
        if not self.password:
            raise ValueError("password must not be empty.")
        if not _PATH_PART.fullmatch(self.secret):
            raise ValueError(
                f"secret must be at least {SECRET_CHARACTERS_MIN} and at most 128 letters, digits, - and _, "
                "such as the output of openssl rand -hex 24."
            )
