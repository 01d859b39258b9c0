"""What a policy promises: pure, synchronous, quick, and an answer to whatever it is asked."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final, TypeVar

import pytest
from hypothesis import strategies as st

from gateway.contract import (
    AccessPolicy,
    Allow,
    Caller,
    ContentFacts,
    ContentPolicy,
    Defer,
    Deny,
    Facts,
    Inbound,
    InboundFacts,
    InboundPolicy,
    Outbound,
    Policy,
    Reaction,
    SendPolicy,
)
from gateway.testing.conformance_checks import (
    Broken,
    check_name,
    check_secrets_are_hidden,
    check_unknown_keys,
    converted,
    promise,
)
from gateway.testing.conformance_network import loopback
from gateway.testing.conformance_promises import for_all
from gateway.testing.conformance_samples import ARRIVALS, CALLERS, CONTENT_FACTS, FACTS, INBOUNDS, OUTBOUNDS
from gateway.testing.conformance_values import callers, facts, inbounds, outbounds, texts

T = TypeVar("T")

NEEDS: Final = frozenset({"sent_counts", "last_inbound", "time_zones"})
UNTOUCHED: Final = ("ref", "attempt", "to", "template", "media", "reply_to", "quotes")
CALLS: Final = 200
CALL_SECONDS_MAX: Final = 0.005  # of the processor, on average: every message waits for every policy
PERMISSIONS: Final = ("messaging.read", "messaging.send", "members.write", "", "no.such.permission")


class PolicyConformance:
    """Everything that a send, access, inbound or content policy promises.

    class TestWeeklyCap(PolicyConformance):
        policy_type = WeeklyCap
        settings = {"most": 2}
    """

    policy_type: ClassVar[type[Policy[Any]]]
    settings: ClassVar[Mapping[str, object]] = {}
    """The table [plugins.NAME] as in gateway.toml."""

    @pytest.fixture(autouse=True)
    def _stays_on_this_machine(self) -> Iterator[None]:
        """Nothing connects beyond loopback, and nothing runs before the author has said what to test."""
        if not hasattr(self, "policy_type"):
            pytest.fail(f"{type(self).__name__} does not say: policy_type", pytrace=False)
        with loopback():
            yield

    @property
    def who(self) -> str:
        """The policy's name in messages."""
        return self.policy_type.__name__

    def make(self) -> Any:
        """The policy, as the gateway makes it."""
        what = f"{type(self).__name__}.settings"
        return self.policy_type(converted(dict(self.settings), self.policy_type.settings_type, what))

    def test_its_name_is_one(self) -> None:
        check_name(self.policy_type.name)

    def test_it_is_of_a_kind_that_is_asked(self) -> None:
        promise(
            issubclass(self.policy_type, SendPolicy | AccessPolicy | InboundPolicy | ContentPolicy),
            f"{self.who} is none of SendPolicy, AccessPolicy, InboundPolicy and ContentPolicy: nobody asks it.",
        )

    def test_its_settings_refuse_unknown_keys_and_hide_secrets(self) -> None:
        check_secrets_are_hidden(self.make().settings)
        check_unknown_keys(dict(self.settings), self.policy_type.settings_type)

    def test_it_needs_what_there_is(self) -> None:
        if not issubclass(self.policy_type, SendPolicy):
            pytest.skip("only send policies need facts")
        unknown = set(self.policy_type.needs) - NEEDS
        promise(not unknown, f"{self.who}.needs names {sorted(unknown)}; there are {sorted(NEEDS)}.")

    def test_it_answers_every_question_the_same_way_each_time(self) -> None:
        policy = self.make()
        if issubclass(self.policy_type, SendPolicy):
            self._ask(
                facts(self.policy_type.needs), policy.judge, self.policy_type(policy.settings).judge, self._verdict
            )
        elif issubclass(self.policy_type, AccessPolicy):
            questions = st.tuples(callers(), st.sampled_from(PERMISSIONS) | texts(30))
            self._ask(questions, _spread(policy.permits), _spread(self.make().permits), self._permission)
        elif issubclass(self.policy_type, InboundPolicy):
            questions_of_texts = st.tuples(inbounds(), st.sampled_from(ARRIVALS))
            self._ask(questions_of_texts, _spread(policy.read), _spread(self.make().read), self._reaction)
        else:
            contents = st.tuples(outbounds(), st.sampled_from(CONTENT_FACTS))
            self._ask(contents, _spread(policy.finish), _spread(self.make().finish), self._finished)

    def _ask(
        self,
        questions: st.SearchStrategy[T],
        ask: Callable[[T], object],
        ask_another: Callable[[T], object],
        check: Callable[[T, object], None],
    ) -> None:
        def judge(question: T) -> None:
            try:
                answer = ask(question)
                self._synchronous(answer)
                again, elsewhere = ask(question), ask_another(question)
            except Broken:
                raise
            # Whatever it raises keeps messages from being sent.
            except Exception as exc:
                raise Broken(f"{self.who} raises {exc!r}: a policy answers whatever it is asked.") from exc
            check(question, answer)
            promise(
                answer == again == elsewhere,
                f"{self.who} answers the same question with {answer!r}, {again!r} and {elsewhere!r}: it may look at "
                "nothing but the question and its settings. The time is `facts.now`.",
            )

        for_all(questions, judge)

    def _synchronous(self, answer: object) -> None:
        if inspect.iscoroutine(answer):
            answer.close()
            raise Broken(f"{self.who} answers with a coroutine: policies are synchronous and do no I/O.")

    def _verdict(self, asked: Facts, verdict: object) -> None:
        promise(
            isinstance(verdict, Allow | Defer | Deny), f"{self.who}.judge answered {verdict!r}: Allow, Defer or Deny."
        )
        promise(
            isinstance(verdict, Allow) or self.make().active,
            f"{self.who}.judge answered {verdict!r} though it is not active: then it is never asked.",
        )
        if isinstance(verdict, Defer):
            promise(
                verdict.until.tzinfo is not None and verdict.until > asked.now,
                f"{self.who}.judge defers until {verdict.until} at {asked.now}: give a later one, with a time zone.",
            )
        if isinstance(verdict, Defer | Deny):
            promise(verdict.reason, f"{self.who}.judge gives no reason: people read it.")
        if isinstance(verdict, Deny):
            check_name(verdict.code)

    def _permission(self, asked: tuple[Caller, str], answer: object) -> None:
        promise(
            isinstance(answer, bool), f"{self.who}.permits answered {answer!r} to {asked!r}: it answers True or False."
        )

    def _reaction(self, asked: tuple[Inbound, InboundFacts], answer: object) -> None:
        promise(
            answer is None or isinstance(answer, Reaction), f"{self.who}.read answered {answer!r}: None or a Reaction."
        )
        if isinstance(answer, Reaction):
            promise(answer.wish in {None, "out", "in"}, f"{self.who}.read: a wish is None, 'out' or 'in': {answer!r}")

    def _finished(self, asked: tuple[Outbound, ContentFacts], answer: object) -> None:
        promise(isinstance(answer, Outbound), f"{self.who}.finish answered {answer!r}: it answers with the message.")
        assert isinstance(answer, Outbound)
        kept = {name: getattr(answer, name) == getattr(asked[0], name) for name in UNTOUCHED}
        changed = [name for name, same in kept.items() if not same]
        promise(not changed, f"{self.who}.finish changes {changed}: only texts and headers may change.")
        added = [name for name in ("text", "html", "subject") if getattr(asked[0], name) is None]
        made_up = [name for name in added if getattr(answer, name) is not None]
        promise(not made_up, f"{self.who}.finish adds a {made_up} where there was none.")

    def test_it_is_quick(self) -> None:
        policy = self.make()
        ask = _question_of(policy)
        began = time.process_time()
        for _ in range(CALLS):
            ask()
        seconds = (time.process_time() - began) / CALLS
        promise(
            seconds < CALL_SECONDS_MAX,
            f"{self.who} takes {seconds * 1000:.1f} ms to answer; every message waits for it. Prepare in `__init__`.",
        )


def _spread(ask: Callable[[Any, Any], object]) -> Callable[[tuple[Any, Any]], object]:
    return lambda question: ask(*question)


def _question_of(policy: Policy[Any]) -> Callable[[], object]:
    """One ordinary question to a policy of any kind."""
    if isinstance(policy, SendPolicy):
        return lambda: policy.judge(FACTS[0])
    if isinstance(policy, AccessPolicy):
        return lambda: policy.permits(CALLERS[0], "messaging.send")
    if isinstance(policy, InboundPolicy):
        return lambda: policy.read(INBOUNDS[0], ARRIVALS[0])
    assert isinstance(policy, ContentPolicy)
    return lambda: policy.finish(OUTBOUNDS[0], CONTENT_FACTS[0])
