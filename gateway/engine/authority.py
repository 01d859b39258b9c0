"""Whether the creator of a bulk action may still do what it does: asked again at each batch."""

from __future__ import annotations

from datetime import datetime

from gateway.engine.catalogue import Catalogue
from gateway.store.creators import CreatorStore
from gateway.store.looks import ActionLook


def needed_for(operation: str) -> tuple[str, ...]:
    """The permissions that creating, editing and running this operation takes."""
    return ("members.edit", "messaging.send") if operation == "send_message" else ("members.edit",)


class Authority:
    """Asks the access policies about the key that created an action."""

    def __init__(self, catalogue: Catalogue, creators: CreatorStore) -> None:
        self._catalogue = catalogue
        self._creators = creators

    async def missing(self, look: ActionLook, now: datetime) -> tuple[str, ...]:
        """The permissions that the creator lacks by now; () also for actions that were made without a key."""
        if look.created_by is None:
            return ()
        needed = needed_for(look.operation)
        caller = await self._creators.caller(look.created_by, now)
        if caller is None:
            return needed
        return tuple(permission for permission in needed if not self._catalogue.permits(caller, permission))
