"""Draws `docs/states.md` from the tables of `gateway.core.states` (`python -m gateway.testing.diagrams`)."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from gateway.core.states import ACTIONS, RECIPIENTS, MessageStatus

_HEAD = """\
# The three machines

Drawn from the tables in `gateway/core/states.py` by `python -m gateway.testing.diagrams`; a test holds this page to
them. Whatever is not here cannot happen.
"""


def states_page() -> str:
    """The whole page."""
    actions = ((before.value, event.value, after.value) for (before, event), after in ACTIONS.items())
    recipients = ((before.label, event.value, after.label) for (before, event), after in RECIPIENTS.items())
    ranks = "\n".join(f"| {status.value} | `{status.label}` |" for status in MessageStatus)
    return "\n".join(
        (
            _HEAD,
            "## A bulk action\n",
            _diagram(actions),
            "## A recipient\n",
            _diagram(recipients),
            "## A message\n",
            "A receipt may only raise a message's rank, so that any order and any repetition of receipts ends in",
            "the same status. A late positive beats a negative; `delivered` and `read` never turn negative.\n",
            "| rank | status |\n|---|---|",
            ranks,
            "",
        )
    )


def _diagram(moves: Iterable[tuple[str, str, str]]) -> str:
    lines = (f"    {before} --> {after}: {event}" for before, event, after in moves)
    return "```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```\n"


if __name__ == "__main__":
    sys.stdout.write(states_page())
