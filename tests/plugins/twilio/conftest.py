"""A simulated Twilio, the door that it calls back to, and the HTTP client that adapters are given."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.outbound.client import HttpClient
from gateway.testing.twilio_simulator import TwilioSimulator
from tests.plugins.twilio.harness import ACCOUNT, CALLBACK_URL, NOW, TOKEN
from tests.plugins.twilio.receiver import Receiver


@pytest.fixture
async def door() -> AsyncIterator[Receiver]:
    async with Receiver() as running:
        yield running


@pytest.fixture
async def twilio(door: Receiver) -> AsyncIterator[TwilioSimulator]:
    simulator = TwilioSimulator(
        account_sid=ACCOUNT, auth_token=TOKEN, callback_base=door.url, inbound_url=CALLBACK_URL, now=lambda: NOW
    )
    async with simulator:
        yield simulator


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient(connections=16)
    yield client
    await client.close()
