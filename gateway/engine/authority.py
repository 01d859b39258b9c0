"""Whether the creator of a bulk action may still do what it does: asked again at each batch."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.engine.catalogue import Catalogue
from gateway.store.creators import CreatorStore
from gateway.store.looks import ActionLook


def needed_for(operation: str) -> tuple[str, ...]:
    """The permissions that creating, editing and running this operation takes."""
    return ("members.edit", "messaging.send") if operation == "send_message" else ("members.edit",)


@dataclass(frozen=True, slots=True)
class Objection:
    """Why the next batch must not be released: a `pause_reason`, and a sentence."""

    reason: str
    detail: str


class Authority:
    """Asks the access policies about the key that created an action."""

    def __init__(self, catalogue: Catalogue, creators: CreatorStore) -> None:
        self._catalogue = catalogue
        self._creators = creators

    async def objection(self, look: ActionLook) -> Objection | None:
        """None: the creator may still do it. Actions that were made without a key are the operator's own."""
        if look.created_by is None:
            return None
        needed = needed_for(look.operation)
        caller = await self._creators.caller(look.created_by)
        if caller is None:
            return Objection("permission_revoked", f"The key {look.created_by} that created it was revoked.")
        try:
            missing = [permission for permission in needed if not self._catalogue.permits(caller, permission)]
        # An access policy is a stranger's code: what it cannot say must stop this action, and no other.
        except Exception as exc:  # noqa: BLE001
            return Objection("policy_error", f"An access policy failed: {type(exc).__name__}: {exc}")
        if not missing:
            return None
        return Objection("permission_revoked", f"The key {look.created_by} that created it lacks {', '.join(missing)}.")
