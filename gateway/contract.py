"""The plugin contract, second half: the types. Read `hookspecs.py` first; then this from top to bottom.

What the gateway promises to authors: within a major version of `CONTRACT_VERSION` fields and methods are only added,
and added with defaults. All values are immutable. Instants are aware datetimes in UTC, durations timedeltas. This
module imports neither aiohttp nor the rest of the gateway.

The order here is that of a message's life: what a send answers, what is sent, what comes back, look-ups, the adapter
and what it is given; then policies, and operations on contacts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import msgspec

CONTRACT_VERSION = "1.0"


class Value(msgspec.Struct, frozen=True):
    """The base of every value here: frozen, compared by content."""


class Secret(str):
    """A setting given as `{ env = }`, `{ file = }`, `{ credential = }` or as plain text. Its `repr` hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('***')"


# What a send answers. Returned, never raised: an exception that escapes `send` means that nobody knows.


class Code(StrEnum):
    """Why a recipient failed: callers of the API branch on it. The provider's own code goes beside it."""

    INVALID_ADDRESS = "invalid_address"
    UNREACHABLE = "unreachable"
    CONTENT = "content_rejected"
    TOO_LONG = "too_long"
    TEMPLATE = "template_rejected"
    MEDIA = "media_rejected"
    BLOCKED = "blocked"
    EXPIRED = "expired"
    WINDOW_CLOSED = "window_closed"
    PROVIDER = "provider_error"


class Accepted(Value, frozen=True):
    """The provider took it.

    A success at once where `capabilities.receipts` is false; else handed over until a receipt comes or the sender's
    `receipt_deadline` passes. `provider_ids`: () if it gives none, several for a text that it sends in parts.
    """

    provider_ids: tuple[str, ...] = ()


class Retry(Value, frozen=True):
    """Certainly not sent, and worth another try: after `after` (None: our back-off), until `retry_for` is over.

    `scope` "sender" holds every message of this sender for that long, and does not count as an attempt of this one.
    """

    reason: str
    after: timedelta | None = None
    scope: Literal["message", "sender"] = "message"


class Rejected(Value, frozen=True):
    """Certainly not sent, and never will be: the recipient fails.

    `address_dead`: the address does not exist any more, and nothing more goes to it on this channel.
    """

    code: Code
    reason: str
    provider_code: str | None = None
    address_dead: bool = False


class OptedOut(Value, frozen=True):
    """The provider knows that this person left: recorded as an opt-out, the recipient is skipped.

    `category` None: everything on this channel.
    """

    reason: str
    category: str | None = None


class Misconfigured(Value, frozen=True):
    """Ours to repair: credentials, an account, a template. Nobody is spent.

    The recipient goes back to pending. Scope "sender" holds the sender and probes it each minute with `check`; scope
    "action" pauses the bulk action and tells the operator.
    """

    reason: str
    scope: Literal["sender", "action"] = "sender"


class Unknown(Value, frozen=True):
    """It may have gone. A time-out, a cancellation and every exception but `NotSent` count as this."""

    reason: str


Outcome = Accepted | Retry | Rejected | OptedOut | Misconfigured | Unknown


# What is sent.


class Media(Value, frozen=True):
    """A file: one that the provider fetches from `url`, or one that came with an inbound message.

    `content_type` and `size` (octets) are what its server said when the message was accepted; None if nobody could ask.
    """

    url: str
    content_type: str | None = None
    filename: str | None = None
    size: int | None = None


class ProviderTemplate(Value, frozen=True, kw_only=True):
    """A template as the provider keeps it. Its name and its language together identify it within one sender."""

    name: str
    language: str
    status: Literal["approved", "pending", "rejected", "paused"]  # only an approved one can be sent
    category: str | None = None  # such as "marketing"
    text: str = ""  # with its placeholders, for people to read
    parameters: tuple[str, ...] = ()  # names: "1" or "first_name" in the body, "header.1", "button.0"
    media: Literal["image", "video", "document"] | None = None  # the kind of file that a message with it must bring
    reason: str | None = None  # why it is not approved
    details: Mapping[str, Any] = {}  # plain JSON that the adapter itself wants back when it sends


class TemplateUse(Value, frozen=True):
    """A template that the provider has approved, with its parameters rendered for this recipient."""

    name: str
    language: str
    parameters: Mapping[str, str]  # one text for each of the template's `parameters`
    details: Mapping[str, Any] = {}  # the template's own


class Outbound(Value, frozen=True, kw_only=True):
    """One message to one address: rendered, past the gate, and on our disk as an intent.

    `ref` matches [a-z0-9_]{1,40} and is the same on every attempt: use it as idempotency key, Message-ID and echo.
    """

    ref: str
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


# What comes back.


class Status(StrEnum):
    """What a provider says about a message."""

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
    """What became of a message. Order and repetition of receipts do not matter.

    Matched by `ref`, else by the first known of `provider_ids` (unique within a sender: compose them if the provider's
    are not), else parked for 24 hours. `at` is the provider's clock; None: the time of arrival.
    """

    status: Status
    ref: str | None = None
    provider_ids: tuple[str, ...] = ()
    at: datetime | None = None
    code: Code | None = None
    reason: str | None = None
    provider_code: str | None = None
    address_dead: bool = False


class Inbound(Value, frozen=True, kw_only=True):
    """A person wrote. Kept once for each (sender, provider_id)."""

    provider_id: str
    address: str  # raw: the gateway normalises it
    aliases: tuple[str, ...] = ()  # other ids of the same person on this channel
    text: str = ""
    at: datetime | None = None
    quotes: tuple[str, ...] = ()  # provider ids, one of which is our message that was quoted
    button: str | None = None  # payload of a pressed button
    media: tuple[Media, ...] = ()
    name: str | None = None
    automatic: bool = False  # out-of-office: neither an opt-out nor a reply


class Consent(Value, frozen=True, kw_only=True):
    """A wish that came as no message: a block, a preference, a complaint, a click.

    `category` None: everything on this channel. `ref` and `provider_ids`: our message that it is about, or the inbound
    one that says it; the ledger keeps it as the proof.
    """

    address: str  # raw: the gateway normalises it; "" where only the message is known
    wish: Literal["out", "in"]
    source: Literal["provider", "complaint", "one_click"]
    category: str | None = None
    at: datetime | None = None
    reason: str | None = None
    ref: str | None = None
    provider_ids: tuple[str, ...] = ()


class TemplateChange(Value, frozen=True, kw_only=True):
    """The provider approved, refused or paused a template; its other traits are asked for with `templates`."""

    name: str
    language: str
    status: Literal["approved", "pending", "rejected", "paused"]
    reason: str | None = None


Event = Receipt | Inbound | Consent | TemplateChange


class CallbackRequest(Value, frozen=True, kw_only=True):
    """A request of a provider to `/callbacks/{sender}`.

    What `Adapter.run` delivered is replayed as one with the method "RUN" and the delivered bytes as its body.
    """

    method: str
    url: str  # the configured public URL, with path and query as received: what providers sign
    tail: str  # the path after /callbacks/{sender}: "" or "/bounce"
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]  # names in lower case
    body: bytes  # raw, at most 4 MiB


class CallbackAnswer(Value, frozen=True):
    """What the provider is answered."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"


# Asking a provider about a message whose end nobody saw.


class Question(Value, frozen=True, kw_only=True):
    """Which message. `provider_ids` is empty if no answer ever came: find it by what it was, and when."""

    message: Outbound
    provider_ids: tuple[str, ...]
    attempted_at: datetime


class Found(Value, frozen=True):
    """The provider has it, and this is what it says."""

    receipt: Receipt
    provider_ids: tuple[str, ...] = ()


class Absent(Value, frozen=True):
    """The provider has certainly not got it: it is sent again."""


class CannotTell(Value, frozen=True):
    """Nobody knows, still."""

    reason: str


Answer = Found | Absent | CannotTell


# What an adapter is given.


class NotSent(Exception):
    """Raised by `Http` when no byte of the request can have arrived (DNS, refused, TLS). Let it escape.

    The message goes back to pending and is not spent; several in a row hold the sender until `check` finds it well.
    """


class HttpResponse(Value, frozen=True):
    """An answer over HTTP."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes  # at most 1 MiB; redirects are not followed


class FileRefused(Exception):
    """Raised by `Files`: this file will never do. It is not there, too large, or at an address that is not allowed."""


class FileUnavailable(Exception):
    """Raised by `Files`: its server did not answer. Nothing was sent: answer `Retry`."""


class File(Value, frozen=True):
    """The content of a `Media`."""

    body: bytes
    content_type: str
    filename: str  # never empty, without folders


class Files(Protocol):
    """Fetches a file for adapters that hand over its bytes, such as e-mail. Files are kept for some minutes."""

    async def __call__(self, media: Media) -> File:
        """FileRefused, FileUnavailable."""
        ...


class Http(Protocol):
    """The only door to HTTP that an adapter needs. The time limit is that of the attempt."""

    async def __call__(
        self,
        method: str,
        url: str,
        *,
        json: object = None,
        form: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """One request. NotSent: it did not arrive. Any other exception: let it escape, nobody knows."""
        ...


class Log(Protocol):
    """A structured log: `log.info("token_refreshed", seconds=3)`. Never addresses, texts or secrets."""

    def info(self, event: str, **values: object) -> object: ...
    def warning(self, event: str, **values: object) -> object: ...


class Tools(Value, frozen=True, kw_only=True):
    """What one adapter object works with."""

    http: Http
    files: Files
    log: Log
    sender: str  # NAME of [senders.NAME]
    now: Callable[[], datetime]
    callback_url: str | None  # None without a public URL


Deliver = Callable[[bytes], Awaitable[None]]
"""Hands over what a provider sent; returns after the commit: acknowledge to the provider then.

The bytes are stored, then read by the adapter's own `parse`, as the body of a request with the method "RUN".
"""


class Capabilities(Value, frozen=True, kw_only=True):
    """What a provider can do, and the defaults of a sender's settings."""

    receipts: bool = False  # a receipt normally follows every accepted message
    receipt_deadline: timedelta = timedelta(hours=24)
    lookup: bool = False
    lookup_settle: timedelta = timedelta(minutes=2)  # `Absent` is not believed earlier than this after the attempt
    idempotent_for: timedelta | None = None  # a repeat with the same ref within this time is one message
    on_unknown: Literal["hold", "resend"] = "hold"
    answers_opt_out: bool = False  # the provider itself confirms STOP: we stay silent
    templates: bool = False  # it keeps templates: `Adapter.templates` lists them
    rate: float = 10.0  # in `cost` units per second
    concurrency: int = 10  # W


class Channel(Value, frozen=True, kw_only=True):
    """A kind of route. Its adapters share it, so that an opt-out holds for all of them."""

    name: str  # [a-z][a-z0-9_]*
    title: str  # as in "Opted out of SMS"
    normalise: Callable[[str, str | None], str]
    """(address, default region) to its one spelling; pure. ValueError says in a sentence what is wrong."""
    address_from: Literal["phone", "email"] | None = None  # for a contact without an address of its own on it
    takes: frozenset[str] = frozenset({"text"})  # of text, html, subject, media, template
    template_required: bool = False  # in bulk
    conversations: bool = True  # false: replies go elsewhere (e-mail)
    reply_window: timedelta | None = None  # only templates may be sent when a person has not written for so long


S = TypeVar("S", bound=msgspec.Struct)


class Adapter(ABC, Generic[S]):
    """The code that speaks to one provider. One object for each `[senders.NAME]`, for the life of the daemon.

    Everything asynchronous runs on the daemon's event loop and must not block it.
    """

    channel: ClassVar[str]
    name: ClassVar[str]  # unique within the channel: `adapter = "..."` in gateway.toml
    settings_type: ClassVar[type[msgspec.Struct]]  # the sender's table without the common keys

    def __init__(self, settings: S, tools: Tools) -> None:
        self.settings = settings
        self.tools = tools

    @property
    def capabilities(self) -> Capabilities:
        """May depend on the settings; read when the daemon is built, before `open`."""
        return Capabilities()

    async def open(self) -> None:
        """Connect. An exception holds this sender and is tried again; it never keeps the daemon from running."""

    async def close(self) -> None:
        """Called once, after the last send; has 5 seconds."""

    @abstractmethod
    async def send(self, message: Outbound) -> Outcome:
        """Hand over one message; up to W of these run at once on one object.

        Cancelled at the sender's `deadline` (30 s): release what is held then. If the process dies in here, the message
        is `unknown` at the next start.
        """

    def refuse(self, message: Outbound) -> Rejected | None:
        """Limits that are known beforehand; pure. Asked before the intent, and by the preview."""
        return None

    def cost(self, message: Outbound) -> int:
        """Units of the sender's rate, such as SMS segments; pure."""
        return 1

    async def authenticate(self, request: CallbackRequest) -> bool | CallbackAnswer:
        """Whether a callback is genuine, judged by its raw bytes.

        True: store it, parse it, answer. False: 403, and nothing is stored. An answer: give it and store nothing, for
        handshakes.
        """
        return False

    def parse(self, request: CallbackRequest) -> Sequence[Event]:
        """Pure, and repeated on replay. Whatever the bytes, it raises nothing; what it does not know it leaves out."""
        return ()

    def answer(self, request: CallbackRequest) -> CallbackAnswer:
        """Given after the commit."""
        return CallbackAnswer()

    async def run(self, deliver: Deliver) -> None:
        """For providers that do not call back: sockets, polling, LMTP.

        Started after `open`, cancelled before `close`. One that returns is done; one that raises is started again.
        """

    async def lookup(self, question: Question) -> Answer:
        """Find out what became of a message; only asked with `capabilities.lookup`. An exception: cannot tell."""
        return CannotTell("this adapter cannot ask")

    async def templates(self) -> Sequence[ProviderTemplate]:
        """All templates of this account, in every state; only asked with `capabilities.templates`.

        Asked when the daemon starts, each hour, and when somebody wants to know. An exception leaves what is known.
        """
        return ()

    async def check(self) -> str | None:
        """Whether the account works, without sending: for `gateway doctor`, and the probe of a held sender.

        None: it does; else a sentence. An exception, or 30 s without an answer, counts as unwell.
        """
        return None


# Policies: synchronous and without I/O. An exception holds the message: it is neither sent nor spent.


class Allow(Value, frozen=True):
    """Nothing is against it."""


class Defer(Value, frozen=True):
    """Not before `until`."""

    until: datetime
    reason: str


class Deny(Value, frozen=True):
    """Not at all. `failed` false: the recipient is skipped, which is no error."""

    code: str
    reason: str
    failed: bool = False


Verdict = Allow | Defer | Deny


class Facts(Value, frozen=True, kw_only=True):
    """What a send policy judges by, read when the message is about to leave.

    What costs something is empty unless a policy's `needs` names it: the counts of this person's messages on all
    channels and on this one ("sent_counts"), `last_inbound_at` ("last_inbound") and `time_zones` ("time_zones"). The
    counts are of messages that went, or are about to go, in the last 24 hours and 7 days.

    `time_zone` is the person's own, else the org's. `time_zones` are all that the person may be in: the own one, else
    those of the region of the phone number, else the org's; what must hold for the person must hold in each of them.
    """

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
    sent_last_day_on_channel: int = 0
    sent_last_week_on_channel: int = 0
    time_zones: tuple[str, ...] = ()  # IANA names


class Known(Value, frozen=True, kw_only=True):
    """What the settings of a policy may name: what is configured, and what can be permitted."""

    orgs: frozenset[str]
    channels: frozenset[str]
    permissions: frozenset[str]


class SettingFault(Value, frozen=True, kw_only=True):
    """What is wrong with a setting. `keys`: where it stands below [plugins.NAME], as in ("orgs", "acme")."""

    keys: tuple[str, ...]
    detail: str


class Policy(ABC, Generic[S]):
    """The base of the three kinds below. One object for the life of the daemon."""

    name: ClassVar[str]
    settings_type: ClassVar[type[msgspec.Struct]]  # the table [plugins.NAME]

    def __init__(self, settings: S) -> None:
        self.settings = settings

    def faults(self, known: Known) -> Sequence[SettingFault]:
        """Settings that name what there is not. The daemon does not start with them, and says all at once."""
        return ()


class SendPolicy(Policy[S]):
    """May this message leave now?"""

    needs: ClassVar[frozenset[str]] = frozenset()  # of "sent_counts", "last_inbound", "time_zones"

    @property
    def active(self) -> bool:
        """False: its settings ask nothing of it, and it is never asked. Read when the daemon is built."""
        return True

    @abstractmethod
    def judge(self, facts: Facts) -> Verdict:
        """Called for every message; the most restrictive verdict of all policies wins.

        An exception sends nothing; five in a row pause the bulk action.
        """


class Caller(Value, frozen=True, kw_only=True):
    """Who is behind a request: an API key."""

    key_id: str
    org: str
    permissions: frozenset[str]
    roles: frozenset[str]
    acting_for: str | None


class AccessPolicy(Policy[S]):
    """May the caller do this?"""

    @abstractmethod
    def permits(self, caller: Caller, permission: str) -> bool:
        """Asked for each request, and for the creator of a bulk action at each batch. All policies must permit."""


class Reaction(Value, frozen=True):
    """What an inbound text asks for. `category` None: everything on this channel.

    `reply` is sent once if the wish is new; one without a wish at most five times a day to the same address.
    """

    wish: Literal["out", "in"] | None
    category: str | None = None
    reply: str | None = None


class InboundFacts(Value, frozen=True, kw_only=True):
    """Where a text came in. `title`: how the org calls itself to people; its name where it says nothing."""

    org: str
    title: str
    channel: str
    sender: str


class InboundPolicy(Policy[S]):
    """What does this text mean?"""

    @abstractmethod
    def read(self, inbound: Inbound, facts: InboundFacts) -> Reaction | None:
        """Called for each text that no machine wrote, before it is stored, and again when its callback is replayed.

        The reactions of all policies are carried out with the message: a wish to leave wins over one to come back, and
        the first reply is sent, where the wish is new and the provider does not reply itself. An exception keeps the
        message in the inbox of callbacks, for a replay.
        """


class ContentFacts(Value, frozen=True, kw_only=True):
    """What a content policy judges by."""

    org: str
    title: str  # how the org calls itself to people
    channel: str
    sender: str
    category: str
    source: Literal["bulk_action", "api", "reply", "campaign"]
    unsubscribe_url: str | None  # of this message, for this person; None without a public URL
    links_itself: bool  # the text shows that URL already


class ContentPolicy(Policy[S]):
    """What is added to every message, such as how to leave?"""

    @abstractmethod
    def finish(self, message: Outbound, facts: ContentFacts) -> Outbound:
        """The message as it shall leave; pure: what was sent is shown, and looked for at the provider, by asking again.

        Only texts and headers may change. Called before the adapter's `refuse` and `cost`. An exception holds the
        message: it is neither sent nor spent; five in a row pause the bulk action.
        """


# Operations: what a bulk action does to each contact. Pure.


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
    """What an operation changes; everything that it does not name stays as it is."""

    add_tags: frozenset[str] = frozenset()
    remove_tags: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = {}  # merged one level; None clears
    deleted: bool | None = None


class Refusal(Value, frozen=True):
    """The operation does not apply to this contact: `already_done` where nothing would change.

    `failed` false: the recipient is skipped, which is no error.
    """

    code: str
    reason: str
    failed: bool = False


class Operation(ABC, Generic[S]):
    """One object for the life of the daemon, made without arguments."""

    name: ClassVar[str]  # [a-z][a-z0-9_]*, as in `"operation": "add_tags"`
    title: ClassVar[str]
    parameters_type: ClassVar[type[msgspec.Struct]]  # `"parameters"`; its JSON Schema is published
    reaches_deleted: ClassVar[bool] = False  # true: deleted contacts are its subject too

    def check(self, parameters: S) -> Sequence[str]:
        """What is wrong with the parameters beyond their types, in sentences. Asked when an action is created."""
        return ()

    @abstractmethod
    def apply(self, contact: ContactView, parameters: S) -> ContactEdit | Refusal:
        """What to change. An exception fails this recipient with `operation_error` and changes nothing.

        The change is written if the contact still is as it was seen; else the operation is asked again.
        """
