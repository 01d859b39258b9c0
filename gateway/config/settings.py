"""The settings as values: what each section of `gateway.toml` may hold, with its defaults and its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from gateway.config.units import Cron, Duration, Listen, PublicUrl, Rate, Region, StoreUrl, ZoneName

Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$",
        extra={"expected": "a name of small letters, digits, - and _, at most 40 characters long"},
    ),
]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; unknown keys are refused."""


class Server(Section, frozen=True, kw_only=True):
    """`[server]`: who can reach the daemon, and how."""

    listen: Listen = Listen("127.0.0.1:8080")
    public_url: PublicUrl | None = None  # None: providers cannot call back, mails carry no unsubscribe link
    public_listen: Listen | None = None  # a second door, for providers' callbacks alone; None: they use the first
    drain_seconds: Annotated[float, Meta(ge=0, le=300)] = 10.0  # what is in flight may finish when the daemon stops


class Store(Section, frozen=True, kw_only=True):
    """`[store]`: where the data is."""

    url: StoreUrl = StoreUrl("sqlite:gateway.db")
    free_bytes_min: Annotated[int, Meta(ge=0)] = 50_000_000  # with less on the disk nothing is sent; 0: not looked at


class Org(Section, frozen=True, kw_only=True):
    """`[orgs.NAME]`: a tenant."""

    title: Annotated[str, Meta(min_length=1, max_length=100)] | None = None  # how it calls itself to people; None: NAME
    time_zone: ZoneName = ZoneName("UTC")  # of schedules that name none, and of the day of a daily cap
    daily_cap: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None  # messages per day over all its senders
    default_region: Region | None = None  # None: phone numbers must be written with + and the country's code


class Common(Section, frozen=True, kw_only=True):
    """The keys of `[senders.NAME]` that every sender knows; all others are its adapter's."""

    org: str = "default"
    channel: Annotated[str, Meta(min_length=1)]
    adapter: Annotated[str, Meta(min_length=1)]
    default: bool = False  # of its channel in its org
    rate: Rate | None = None  # cost units per second; None: the adapter's own
    burst: Annotated[float, Meta(ge=1, le=1_000_000)] | None = None  # cost units at once; None: one second's worth
    daily_cap: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None  # messages per day of the org's time zone
    concurrency: Annotated[int, Meta(ge=1, le=1_000)] | None = None  # W, the in-flight limit; None: the adapter's own
    deadline: Duration = Duration(seconds=30)  # of one attempt
    retry_for: Duration = Duration(hours=12)  # from the first attempt
    receipt_deadline: Duration | None = None  # from the hand-over; None: the adapter's own
    on_unknown: Literal["hold", "resend"] | None = None  # None: the adapter's own
    dry_run: bool = False  # the adapter is not called, everything else happens


class Sender(Common, frozen=True, kw_only=True):
    """One configured account of an adapter: `[senders.NAME]`."""

    name: str
    settings: Mapping[str, Any]  # the adapter's own keys as written; read them with `Config.sender_settings`


class Notify(Section, frozen=True, kw_only=True):
    """Whom to tell, and through which sender."""

    sender: str
    to: Annotated[str, Meta(min_length=1)]


class Operator(Section, frozen=True, kw_only=True):
    """`[operator]`: the person who is told of a pause, a held sender and the like."""

    notify: Notify | None = None


class Reconcile(Section, frozen=True, kw_only=True):
    """`[reconcile]`: when aged messages are looked up and finished actions are counted again."""

    schedule: Cron = Cron("*/5 * * * *")


class Limits(Section, frozen=True, kw_only=True):
    """`[limits]`: what callers may ask for."""

    creations_per_minute: Annotated[int, Meta(ge=1, le=10_000)] = 10  # bulk actions and retries, per org


class Conversations(Section, frozen=True, kw_only=True):
    """`[conversations]`: how answers find what they answer."""

    link_within: Duration = Duration(days=7)  # an answer later than this is linked to no message that it does not quote


class Files(Section, frozen=True, kw_only=True):
    """`[files]`: the files that messages name by URL."""

    size_max_bytes: Annotated[int, Meta(ge=1, le=100_000_000)] = 16_000_000  # of one; what is larger is refused
    allow_private: bool = False  # they may be on this machine and its networks; callers then can make us ask those


class Webhooks(Section, frozen=True, kw_only=True):
    """`[webhooks]`: the receivers of events."""

    allow_private: bool = False  # they may be on this machine and its networks; `admin` keys then can make us ask those


class Retention(Section, frozen=True, kw_only=True):
    """`[retention]`: how long what is kept. Deleted contacts are forgotten after 30 days."""

    messages: Duration | None = None  # their texts and addresses; None: for ever
    events: Duration = Duration(days=30)  # a webhook that comes back later than this has missed some
    callbacks: Duration = Duration(days=7)  # as they came, to be read again

    def __post_init__(self) -> None:
        shortest = {"messages": 30, "events": 8, "callbacks": 1}
        short = [
            f"{name} must be {days} days or more"
            for name, days in shortest.items()
            if getattr(self, name) is not None and getattr(self, name) < timedelta(days=days)
        ]
        if short:
            raise ValueError("; ".join(short) + ".")


class Logging(Section, frozen=True, kw_only=True):
    """`[logging]`: what is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"  # auto: console on a terminal, else JSON


class Plugins(Section, frozen=True, kw_only=True):
    """`[plugins]`, without the tables of single plugins."""

    disabled: tuple[str, ...] = ()  # names of entry points that are not loaded


class Document(Section, frozen=True, kw_only=True):
    """The whole file as it is converted; senders and plugins are looked into afterwards."""

    server: Server = Server()
    store: Store = Store()
    orgs: Mapping[Name, Org] = field(default_factory=lambda: {"default": Org()})
    senders: Mapping[Name, dict[str, Any]] = {}
    plugins: dict[str, Any] = {}
    operator: Operator = Operator()
    reconcile: Reconcile = Reconcile()
    limits: Limits = Limits()
    conversations: Conversations = Conversations()
    files: Files = Files()
    retention: Retention = Retention()
    webhooks: Webhooks = Webhooks()
    logging: Logging = Logging()
