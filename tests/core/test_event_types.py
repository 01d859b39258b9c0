"""The types of events and the patterns that name them."""

from __future__ import annotations

import pytest

from gateway.core.event_types import DEFAULT_PATTERNS, EVENT_TYPES, check, fault_of, named_by


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["opt_out.*"], ("opt_out.recorded", "opt_out.removed")),
        (["sender.held", "opt_out.removed"], ("opt_out.removed", "sender.held")),
        (["*"], EVENT_TYPES),
        (["*", "sender.held"], EVENT_TYPES),
        ([], ()),
    ],
)
def test_patterns_name_types(patterns: list[str], expected: tuple[str, ...]) -> None:
    assert named_by(patterns) == expected


def test_the_default_names_whole_actions_answers_and_wishes() -> None:
    named = named_by(DEFAULT_PATTERNS)
    assert {name.partition(".")[0] for name in named} == {"bulk_action", "message", "opt_out"}
    assert [name for name in named if name.startswith("message.")] == ["message.received"]


@pytest.mark.parametrize("pattern", ["*", "message.*", *EVENT_TYPES])
def test_what_there_is_has_no_fault(pattern: str) -> None:
    assert fault_of(pattern) is None


@pytest.mark.parametrize("pattern", ["", "message", "message.", "mes*", "message.r*", "MESSAGE.read", "**", "nothing"])
def test_what_there_is_not_is_told_with_what_there_is(pattern: str) -> None:
    fault = fault_of(pattern)
    assert fault is not None
    assert all(name in fault for name in EVENT_TYPES)


def test_a_near_miss_is_told_what_was_meant() -> None:
    assert "Did you mean 'message.received'?" in (fault_of("message.recieved") or "")


def test_an_unknown_type_cannot_be_published() -> None:
    check("message.read")
    with pytest.raises(ValueError, match="is no type of event"):
        check("message.eaten")
