"""What `[senders.NAME]` may hold for Twilio beside the common keys: shared by both channels, then for each."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from gateway import Secret
from gateway_twilio.errors import Verdict

VALIDITY_SECONDS_MAX: Final = 36_000  # Twilio's OpenAPI description of POST Messages, 2026-11
LOOKUP_SETTLE_SECONDS_MAX: Final = 3_600  # a list that lags behind by more answers no question
CHANNEL_PREFIX: Final = "whatsapp:"

AccountSid = Annotated[str, Meta(pattern=r"^AC[0-9a-fA-F]{32}$", extra={"expected": "AC and 32 hexadecimal digits"})]
ServiceSid = Annotated[str, Meta(pattern=r"^MG[0-9a-fA-F]{32}$", extra={"expected": "MG and 32 hexadecimal digits"})]
KeySid = Annotated[str, Meta(pattern=r"^SK[0-9a-fA-F]{32}$", extra={"expected": "SK and 32 hexadecimal digits"})]
BaseUrl = Annotated[str, Meta(pattern=r"^https?://[^/?#\s]+$", extra={"expected": "a URL without a path"})]
ErrorCode = Annotated[str, Meta(pattern=r"^[1-9][0-9]{4}$", extra={"expected": "an error code of five digits"})]
SmsNumber = Annotated[
    str,
    Meta(
        pattern=r"^(\+[1-9][0-9]{6,14}|[0-9]{3,8}|[A-Za-z0-9 &._+-]{2,11})$",
        extra={"expected": 'a number such as "+14155550100", a short code or a name of at most 11 characters'},
    ),
]
WhatsAppNumber = Annotated[
    str,
    Meta(pattern=r"^(whatsapp:)?\+[1-9][0-9]{6,14}$", extra={"expected": 'a number such as "+14155550100"'}),
]


class TwilioSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """One account, and one number or Messaging Service of it."""

    account_sid: AccountSid
    """The account, as the Twilio console shows it; a subaccount's own where messages are sent by one."""
    auth_token: Secret
    """The account's primary token. It signs Twilio's callbacks, also where an API key sends."""
    auth_token_secondary: Secret | None = None
    """During a rotation: callbacks signed with this token are genuine too."""
    webhook_keys: dict[str, Secret] = {}
    """Shared keys that sign callbacks with SHA-256, by their names (`webhooks_sharedkey_...`)."""
    api_key_sid: KeySid | None = None
    """An API key to send with instead of the account's token."""
    api_key_secret: Secret | None = None
    """The API key's secret."""
    from_: str | None = None
    """The number that messages come from. Either this or `messaging_service_sid`."""
    messaging_service_sid: ServiceSid | None = None
    """The Messaging Service that chooses a number from its pool."""
    validity_seconds: Annotated[int, Meta(ge=1, le=VALIDITY_SECONDS_MAX)] | None = None
    """How long Twilio may keep a message in its queue. Unset: ten hours."""
    lookup: bool = True
    """False where the account hides numbers in its records: a list without them would prove that nothing was sent."""
    lookup_settle_seconds: Annotated[int, Meta(ge=1, le=LOOKUP_SETTLE_SECONDS_MAX)] = 120
    """How long after an attempt Twilio is asked whether it has the message. Asked too early it may not list yet what it
    has taken, and the message is sent again."""
    api_url: BaseUrl = "https://api.twilio.com"
    """Where messages are sent: another region's host, or a simulator."""
    content_url: BaseUrl = "https://content.twilio.com"
    """Where templates are kept."""
    errors: dict[ErrorCode, Verdict] = {}
    """What an error code means here, if not what the table says: `{ 30008 = "permanent" }`."""

    def __post_init__(self) -> None:
        if (self.from_ is None) == (self.messaging_service_sid is None):
            raise ValueError("Exactly one of from and messaging_service_sid is needed.")
        if (self.api_key_sid is None) != (self.api_key_secret is None):
            raise ValueError("api_key_sid and api_key_secret come together.")

    @property
    def number(self) -> str | None:
        """The number itself, without a channel's prefix; None with a Messaging Service."""
        return self.from_.removeprefix(CHANNEL_PREFIX) if self.from_ is not None else None

    @property
    def credentials(self) -> tuple[str, str]:
        """User and password of the API: the key's, else the account's."""
        if self.api_key_sid is not None and self.api_key_secret is not None:
            return self.api_key_sid, self.api_key_secret
        return self.account_sid, self.auth_token

    @property
    def signing_tokens(self) -> tuple[str, ...]:
        """The tokens that a callback may be signed with."""
        return (self.auth_token,) if self.auth_token_secondary is None else (self.auth_token, self.auth_token_secondary)


class SmsSettings(TwilioSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """`adapter = "twilio"` on the channel `sms`."""

    from_: SmsNumber | None = None
    """A number (`"+14155550100"`), a short code, or a name of letters and digits. Either this or
    `messaging_service_sid`."""
    answers_opt_out: bool = True
    """Twilio answers STOP, START and HELP itself, as it does unless its support has switched that off for the account:
    the gateway then sends no confirmation of its own."""


class WhatsAppSettings(TwilioSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """`adapter = "twilio"` on the channel `whatsapp`."""

    from_: WhatsAppNumber | None = None
    """The number of the WhatsApp sender, such as `"+14155550100"`. Either this or `messaging_service_sid`."""
    answers_opt_out: bool = False
    """True where Advanced Opt-Out of the Messaging Service answers STOP on WhatsApp: the gateway then stays silent."""
