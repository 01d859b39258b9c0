"""The conformance suites: what the contract promises, as tests that the author of a plugin inherits.

    from gateway.testing.conformance import AdapterConformance

    class TestPigeon(AdapterConformance):
        adapter_type = PigeonAdapter
        channel = PIGEON
        address = "Coop-17 Lagos"
        settings = {"url": "https://lofts.example", "token": "secret-canary-value"}
        cases = CASES
        proof = "x-pigeon-signature"

They need pytest and Hypothesis, no plugin of pytest for asyncio, and no network: whatever leaves this machine is a
failure. What a broken promise says names the method and what to do.
"""

from __future__ import annotations

from gateway.testing.conformance_callbacks import CallbackPromises
from gateway.testing.conformance_checks import Broken
from gateway.testing.conformance_operations import OperationConformance
from gateway.testing.conformance_policies import PolicyConformance
from gateway.testing.conformance_sending import SendingPromises
from gateway.testing.conformance_traits import TraitPromises

__all__ = ["AdapterConformance", "Broken", "OperationConformance", "PolicyConformance"]


class AdapterConformance(TraitPromises, SendingPromises, CallbackPromises):
    """Everything that an adapter promises. `AdapterSubject` lists what to fill in and what may be overridden."""
