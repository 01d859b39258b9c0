"""Every error that the gateway raises on purpose.

GatewayError
├── ConfigError         the configuration cannot be used; `problems` has them all, with file and line
├── PluginError         a plugin cannot be loaded; names the plugin and its version
├── Refused             a request was understood and is refused; `code` is stable, the HTTP status follows from it
│   ├── Invalid         its content is wrong; `problems` has them all, each with a JSON pointer
│   └── NotFound        the thing does not exist, or belongs to another org
└── StoreError
    ├── StoreUnavailable    locked, read-only or full: try again later
    └── SchemaTooNew        the file was written by a newer version of the gateway

What a send answers is not here: outcomes are values (`gateway.contract`), returned and never raised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where.

    `pointer` is an RFC 6901 JSON pointer into the request ("/schedule/drip/batch_quantity"), or the dotted key of a
    configuration file ("senders.mail.rate"). `line` is the line of that file, counted from 1, where it is known.
    """

    pointer: str
    detail: str
    line: int | None = None


class GatewayError(Exception):
    """The root: catching it catches everything that the gateway raises on purpose."""


class ConfigError(GatewayError):
    """The configuration cannot be used. All problems are in `problems`, none is reported alone."""

    def __init__(self, problems: Sequence[Problem], source: str = "gateway.toml") -> None:
        self.problems = tuple(problems)
        self.source = source
        lines = [
            f"{source}:{p.line}: {p.pointer}: {p.detail}" if p.line else f"{source}: {p.pointer}: {p.detail}"
            for p in self.problems
        ]
        super().__init__("\n".join(lines))


class PluginError(GatewayError):
    """A plugin cannot be loaded or contradicts another one. The message names it, its version and the remedy."""


class Refused(GatewayError):
    """A request that was understood and cannot be fulfilled.

    `code` is one of the stable codes of the API (`not_cancellable`, `revision_mismatch`, ...); `more` are further
    members of the problem document, such as `missing` for `permission_denied`.
    """

    def __init__(self, code: str, detail: str, *, more: Mapping[str, object] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.more: Mapping[str, object] = dict(more or {})


class Invalid(Refused):
    """The content of a request is wrong. `problems` holds every fault that was found, not only the first."""

    def __init__(self, problems: Sequence[Problem], code: str = "invalid", detail: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__(code, detail or "; ".join(f"{p.pointer or '/'}: {p.detail}" for p in self.problems))


class NotFound(Refused):
    """Nothing by that id in the caller's org. Also the answer for another org's ids."""

    def __init__(self, what: str, identifier: str) -> None:
        super().__init__("not_found", f"There is no {what} {identifier!r}.")


class StoreError(GatewayError):
    """The database did not do what it was asked."""


class StoreUnavailable(StoreError):
    """The database is locked, read-only or its disk is full. Nothing was written; trying again later may succeed."""


class SchemaTooNew(StoreError):
    """The file was written by a newer version of the gateway, which this one must not touch."""
