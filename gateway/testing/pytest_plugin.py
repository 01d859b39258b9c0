"""Fixtures for authors of plugins, found by pytest wherever the gateway is installed.

What a fixture needs is imported when a test asks for it: other projects pay for none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from gateway.contract import Tools
    from gateway.testing.conformance_installed import Offers


@pytest.fixture
def gateway_tools() -> Callable[..., Tools]:
    """Makes what an adapter is given, `gateway.testing.doubles.make_tools`: a scripted HTTP, a log that remembers."""
    make: Callable[..., Tools] = import_module("gateway.testing.doubles").make_tools
    return make


@pytest.fixture
def gateway_plugin() -> Callable[[str], Offers]:
    """Loads an installed plugin by the name of its entry point, as the gateway does, and gives what it brings."""
    find: Callable[[str], Offers] = import_module("gateway.testing.conformance_installed").installed_plugin
    return find


@pytest.fixture
def loopback_only() -> Iterator[list[str]]:
    """Refuses whatever leaves this machine, and fails the test that tried. The suites have it already."""
    with import_module("gateway.testing.conformance_network").loopback() as tried:
        yield tried
