"""The adapter under test: what its author says of it, and how the suite makes one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

import msgspec
import pytest

from gateway.contract import Accepted, Adapter, Channel, HttpResponse, Outbound, Outcome, Tools
from gateway.testing.cases import Cases, SendCase
from gateway.testing.conformance_checks import Broken, converted, promise
from gateway.testing.conformance_network import loopback
from gateway.testing.conformance_promises import ending, run
from gateway.testing.conformance_provider import Provider
from gateway.testing.doubles import HttpCall, RecordingLog, Reply, make_message, make_tools, text_reply

_NEEDED: Final = ("adapter_type", "address", "channel")
__tracebackhide__: Final = True  # a broken promise is told by its message


class AdapterSubject:
    """What the author of an adapter fills in. The suites below it are pytest classes over this."""

    adapter_type: ClassVar[type[Adapter[Any]]]
    channel: ClassVar[Channel]
    address: ClassVar[str]
    """A valid address of the channel, in the spelling that its `normalise` gives."""
    settings: ClassVar[Mapping[str, object]] = {}
    """The sender's own keys as in gateway.toml; every secret with a value that appears nowhere else."""
    cases: ClassVar[Cases] = Cases()
    """Recorded answers and callbacks. One of the sends must end in `Accepted`."""
    speaks_http: ClassVar[bool] = True
    """False: the adapter has a protocol of its own. Override `make`; what needs `tools.http` is skipped."""
    echoes_ref: ClassVar[bool] = True
    """False: the provider can carry no reference of ours; its receipts are matched by `provider_ids` alone."""
    proof: ClassVar[str | None] = None
    """What proves a callback genuine: a header ("x-signature"), a parameter of the query ("?token"), or the "tail"."""
    signs_body: ClassVar[bool] = True
    """False: the proof does not depend on the body of the callback."""
    throttled: ClassVar[HttpResponse] = text_reply(429, "Too Many Requests", retry_after="120")
    """What the provider answers when we are too fast; it asks to wait for 120 seconds."""

    @asynccontextmanager
    async def make(self, tools: Tools) -> AsyncIterator[Adapter[Any]]:
        """An open adapter. Override it to start what the adapter needs, such as a server on loopback."""
        adapter = self.adapter_type(self.converted_settings(), tools)
        await adapter.open()
        try:
            yield adapter
        finally:
            await adapter.close()

    def message(self, **more: Any) -> Outbound:
        """A plain message to `address`. Override it if the channel needs more, such as a subject."""
        return make_message(self.address, **more)

    def aside(self, call: HttpCall) -> HttpResponse | None:
        """What the provider answers to requests that hand over no message, such as a log-in. None: it is none."""
        return None

    # ---- for the suites ---------------------------------------------------------------------------------------------

    @pytest.fixture(autouse=True)
    def _stays_on_this_machine(self) -> Iterator[None]:
        """Nothing connects beyond loopback, and nothing runs before the author has said what to test."""
        missing = [name for name in _NEEDED if not hasattr(self, name)]
        if missing:
            pytest.fail(f"{type(self).__name__} does not say: {', '.join(missing)}", pytrace=False)
        with loopback():
            yield

    @property
    def who(self) -> str:
        """The adapter's name in messages."""
        return self.adapter_type.__name__

    def converted_settings(self) -> Any:
        """`settings`, as the gateway reads them."""
        what = f"{type(self).__name__}.settings"
        settings: msgspec.Struct = converted(dict(self.settings), self.adapter_type.settings_type, what)
        return settings

    def accepted_case(self) -> SendCase:
        """The recorded case in which all is well."""
        for case in self.cases.sends:
            if isinstance(case.outcome, Accepted):
                return case
        raise Broken(f"{type(self).__name__}.cases has no SendCase whose outcome is Accepted: record one.")

    def sendable(self, case: SendCase) -> Outbound:
        """The message of a case."""
        return case.message or self.message()

    def plain(self) -> Outbound:
        """A message that the provider accepts when all is well."""
        return self.sendable(self.accepted_case()) if self.speaks_http else self.message()

    @asynccontextmanager
    async def subject(
        self, reply: Reply | None = None, *, log: RecordingLog | None = None, kind: type[Provider] = Provider
    ) -> AsyncIterator[tuple[Adapter[Any], Provider]]:
        """An open adapter, and its provider, which answers with `reply` or accepts. `open` itself is answered well."""
        accepted = self.accepted_case().answer if self.speaks_http else HttpResponse(500, {}, b"")
        provider = kind(accepted, self.aside)
        async with self.make(make_tools(provider, log=log)) as adapter:
            provider.answer_with(accepted if reply is None else reply)
            yield adapter, provider

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run an asynchronous part of a test."""
        run(test, self.who)

    async def outcome(self, reply: Reply | None = None, message: Outbound | None = None) -> Outcome | Exception:
        """What a fresh adapter answers for a message when the provider answers with `reply`, or what escapes."""
        async with self.subject(reply) as (adapter, _):
            outcome = await ending(adapter.send(message or self.plain()))
        return outcome if isinstance(outcome, Exception) else self.checked(outcome)

    def checked(self, outcome: object) -> Outcome:
        """`outcome`, if it is one of the contract's."""
        promise(
            isinstance(outcome, Outcome),
            f"{self.who}.send answered {outcome!r}, which is no outcome: it answers Accepted, Retry, Rejected, "
            "OptedOut, Misconfigured or Unknown.",
        )
        assert isinstance(outcome, Outcome)
        return outcome

    def needs_http(self) -> None:
        """Skip a test about answers over HTTP."""
        if not self.speaks_http:
            pytest.skip(f"{self.who} does not speak HTTP")
