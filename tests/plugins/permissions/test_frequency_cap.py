"""Nobody is written to more often than the settings say."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import Allow, Deny, Verdict
from gateway.errors import Invalid
from gateway.validation import convert
from gateway_permissions.frequency_cap import FrequencyCap, FrequencyCapSettings
from tests.plugins.permissions.facts import make_facts


def policy(**table: Any) -> FrequencyCap:
    return FrequencyCap(convert(table, FrequencyCapSettings))


def judged(table: dict[str, Any], **facts: Any) -> Verdict:
    return policy(**table).judge(make_facts(**facts))


def test_who_has_had_enough_in_a_day_is_skipped_with_a_sentence() -> None:
    assert judged({"per_day": 2}, sent_last_day=1, sent_last_week=9) == Allow()
    verdict = judged({"per_day": 2}, sent_last_day=2, sent_last_week=2)
    assert verdict == Deny("frequency_cap", "Has had 2 messages in the last 24 hours; the most is 2", failed=False)


def test_who_has_had_enough_in_a_week_is_skipped() -> None:
    verdict = judged({"per_day": 2, "per_week": 1}, sent_last_day=0, sent_last_week=1)
    assert verdict == Deny("frequency_cap", "Has had 1 message in the last 7 days; the most is 1", failed=False)


def test_channels_are_counted_together_unless_each_has_its_own_count() -> None:
    facts = {"sent_last_day": 3, "sent_last_day_on_channel": 1}
    assert isinstance(judged({"per_day": 2}, **facts), Deny)
    assert judged({"per_day": 2, "per_channel": True}, **facts) == Allow()
    verdict = judged({"per_day": 1, "per_channel": True}, **facts)
    assert verdict == Deny("frequency_cap", "Has had 1 message on this channel in the last 24 hours; the most is 1")


@pytest.mark.parametrize(
    "facts", [{"source": "reply"}, {"category": "transactional"}, {"source": "api", "category": "general"}]
)
def test_replies_and_what_is_exempt_always_leave(facts: dict[str, Any]) -> None:
    table = {"per_day": 1, "exempt_sources": ["api"]}
    assert judged(table, sent_last_day=9, **facts) == Allow()
    assert isinstance(judged(table, sent_last_day=9), Deny)


def test_without_a_limit_it_is_never_asked() -> None:
    assert not policy().active
    assert policy(per_day=1).active
    assert policy(per_week=1).active


@pytest.mark.parametrize("most", [0, -1, "3", 1.5, 100_001])
def test_a_limit_that_is_none_is_refused(most: object) -> None:
    with pytest.raises(Invalid) as caught:
        policy(per_day=most)
    assert caught.value.problems[0].pointer == "/per_day"
