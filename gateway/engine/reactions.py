"""What the inbound policies make of a text, as one answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gateway.contract import Inbound, InboundFacts, InboundPolicy, Outbound, Reaction
from gateway.engine.catalogue import Sender
from gateway.store.reactions import InboundReaction

_STRENGTH: Final = {"out": 2, "in": 1, None: 0}


class InboundPolicyFailed(Exception):
    """An inbound policy raised: the text waits in the inbox of callbacks until it is read again."""


class Reader:
    """Asks the policies about the texts of one sender."""

    def __init__(self, sender: Sender, policies: Sequence[InboundPolicy[Any]]) -> None:
        self._sender = sender
        self._policies = tuple(policies)
        self._facts = InboundFacts(
            org=sender.org.name, title=sender.org.title, channel=sender.channel.name, sender=sender.name
        )

    def read(self, inbound: Inbound) -> InboundReaction | None:
        """The strongest reaction: to leave, else to come back, else a mere answer. InboundPolicyFailed."""
        if inbound.automatic:
            return None
        asked = [self._ask(policy, inbound) for policy in self._policies]
        reactions = [reaction for reaction in asked if reaction is not None]
        if not reactions:
            return None
        chosen = max(reactions, key=lambda reaction: (_STRENGTH[reaction.wish], reaction.reply is not None))
        reply = None if self._sender.adapter.capabilities.answers_opt_out else chosen.reply
        return InboundReaction(
            wish=chosen.wish,
            category=chosen.category or "all",
            reply=reply,
            segments=self._segments(inbound, reply),
        )

    def _ask(self, policy: InboundPolicy[Any], inbound: Inbound) -> Reaction | None:
        try:
            return policy.read(inbound, self._facts)
        # A policy is a stranger's code, given a stranger's text.
        except Exception as exc:
            raise InboundPolicyFailed(f"policy {policy.name} raised {type(exc).__name__}") from exc

    def _segments(self, inbound: Inbound, reply: str | None) -> int | None:
        if reply is None or not self._sender.charges_by_unit:
            return None
        return self._sender.adapter.cost(Outbound(ref="msg_0", attempt=1, to=inbound.address, text=reply))
