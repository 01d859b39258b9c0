"""`gateway.toml`, the environment and secrets as frozen settings; all problems at once, each with its line."""

from gateway.config.loading import Config, combined, load
from gateway.config.settings import Limits, Logging, Notify, Operator, Org, Plugins, Reconcile, Sender, Server, Store
from gateway.config.source import Origins
from gateway.config.units import Cron, Duration, Listen, PublicUrl, Rate, Region, StoreUrl, ZoneName

__all__ = [
    "Config",
    "Cron",
    "Duration",
    "Limits",
    "Listen",
    "Logging",
    "Notify",
    "Operator",
    "Org",
    "Origins",
    "Plugins",
    "PublicUrl",
    "Rate",
    "Reconcile",
    "Region",
    "Sender",
    "Server",
    "Store",
    "StoreUrl",
    "ZoneName",
    "combined",
    "load",
]
