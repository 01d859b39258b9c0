"""The suites find what is wrong: each promise is broken once, and the test that is for it must say so."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import Phase, settings

import gateway
from gateway.testing.cases import Cases
from gateway.testing.conformance import AdapterConformance, Broken, OperationConformance, PolicyConformance
from gateway.testing.conformance_network import BeyondLoopback, loopback
from gateway.testing.doubles import ScriptedHttp, json_reply

SOURCE = Path(__file__).parent / "thirdparty" / "gateway-carrier-pigeon"
SETTINGS = {"url": "https://loft.example", "token": "canary-of-tokens", "seal_secret": "canary-of-seals"}


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """What breaks needs not be made small to be found."""
    settings.register_profile("found", derandomize=True, phases=(Phase.explicit, Phase.generate))
    before = settings.get_current_profile_name()
    settings.load_profile("found")
    yield
    settings.load_profile(before)


@dataclass(frozen=True)
class Good:
    """An adapter that keeps every promise, and its recorded cases."""

    adapter: type[gateway.Adapter[Any]]
    channel: gateway.Channel
    cases: Cases


@pytest.fixture(scope="module")
def good() -> Iterator[Good]:
    folders = [str(SOURCE / "src"), str(SOURCE / "tests")]
    sys.path[:0] = folders
    try:
        adapter = import_module("carrier_pigeon.adapter").LoftAdapter
        channel = import_module("carrier_pigeon.coops").PIGEON
        yield Good(adapter, channel, import_module("cases").CASES)
    finally:
        for folder in folders:
            sys.path.remove(folder)
        for name in [name for name in sys.modules if name.partition(".")[0] in {"carrier_pigeon", "cases"}]:
            del sys.modules[name]


def suite_of(good: Good, **traits: Any) -> AdapterConformance:
    """The suite over the good adapter, with something else where `traits` say so."""
    usual = {
        "adapter_type": good.adapter,
        "channel": good.channel,
        "address": "Coop-17 Lagos",
        "settings": SETTINGS,
        "cases": good.cases,
        "proof": "x-loft-seal",
    }
    made: type[AdapterConformance] = type("TestOne", (AdapterConformance,), {**usual, **traits})
    return made()


def spoilt(good: Good, **methods: Any) -> AdapterConformance:
    """The suite over an adapter with other methods."""
    return suite_of(good, adapter_type=type("Spoilt", (good.adapter,), methods))


def broken(suite: object, test: str, *arguments: Any) -> str:
    """What the test says; it is the failure of ours if it says nothing."""
    with pytest.raises(Broken) as caught:
        getattr(suite, test)(*arguments)
    return str(caught.value)


# ---- what `send` may get wrong ------------------------------------------------------------------------------------


async def accepts_any_success(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    answer = await self._ask("POST", "/v2/flights", {"ring": message.ref})
    return gateway.Accepted() if answer.status < 300 else gateway.Unknown("no")


async def rejects_every_fault(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    answer = await self._ask("POST", "/v2/flights", {"ring": message.ref})
    if answer.status >= 300:
        return gateway.Rejected(gateway.Code.PROVIDER, "no")
    return gateway.Accepted(("F-1",))


async def tries_again_at_once(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    answer = await self._ask("POST", "/v2/flights", {"ring": message.ref})
    return gateway.Retry("busy") if answer.status == 429 else gateway.Accepted(("F-1",))


async def takes_everything_for_certain(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    try:
        await self._ask("POST", "/v2/flights", {"ring": message.ref})
    except Exception as exc:  # noqa: BLE001
        return gateway.Retry(str(exc))
    return gateway.Accepted(("F-1",))


async def calls_everything_not_sent(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    try:
        await self._ask("POST", "/v2/flights", {"ring": message.ref})
    except OSError as exc:
        raise gateway.NotSent(str(exc)) from exc
    return gateway.Accepted(("F-1",))


async def follows(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    answer = await self._ask("POST", "/v2/flights", {"ring": message.ref})
    if "location" in answer.headers:
        await self.tools.http("POST", answer.headers["location"])
    return gateway.Unknown("moved")


async def believes_a_redirect(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    answer = await self._ask("POST", "/v2/flights", {"ring": message.ref})
    return gateway.Accepted(("F-1",)) if answer.status < 400 else gateway.Unknown("no")


async def swallows_cancellation(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    try:
        await self._ask("POST", "/v2/flights", {"ring": message.ref})
    except asyncio.CancelledError:
        return gateway.Unknown("cancelled")
    return gateway.Accepted(("F-1",))


async def leaves_a_task(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    self.task = asyncio.ensure_future(self._ask("POST", "/v2/flights", {"ring": message.ref}))
    await asyncio.shield(self.task)
    return gateway.Accepted(("F-1",))


async def is_stuck_once_cancelled(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    if getattr(self, "busy", False):
        return gateway.Unknown("busy")
    self.busy = True
    await self._ask("POST", "/v2/flights", {"ring": message.ref})
    self.busy = False
    return gateway.Accepted(("F-1",))


async def keeps_the_answer_on_the_object(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    self.answer_there = await self._ask("POST", "/v2/flights", {"ring": message.ref})
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return gateway.Accepted(("F-1",)) if self.answer_there.status == 202 else gateway.Unknown("no")


async def asks_with_a_key_of_its_own(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    await self._ask("POST", "/v2/flights", {"ring": f"{random.random()}"})
    return gateway.Accepted(("F-1",))


async def hands_on_whatever_id(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    answer = await self._ask("POST", "/v2/flights", {"ring": message.ref})
    said = msgspec.json.decode(answer.body)
    return gateway.Accepted((said["flight"],))


async def tells_its_token(self: Any, message: gateway.Outbound) -> gateway.Outcome:
    self.tools.log.warning("loft_refused", token=str(self.settings.token))
    return gateway.Unknown("no")


async def answers_in_words(self: Any, message: gateway.Outbound) -> Any:
    return "sent"


SENDS: Sequence[tuple[Callable[..., Any], str, tuple[Any, ...], str]] = [
    (accepts_any_success, "test_garbage_that_looks_like_success_is_never_taken_for_certain", (), "Look at the body"),
    (rejects_every_fault, "test_a_fault_of_the_provider_spends_nobody", (500,), "the fault is the provider's"),
    (rejects_every_fault, "test_a_fault_of_the_provider_spends_nobody", (503,), "the fault is the provider's"),
    (rejects_every_fault, "test_refused_credentials_spend_nobody", (), "Misconfigured"),
    (rejects_every_fault, "test_throttling_is_tried_again_when_the_provider_says", (), "answer Retry"),
    (tries_again_at_once, "test_throttling_is_tried_again_when_the_provider_says", (), "parse_retry_after"),
    (takes_everything_for_certain, "test_a_request_that_did_not_arrive_escapes_as_not_sent", (), "let it escape"),
    (
        takes_everything_for_certain,
        "test_what_breaks_off_after_the_request_is_never_taken_for_certain",
        ("a time-out",),
        "may have gone",
    ),
    (
        calls_everything_not_sent,
        "test_what_breaks_off_after_the_request_is_never_taken_for_certain",
        ("a connection that was reset",),
        "only `tools.http` knows",
    ),
    (follows, "test_a_redirect_is_neither_followed_nor_success", (307,), "follows a redirect"),
    (believes_a_redirect, "test_a_redirect_is_neither_followed_nor_success", (302,), "Accepted"),
    (swallows_cancellation, "test_a_cancelled_send_leaves_nothing_behind_and_the_next_one_works", (), "CancelledError"),
    (leaves_a_task, "test_a_cancelled_send_leaves_nothing_behind_and_the_next_one_works", (), "leaves tasks running"),
    (is_stuck_once_cancelled, "test_a_cancelled_send_leaves_nothing_behind_and_the_next_one_works", (), "'busy'"),
    (keeps_the_answer_on_the_object, "test_many_sends_at_once_do_not_mix_their_answers", (), "local variables"),
    (asks_with_a_key_of_its_own, "test_every_attempt_makes_the_same_request", (), "asks differently"),
    (asks_with_a_key_of_its_own, "test_our_reference_reaches_the_provider", (), "message.ref"),
    (hands_on_whatever_id, "test_values_of_wrong_types_give_no_outcome_of_wrong_types", (), "provider ids"),
    (tells_its_token, "test_secrets_stay_out_of_outcomes_and_logs", (), "tells a secret"),
    (answers_in_words, "test_a_plain_message_is_accepted", (), "no outcome"),
]


@pytest.mark.parametrize(("send", "test", "arguments", "words"), SENDS)
def test_a_wrong_send_is_caught(
    good: Good, send: Callable[..., Any], test: str, arguments: tuple[Any, ...], words: str
) -> None:
    getattr(suite_of(good), test)(*arguments)
    assert words in broken(spoilt(good, send=send), test, *arguments)


def test_an_outcome_that_differs_from_the_recorded_one_is_caught(good: Good) -> None:
    case = good.cases.sends[0]
    other = gateway.Accepted(("F-999",))
    changed = type(case)(name=case.name, answer=case.answer, outcome=other, source=case.source)
    suite_of(good).test_a_recorded_answer_gives_its_outcome(case)
    assert "F-999" in broken(suite_of(good), "test_a_recorded_answer_gives_its_outcome", changed)


# ---- what callbacks may get wrong ---------------------------------------------------------------------------------


async def believes_everybody(self: Any, request: gateway.CallbackRequest) -> bool:
    return True


async def looks_at_the_seal_alone(self: Any, request: gateway.CallbackRequest) -> bool:
    return len(request.headers.get("x-loft-seal", "")) == 64


async def raises_without_a_seal(self: Any, request: gateway.CallbackRequest) -> bool:
    return bool(request.headers["x-loft-seal"])


async def says_nothing(self: Any, request: gateway.CallbackRequest) -> Any:
    return None


def decodes(self: Any, request: gateway.CallbackRequest) -> Any:
    request.body.decode()
    return ()


def picks(self: Any, request: gateway.CallbackRequest) -> Any:
    with suppress(ValueError, UnicodeDecodeError, RecursionError):
        return [
            gateway.Receipt(status=gateway.Status.SENT, ref=msgspec.json.decode(request.body)["reports"][0]["ring"])
        ]
    return ()


def hands_on_any_ring(self: Any, request: gateway.CallbackRequest) -> Any:
    with suppress(Exception):
        return [
            gateway.Receipt(status=gateway.Status.SENT, ref=msgspec.json.decode(request.body)["reports"][0]["ring"])
        ]
    return ()


def looks_at_the_clock(self: Any, request: gateway.CallbackRequest) -> Any:
    return [gateway.Receipt(status=gateway.Status.SENT, ref="msg_1", at=datetime.now(UTC))]


def says_it_once(self: Any, request: gateway.CallbackRequest) -> Any:
    seen = self.__dict__.setdefault("seen", set())
    new = request.body not in seen
    seen.add(request.body)
    return [gateway.Receipt(status=gateway.Status.SENT, ref="msg_1")] if new else ()


def numbers_what_comes(self: Any, request: gateway.CallbackRequest) -> Any:
    self.count = getattr(self, "count", 0) + 1
    return [gateway.Receipt(status=gateway.Status.SENT, ref=f"msg_{self.count}")]


def has_no_time_zone(self: Any, request: gateway.CallbackRequest) -> Any:
    return [gateway.Receipt(status=gateway.Status.SENT, at=datetime(2026, 6, 1))]


def speaks_of_itself(self: Any, request: gateway.CallbackRequest) -> Any:
    return ["delivered"]


def answers_nothing(self: Any, request: gateway.CallbackRequest) -> Any:
    return None


CALLBACKS: Sequence[tuple[str, Callable[..., Any], str, tuple[Any, ...], str]] = [
    ("authenticate", believes_everybody, "test_a_forged_callback_is_refused", (), "answered True"),
    ("authenticate", looks_at_the_seal_alone, "test_a_forged_callback_is_refused", (), "answered True"),
    ("authenticate", raises_without_a_seal, "test_authenticate_answers_whatever_is_posted", (), "raises"),
    ("authenticate", says_nothing, "test_authenticate_answers_whatever_is_posted", (), "True, False or"),
    ("parse", decodes, "test_parse_raises_nothing_and_is_pure", (), "UnicodeDecodeError"),
    (
        "parse",
        decodes,
        "test_parse_reads_rubbish_quickly_and_as_nothing_fatal",
        ("bytes that are not UTF-8",),
        "raises",
    ),
    ("parse", picks, "test_parse_reads_rubbish_quickly_and_as_nothing_fatal", ("an empty object",), "KeyError"),
    ("parse", hands_on_any_ring, "test_parse_reads_no_value_of_a_wrong_kind_as_a_right_one", (), "wrong value"),
    ("parse", looks_at_the_clock, "test_parse_raises_nothing_and_is_pure", (), "in two ways"),
    ("parse", says_it_once, "test_parse_raises_nothing_and_is_pure", (), "in two ways"),
    ("parse", numbers_what_comes, "test_order_and_repetition_of_callbacks_change_nothing", (), "remember nothing"),
    ("parse", has_no_time_zone, "test_parse_raises_nothing_and_is_pure", (), "without a time zone"),
    ("parse", speaks_of_itself, "test_parse_raises_nothing_and_is_pure", (), "no event"),
    ("parse", answers_nothing, "test_parse_raises_nothing_and_is_pure", (), "a list or tuple of events"),
]


@pytest.mark.parametrize(("method", "function", "test", "arguments", "words"), CALLBACKS)
def test_a_wrong_reading_of_callbacks_is_caught(
    good: Good, method: str, function: Callable[..., Any], test: str, arguments: tuple[Any, ...], words: str
) -> None:
    getattr(suite_of(good), test)(*arguments)
    assert words in broken(spoilt(good, **{method: function}), test, *arguments)


def test_a_recorded_callback_that_is_read_otherwise_is_caught(good: Good) -> None:
    case, test = good.cases.callbacks[0], "test_a_recorded_callback_is_judged_and_read"
    suite_of(good).test_a_recorded_callback_is_judged_and_read(case)
    assert "read     ()" in broken(spoilt(good, parse=lambda self, request: ()), test, case)
    assert "expected False" in broken(spoilt(good, authenticate=believes_everybody), test, good.cases.callbacks[-1])
    refusing = spoilt(good, answer=lambda self, request: gateway.CallbackAnswer(500))
    assert "2xx" in broken(refusing, test, case)


def test_the_proof_must_be_named_and_recorded(good: Good) -> None:
    assert "set `proof`" in broken(suite_of(good, proof=None), "test_a_forged_callback_is_refused")
    assert "has the proof" in broken(suite_of(good, proof="x-other"), "test_a_forged_callback_is_refused")
    bare = suite_of(good, cases=Cases(sends=good.cases.sends))
    assert "record some" in broken(bare, "test_a_forged_callback_is_refused")
    assert "record some" in broken(bare, "test_its_capabilities_have_their_methods")


async def takes_a_fault_for_absence(self: Any, question: gateway.Question) -> gateway.Answer:
    answer = await self._ask("GET", "/v2/flights")
    return gateway.Absent() if b"flights" not in answer.body else gateway.CannotTell("?")


def test_a_look_up_that_takes_trouble_for_absence_is_caught(good: Good) -> None:
    test = "test_nothing_certain_is_found_in_garbage"
    suite_of(good).test_nothing_certain_is_found_in_garbage()
    assert "CannotTell" in broken(spoilt(good, lookup=takes_a_fault_for_absence), test)


# ---- what an adapter may say of itself that is not so -------------------------------------------------------------


class Loose(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    token: str
    seal_secret: gateway.Secret
    concurrency: int = 1
    birds: int = 4


def fails_to_look_up(self: Any) -> gateway.Capabilities:
    return gateway.Capabilities(templates=True)


def speaks_freely(self: Any) -> Any:
    return {"receipts": False}


class Claims:
    """What an adapter says that it can."""

    def __init__(self, traits: dict[str, Any]) -> None:
        self._traits = traits

    def __call__(self, adapter: Any) -> gateway.Capabilities:
        return gateway.Capabilities(**self._traits)


NOTHING_READ = {"authenticate": gateway.Adapter.authenticate, "parse": gateway.Adapter.parse}


async def is_always_well(self: Any) -> str | None:
    await self._ask("GET", "/v2/keeper")
    return None


async def is_well_or_not(self: Any) -> Any:
    return True


TRAITS: Sequence[tuple[dict[str, Any], str, str]] = [
    ({"settings_type": Loose}, "test_its_settings_refuse_unknown_keys", "forbid_unknown_fields"),
    ({"settings_type": Loose}, "test_its_settings_hide_their_secrets", "['token']"),
    ({"capabilities": property(fails_to_look_up)}, "test_its_capabilities_have_their_methods", "no method `templates`"),
    (
        {"capabilities": property(speaks_freely)},
        "test_its_capabilities_have_their_methods",
        "not Capabilities",
    ),
    *(
        ({"capabilities": property(Claims(wrong))}, "test_its_capabilities_have_their_methods", "are above 0")
        for wrong in ({"rate": 0.0}, {"concurrency": 0}, {"receipt_deadline": timedelta()})
    ),
    (
        {"capabilities": property(Claims({"receipts": True})), **NOTHING_READ},
        "test_its_capabilities_have_their_methods",
        "says receipts, but nothing",
    ),
    (
        {"capabilities": property(Claims({})), "authenticate": gateway.Adapter.authenticate},
        "test_its_capabilities_have_their_methods",
        "parse is never called",
    ),
    ({"channel": "dove"}, "test_its_names_are_those_of_its_channel", "'dove'"),
    ({"name": "The Loft"}, "test_its_names_are_those_of_its_channel", "no name"),
    ({"cost": lambda self, message: 0}, "test_refuse_and_cost_are_pure_and_answer_whatever_the_message", "from 1"),
    (
        {"cost": lambda self, message: random.randint(1, 10**9)},
        "test_refuse_and_cost_are_pure_and_answer_whatever_the_message",
        "in two ways",
    ),
    (
        {"refuse": lambda self, message: message.text.strip() and None},
        "test_refuse_and_cost_are_pure_and_answer_whatever_the_message",
        "",
    ),
    ({"check": is_always_well}, "test_check_says_none_or_a_sentence", "finds the account well"),
    ({"check": is_well_or_not}, "test_check_says_none_or_a_sentence", "answered True"),
]


@pytest.mark.parametrize(("methods", "test", "words"), TRAITS)
def test_a_wrong_trait_is_caught(good: Good, methods: dict[str, Any], test: str, words: str) -> None:
    getattr(suite_of(good), test)()
    with pytest.raises((Broken, AttributeError)) as caught:
        getattr(spoilt(good, **methods), test)()
    assert words in str(caught.value)


def test_settings_that_show_a_secret_are_told_without_it(good: Good) -> None:
    class Shown(Loose, frozen=True, kw_only=True):
        """Its `repr` is its own."""

        token: gateway.Secret

        def __repr__(self) -> str:
            return f"Shown({str(self.seal_secret)!r})"

    with pytest.raises(Broken) as caught:
        spoilt(good, settings_type=Shown).test_its_settings_hide_their_secrets()
    assert "repr(Shown) shows 1 of its secrets" in str(caught.value)
    assert SETTINGS["seal_secret"] not in str(caught.value)


def test_a_setting_with_the_name_of_a_common_one_is_caught(good: Good) -> None:
    class Strict(Loose, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """With unknown keys refused, the next fault is seen."""

    assert "['concurrency']" in broken(spoilt(good, settings_type=Strict), "test_its_settings_refuse_unknown_keys")


def normal(good: Good, spell: Callable[[str], str]) -> AdapterConformance:
    channel = msgspec.structs.replace(good.channel, normalise=lambda address, region: spell(address))
    return suite_of(good, channel=channel)


def test_wrong_spellings_of_addresses_are_caught(good: Good) -> None:
    takes_all = normal(good, str)
    assert "ValueError" in broken(takes_all, "test_what_is_no_address_is_refused_with_a_sentence", "\0")
    assert "no text" in broken(takes_all, "test_what_is_no_address_is_refused_with_a_sentence", "")
    longer = normal(good, lambda address: f"{address}!")
    assert "two addresses" in broken(longer, "test_normalise_is_idempotent_and_raises_nothing_but_value_error")
    picky = normal(good, lambda address: address[99])
    assert "IndexError" in broken(picky, "test_normalise_is_idempotent_and_raises_nothing_but_value_error")
    silent = normal(good, lambda address: str(int(address)) if address == "17" else _refuse())
    assert "sentence" in broken(silent, "test_what_is_no_address_is_refused_with_a_sentence", " ")
    assert "one spelling" in broken(suite_of(good, address="coop 17 lagos"), "test_an_address_has_one_spelling")


def _refuse() -> str:
    raise ValueError


def test_a_suite_without_its_subject_says_what_is_missing(pytester_run: Callable[[str], str]) -> None:
    told = pytester_run(
        "from gateway.testing.conformance import AdapterConformance, OperationConformance, PolicyConformance\n"
        "class TestNothing(AdapterConformance): pass\n"
        "class TestNoPolicy(PolicyConformance): pass\n"
        "class TestNoOperation(OperationConformance): pass\n"
    )
    assert "TestNothing does not say: adapter_type, address, channel" in told
    assert "TestNoPolicy does not say: policy_type" in told
    assert "TestNoOperation does not say: operation_type, parameters" in told
    assert " passed" not in told


@pytest.fixture
def pytester_run(tmp_path: Path) -> Callable[[str], str]:
    """Runs pytest over one file, and returns what it says."""

    def run(text: str) -> str:
        (tmp_path / "test_it.py").write_text(text)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        return done.stdout + done.stderr

    return run


# ---- policies and operations --------------------------------------------------------------------------------------


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No settings."""


def send_policy(judge: Callable[[Any, gateway.Facts], Any], **traits: Any) -> PolicyConformance:
    policy = type("Judge", (gateway.SendPolicy,), {"name": "judge", "settings_type": Nothing, "judge": judge, **traits})
    made: type[PolicyConformance] = type("TestJudge", (PolicyConformance,), {"policy_type": policy})
    return made()


async def judges_later(self: Any, facts: gateway.Facts) -> gateway.Verdict:
    return gateway.Allow()


def thinks_long(self: Any, facts: gateway.Facts) -> gateway.Verdict:
    sum(range(1_000_000))
    return gateway.Allow()


ANSWERS = "test_it_answers_every_question_the_same_way_each_time"
PAST, NAIVE = timedelta(seconds=-1), datetime(2999, 1, 1)
JUDGES: Sequence[tuple[Callable[..., Any], str, str]] = [
    (lambda self, facts: True, ANSWERS, "Allow, Defer or Deny"),
    (lambda self, facts: gateway.Defer(facts.now, "now"), ANSWERS, "give a later one"),
    (lambda self, facts: gateway.Defer(facts.now + PAST, "past"), ANSWERS, "give a later one"),
    (lambda self, facts: gateway.Defer(NAIVE, "one day"), ANSWERS, "give a later one"),
    (lambda self, facts: gateway.Deny("Too often", "Often enough"), ANSWERS, "no name"),
    (lambda self, facts: gateway.Deny("too_often", ""), ANSWERS, "no reason"),
    (lambda self, facts: gateway.Defer(datetime.now(UTC) + timedelta(days=999_999), "?"), ANSWERS, "the same question"),
    (lambda self, facts: {"sms": gateway.Allow()}[facts.channel], ANSWERS, "raises KeyError"),
    (thinks_long, "test_it_is_quick", "every message waits"),
]


@pytest.mark.parametrize(("judge", "test", "words"), JUDGES)
def test_a_wrong_send_policy_is_caught(judge: Callable[..., Any], test: str, words: str) -> None:
    getattr(send_policy(lambda self, facts: gateway.Allow()), test)()
    assert words in broken(send_policy(judge), test)


@pytest.mark.filterwarnings("ignore:coroutine")
def test_an_asynchronous_policy_is_caught() -> None:
    assert "synchronous" in broken(send_policy(judges_later), ANSWERS)


def test_needs_that_do_not_exist_are_caught() -> None:
    policy = send_policy(lambda self, facts: gateway.Allow(), needs=frozenset({"sent_count"}))
    assert "sent_count" in broken(policy, "test_it_needs_what_there_is")


def test_a_policy_that_stands_aside_and_yet_judges_is_caught() -> None:
    policy = send_policy(lambda self, facts: gateway.Deny("never", "Never"), active=property(lambda self: False))
    assert "not active" in broken(policy, ANSWERS)


def test_wrong_answers_of_the_other_policies_are_caught() -> None:
    class Keys(gateway.AccessPolicy[Nothing]):
        name = "keys"
        settings_type = Nothing

        def permits(self, caller: gateway.Caller, permission: str) -> Any:
            return permission in caller.permissions or None

    class Words(gateway.InboundPolicy[Nothing]):
        name = "words"
        settings_type = Nothing

        def read(self, inbound: gateway.Inbound, facts: gateway.InboundFacts) -> Any:
            return gateway.Reaction("away") if "stop" in inbound.text.lower() else None  # type: ignore[arg-type]

    class Footer(gateway.ContentPolicy[Nothing]):
        name = "footer"
        settings_type = Nothing

        def finish(self, message: gateway.Outbound, facts: gateway.ContentFacts) -> gateway.Outbound:
            return msgspec.structs.replace(message, to="somebody@else.example")

    class TestKeys(PolicyConformance):
        policy_type = Keys

    class TestWords(PolicyConformance):
        policy_type = Words

    class TestFooter(PolicyConformance):
        policy_type = Footer

    assert "True or False" in broken(TestKeys(), ANSWERS)
    assert "a wish is None" in broken(TestWords(), ANSWERS)
    assert "['to']" in broken(TestFooter(), ANSWERS)


def operation(apply: Callable[..., Any]) -> OperationConformance:
    traits = {"name": "wave", "title": "Wave", "parameters_type": Nothing, "apply": apply}
    kind = type("Wave", (gateway.Operation,), traits)
    made: type[OperationConformance] = type(
        "TestWave", (OperationConformance,), {"operation_type": kind, "parameters": [{}]}
    )
    return made()


STRANGE = object()


def changes_the_contact(self: Any, contact: gateway.ContactView, parameters: Any) -> Any:
    contact.attributes["points"] = 1  # type: ignore[index]
    return gateway.ContactEdit()


APPLIES: Sequence[tuple[Callable[..., Any], str]] = [
    (lambda self, contact, parameters: None, "a ContactEdit or a Refusal"),
    (lambda self, contact, parameters: gateway.Refusal("No way", "no"), "no name"),
    (lambda self, contact, parameters: gateway.Refusal("no_way", ""), "without a reason"),
    (lambda self, contact, parameters: {}[contact.name], "raises KeyError"),
    (lambda self, contact, parameters: gateway.ContactEdit(attributes={"a": STRANGE}), "plain JSON"),
    (lambda self, contact, parameters: gateway.ContactEdit(attributes={"a": random.random()}), "pure"),
    (changes_the_contact, "changes the contact"),
]


@pytest.mark.parametrize(("apply", "words"), APPLIES)
def test_a_wrong_operation_is_caught(apply: Callable[..., Any], words: str) -> None:
    test = "test_apply_is_pure_and_answers_for_every_contact"
    getattr(operation(lambda self, contact, parameters: gateway.ContactEdit()), test)()
    assert words in broken(operation(apply), test)


# ---- the network --------------------------------------------------------------------------------------------------


async def test_an_adapter_that_leaves_this_machine_is_caught() -> None:
    with pytest.raises(Broken, match="tried to reach") as caught, loopback():  # noqa: PT012
        with pytest.raises(BeyondLoopback):
            await asyncio.open_connection("192.0.2.1", 443)
        with pytest.raises(BeyondLoopback):
            await asyncio.open_connection("provider.example", 443)
    assert "192.0.2.1" in str(caught.value)
    assert "provider.example" in str(caught.value)


async def test_a_log_in_is_answered_beside_the_messages(good: Good) -> None:
    """An adapter that logs in first is tested like any other: `aside` answers the log-in."""

    async def open_with_login(self: Any) -> None:
        await self.tools.http("POST", "https://loft.example/login")

    class Suite(AdapterConformance):
        adapter_type = type("Login", (good.adapter,), {"open": open_with_login})
        channel = good.channel
        address = "Coop-17 Lagos"
        settings: ClassVar[Mapping[str, object]] = SETTINGS
        cases = good.cases

        def aside(self, call: Any) -> gateway.HttpResponse | None:
            return json_reply(200, {"session": "s"}) if call.url.endswith("/login") else None

    async with Suite().subject() as (adapter, provider):
        assert isinstance(provider, ScriptedHttp)
        outcome = await adapter.send(Suite().message())
        assert isinstance(outcome, gateway.Accepted)
        assert [call.url for call in provider.calls] == ["https://loft.example/v2/flights"]
