"""Every route of the API, for tests that only describe them or are refused before a handler is reached."""

from __future__ import annotations

from typing import Any

from gateway.http.api import Resources, api_routes
from gateway.http.routing import Route
from tests.http.conftest import make_catalogue

VERSION = "1.2.3"


def every_route() -> list[Route]:
    """The routes with nothing behind them: a handler that is called fails."""
    nothing: Any = None
    return api_routes(
        Resources(
            catalogue=make_catalogue(),
            contacts=nothing,
            erasure=nothing,
            consent=nothing,
            ledger=nothing,
            bulk_actions=nothing,
            log=nothing,
            singles=nothing,
            control=nothing,
            conversations=nothing,
            templates=nothing,
            template_desk=nothing,
            template_trials=nothing,
            callbacks=nothing,
            events=nothing,
            streams=nothing,
            webhooks=nothing,
            keys=nothing,
            allowances=nothing,
            caps=nothing,
            explainer=nothing,
            creations_per_minute=10,
            version=VERSION,
        )
    )
