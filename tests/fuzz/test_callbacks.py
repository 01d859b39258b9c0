"""No callback, however spoilt, makes an adapter raise: some thousands here, a million by `make fuzz`."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.engine.cleaning import Cleaner
from gateway.testing.conformance import AdapterConformance
from gateway.testing.doubles import make_tools
from gateway.validation import convert
from tests import test_conformance
from tests.fuzz.mutation import mutated

EXAMPLES = int(os.environ.get("GATEWAY_FUZZ_EXAMPLES", "2000"))  # for each adapter
SUITES: list[type[AdapterConformance]] = sorted(
    (
        suite
        for suite in vars(test_conformance).values()
        if isinstance(suite, type) and issubclass(suite, AdapterConformance) and suite is not AdapterConformance
    ),
    key=lambda suite: suite.__name__,
)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.__name__)
async def test_no_spoilt_callback_makes_an_adapter_raise(suite: type[Any]) -> None:
    settings = convert(suite.settings, suite.adapter_type.settings_type)
    adapter = suite.adapter_type(settings, make_tools())
    requests = [case.request for case in suite.cases.callbacks]
    bodies = [request.body for request in requests]
    assert requests, "an adapter without recorded callbacks"
    cleaner = Cleaner(suite.channel, "US", lambda: datetime(2026, 6, 1, tzinfo=UTC))
    chance = random.Random(f"{suite.__name__} {EXAMPLES}")
    genuine = 0
    for _ in range(EXAMPLES):
        request = mutated(chance.choice(requests), bodies, chance)
        events = adapter.parse(request)
        assert events == adapter.parse(request)
        cleaner.clean(events)
        genuine += await adapter.authenticate(request) is True
    assert genuine < EXAMPLES
