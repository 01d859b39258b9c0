"""The adapter's own settings: what `[senders.NAME]` may hold beside the common keys."""

from __future__ import annotations

import re
import ssl
from typing import Annotated, ClassVar, Final, Literal

from msgspec import Meta, Struct, field

from gateway import Secret, ascii_domain
from gateway_email.dkim import PrivateKey, Signer, SigningKey, private_key
from gateway_email.lmtp import LmtpPlace
from gateway_email.mailbox import Mailbox
from gateway_email.replies import Meaning
from gateway_email.unsubscribe import UnsubscribeMailto, UnsubscribeUrl
from gateway_email.verp import LOCAL_CHARACTERS_MAX, SECRET_CHARACTERS_MIN, ReturnPaths

_HELO: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]|\[IPv6:[0-9A-Fa-f:.]+\]")
_PORTS: Final = {"none": 25, "starttls": 587, "tls": 465}

Seconds = Annotated[float, Meta(gt=0, le=600)]


ErrorCode = Annotated[str, Meta(pattern=r"^[45](\d\d|\.\d{1,3}\.\d{1,3})$")]


class HeloName(str):
    """How the gateway names itself to the server: a domain name, or an address in brackets (RFC 5321 4.1.3)."""

    __slots__ = ()
    expected: ClassVar[str] = 'a host name such as "mail.grace.example" or an address such as "[192.0.2.1]"'

    @classmethod
    def parse(cls, value: object) -> HeloName:
        if not isinstance(value, str) or not _HELO.fullmatch(value):
            raise ValueError(f"Must be {cls.expected}.")
        return cls(value)


class DkimKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key that mails are signed with; the algorithm follows from it, rsa-sha256 or ed25519-sha256."""

    selector: Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
    """The public half is published as a TXT record at `SELECTOR._domainkey.DOMAIN`."""
    key: Secret
    """The private half in PEM: `{ file = "dkim.pem" }`, `{ env = "..." }` or `{ credential = "..." }`."""
    domain: Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[^\s@:;/]+\.[^\s@:;/]+$")] | None = None
    """Unset: the domain of `from`, which is what DMARC wants."""

    def __post_init__(self) -> None:
        self.private_key()

    def private_key(self) -> PrivateKey:
        """ValueError that names the key if it cannot be read."""
        try:
            return private_key(self.key)
        except ValueError as exc:
            raise ValueError(f"The DKIM key of the selector {self.selector!r} cannot be used: {exc}.") from exc


class SmtpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """One account at one mail server."""

    host: Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[^\s\x00-\x1f\x7f]+$")]
    """The mail server: a name, or an IP address."""
    from_: Mailbox
    """Who the mails are from: `"Grace Church <news@grace.example>"`. Refusals and bounces go to this address too."""
    security: Literal["none", "starttls", "tls"] = "starttls"
    """`starttls`: encrypt after connecting, or not at all if the server does not offer it: nothing is sent then.
    `tls`: encrypt from the first byte. `none`: in the clear, for a server on this machine."""
    port_: Annotated[int, Meta(ge=1, le=65_535)] | None = field(default=None, name="port")
    """Unset: 587 for `starttls`, 465 for `tls`, 25 for `none`."""
    username: Annotated[str, Meta(min_length=1)] | None = None
    """Unset: no authentication."""
    password: Secret | None = None
    """`{ env = "SMTP_PASSWORD" }`, `{ file = "..." }` or `{ credential = "..." }`."""
    reply_to: Mailbox | None = None
    """Where answers go, unless the message says. Unset: to `from`."""
    dkim: tuple[DkimKey, ...] = ()
    """Keys to sign with: `[[senders.NAME.dkim]]`, one or several. Unset: the mail server signs, or nobody."""
    unsubscribe_url: UnsubscribeUrl | None = None
    """Every mail gets a List-Unsubscribe with this https address and one click (RFC 8058), unless the message brings
    its own. `{ref}` and `{address}` stand for the message's reference and its recipient, percent-encoded."""
    unsubscribe_mailto: UnsubscribeMailto | None = None
    """The same by mail: `leave@grace.example?subject=leave%20{ref}`."""
    size_max_bytes: Annotated[int, Meta(ge=0, le=100_000_000)] = 10_000_000
    """The files of one mail together. Encoded they are a third larger, and common servers stop at 10 to 25 MB."""
    bounce_address: Mailbox | None = None
    """Where bounces go, `bounce@grace.example`: each mail gets a return path of its own, `bounce+TOKEN@grace.example`,
    by which its bounce is known. Unset: they go to `from`."""
    bounce_secret: Secret | None = None
    """What those tokens are made with, at least 16 characters. Keep it: bounces of older mails are known by it."""
    bounce_token: Secret | None = None
    """What a mail server that posts bounces to `/callbacks/NAME/bounce` must bring, as a bearer token or as `?token=`;
    at least 16 characters. Unset: none are taken there."""
    lmtp_listen: LmtpPlace | None = None
    """Where a mail server of yours may deliver bounces by LMTP: `127.0.0.1:2424` or `unix:/run/gateway/bounce.sock`."""
    lmtp_allow_remote: bool = False
    """True: `lmtp_listen` may be an address beyond this machine. LMTP knows neither encryption nor credentials here."""
    errors: dict[ErrorCode, Meaning] = {}
    """What a code means with your server, instead of what `replies.py` says: `{ "5.4.1" = "address_dead" }`."""
    helo: HeloName | None = None
    """How the gateway names itself to the server. Unset: the domain of `from`."""
    connections: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    """At most so many connections. Unset: as many as messages are in flight (`concurrency`)."""
    messages_per_connection: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    """Then a connection is replaced. A server that wants fewer says so with 421, and nothing is lost by that."""
    pipelining: bool = True
    """False: one command at a time, also where the server says that it has PIPELINING. For a server, or a firewall
    before it, that says so and then loses commands: mails end with "did not ask for the text within 20 s"."""
    connect_timeout_seconds: Seconds = 10.0
    """For connecting, encryption and authentication together."""
    envelope_timeout_seconds: Seconds = 20.0
    """For everything before the text of a message, waiting for a connection included. Keep it under the sender's
    `deadline` (30 s): what takes too long before the text is certainly not sent, what takes too long after it is not
    certain."""
    idle_seconds: Seconds = 60.0
    """A connection without work is closed after this long."""
    tls_verify: bool = True
    """False: any certificate will do. For a server of your own whose certificate you cannot name in `tls_ca_file`."""
    tls_ca_file: str | None = None
    """Path of a PEM file with the certificates to trust instead of the system's."""

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password come together.")
        if (self.bounce_address is None) != (self.bounce_secret is None):
            raise ValueError("bounce_address and bounce_secret come together.")
        for name, secret in (("bounce_secret", self.bounce_secret), ("bounce_token", self.bounce_token)):
            if secret is not None and len(secret) < SECRET_CHARACTERS_MIN:
                raise ValueError(f"{name} must have at least {SECRET_CHARACTERS_MIN} characters.")
        if self.bounce_address is not None and self.bounce_address.address.index("@") > LOCAL_CHARACTERS_MAX:
            raise ValueError(f"bounce_address may have at most {LOCAL_CHARACTERS_MAX} characters before the @.")
        if self.lmtp_listen is not None and not self.lmtp_listen.is_local and not self.lmtp_allow_remote:
            raise ValueError("lmtp_listen is an address beyond this machine; allow it with lmtp_allow_remote = true.")
        places = [(self.dkim_domain(key), key.selector) for key in self.dkim]
        if len(set(places)) < len(places):
            raise ValueError("Two DKIM keys have the same domain and selector.")

    @property
    def port(self) -> int:
        """The port that is meant."""
        return self.port_ if self.port_ is not None else _PORTS[self.security]

    @property
    def helo_name(self) -> str:
        """What EHLO says."""
        return self.helo or self.domain

    @property
    def domain(self) -> str:
        """The domain of `from`, as DNS knows it."""
        return ascii_domain(self.from_.address.rpartition("@")[2])

    def dkim_domain(self, key: DkimKey) -> str:
        """Where a key is published, as DNS knows it. ValueError if DNS cannot know it."""
        return ascii_domain(key.domain.lower()) if key.domain else self.domain

    def return_paths(self) -> ReturnPaths | None:
        """What makes return paths and knows them again."""
        if self.bounce_address is None or self.bounce_secret is None:
            return None
        return ReturnPaths(self.bounce_address.address, self.bounce_secret)

    def signer(self) -> Signer:
        """What signs the mails; without keys it leaves them as they are."""
        keys = [SigningKey(self.dkim_domain(key), key.selector, key.private_key()) for key in self.dkim]
        return Signer(keys)

    def tls_context(self) -> ssl.SSLContext | None:
        """What the connections are encrypted with; reads files. OSError if `tls_ca_file` cannot be read or used."""
        if self.security == "none":
            return None
        context = ssl.create_default_context(cafile=self.tls_ca_file)
        if not self.tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
