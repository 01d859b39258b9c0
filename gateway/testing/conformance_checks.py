"""Checks of what a plugin says of itself, without pytest and Hypothesis: for the suites, and `gateway plugin test`."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from itertools import pairwise
from typing import Any, Final, TypeVar

import msgspec

from gateway.config.settings import Common
from gateway.contract import Adapter, Capabilities, Channel, Secret
from gateway.errors import Invalid
from gateway.validation import convert
from gateway.wording import TOML

S = TypeVar("S", bound=msgspec.Struct)

NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
NAME_IN_REPR: Final = re.compile(r"\w+[=(]")
SECRET_NAME: Final = re.compile(r"(^|_)(token|password|passphrase|secret|api_key|private_key)$")
NO_ADDRESS: Final = ("", " ", "\t\n", "\0", "+1555\x00123", "\ud800")  # on any channel
TAKES: Final = frozenset({"text", "html", "subject", "media", "template"})
NO_SUCH_SETTING: Final = "no_such_setting"
OVERRIDES: Final = {"lookup": "lookup", "templates": "templates"}  # capability: the method that it promises
__tracebackhide__: Final = True  # a broken promise is told by its message


class Broken(AssertionError):
    """A promise of the contract is not kept. The message names the method, the promise, and what was seen."""


def promise(kept: object, message: str) -> None:
    """Broken with the message, unless `kept`."""
    if not kept:
        raise Broken(message)


def converted(table: object, into: type[S], what: str) -> S:
    """Settings as the gateway reads them from gateway.toml. Broken with every fault of them."""
    try:
        return convert(table, into, words=TOML)
    except Invalid as exc:
        faults = "; ".join(f"{problem.pointer or '/'}: {problem.detail}" for problem in exc.problems)
        raise Broken(f"{what} does not fit {into.__name__}: {faults}") from exc


def check_unknown_keys(table: dict[str, object], into: type[S]) -> None:
    """A misspelt key must be told to the operator, not ignored."""
    try:
        convert({**table, NO_SUCH_SETTING: 1}, into, words=TOML)
    except Invalid as exc:
        said = [problem.pointer for problem in exc.problems]
        promise(said == [f"/{NO_SUCH_SETTING}"], f"{into.__name__} refuses more than an unknown key: {said}")
        return
    raise Broken(
        f"{into.__name__} takes unknown keys: give it `forbid_unknown_fields=True`, or a typing error is ignored."
    )


def check_common_keys(into: type[msgspec.Struct]) -> None:
    """The keys that every sender has are read by the gateway."""
    own = {field.encode_name for field in msgspec.structs.fields(into)}
    taken = sorted(own & {field.encode_name for field in msgspec.structs.fields(Common)})
    promise(
        not taken, f"{into.__name__} has the settings {taken}, which every sender has already: call them otherwise."
    )


def undocumented(into: type[msgspec.Struct]) -> list[str]:
    """The fields without a text under them that says what they are for. Empty where there is no source to look into."""
    missing = []
    for kind in into.__mro__:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
        except (OSError, TypeError, SyntaxError):
            continue
        body = next((node.body for node in tree.body if isinstance(node, ast.ClassDef)), [])
        for statement, after in pairwise([*body, ast.Pass()]):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                missing += [] if said else [statement.target.id]
    return [name for name in missing if name in into.__struct_fields__]


def secrets_of(value: object) -> set[str]:
    """Every `Secret` in settings, however deep."""
    if isinstance(value, Secret):
        return {str(value)}
    if isinstance(value, msgspec.Struct):
        return set().union(*(secrets_of(getattr(value, name)) for name in value.__struct_fields__))
    if isinstance(value, dict):
        return set().union(*map(secrets_of, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return set().union(*map(secrets_of, value))
    return set()


def check_secrets_are_hidden(settings: msgspec.Struct) -> None:
    """Settings are shown in errors and logs."""
    name = type(settings).__name__
    open_ones = [
        field
        for field in settings.__struct_fields__
        if SECRET_NAME.search(field) and type(getattr(settings, field)) is str
    ]
    promise(
        not open_ones,
        f"{name}: {open_ones} are plain texts, make them `Secret`: settings are shown in errors and logs.",
    )
    # Names of fields and types aside, because a short secret may be a part of one; and no secret in the complaint.
    values = NAME_IN_REPR.sub("", f"{settings!r} {settings}")
    shown = sum(1 for secret in secrets_of(settings) if secret and secret in values)
    promise(not shown, f"repr({name}) shows {shown} of its secrets: leave `__repr__` as it is.")


def overrides(adapter: type[Adapter[Any]], method: str) -> bool:
    """Whether an adapter has a method of its own."""
    return getattr(adapter, method) is not getattr(Adapter, method)


def check_capabilities(adapter: Adapter[Any]) -> None:
    """Broken: a capability without the method that it promises, or a number that makes no sense."""
    kind, can = type(adapter), adapter.capabilities
    promise(isinstance(can, Capabilities), f"{kind.__name__}.capabilities is {can!r}, not Capabilities.")
    for capability, method in OVERRIDES.items():
        promise(
            not getattr(can, capability) or overrides(kind, method),
            f"{kind.__name__}.capabilities says {capability}, but there is no method `{method}`.",
        )
    called_back = overrides(kind, "authenticate") and overrides(kind, "parse")
    reads = overrides(kind, "parse") and overrides(kind, "run")
    promise(
        not can.receipts or called_back or reads,
        f"{kind.__name__}.capabilities says receipts, but nothing can bring them: write `authenticate` and `parse`, or "
        "`run` and `parse`.",
    )
    promise(
        not overrides(kind, "parse") or called_back or reads,
        f"{kind.__name__}.parse is never called: without `authenticate` every callback is refused.",
    )
    sane = can.rate > 0 and can.concurrency >= 1 and can.receipt_deadline.total_seconds() > 0
    promise(sane, f"{kind.__name__}.capabilities: rate, concurrency and receipt_deadline are above 0: {can!r}")


def check_name(name: str) -> None:
    """Broken: a name that the registry refuses."""
    promise(NAME.fullmatch(name), f"{name!r} is no name: it must match [a-z][a-z0-9_]*.")


def spelled(channel: Channel, address: str, region: str | None) -> str | None:
    """What a channel's `normalise` gives; None: it is refused. Broken: it raises something else, or gives no text."""
    try:
        found = channel.normalise(address, region)
    except ValueError as exc:
        if isinstance(exc, UnicodeError) or not str(exc):
            raise Broken(
                f"normalise({address!r}) raises {exc!r}: ValueError says in a sentence what is wrong."
            ) from exc
        return None
    # Whatever else it raises, an import of contacts would stop at it.
    except Exception as exc:
        raise Broken(f"normalise({address!r}, {region!r}) raises {exc!r}: only ValueError, with a sentence.") from exc
    promise(is_text(found), f"normalise({address!r}) gives {found!r}, no text.")
    return found


def check_refuses(channel: Channel, rubbish: str) -> None:
    """Broken: it takes for an address what can be none on any channel."""
    promise(
        spelled(channel, rubbish, None) is None,
        f"The channel {channel.name!r} takes {rubbish!r} for an address: let `normalise` raise ValueError.",
    )


def check_one_spelling(channel: Channel, address: str, region: str | None) -> None:
    """Broken: a spelling that is spelled differently the second time."""
    once = spelled(channel, address, region)
    if once is not None:
        again = {spelled(channel, once, region), spelled(channel, once, None)}
        promise(
            again == {once},
            f"normalise({address!r}) gives {once!r}, normalised again {again}: people would have two addresses.",
        )


def check_channel(channel: Channel) -> None:
    """Broken: what a channel says of itself makes no sense."""
    check_name(channel.name)
    promise(is_text(channel.title), f"The channel {channel.name!r} has no title: people read it.")
    unknown = set(channel.takes) - TAKES
    promise(not unknown, f"The channel {channel.name!r} takes {sorted(unknown)}; there are {sorted(TAKES)}.")


def is_text(value: object) -> bool:
    """Whether there is something to read."""
    return isinstance(value, str) and bool(value.strip())
