"""What `authenticate`, `parse`, `answer` and `lookup` promise: only the provider is believed, and nothing is fatal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from itertools import islice
from typing import Any, Final

import msgspec
import pytest

from gateway.contract import (
    Absent,
    Adapter,
    Answer,
    CallbackAnswer,
    CallbackRequest,
    Consent,
    Event,
    Found,
    HttpResponse,
    Inbound,
    Question,
    Receipt,
    TemplateChange,
)
from gateway.testing.cases import CallbackCase, callback
from gateway.testing.conformance_checks import Broken, overrides, promise
from gateway.testing.conformance_promises import ending, for_all
from gateway.testing.conformance_provider import BODIES, GARBAGE
from gateway.testing.conformance_requests import (
    METHODS,
    flipped_bodies,
    forged,
    mutated,
    proof_of,
    with_junk,
    with_proof,
)
from gateway.testing.conformance_subject import AdapterSubject
from gateway.testing.doubles import NOW, text_reply

EVENTS: Final = (Receipt, Inbound, Consent, TemplateChange)
EXCHANGED_MAX: Final = 20_000  # requests with one wrong value in them
PARSE_SECONDS_MAX: Final = 5.0  # of the processor, for a megabyte: meanwhile nothing else happens in the daemon
EMPTY_LISTS: Final = frozenset({"an empty list", "an empty object"})  # which may well mean that there is nothing


class CallbackPromises(AdapterSubject):
    """The tests of callbacks and look-ups."""

    def test_a_recorded_callback_is_judged_and_read(self, callback_case: CallbackCase) -> None:
        expected = callback_case.answer if callback_case.answer is not None else callback_case.genuine

        async def test() -> None:
            async with self.subject() as (adapter, _):
                judged = await adapter.authenticate(callback_case.request)
                promise(
                    judged == expected,
                    f"{self.who}.authenticate, {callback_case.name!r}: answered {judged!r}, expected {expected!r}",
                )
                if callback_case.genuine:
                    events = self.parsed(adapter, callback_case.request)
                    promise(
                        list(events) == list(callback_case.events),
                        f"{self.who}.parse, {callback_case.name!r}:\n  read     {events}\n"
                        f"  expected {list(callback_case.events)}",
                    )
                    self._acknowledged(adapter, callback_case.request)

        self.run(test)

    def test_a_forged_callback_is_refused(self) -> None:
        """One character of the proof, or one bit of what it signs, makes a stranger's request of it."""
        genuine = self._genuine()
        part = self.proof
        if part is None:
            raise Broken(
                f"{type(self).__name__} does not say what proves a callback: set `proof` to the header, "
                '"?parameter" or "tail" that authenticate looks at.'
            )
        proven = [case for case in genuine if proof_of(case.request, part)]
        promise(proven, f"No genuine callback of {type(self).__name__}.cases has the proof {part!r}.")

        async def test() -> None:
            async with self.subject() as (adapter, _):
                for case in proven:
                    await self._refused(adapter, case, list(forged(case.request, part)))
                    if self.signs_body and case.request.body:
                        await self._refused(adapter, case, list(flipped_bodies(case.request)))

        self.run(test)

    async def _refused(
        self, adapter: Adapter[Any], case: CallbackCase, forgeries: Sequence[tuple[str, CallbackRequest]]
    ) -> None:
        for what, request in forgeries:
            judged = await ending(adapter.authenticate(request))
            promise(
                judged is False,
                f"{self.who}.authenticate answered {judged!r} to {case.name!r}, in which {what}: answer False. Compare "
                "with `hmac.compare_digest`, over the raw bytes. (If the body is not signed: `signs_body = False`.)",
            )

    def test_authenticate_answers_whatever_is_posted(self) -> None:
        self._needs_callbacks()

        async def test() -> None:
            async with self.subject() as (adapter, _):
                loop = asyncio.get_running_loop()

                def judge(request: CallbackRequest) -> None:
                    asked = asyncio.run_coroutine_threadsafe(ending(adapter.authenticate(request)), loop)
                    judged = asked.result()
                    promise(
                        isinstance(judged, bool | CallbackAnswer),
                        f"{self.who}.authenticate: {judged!r}. It answers True, False or a CallbackAnswer, and raises "
                        "nothing.",
                    )

                await asyncio.to_thread(for_all, mutated(self._requests()), judge)

        self.run(test)

    def test_parse_raises_nothing_and_is_pure(self) -> None:
        """It is repeated on replay, perhaps years later, by another process."""
        self._needs_parse()

        async def test() -> None:
            async with self.subject() as (adapter, provider), self.subject() as (other, _):

                def judge(request: CallbackRequest) -> None:
                    events = self.parsed(adapter, request)
                    again, elsewhere = self.parsed(adapter, request), self.parsed(other, request)
                    promise(
                        list(events) == list(again) == list(elsewhere),
                        f"{self.who}.parse reads the same bytes in two ways: {events} and {again} and {elsewhere}. It "
                        "may look at nothing but the request and the settings: no clock, no memory.",
                    )
                    self._acknowledged(adapter, request)

                for_all(mutated(self._requests()), judge)
                promise(not provider.calls, f"{self.who}.parse asks the provider: it is pure.")

        self.run(test)

    def test_parse_reads_no_value_of_a_wrong_kind_as_a_right_one(self) -> None:
        """Each value of each recorded callback is exchanged for each kind of junk, one at a time."""
        self._needs_parse()
        requests = [case.request for case in self.cases.callbacks]
        most = max(1, EXCHANGED_MAX // max(1, len(requests)))

        async def test() -> None:
            async with self.subject() as (adapter, _):
                for request in requests:
                    for exchanged in islice(with_junk(request), most):
                        self.parsed(adapter, exchanged)

        self.run(test)

    @pytest.mark.parametrize("name", BODIES)
    def test_parse_reads_rubbish_quickly_and_as_nothing_fatal(self, name: str) -> None:
        self._needs_parse()

        async def test() -> None:
            async with self.subject() as (adapter, _):
                for request in self._requests():
                    for method in METHODS:
                        spoilt = msgspec.structs.replace(request, body=BODIES[name], method=method)
                        began = time.process_time()
                        self.parsed(adapter, spoilt)
                        seconds = time.process_time() - began
                        promise(
                            seconds < PARSE_SECONDS_MAX,
                            f"{self.who}.parse takes {seconds:.1f} s for {name}: meanwhile the daemon stands still. "
                            "Set a limit, such as `max_num_fields` of parse_qsl.",
                        )

        self.run(test)

    def test_order_and_repetition_of_callbacks_change_nothing(self) -> None:
        self._needs_parse()
        requests = [case.request for case in self._genuine()]

        async def test() -> None:
            read = []
            for order in (requests, requests[::-1], [*requests, *requests]):
                async with self.subject() as (adapter, _):
                    read.append({repr(event) for request in order for event in self.parsed(adapter, request)})
            promise(
                read[0] == read[1] == read[2],
                f"{self.who}.parse reads callbacks differently in another order, "
                f"{read[0] ^ read[1] or read[0] ^ read[2]}. It may remember nothing.",
            )

        self.run(test)

    def test_nothing_certain_is_found_in_garbage(self) -> None:
        """`Absent` sends a message again: nothing but the provider's own word may say it."""
        if not overrides(self.adapter_type, "lookup"):
            pytest.skip(f"{self.who} cannot be asked")
        self.needs_http()
        answers = {
            **{f"{name} with status 200": HttpResponse(200, {}, body) for name, body in GARBAGE.items()},
            **{
                f"status {status}": text_reply(status, "Oops", "text/html") for status in (302, 401, 403, 429, 500, 503)
            },
        }
        for empty in EMPTY_LISTS:
            del answers[f"{empty} with status 200"]

        async def test() -> None:
            async with self.subject() as (adapter, provider):
                for name, answer in answers.items():
                    for ids in ((), ("no-such-id",)):
                        provider.answer_with(answer)
                        question = Question(
                            message=self.plain(), provider_ids=ids, attempted_at=NOW - timedelta(minutes=10)
                        )
                        found = await ending(adapter.lookup(question))
                        promise(
                            isinstance(found, Answer | Exception),
                            f"{self.who}.lookup answered {found!r}: it answers Found, Absent or CannotTell.",
                        )
                        promise(
                            not isinstance(found, Absent | Found),
                            f"{self.who}.lookup answered {found!r} to {name}: that tells nothing. Answer CannotTell.",
                        )

        self.run(test)

    # ---- what all of them need --------------------------------------------------------------------------------------

    def parsed(self, adapter: Adapter[Any], request: CallbackRequest) -> Sequence[Event]:
        """The events of a request, looked over. Broken if `parse` raises, or gives what is no event."""
        try:
            events: Any = adapter.parse(request)
        # Whatever it raises: the gateway would keep the callback and never understand it.
        except Exception as exc:
            shown = repr(request.body[:200])
            raise Broken(f"{self.who}.parse raises {exc!r}: it leaves out what it cannot read. Body: {shown}") from exc
        promise(
            isinstance(events, Sequence) and not isinstance(events, str | bytes),
            f"{self.who}.parse answered {events!r}: it answers a list or tuple of events.",
        )
        for event in events:
            self._well_formed(event)
        read: Sequence[Event] = events
        return read

    def _well_formed(self, event: object) -> None:
        promise(isinstance(event, EVENTS), f"{self.who}.parse gives {event!r}, which is no event.")
        try:
            msgspec.convert(msgspec.to_builtins(event), type(event))
            msgspec.json.encode(event)
        except (msgspec.ValidationError, TypeError, UnicodeEncodeError) as exc:
            raise Broken(
                f"{self.who}.parse gives an event with a wrong value in it: {exc}. The event: {event!r}"
            ) from exc
        at = getattr(event, "at", None)
        promise(
            at is None or at.tzinfo is not None, f"{self.who}.parse gives an instant without a time zone: {event!r}"
        )

    def _acknowledged(self, adapter: Adapter[Any], request: CallbackRequest) -> None:
        try:
            answer: Any = adapter.answer(request)
        # It is stored by then, and the provider must be told so.
        except Exception as exc:
            raise Broken(
                f"{self.who}.answer raises {exc!r}: the callback is stored, the provider must hear it."
            ) from exc
        promise(
            isinstance(answer, CallbackAnswer) and 200 <= answer.status < 300,
            f"{self.who}.answer gives {answer!r}: the callback is stored, so answer with a status of 2xx.",
        )

    def _genuine(self) -> list[CallbackCase]:
        self._needs_callbacks()
        return [case for case in self.cases.callbacks if case.genuine]

    def _requests(self) -> list[CallbackRequest]:
        plain = callback("https://gateway.example/callbacks/main", b"a=1")
        bare = with_proof(plain, "content-type", None)
        return [*(case.request for case in self.cases.callbacks), bare]

    def _needs_callbacks(self) -> None:
        if not overrides(self.adapter_type, "authenticate"):
            pytest.skip(f"{self.who} takes no callbacks")
        promise(
            any(case.genuine for case in self.cases.callbacks),
            f"{self.who} takes callbacks, but {type(self).__name__}.cases has no genuine one: record some.",
        )

    def _needs_parse(self) -> None:
        if not overrides(self.adapter_type, "parse"):
            pytest.skip(f"{self.who} reads no callbacks")
