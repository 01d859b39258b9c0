"""What a bulk action can do: the installed operations, each with the JSON Schema of what it takes."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.engine.authority import needed_for
from gateway.engine.catalogue import Catalogue
from gateway.http.paging import Page
from gateway.http.routing import Answer, Call, Route

SEND_MESSAGE = "send_message"


class OperationView(msgspec.Struct, kw_only=True, frozen=True):
    """An operation. `field` is the member of a bulk action that takes its settings, `json_schema` what goes in."""

    name: str
    title: str
    field: str
    permissions: list[str]
    json_schema: dict[str, Any]


def operation_routes(catalogue: Catalogue, message: type[msgspec.Struct]) -> list[Route]:
    """The route `/v1/operations`. `message` is the type of a bulk action's `message`."""
    known = [_view(SEND_MESSAGE, "Send a message", "message", message)]
    known += [
        _view(name, operation.title, "parameters", operation.parameters_type)
        for name, operation in sorted(catalogue.operations.items())
    ]
    answer = Answer(body=Page(items=known))

    async def show(call: Call) -> Answer:
        return answer

    return [
        Route(
            method="GET",
            path="/v1/operations",
            handler=show,
            summary="List the operations of bulk actions",
            permissions=(),
            tag="bulk actions",
            answer=Page[OperationView],
        )
    ]


def _view(name: str, title: str, field: str, settings: type[msgspec.Struct]) -> OperationView:
    return OperationView(
        name=name,
        title=title,
        field=field,
        permissions=list(needed_for(name)),
        json_schema=msgspec.json.schema(settings),
    )
