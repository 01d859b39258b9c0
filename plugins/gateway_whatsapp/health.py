"""Whether a number could send, by Meta's own word.

Its health status tells what a message would be refused for: an account that is locked, a payment that is missing, an
app that may not (developers.facebook.com, WhatsApp, cloud-api/health-status, 2026-11). A number that is LIMITED sends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway_whatsapp.errors import cleaned, discreet, error_code
from gateway_whatsapp.values import Json, mapping, mappings

FIELDS: Final = "id,status,health_status"
BLOCKED: Final = "BLOCKED"
# States of a number. RESTRICTED, FLAGGED and whatever else there is passes by itself, and messages go out meanwhile.
UNUSABLE: Final = frozenset({"BANNED", "DELETED", "DISCONNECTED", "MIGRATED"})


def complaint(said: Json, phone_number_id: str) -> str | None:
    """What is wrong with the number that Meta describes, in a sentence; None: nothing that keeps it from sending."""
    if said.get("id") != phone_number_id:
        return "Meta answered with something that is not this number."
    state = cleaned(said.get("status"))
    if state in UNUSABLE:
        return f"The number is {state.lower()}."
    health = mapping(said.get("health_status"))
    if health.get("can_send_message") != BLOCKED:
        return None
    reasons = "; ".join(_reasons(health))
    return f"Meta lets the number send nothing{f': {reasons}' if reasons else ''}."


def _reasons(health: Json) -> Iterator[str]:
    """The first error of each part that is blocked: the number, the account, the business or the app."""
    for entity in mappings(health.get("entities")):
        error = mapping(next(iter(mappings(entity.get("errors"))), None))
        if entity.get("can_send_message") == BLOCKED:
            code = error_code(error.get("error_code"))
            words = discreet(cleaned(error.get("error_description"))).rstrip(".")
            part = cleaned(entity.get("entity_type")).lower().replace("_", " ") or "a part of the account"
            yield f"{part}{f', {words}' if words else ''}{f' (Meta {code})' if code is not None else ''}"
