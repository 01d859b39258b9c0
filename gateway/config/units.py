"""The words of `gateway.toml` that stand for more than text: durations, rates, addresses to listen on, time zones.

Each class reads itself with `parse`, which `gateway.validation.convert` calls; what it cannot read is a ValueError with
a sentence. `expected` is what the class is called in such a sentence.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import zoneinfo
from datetime import timedelta
from typing import ClassVar, Final
from urllib.parse import urlsplit

import phonenumbers

from gateway.core.recur import cron_problem
from gateway.wording import given, unknown

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION_MAX: Final = timedelta(days=366)
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|m|h|d)")
_RATE_MAX: Final = 100_000.0  # per second; two orders above what one process can send
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_PORT_MAX: Final = 65_535


def _refusal(expected: str, value: object) -> ValueError:
    return ValueError(f"Must be {expected}, not {given(value)}.")


class Duration(timedelta):
    """Elapsed time, more than zero: `"30s"`, `"15m"`, `"24h"`, `"1d"` (24 hours)."""

    expected: ClassVar[str] = 'a duration such as "30s", "15m", "24h" or "1d"'

    @classmethod
    def parse(cls, value: object) -> Duration:
        matched = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
        if matched is None or len(matched[1]) > 12:
            raise _refusal(cls.expected, value)
        duration = cls(seconds=float(matched[1]) * _SECONDS[matched[2]])
        if not timedelta() < duration <= _DURATION_MAX:
            raise ValueError(f"Must be longer than nothing and at most 366d, not {given(value)}.")
        return duration


class Rate(float):
    """How much in a second, more than zero: `"50/s"`, `"600/m"`, `"1000/h"`, `"250/d"`."""

    expected: ClassVar[str] = 'a rate such as "50/s", "600/m" or "1000/h"'

    @classmethod
    def parse(cls, value: object) -> Rate:
        matched = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
        if matched is None:
            raise _refusal(cls.expected, value)
        rate = cls(float(matched[1]) / _SECONDS[matched[2]])
        if not 0 < rate <= _RATE_MAX:
            raise ValueError(f"Must be more than nothing and at most {_RATE_MAX:.0f}/s, not {given(value)}.")
        return rate


class Listen(str):
    """Where to accept connections: `"127.0.0.1:8080"`, `"[::1]:8080"` or `"unix:/run/gateway/api.sock"`."""

    __slots__ = ()
    expected: ClassVar[str] = 'an address such as "127.0.0.1:8080" or "unix:/run/gateway/api.sock"'

    @classmethod
    def parse(cls, value: object) -> Listen:
        listen = cls(value.strip()) if isinstance(value, str) else None
        if listen is None or not listen._valid():
            raise _refusal(cls.expected, value)
        return listen

    def _valid(self) -> bool:
        if self.path is not None:
            return self.path.startswith("/")
        host, _, port = self.rpartition(":")
        if not (port.isascii() and port.isdigit() and int(port[:6]) <= _PORT_MAX):
            return False
        if host.startswith("[") and host.endswith("]"):
            return _ip_version(host[1:-1]) == 6
        return _HOST.fullmatch(host) is not None

    @property
    def path(self) -> str | None:
        """The path of a Unix socket, or None."""
        return self[len("unix:") :] if self.startswith("unix:") else None

    @property
    def host(self) -> str:
        """The host without the brackets of an IPv6 address. Of a host and port only."""
        return self.rpartition(":")[0].removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        """The port; 0 takes a free one. Of a host and port only."""
        return int(self.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """True if only this machine can connect: a Unix socket, `localhost`, or a loopback address."""
        if self.path is not None or self.host == "localhost":
            return True
        return _ip_version(self.host) is not None and ipaddress.ip_address(self.host).is_loopback


def _ip_version(text: str) -> int | None:
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return None


class PublicUrl(str):
    """Where the outside world reaches the gateway, without a slash at the end: `"https://gateway.example"`."""

    __slots__ = ()
    expected: ClassVar[str] = 'a URL such as "https://gateway.example"'

    @classmethod
    def parse(cls, value: object) -> PublicUrl:
        try:
            parts = urlsplit(value.strip()) if isinstance(value, str) else None
            port = parts.port if parts else None
        except ValueError as exc:  # a port that is none, an unclosed bracket
            raise _refusal(cls.expected, value) from exc
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise _refusal(cls.expected, value)
        if parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError("Must be a URL without user name, query and fragment.")
        return cls(parts.geturl().rstrip("/"))


class ZoneName(str):
    """An IANA time zone: `"Africa/Lagos"`."""

    __slots__ = ()
    expected: ClassVar[str] = 'a time zone such as "Africa/Lagos" or "UTC"'

    @classmethod
    def parse(cls, value: object) -> ZoneName:
        if not isinstance(value, str):
            raise _refusal(cls.expected, value)
        if value not in _zones():
            known = sorted(_zones())
            by_city = [zone for zone in known if zone.rpartition("/")[2].lower() == value.lower().replace(" ", "_")]
            hint = f"There is no such time zone; did you mean {given(by_city[0])}?" if by_city else None
            raise ValueError(
                f"Must be {cls.expected}, not {given(value)}. {hint or unknown(value, known, 'time zone')}"
            )
        return cls(value)


@functools.cache
def _zones() -> frozenset[str]:
    """The names that can be loaded here; reading the folder takes milliseconds, so once."""
    return frozenset(zoneinfo.available_timezones())


class Region(str):
    """The country whose national phone numbers are read: `"NG"`."""

    __slots__ = ()
    expected: ClassVar[str] = 'a country code of two letters such as "NG" or "US"'

    @classmethod
    def parse(cls, value: object) -> Region:
        code = value.strip().upper() if isinstance(value, str) else None
        if code not in phonenumbers.SUPPORTED_REGIONS:
            raise _refusal(cls.expected, value)
        return cls(code)


class Cron(str):
    """A timetable in cron's five fields: `"*/5 * * * *"`."""

    __slots__ = ()
    expected: ClassVar[str] = 'a cron expression such as "*/5 * * * *"'

    @classmethod
    def parse(cls, value: object) -> Cron:
        if not isinstance(value, str):
            raise _refusal(cls.expected, value)
        problem = cron_problem(value)
        if problem:
            raise ValueError(f"Must be {cls.expected}, not {given(value)}: {problem.rstrip('.')}.")
        return cls(value)


class StoreUrl(str):
    """Where the data is: `"sqlite:gateway.db"`, a path relative to the folder of the configuration file."""

    __slots__ = ()
    expected: ClassVar[str] = 'a database such as "sqlite:gateway.db"'

    @classmethod
    def parse(cls, value: object) -> StoreUrl:
        scheme, _, path = value.partition(":") if isinstance(value, str) else ("", "", "")
        if scheme != "sqlite" or not path or path == ":memory:":
            raise _refusal(cls.expected, value)
        return cls(f"sqlite:{path.removeprefix('//') if path.startswith('///') else path}")

    @property
    def file(self) -> str:
        """The path of the SQLite file as it was written."""
        return self.partition(":")[2]
