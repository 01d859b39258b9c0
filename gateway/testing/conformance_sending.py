"""What `send` promises: recorded answers, trouble of every kind, many at once, and the same on every attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import aiohttp
import msgspec
import pytest

from gateway.contract import Accepted, HttpResponse, Misconfigured, NotSent, OptedOut, Rejected, Retry, Unknown
from gateway.testing.cases import SendCase
from gateway.testing.conformance_checks import promise, secrets_of
from gateway.testing.conformance_promises import ending
from gateway.testing.conformance_provider import Crowd, garbage_like, mistyped, written
from gateway.testing.conformance_subject import AdapterSubject
from gateway.testing.doubles import Hang, RecordingLog, text_reply

AT_ONCE_MAX: Final = 50
ASKED: Final = timedelta(seconds=119)  # of the 120 that `throttled` asks for; the adapter's clock may have moved
PROVIDER_ID_MAX: Final = 512  # characters; the gateway keeps no longer ones
YIELDS: Final = (0, 1, 2, 3, 5, 8, 13, 21, 50)  # turns of the event loop after which a send is cancelled
CERTAIN: Final = (Accepted, Retry, Rejected, OptedOut, Misconfigured)
LOST: Final[dict[str, Callable[[], Exception]]] = {
    "a time-out": TimeoutError,
    "a connection that was reset": lambda: ConnectionResetError(104, "Connection reset by peer"),
    "a server that hung up": aiohttp.ServerDisconnectedError,
    "an answer that broke off": lambda: aiohttp.ClientPayloadError("Response payload is not completed"),
    "any other trouble": lambda: OSError("Network is down"),
}


class SendingPromises(AdapterSubject):
    """The tests of `send`."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each recorded case."""
        for fixture, cases in (("send_case", self.cases.sends), ("callback_case", self.cases.callbacks)):
            if fixture in metafunc.fixturenames:
                metafunc.parametrize(fixture, cases, ids=[case.name for case in cases])

    def test_a_recorded_answer_gives_its_outcome(self, send_case: SendCase) -> None:
        self.needs_http()

        async def test() -> None:
            async with self.subject(send_case.answer) as (adapter, _):
                outcome = await adapter.send(self.sendable(send_case))
            promise(
                self.checked(outcome) == send_case.outcome,
                f"{self.who}.send, {send_case.name!r}:\n  answered {outcome!r}\n  expected {send_case.outcome!r}",
            )

        self.run(test)

    def test_a_plain_message_is_accepted(self) -> None:
        async def test() -> None:
            async with self.subject() as (adapter, _):
                message = self.plain()
                promise(adapter.refuse(message) is None, f"{self.who}.refuse refuses a plain message: {message!r}")
                outcome = self.checked(await adapter.send(message))
            promise(isinstance(outcome, Accepted), f"{self.who}.send answered {outcome!r} when all was well.")

        self.run(test)

    def test_throttling_is_tried_again_when_the_provider_says(self) -> None:
        outcome = self._answered(self.throttled)
        promise(
            isinstance(outcome, Retry),
            f"{self.who}.send answered {outcome!r} to {self.throttled.status}: nothing was sent, so answer Retry.",
        )
        assert isinstance(outcome, Retry)
        promise(
            outcome.after is not None and outcome.after >= ASKED,
            f"{self.who}.send: the provider asked for 120 s, Retry.after is {outcome.after}. Read its Retry-After with "
            "`gateway.parse_retry_after`.",
        )

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    def test_a_fault_of_the_provider_spends_nobody(self, status: int) -> None:
        outcome = self._answered(text_reply(status, "Internal Server Error", "text/html"))
        promise(
            isinstance(outcome, Unknown | Retry | Exception),
            f"{self.who}.send answered {outcome!r} to {status}: the fault is the provider's. Answer Unknown, or Retry "
            "if it promises that nothing was processed.",
        )

    def test_refused_credentials_spend_nobody(self) -> None:
        outcome = self._answered(text_reply(401, "Unauthorized"))
        promise(
            not isinstance(outcome, Accepted | Rejected | OptedOut),
            f"{self.who}.send answered {outcome!r} to 401: no recipient is at fault. Answer Misconfigured, which holds "
            "the sender until `check` finds it well.",
        )

    def test_a_request_that_did_not_arrive_escapes_as_not_sent(self) -> None:
        outcome = self._answered(NotSent("ConnectionRefusedError: 127.0.0.1:1"))
        promise(
            isinstance(outcome, NotSent),
            f"{self.who}.send made {outcome!r} of NotSent: let it escape, the message goes back unspent.",
        )

    @pytest.mark.parametrize("trouble", LOST)
    def test_what_breaks_off_after_the_request_is_never_taken_for_certain(self, trouble: str) -> None:
        outcome = self._answered(LOST[trouble]())
        promise(
            not isinstance(outcome, CERTAIN),
            f"{self.who}.send made {outcome!r} of {trouble}: the message may have gone. Let the exception escape, or "
            "answer Unknown.",
        )
        promise(
            not isinstance(outcome, NotSent),
            f"{self.who}.send raises NotSent after {trouble}: only `tools.http` knows that nothing arrived.",
        )

    def test_garbage_that_looks_like_success_is_never_taken_for_certain(self) -> None:
        self.needs_http()
        for name, answer in garbage_like(self.accepted_case().answer):
            outcome = self._answered(answer)
            promise(
                not isinstance(outcome, CERTAIN),
                f"{self.who}.send answered {outcome!r} to {name}: that is not this provider's answer, and nobody knows "
                "whether the message went. Look at the body as well as the status, and answer Unknown.",
            )

    def test_values_of_wrong_types_give_no_outcome_of_wrong_types(self) -> None:
        self.needs_http()
        for name, answer in mistyped(self.accepted_case().answer):
            outcome = self._answered(answer)
            if isinstance(outcome, Accepted):
                promise(
                    are_ids(outcome.provider_ids),
                    f"{self.who}.send answered {str(outcome)[:80]} to its own good answer with {name}: provider ids "
                    f"are texts of 1 to {PROVIDER_ID_MAX} characters; an answer without one is Unknown.",
                )

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_neither_followed_nor_success(self, status: int) -> None:
        self.needs_http()
        elsewhere = "https://elsewhere.example/moved"

        async def test() -> None:
            async with self.subject(text_reply(status, "Moved", location=elsewhere)) as (adapter, provider):
                outcome = await ending(adapter.send(self.plain()))
                followed = [call.url for call in provider.calls if call.url.startswith(elsewhere)]
            promise(not followed, f"{self.who}.send follows a redirect: it would hand credentials to {elsewhere}.")
            promise(not isinstance(outcome, Accepted), f"{self.who}.send answered {outcome!r} to {status}.")

        self.run(test)

    def test_a_cancelled_send_leaves_nothing_behind_and_the_next_one_works(self) -> None:
        """The gateway cancels at the sender's deadline."""
        for turns in YIELDS:
            self.run(lambda turns=turns: self._cancelled_after(turns))  # type: ignore[misc]

    async def _cancelled_after(self, turns: int) -> None:
        message = self.plain()
        async with self.subject(Hang()) as (adapter, provider):
            sending = asyncio.ensure_future(adapter.send(message))
            for _ in range(turns):
                await asyncio.sleep(0)
            over = sending.done()
            sending.cancel()
            ended = (await asyncio.gather(sending, return_exceptions=True))[0]
            promise(
                over or isinstance(ended, asyncio.CancelledError | Accepted),
                f"{self.who}.send was cancelled and ended with {ended!r}: let CancelledError escape.",
            )
            if self.speaks_http:
                provider.answer_with(self.accepted_case().answer)
            outcome = self.checked(await adapter.send(msgspec.structs.replace(message, ref=f"{message.ref[:38]}_2")))
            promise(isinstance(outcome, Accepted), f"{self.who}.send answered {outcome!r} after a cancelled send.")

    def test_many_sends_at_once_do_not_mix_their_answers(self) -> None:
        """One object has up to W sends at once; every second one meets trouble."""
        self.run(self._many_at_once)

    async def _many_at_once(self) -> None:
        async with self.subject(kind=Crowd) as (adapter, crowd):
            message = self.plain()
            count = min(adapter.capabilities.concurrency, AT_ONCE_MAX)
            messages = [msgspec.structs.replace(message, ref=f"msg_at_once_{number:02}") for number in range(count)]
            outcomes = await asyncio.gather(*map(adapter.send, messages), return_exceptions=True)
        assert isinstance(crowd, Crowd)
        expected = count - len(crowd.refused)
        advice = "Keep what belongs to one message in local variables, not on the object."
        accepted = [one for one, outcome in zip(messages, outcomes, strict=True) if isinstance(outcome, Accepted)]
        promise(
            len(accepted) == expected,
            f"{self.who}.send, {count} at once: {len(accepted)} Accepted, the provider accepted {expected}. {advice}",
        )
        mixed = [one.ref for one in accepted if any(one.ref in written(call) for call in crowd.refused)]
        promise(not mixed, f"{self.who}.send, {count} at once: {mixed} were Accepted, but refused. {advice}")

    def test_every_attempt_makes_the_same_request(self) -> None:
        self.needs_http()

        async def test() -> None:
            async with self.subject() as (adapter, provider):
                message = self.plain()
                requests = []
                for attempt in (1, 2):
                    provider.calls.clear()
                    await adapter.send(msgspec.structs.replace(message, attempt=attempt))
                    requests.append(list(provider.calls))
            promise(
                requests[0] == requests[1],
                f"{self.who}.send asks differently on the second attempt: {requests[0]} and {requests[1]}. Use the "
                "message's `ref`, which stays the same, and `tools.now`.",
            )

        self.run(test)

    def test_our_reference_reaches_the_provider(self) -> None:
        self.needs_http()

        async def test() -> None:
            async with self.subject() as (adapter, provider):
                if not adapter.capabilities.receipts or not self.echoes_ref:
                    pytest.skip("no receipts that could bring our reference back")
                message = msgspec.structs.replace(self.plain(), ref="msg_echo_me_0123456789")
                await adapter.send(message)
            promise(
                any(message.ref in written(call) for call in provider.calls),
                f"{self.who}.send does not tell the provider `message.ref`: put it where receipts bring it back, or "
                "into the callback URL. If the provider can carry nothing, say `echoes_ref = False`.",
            )

        self.run(test)

    def test_secrets_stay_out_of_outcomes_and_logs(self) -> None:
        self.needs_http()

        async def test() -> None:
            log = RecordingLog()
            async with self.subject(log=log) as (adapter, provider):
                said = []
                for case in self.cases.sends:
                    provider.answer_with(case.answer)
                    said.append(repr(await adapter.send(self.sendable(case))))
                for answer in (text_reply(401, "Unauthorized"), text_reply(500, "Oops"), self.throttled):
                    provider.answer_with(answer)
                    said.append(repr(await ending(adapter.send(self.message()))))
            said += [*log.events, *(str(values) for values in log.values)]
            for secret in secrets_of(self.converted_settings()) - {""}:
                told = [text for text in said if secret in text]
                promise(not told, f"{self.who} tells a secret in an outcome or a log: {told}")

        self.run(test)

    def _answered(self, reply: HttpResponse | Exception) -> Any:
        """What `send` answers when the provider answers with `reply`, or what escapes; skipped without HTTP."""
        self.needs_http()
        found: list[Any] = []

        async def test() -> None:
            found.append(await self.outcome(reply))

        self.run(test)
        return found[0]


def are_ids(ids: object) -> bool:
    """Whether these can be provider ids."""
    return isinstance(ids, tuple) and all(isinstance(id, str) and 0 < len(id) <= PROVIDER_ID_MAX for id in ids)
