"""From stored content to content that can be rendered, with what the content policies add to each message of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.contract import ContentFacts, ContentPolicy, Outbound
from gateway.core.content import MessageContent
from gateway.core.ids import MessageId
from gateway.core.links import Links
from gateway.core.template import Renderer
from gateway.engine.catalogue import Sender
from gateway.engine.rendering import CompiledContent, compile_content

UNSUBSCRIBE_URL: Final = "unsubscribe_url"
"""The variable of a template that shows each reader where to leave."""

Source = Literal["bulk_action", "api", "reply", "campaign"]


class ContentPolicyFailed(Exception):
    """A content policy raised: nobody knows what would have left, so nothing does."""

    def __init__(self, policy: str, detail: str) -> None:
        super().__init__(f"Policy {policy!r} failed: {detail}")
        self.policy = policy
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finisher:
    """What is added to the messages of one content."""

    policies: Sequence[ContentPolicy[Any]]
    links: Links
    sender: Sender
    category: str
    source: Source
    links_itself: bool

    def values(self, message: MessageId) -> Mapping[str, Any]:
        """The variables that every message has beside its recipient's own."""
        url = self.links.unsubscribe(message) if self.links_itself else None
        return {} if url is None else {UNSUBSCRIBE_URL: url}

    def finish(self, message: MessageId, outbound: Outbound) -> Outbound:
        """The message as it leaves. ContentPolicyFailed."""
        if not self.policies:
            return outbound
        facts = ContentFacts(
            org=self.sender.org.name,
            title=self.sender.org.title,
            channel=self.sender.channel.name,
            sender=self.sender.name,
            category=self.category,
            source=self.source,
            unsubscribe_url=self.links.unsubscribe(message),
            links_itself=self.links_itself,
        )
        for policy in self.policies:
            try:
                outbound = policy.finish(outbound, facts)
            # A policy is a stranger's code: whatever it raises must neither send nor spend the message.
            except Exception as exc:
                raise ContentPolicyFailed(policy.name, f"{type(exc).__name__}: {exc}") from exc
        return outbound


class Composer:
    """One for the life of the daemon; it keeps nothing."""

    def __init__(
        self,
        renderer: Renderer,
        senders: Mapping[str, Sender] | None = None,
        policies: Sequence[ContentPolicy[Any]] = (),
        links: Links | None = None,
    ) -> None:
        """`senders` by name. Without links nothing is added to any message."""
        self._renderer = renderer
        self._senders = senders or {}
        self._policies = tuple(policies)
        self._links = links

    def compile(self, content: MessageContent, source: Source = "bulk_action") -> CompiledContent:
        """TemplateFault: a template of it has a fault (creation has checked them)."""
        compiled = compile_content(self._renderer, content)
        sender = self._senders.get(content.sender or "")
        if self._links is None or sender is None:
            return compiled
        finisher = _Finisher(
            policies=self._policies,
            links=self._links,
            sender=sender,
            category=content.category,
            source=source,
            links_itself=UNSUBSCRIBE_URL in compiled.variables,
        )
        return compiled.finished_by(finisher)
