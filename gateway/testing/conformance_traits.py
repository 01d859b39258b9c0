"""What an adapter says of itself: its settings, its capabilities, its channel's addresses, its limits and costs."""

from __future__ import annotations

import copy
from typing import Any, Final

import msgspec
import pytest
from hypothesis import strategies as st

from gateway.contract import Adapter, HttpResponse, NotSent, Outbound, ProviderTemplate, Rejected
from gateway.testing.conformance_checks import (
    NO_ADDRESS,
    check_capabilities,
    check_channel,
    check_common_keys,
    check_name,
    check_one_spelling,
    check_refuses,
    check_secrets_are_hidden,
    check_unknown_keys,
    is_text,
    overrides,
    promise,
)
from gateway.testing.conformance_promises import ending, for_all
from gateway.testing.conformance_provider import GARBAGE
from gateway.testing.conformance_subject import AdapterSubject
from gateway.testing.conformance_values import messages, texts
from gateway.testing.doubles import text_reply

REGIONS: Final = (None, "US", "NG", "DE")


class TraitPromises(AdapterSubject):
    """The tests of what an adapter says of itself."""

    def test_its_names_are_those_of_its_channel(self) -> None:
        check_name(self.adapter_type.name)
        check_channel(self.channel)
        promise(
            self.adapter_type.channel == self.channel.name,
            f"{self.who}.channel is {self.adapter_type.channel!r}, the channel's name is {self.channel.name!r}.",
        )

    def test_its_settings_refuse_unknown_keys(self) -> None:
        self.converted_settings()
        check_unknown_keys(dict(self.settings), self.adapter_type.settings_type)
        check_common_keys(self.adapter_type.settings_type)

    def test_its_settings_hide_their_secrets(self) -> None:
        check_secrets_are_hidden(self.converted_settings())

    def test_its_capabilities_have_their_methods(self) -> None:
        self.run(self._capabilities)

    async def _capabilities(self) -> None:
        async with self.subject() as (adapter, _):
            check_capabilities(adapter)
            can = adapter.capabilities
        by_callback = can.receipts and overrides(self.adapter_type, "authenticate")
        promise(
            not by_callback or self.cases.callbacks,
            f"{self.who}.capabilities says receipts, but {type(self).__name__}.cases has no callback: record some.",
        )

    def test_an_address_has_one_spelling(self) -> None:
        spelled = self.channel.normalise(self.address, None)
        promise(
            spelled == self.address,
            f"{type(self).__name__}.address is {self.address!r}, its one spelling {spelled!r}: give that.",
        )

    @pytest.mark.parametrize("rubbish", NO_ADDRESS, ids=repr)
    def test_what_is_no_address_is_refused_with_a_sentence(self, rubbish: str) -> None:
        check_refuses(self.channel, rubbish)

    def test_normalise_is_idempotent_and_raises_nothing_but_value_error(self) -> None:
        given = st.tuples(texts() | _around(self.address), st.sampled_from(REGIONS))
        for_all(given, lambda one: check_one_spelling(self.channel, *one))

    def test_refuse_and_cost_are_pure_and_answer_whatever_the_message(self) -> None:
        async def test() -> None:
            async with self.subject() as (adapter, provider):
                for_all(messages(self.message(), self.channel), lambda message: self._judged(adapter, message))
                promise(not provider.calls, f"{self.who}.refuse or cost asks the provider: they are pure.")

        self.run(test)

    def _judged(self, adapter: Adapter[Any], message: Outbound) -> None:
        before = copy.deepcopy(message)
        refusal = adapter.refuse(message)
        promise(
            refusal is None or isinstance(refusal, Rejected),
            f"{self.who}.refuse answered {refusal!r}: it answers None or Rejected.",
        )
        promise(adapter.refuse(message) == refusal, f"{self.who}.refuse answers the same message in two ways.")
        cost: Any = adapter.cost(message)
        promise(
            isinstance(cost, int) and not isinstance(cost, bool) and cost >= 1,
            f"{self.who}.cost answered {cost!r}: it answers a whole number from 1.",
        )
        promise(adapter.cost(message) == cost, f"{self.who}.cost answers the same message in two ways.")
        promise(message == before, f"{self.who}.refuse or cost changes the message.")

    def test_check_says_none_or_a_sentence(self) -> None:
        async def test() -> None:
            async with self.subject() as (adapter, provider):
                self._wellness(await adapter.check())
                asked = bool(provider.calls)
                for body in GARBAGE.values():
                    provider.answer_with(HttpResponse(200, {}, body))
                    said = await ending(adapter.check())
                    if not isinstance(said, Exception):  # which counts as unwell
                        self._wellness(said)
                for answer in (text_reply(401, "Unauthorized"), NotSent("ConnectionRefusedError")):
                    provider.answer_with(answer)
                    well = await ending(adapter.check()) is None
                    promise(not (asked and well), f"{self.who}.check finds the account well after {answer!r}.")

        self.run(test)

    def _wellness(self, said: object) -> None:
        promise(
            said is None or is_text(said),
            f"{self.who}.check answered {said!r}: it answers None, or what is wrong in a sentence.",
        )

    def test_templates_are_templates_or_an_exception(self) -> None:
        if not overrides(self.adapter_type, "templates"):
            pytest.skip(f"{self.who} keeps no templates")

        async def test() -> None:
            async with self.subject() as (adapter, provider):
                for name, body in GARBAGE.items():
                    provider.answer_with(HttpResponse(200, {}, body))
                    found = await ending(adapter.templates())
                    # An exception leaves what is known.
                    for one in () if isinstance(found, Exception) else found:
                        promise(isinstance(one, ProviderTemplate), f"{self.who}.templates gave {one!r} for {name}.")
                        msgspec.convert(msgspec.to_builtins(one), ProviderTemplate)

        self.run(test)


def _around(address: str) -> st.SearchStrategy[str]:
    """The address with something before, in or after it."""
    bits = st.sampled_from(("", " ", "\n", "\t", "-", "(", ")", ".", "\u00a0", "\u200b", "0", "a", "@", "\0"))
    places = st.integers(0, len(address))
    return st.builds(lambda at, bit, end: address[:at] + bit + address[at:] + end, places, bits, bits)
