"""What `[senders.NAME]` may hold for the adapter `cloud` beside the common keys."""

from __future__ import annotations

import re
from typing import Annotated, Final

from msgspec import Meta, Struct

from gateway import Secret
from gateway_whatsapp.errors import Verdict

GraphId = Annotated[str, Meta(pattern=r"^[0-9]{1,32}$", extra={"expected": "an id of digits, as a text"})]
Version = Annotated[str, Meta(pattern=r"^v[1-9][0-9]{0,2}\.[0-9]{1,2}$", extra={"expected": 'such as "v23.0"'})]
BaseUrl = Annotated[str, Meta(pattern=r"^https?://[^/?#\s]+$", extra={"expected": "a URL without a path"})]
ErrorCode = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,7})$", extra={"expected": "an error code of Meta's"})]
TOKEN: Final = re.compile(r"[\x21-\x7e]+")  # what a header can hold: anything else would fail at each message


class CloudSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One business phone number, and the app that speaks for it."""

    phone_number_id: GraphId
    """The number's id (not the number), as WhatsApp Manager and the app's page API Setup show it."""
    business_account_id: GraphId
    """The WhatsApp Business Account that the number belongs to: its templates are kept there."""
    access_token: Secret
    """A system user's permanent token with `whatsapp_business_messaging` and `whatsapp_business_management`."""
    app_secret: Secret
    """The app's secret, which signs Meta's callbacks."""
    app_secret_secondary: Secret | None = None
    """During a rotation: callbacks signed with this secret are genuine too."""
    verify_token: Secret
    """A text of your own choice, which you also type in where the webhook is set up."""
    link_previews: bool = False
    """True: WhatsApp shows a preview of the first link in a free text."""
    version: Version = "v23.0"
    """The version of the Graph API. Meta retires one about two years after it came."""
    api_url: BaseUrl = "https://graph.facebook.com"
    """Where the Graph API is, or a simulator of it."""
    errors: dict[ErrorCode, Verdict] = {}
    """What an error code means here, if not what the table says: `{ 131026 = "address_dead" }`."""

    def __post_init__(self) -> None:
        secrets = ("access_token", "app_secret", "app_secret_secondary", "verify_token")
        empty = [name for name in secrets if getattr(self, name) == ""]
        if empty:
            raise ValueError(f"{' and '.join(empty)} must not be empty.")
        if not TOKEN.fullmatch(self.access_token):
            raise ValueError("access_token is no token: it has a space, a line break or a character beyond ASCII.")

    @property
    def graph_url(self) -> str:
        """The Graph API in the configured version."""
        return f"{self.api_url}/{self.version}"

    @property
    def app_secrets(self) -> tuple[str, ...]:
        """The secrets that a callback may be signed with."""
        return (self.app_secret,) if self.app_secret_secondary is None else (self.app_secret, self.app_secret_secondary)
