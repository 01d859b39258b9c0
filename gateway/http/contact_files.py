"""`/v1/contacts/export` and `/v1/contacts/{id}/erase`: taking people out, as a file or for good."""

from __future__ import annotations

from typing import Final

from gateway.engine.catalogue import Catalogue
from gateway.engine.contact_export import Form, export_contacts
from gateway.errors import NotFound
from gateway.http.contact_import import CSV, NDJSON
from gateway.http.routing import Answer, Call, Route
from gateway.store.contacts import ContactStore
from gateway.store.erasure import Erasure

NAMES: Final = {"csv": "contacts.csv", "ndjson": "contacts.ndjson"}


def contact_file_routes(store: ContactStore, erasure: Erasure, catalogue: Catalogue) -> list[Route]:
    """To be registered before `/v1/contacts/{id}`, which would match the export too."""

    async def export(call: Call) -> Answer:
        form: Form = "ndjson" if NDJSON in call.headers.get("accept", "") else "csv"
        channels = tuple(catalogue.channels.values())
        return Answer(
            stream=export_contacts(store, call.org, channels, form),
            content_type=NDJSON if form == "ndjson" else CSV,
            headers={"Content-Disposition": f'attachment; filename="{NAMES[form]}"'},
        )

    async def erase(call: Call) -> Answer:
        if not await erasure.erase(call.org, call.path["id"]):
            raise NotFound("contact", call.path["id"])
        return Answer(status=204)

    tag = "contacts"
    return [
        Route(
            method="GET", path="/v1/contacts/export", handler=export, permissions=("members.read",), tag=tag,
            summary="All contacts as CSV or NDJSON, as the import reads them", answer=str, answers_also=(CSV, NDJSON),
        ),
        Route(
            method="POST", path="/v1/contacts/{id}/erase", handler=erase, permissions=("members.edit",), tag=tag,
            summary="Forget a contact for good; the books and the opt-outs stay", body_required=False, status=204,
        ),
    ]  # fmt: skip
