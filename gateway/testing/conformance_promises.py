"""What every conformance suite shares: how a broken promise is told, and how a promise is tried on many values."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from gateway.contract import Secret
from gateway.errors import Invalid
from gateway.validation import convert
from gateway.wording import TOML

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

PATIENCE_SECONDS: Final = 30.0  # for one test: what has not ended by then never will
SECRET_NAME: Final = re.compile(r"(^|_)(token|password|passphrase|secret|api_key|private_key)$")
NO_SUCH_SETTING: Final = "no_such_setting"


class Broken(AssertionError):
    """A promise of the contract is not kept. The message names the method, the promise, and what was seen."""


def promise(kept: object, message: str) -> None:
    """Broken with the message, unless `kept`."""
    if not kept:
        raise Broken(message)


def for_all(values: SearchStrategy[T], judge: Callable[[T], object]) -> None:
    """Try `judge` on values; Hypothesis shows the smallest one that breaks.

    As many as the active profile of Hypothesis says: a nightly run loads a larger one.
    """

    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(values)
    def holds(value: T) -> None:
        judge(value)

    holds()


def run(test: Callable[[], Coroutine[Any, Any, None]], who: str) -> None:
    """Run an asynchronous test in an event loop of its own, at whose end nothing may be left running."""

    async def limited() -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await test()
        except TimeoutError as exc:
            raise Broken(f"{who} did not come to an end within {PATIENCE_SECONDS:g} s.") from exc
        left = asyncio.all_tasks() - {asyncio.current_task()}
        names = sorted(task.get_coro().__qualname__ for task in left)  # type: ignore[union-attr]
        promise(not left, f"{who} leaves tasks running: {names}. End them in `close`, and in `send` when it is cancelled.")

    asyncio.run(limited())


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
    raise Broken(f"{into.__name__} takes unknown keys: give it `forbid_unknown_fields=True`, or a typing error is ignored.")


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
    promise(not open_ones, f"{name}: {open_ones} are plain texts, make them `Secret`: settings are shown in errors and logs.")
    shown = [secret for secret in secrets_of(settings) if secret and secret in f"{settings!r} {settings}"]
    promise(not shown, f"repr({name}) shows the secrets {shown}: leave `__repr__` as it is.")
