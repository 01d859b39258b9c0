"""What an operation promises: pure, and an answer to whatever contact it is given."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
import pytest

from gateway.contract import ContactEdit, ContactView, Operation, Refusal
from gateway.testing.conformance_checks import Broken, check_name, check_unknown_keys, converted, promise
from gateway.testing.conformance_network import loopback
from gateway.testing.conformance_promises import for_all
from gateway.testing.conformance_values import contacts


class OperationConformance:
    """Everything that an operation promises.

    class TestAddPoints(OperationConformance):
        operation_type = AddPoints
        parameters = [{"points": 3}, {"points": -1}]
    """

    operation_type: ClassVar[type[Operation[Any]]]
    parameters: ClassVar[Sequence[Mapping[str, object]]]
    """Parameters as in the body of a bulk action, several kinds of them."""

    @pytest.fixture(autouse=True)
    def _stays_on_this_machine(self) -> Iterator[None]:
        """Nothing connects beyond loopback, and nothing runs before the author has said what to test."""
        missing = [name for name in ("operation_type", "parameters") if not hasattr(self, name)]
        if missing:
            pytest.fail(f"{type(self).__name__} does not say: {', '.join(missing)}", pytrace=False)
        with loopback():
            yield

    @property
    def who(self) -> str:
        """The operation's name in messages."""
        return self.operation_type.__name__

    def converted_parameters(self) -> list[Any]:
        """`parameters`, as the gateway reads them."""
        what = f"{type(self).__name__}.parameters"
        return [converted(dict(one), self.operation_type.parameters_type, what) for one in self.parameters]

    def test_its_name_and_title_are_there(self) -> None:
        check_name(self.operation_type.name)
        promise(self.operation_type.title.strip(), f"{self.who}.title is empty: people choose by it.")

    def test_its_parameters_refuse_unknown_keys_and_have_a_schema(self) -> None:
        self.converted_parameters()
        check_unknown_keys(dict(self.parameters[0]), self.operation_type.parameters_type)
        msgspec.json.schema(self.operation_type.parameters_type)

    def test_check_answers_in_sentences(self) -> None:
        for parameters in self.converted_parameters():
            faults: Any = self.operation_type().check(parameters)
            well = not isinstance(faults, str) and all(isinstance(fault, str) and fault for fault in faults)
            promise(
                well, f"{self.who}.check answered {faults!r}: it answers a list of sentences, empty if all is well."
            )

    def test_apply_is_pure_and_answers_for_every_contact(self) -> None:
        operation, another = self.operation_type(), self.operation_type()
        several = [one for one in self.converted_parameters() if not operation.check(one)]
        promise(several, f"{type(self).__name__}.parameters has none that {self.who}.check finds well.")

        def judge(contact: ContactView) -> None:
            for parameters in several:
                self._judged(operation, another, contact, parameters)

        for_all(contacts(), judge)

    def _judged(
        self, operation: Operation[Any], another: Operation[Any], contact: ContactView, parameters: Any
    ) -> None:
        before = copy.deepcopy((contact, parameters))
        try:
            edit, again = operation.apply(contact, parameters), another.apply(contact, parameters)
        # Whatever it raises fails the recipient.
        except Exception as exc:
            raise Broken(f"{self.who}.apply raises {exc!r}: refuse contacts that it cannot change.") from exc
        promise(
            not inspect.isawaitable(edit), f"{self.who}.apply answers with a coroutine: operations are synchronous."
        )
        promise(edit == again, f"{self.who}.apply answers the same contact with {edit!r} and {again!r}: it is pure.")
        promise((contact, parameters) == before, f"{self.who}.apply changes the contact or the parameters it is given.")
        promise(
            isinstance(edit, ContactEdit | Refusal), f"{self.who}.apply answered {edit!r}: a ContactEdit or a Refusal."
        )
        if isinstance(edit, Refusal):
            check_name(edit.code)
            promise(edit.reason, f"{self.who}.apply refuses without a reason: people read it.")
            return
        try:
            msgspec.convert(msgspec.json.decode(msgspec.json.encode(edit)), ContactEdit)
        except (msgspec.ValidationError, TypeError, UnicodeEncodeError) as exc:
            raise Broken(f"{self.who}.apply changes attributes to what is no plain JSON: {exc}; {edit!r}") from exc
