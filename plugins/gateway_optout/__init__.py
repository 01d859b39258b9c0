"""How people leave: by a word, by a link, by a button."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway import Policy, hookimpl
from gateway_optout.footers import Footers
from gateway_optout.keywords import Keywords


@hookimpl
def gateway_policies() -> Sequence[type[Policy[Any]]]:
    """`optout`, what texts mean, and `unsubscribe`, what messages get."""
    return (Keywords, Footers)
