"""The plugin contract: the types. `hookspecs.py` is the other half; read it first.

Promises to authors: fields and methods are only added, with defaults (CONTRACT_VERSION). Times are aware UTC datetimes, durations
timedeltas. Nothing here is mutable. The module imports neither aiohttp nor the rest of the gateway.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import msgspec

CONTRACT_VERSION = "1.0"


class Value(msgspec.Struct, frozen=True): ...


class Secret(str):
    """A setting given as `{env=}`, `{file=}`, `{credential=}` or plain text. `repr` and logs show `***`."""

    def __repr__(self) -> str:
        return "Secret('***')"


# ---- what a send answers: returned, never raised ------------------------------------------------------------------------
class Code(StrEnum):
    """Why a recipient failed: callers branch on it. The provider's own code goes beside it, in `provider_code`."""

    INVALID_ADDRESS = "invalid_address"
    UNREACHABLE = "unreachable"
    CONTENT = "content_rejected"
    TOO_LONG = "too_long"
    TEMPLATE = "template_rejected"
    MEDIA = "media_rejected"
    BLOCKED = "blocked"
    EXPIRED = "expired"
    PROVIDER = "provider_error"


class Accepted(Value, frozen=True):
    """The provider took it. Success at once without `capabilities.receipts`, else handed over until a receipt or the deadline."""

    provider_ids: tuple[str, ...] = ()  # () if it gives none; several for a text sent in parts (all must be delivered)


class Retry(Value, frozen=True):
    """Certainly not sent. Tried again after `after` (None: our back-off) until the sender's `retry_for` is over."""

    reason: str
    after: timedelta | None = None
    scope: Literal["message", "sender"] = "message"  # sender: hold every message of this sender, not only this one


class Rejected(Value, frozen=True):
    """Certainly not sent, and never will be. `address_dead`: nothing more to this address on this channel."""

    code: Code
    reason: str
    provider_code: str | None = None
    address_dead: bool = False


class OptedOut(Value, frozen=True):
    """The provider knows the person left. Recorded as an opt-out; the recipient is skipped. No category: everything."""

    reason: str
    category: str | None = None


class Misconfigured(Value, frozen=True):
    """Ours to repair (credentials, account, template): the recipient returns to pending; the sender, or the action, is held."""

    reason: str
    scope: Literal["sender", "action"] = "sender"


class Unknown(Value, frozen=True):
    """It may have gone. A time-out, a cancellation and every exception but `NotSent` count as this."""

    reason: str


Outcome = Accepted | Retry | Rejected | OptedOut | Misconfigured | Unknown


# ---- what is sent -------------------------------------------------------------------------------------------------------
class Media(Value, frozen=True):
    url: str
    content_type: str | None = None
    filename: str | None = None


class TemplateUse(Value, frozen=True):
    """A template the provider has approved, with its parameters rendered for this recipient."""

    name: str
    language: str
    parameters: Mapping[str, str]


class Outbound(Value, frozen=True, kw_only=True):
    """One message to one address, rendered, after the gate."""

    ref: str  # [a-z0-9_]{1,40}, the same on every attempt: idempotency key, Message-ID, echo
    attempt: int  # 1, 2, ...
    to: str  # as the channel's `normalise` spelled it
    text: str | None = None
    subject: str | None = None
    html: str | None = None
    template: TemplateUse | None = None
    media: tuple[Media, ...] = ()
    headers: Mapping[str, str] = {}  # e-mail only
    reply_to: str | None = None
    quotes: str | None = None  # provider id of the inbound message that this answers
    callback_url: str | None = None  # the sender's callback URL carrying `ref`; None without `public_url`
    expires_at: datetime | None = None


# ---- what comes back ----------------------------------------------------------------------------------------------------
class Status(StrEnum):
    ACCEPTED = "accepted"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    UNDELIVERED = "undelivered"
    BOUNCED = "bounced"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Receipt(Value, frozen=True, kw_only=True):
    """Matched by `ref`, else by the first known of `provider_ids`; parked 24 h if none is. Order and repetition do not matter."""

    status: Status
    ref: str | None = None
    provider_ids: tuple[str, ...] = ()  # unique within one sender: compose them if the provider's are not
    at: datetime | None = None  # the provider's clock; None: time of arrival
    code: Code | None = None
    reason: str | None = None
    provider_code: str | None = None
    address_dead: bool = False


class Inbound(Value, frozen=True, kw_only=True):
    """A person wrote. Kept once per (sender, provider_id)."""

    provider_id: str
    address: str  # raw: the core normalises it
    aliases: tuple[str, ...] = ()  # other ids of the same person on this channel
    text: str = ""
    at: datetime | None = None
    quotes: tuple[str, ...] = ()  # provider ids, one of which is our message that was quoted
    button: str | None = None  # payload of a pressed button
    media: tuple[Media, ...] = ()
    name: str | None = None
    automatic: bool = False  # out-of-office: neither an opt-out nor a reply


class Consent(Value, frozen=True, kw_only=True):
    """A wish that came as no message: a block, a preference, a complaint, a click."""

    address: str
    wish: Literal["out", "in"]
    source: Literal["provider", "complaint", "one_click"]
    category: str | None = None
    at: datetime | None = None


Event = Receipt | Inbound | Consent


class CallbackRequest(Value, frozen=True, kw_only=True):
    method: str
    url: str  # configured public URL + path and query as received: what providers sign
    tail: str  # path after /callbacks/{sender}: "" or "/bounce"
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]  # names in lower case
    body: bytes  # raw, at most 1 MiB


class CallbackAnswer(Value, frozen=True):
    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"


# ---- look-up ------------------------------------------------------------------------------------------------------------
class Question(Value, frozen=True, kw_only=True):
    """`provider_ids` is empty if no answer ever came: then find the message by what it was and when."""

    message: Outbound
    provider_ids: tuple[str, ...]
    attempted_at: datetime


class Found(Value, frozen=True):
    receipt: Receipt
    provider_ids: tuple[str, ...] = ()


class Absent(Value, frozen=True):
    """The provider has certainly not got it: it is sent again."""


class CannotTell(Value, frozen=True):
    reason: str


Answer = Found | Absent | CannotTell


# ---- what an adapter is given -------------------------------------------------------------------------------------------
class NotSent(Exception):
    """Raised by `Http` when no byte of the request can have arrived (DNS, refused, TLS). Let it escape: it counts as Retry."""


class HttpResponse(Value, frozen=True):
    status: int
    headers: Mapping[str, str]
    body: bytes  # at most 1 MiB; redirects are not followed


class Http(Protocol):
    async def __call__(
        self,
        method: str,
        url: str,
        *,
        json: object = None,
        form: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse: ...


class Log(Protocol):
    def info(self, event: str, **values: object) -> object: ...
    def warning(self, event: str, **values: object) -> object: ...


class Tools(Value, frozen=True, kw_only=True):
    http: Http
    log: Log
    sender: str
    now: Callable[[], datetime]
    callback_url: str | None


Deliver = Callable[
    [bytes, Sequence[Event]], Awaitable[None]
]  # returns after the commit; the raw bytes are kept for replay


class Capabilities(Value, frozen=True, kw_only=True):
    receipts: bool = False  # a receipt normally follows every accepted message
    receipt_deadline: timedelta = timedelta(hours=24)
    lookup: bool = False
    lookup_settle: timedelta = timedelta(minutes=2)  # `Absent` is not believed earlier than this after the attempt
    idempotent_for: timedelta | None = None  # a repeat with the same ref within this time is one message
    on_unknown: Literal["hold", "resend"] = "hold"
    answers_opt_out: bool = False  # the provider itself confirms STOP: we stay silent
    rate: float = 10.0  # default, in `cost` units per second
    concurrency: int = 10  # default W


class Channel(Value, frozen=True, kw_only=True):
    """A kind of route. Its adapters share it, so that an opt-out holds for all of them."""

    name: str  # [a-z][a-z0-9_]*
    title: str  # "Signal", as in "Opted out of Signal"
    normalise: Callable[
        [str, str | None], str
    ]  # (address, default region) -> the one spelling; ValueError says what is wrong
    address_from: Literal["phone", "email"] | None = None  # for a contact without an address of its own on this channel
    takes: frozenset[str] = frozenset({"text"})  # of text, html, subject, media, template
    template_required: bool = False
    conversations: bool = True  # false: replies go elsewhere (e-mail)


S = TypeVar("S", bound=msgspec.Struct)


class Adapter(ABC, Generic[S]):
    """One per `[senders.NAME]`, for the life of the daemon; `send` runs up to W times at once on it."""

    channel: ClassVar[str]
    name: ClassVar[str]  # unique within the channel: `adapter = "..."` in gateway.toml
    settings_type: ClassVar[type[msgspec.Struct]]  # the sender's table without the common keys; also docs and forms

    def __init__(self, settings: S, tools: Tools) -> None:
        self.settings, self.tools = settings, tools

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()  # may depend on the settings; read once, after open()

    async def open(self) -> None:
        """Connect. An exception holds this sender (tried again), never the daemon."""

    async def close(self) -> None:
        """Once, after the last send; at most 5 s."""

    @abstractmethod
    async def send(self, message: Outbound) -> Outcome:
        """Hand over one message. Cancelled after the sender's `deadline` (30 s)."""

    def refuse(self, message: Outbound) -> Rejected | None:
        """Pure: limits known beforehand, for preview and gate."""

    def cost(self, message: Outbound) -> int:
        """Pure: units of the rate, e.g. SMS segments."""
        return 1

    async def authenticate(self, request: CallbackRequest) -> bool | CallbackAnswer:
        """True: store, parse, answer. False: 403, nothing stored. An answer: give it and store nothing (handshakes)."""
        return False

    def parse(self, request: CallbackRequest) -> Sequence[Event]:
        """Pure, repeated on replay. Whatever the bytes it raises nothing; what it does not know it leaves out."""
        return ()

    def answer(self, request: CallbackRequest) -> CallbackAnswer:
        """Given after the commit."""
        return CallbackAnswer()

    async def run(self, deliver: Deliver) -> None:
        """For providers that do not call back (socket, polling). Restarted if it raises."""

    async def lookup(self, question: Question) -> Answer:
        return CannotTell("this adapter cannot ask")

    async def check(self) -> str | None:
        """`gateway doctor`, and the probe of a held sender. None: healthy; else a sentence."""


# ---- policies: synchronous, no I/O; an exception holds the message: it is neither sent nor spent --------------------------
class Allow(Value, frozen=True): ...


class Defer(Value, frozen=True):
    until: datetime
    reason: str


class Deny(Value, frozen=True):
    code: str
    reason: str
    failed: bool = False  # false: the recipient is skipped


Verdict = Allow | Defer | Deny


class Facts(Value, frozen=True, kw_only=True):
    """Read when the message is about to leave. `sent_last_*` count to this address on all channels."""

    now: datetime
    org: str
    channel: str
    sender: str
    address: str
    category: str
    time_zone: str
    source: Literal["bulk_action", "api", "reply", "campaign"]
    bulk_action_id: str | None
    contact_id: str | None
    tags: frozenset[str]
    sent_last_day: int
    sent_last_week: int
    last_inbound_at: datetime | None


class Policy(ABC, Generic[S]):
    name: ClassVar[str]
    settings_type: ClassVar[type[msgspec.Struct]]  # the table [plugins.NAME]

    def __init__(self, settings: S) -> None:
        self.settings = settings


class SendPolicy(Policy[S]):
    needs: ClassVar[frozenset[str]] = (
        frozenset()
    )  # of "sent_counts", "last_inbound": facts that cost a query; else 0 and None

    @abstractmethod
    def judge(self, facts: Facts) -> Verdict:
        """For every message; the most restrictive verdict of all policies wins."""


class Caller(Value, frozen=True, kw_only=True):
    key_id: str
    org: str
    permissions: frozenset[str]
    roles: frozenset[str]
    acting_for: str | None


class AccessPolicy(Policy[S]):
    @abstractmethod
    def permits(self, caller: Caller, permission: str) -> bool:
        """Per request and per batch; all policies must permit."""


class Reaction(Value, frozen=True):
    wish: Literal["out", "in"] | None
    category: str | None = None
    reply: str | None = None


class InboundPolicy(Policy[S]):
    @abstractmethod
    def read(self, inbound: Inbound, channel: str) -> Reaction | None:
        """Once per inbound text, after it is stored."""


# ---- operations: what a bulk action does to each contact; pure -----------------------------------------------------------
class ContactView(Value, frozen=True, kw_only=True):
    """A contact as an operation sees it."""

    id: str
    name: str | None
    first_name: str | None
    last_name: str | None
    email: str | None
    phone: str | None
    whatsapp: str | None
    time_zone: str | None
    language: str | None
    addresses: Mapping[str, str]
    tags: frozenset[str]
    attributes: Mapping[str, Any]  # plain JSON values
    deleted: bool


class ContactEdit(Value, frozen=True, kw_only=True):
    """What an operation changes; everything it does not name stays as it is."""

    add_tags: frozenset[str] = frozenset()
    remove_tags: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = {}  # merged one level; None clears
    deleted: bool | None = None


class Refusal(Value, frozen=True):
    """The operation does not apply to this contact: `already_done` where nothing would change."""

    code: str
    reason: str
    failed: bool = False  # false: the recipient is skipped


class Operation(ABC, Generic[S]):
    """One object for the life of the daemon, made without arguments."""

    name: ClassVar[str]  # [a-z][a-z0-9_]*, as in `"operation": "add_tags"`
    title: ClassVar[str]
    parameters_type: ClassVar[type[msgspec.Struct]]  # `"parameters"` of the bulk action; its JSON Schema is published
    reaches_deleted: ClassVar[bool] = False  # true: deleted contacts are its subject too

    def check(self, parameters: S) -> Sequence[str]:
        """What is wrong with the parameters beyond their types, in sentences. Pure."""
        return ()

    @abstractmethod
    def apply(self, contact: ContactView, parameters: S) -> ContactEdit | Refusal:
        """What to change. Pure; an exception fails this recipient with `operation_error` and changes nothing."""
