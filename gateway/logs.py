"""Structured logs: one line per event on standard error, JSON unless a person is watching.

Events are constants (`batch_released`); what varies are their fields. Addresses, texts and secrets of people are taken
out here, at the one door through which everything leaves, so that no caller has to remember it.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from gateway.contract import Secret

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]

HIDDEN_ALWAYS: Final = frozenset({"api_key", "authorization", "credentials", "key", "password", "secret", "token"})
"""Fields that no line ever has."""

HIDDEN_FROM_INFO: Final = frozenset(
    {
        "address",
        "addresses",
        "attributes",
        "body",
        "email",
        "first_name",
        "html",
        "last_name",
        "message",
        "name_of_contact",
        "phone",
        "recipient_address",
        "subject",
        "text",
        "to",
        "variables",
        "whatsapp",
    }
)
"""Fields that only a line at debug has: who somebody is, and what was written to them."""

MAY_QUOTE: Final = "may_quote"
"""True beside `exc_info`: the exception comes from code that was given a message or a callback, and may quote it. Its
words are logged at level debug only."""

_LOCAL: Final = r"\w.!#$%&'*+/=?^_`{|}~-"  # what may stand before the @; from the start of such a run on, for speed
_EMAIL: Final = re.compile(rf"""(?:"[^"\n]{{1,64}}"|(?<![{_LOCAL}])[{_LOCAL}]+)(?:@|%40)[\w-]+(?:\.[\w-]+)*""")
# Providers write numbers with and without +. Ids of ours are safe: their digits follow a letter or an underscore.
_PHONE: Final = re.compile(r"(?:(?<![\w.])\+|%2[Bb])\d(?:[ ()-]{0,2}\d){7,14}(?!\w)|(?<![\w.])\d{9,15}(?!\w|[.:]\d)")
# What lets in whoever has it: keys, webhooks' secrets, people's links, the tails of callbacks, passwords in URLs.
_SECRETS: Final = (
    (re.compile(r"(?i)\b(bearer|basic) [\w.~+/=-]+"), r"\1 ***"),
    (re.compile(r"\b(gwk_[0-9a-z]+)_\w+"), r"\1_***"),
    (re.compile(r"\bwhsec_[\w+/=-]+"), "whsec_***"),
    (re.compile(r"/u/[\w-]{20,}"), "/u/***"),
    (re.compile(r"(/callbacks/[\w-]+[/?])[^\s'\"]+"), r"\1***"),
    (re.compile(r"://[^/\s@]*@"), "://"),
)
_MASK: Final = "***"
_CHAIN_MAX: Final = 10  # exceptions that were raised from one another
_DEPTH_MAX: Final = 6  # of nested values in a field; what is deeper is left out
# Levels of syslog, which journald reads from the start of a line (sd-daemon(3)).
_PRIORITIES: Final[Mapping[str, int]] = MappingProxyType(
    {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
)


def configure(level: Level = "info", form: Format = "auto", stream: TextIO | None = None) -> None:
    """Set the whole process up: structlog, and what libraries say through `logging` from warning on.

    Called once at the start of a command; a later call replaces the former for loggers that were not used yet.
    """
    output = stream if stream is not None else sys.stderr
    console = form == "console" or (form == "auto" and output.isatty())
    structlog.configure(
        processors=processors(
            console=console, colors=output.isatty(), journal=_is_journal(output), quoting=level == "debug"
        ),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines.factory(output),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Forward)]:
        root.removeHandler(handler)
    root.addHandler(_Forward(level=logging.WARNING))


def processors(
    *, console: bool, colors: bool = False, journal: bool = False, quoting: bool = False
) -> Sequence[Processor]:
    """The way of an event from its call to the line. `quoting`: exceptions that may quote messages keep their words."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _add_logger,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([_with_words] if quoting else [_without_words]),
        structlog.processors.format_exc_info,
        redact,
    ]
    if console:
        # Tracebacks with local variables, which structlog would make with rich, would show addresses.
        renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
        return [*shared, renderer]
    return [*shared, _json_renderer(journal=journal)]


def redact(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Take out secrets always, and from info on whatever tells who somebody is or what was written to them.

    Fields are left out by name; in all other texts, tracebacks included, e-mail addresses and phone numbers are masked:
    providers repeat them in their answers.
    """
    hidden = HIDDEN_ALWAYS if method == "debug" else HIDDEN_ALWAYS | HIDDEN_FROM_INFO
    scrub = _without_secrets if method == "debug" else _scrubbed
    return {
        name: value if name in ("event", "timestamp") else _cleaned(value, hidden, scrub, _DEPTH_MAX)
        for name, value in event.items()
        if name not in hidden
    }


def _with_words(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event.pop(MAY_QUOTE, None)
    return event


def _without_words(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Where an exception came from and of what types it is; what it says may be the text of a message."""
    if event.pop(MAY_QUOTE, False):
        event["exception"] = "\ncaused by\n".join(map(_frames, _chain(event.pop("exc_info"))))
    return event


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    """An exception and those that it gathers or was raised from, the outermost first."""
    waiting = [] if exc is None else [exc]
    for _ in range(_CHAIN_MAX):
        if not waiting:
            return
        yield (found := waiting.pop(0))
        waiting += found.exceptions if isinstance(found, BaseExceptionGroup) else ()
        before = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
        waiting += [] if before is None else [before]


def _frames(exc: BaseException) -> str:
    return "".join(traceback.format_tb(exc.__traceback__)) + type(exc).__name__


def _cleaned(value: Any, hidden: frozenset[str], scrub: Callable[[str], str], depth: int) -> Any:
    if isinstance(value, Secret):
        return _MASK
    if isinstance(value, str):
        return scrub(value)
    if depth == 0:
        return "..."
    if isinstance(value, Mapping):
        return {
            str(name): _cleaned(member, hidden, scrub, depth - 1)
            for name, member in value.items()
            if name not in hidden
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_cleaned(element, hidden, scrub, depth - 1) for element in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return scrub(str(value))


def _without_secrets(text: str) -> str:
    for pattern, mask in _SECRETS:
        text = pattern.sub(mask, text)
    return text


def _scrubbed(text: str) -> str:
    return _PHONE.sub(_MASK, _EMAIL.sub(_MASK, _without_secrets(text)))


def _add_logger(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    name = getattr(logger, "name", None)
    if name:
        event.setdefault("logger", name)
    return event


def _json_renderer(*, journal: bool) -> Processor:
    encoder = msgspec.json.Encoder(enc_hook=str)

    def render(_logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> str:
        ordered = {"time": event.pop("timestamp", None), "level": event.pop("level", method)}
        try:
            line = encoder.encode({**ordered, **event}).decode()
        except (TypeError, ValueError):  # a text with unpaired surrogates: better its escapes than no line
            line = encoder.encode({**ordered, "event": event.get("event"), "unreadable": ascii(event)}).decode()
        return f"<{_PRIORITIES.get(str(ordered['level']), 6)}>{line}" if journal else line

    return render


def _is_journal(output: TextIO) -> bool:
    """True if systemd connected this stream to the journal, as it says in JOURNAL_STREAM (systemd.exec(5))."""
    try:
        status = os.fstat(output.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _Lines:
    """The end of the way: one stream. A stream that is gone must not take the daemon with it."""

    __slots__ = ("_output", "name")

    def __init__(self, output: TextIO, name: str | None) -> None:
        self._output = output
        self.name = name

    @staticmethod
    def factory(output: TextIO) -> Callable[..., _Lines]:
        return lambda *names: _Lines(output, names[0] if names else None)

    def msg(self, line: str) -> None:
        try:
            self._output.write(f"{line}\n")
            self._output.flush()
        except (OSError, ValueError):  # the pipe's reader has gone, or the stream is closed
            return

    debug = info = warning = error = critical = msg


class _Forward(logging.Handler):
    """What libraries say through `logging`, as an event of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            said = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit the library's own format
            said = str(record.msg)
        log = structlog.get_logger(record.name)
        log.log(min(record.levelno, logging.ERROR), "library_message", said=said, exc_info=record.exc_info)
