"""Putting the policies' verdicts together."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.contract import Allow, Defer, Deny, Verdict


def strictest(verdicts: Iterable[Verdict]) -> Verdict:
    """The most restrictive verdict: Deny over Defer over Allow, of two Defers the later, of two Denies the first.

    No verdict at all allows. The order of the policies never decides between the kinds.
    """
    result: Verdict = Allow()
    for verdict in verdicts:
        if isinstance(verdict, Deny):
            return verdict
        if isinstance(verdict, Defer) and (not isinstance(result, Defer) or verdict.until > result.until):
            result = verdict
    return result
