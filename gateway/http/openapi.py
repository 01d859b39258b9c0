"""The OpenAPI 3.1 document, generated from the routes and the types of their requests and answers."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.http.idempotency import HEADER as IDEMPOTENCY_KEY
from gateway.http.problems import CODES, CONTENT_TYPE, ProblemDocument, status_of
from gateway.http.routing import Answer, Call, Route

REFERENCE: Final = "#/components/schemas/{name}"
DESCRIPTION: Final = (
    "One message or a million, at once or in drips. Every refusal is a problem document with a stable `code`; "
    "`x-permission` names the permissions that a key needs, [] any key."
)
PROBLEM: Final[Mapping[str, str]] = {"$ref": REFERENCE.format(name="ProblemDocument")}
BODY_CODES: Final = ("malformed_json", "request_timeout", "body_too_large", "unsupported_media_type")

_PATH_PARAMETER: Final = re.compile(r"{(\w+)}")


def openapi_route(routes: Sequence[Route], version: str) -> Route:
    """The route `/v1/openapi.json`, whose document describes `routes` and itself."""
    documents: list[bytes] = []

    async def show(call: Call) -> Answer:
        return Answer(body=documents[0])

    route = Route(
        method="GET",
        path="/v1/openapi.json",
        handler=show,
        summary="Describe this API as OpenAPI 3.1",
        permissions=(),
        tag="me",
        answer=dict[str, Any],
    )
    documents.append(msgspec.json.encode(document([*routes, route], version)))
    return route


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The whole document."""
    schemas = _Schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dripgate",
            "version": version,
            "description": DESCRIPTION,
        },
        "security": [{"key": []}],
        "tags": [{"name": tag} for tag in sorted({route.tag for route in routes})],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "gwk_<id>_<secret>"}},
        },
    }


class _Schemas:
    """The JSON Schemas of every type that the routes name."""

    def __init__(self, routes: Sequence[Route]) -> None:
        bodies = [route.body for route in routes if route.body is not None]
        answers = [route.answer for route in routes if route.answer is not None]
        kinds = list(dict.fromkeys(part for kind in (*bodies, *answers, ProblemDocument) for part in _parts(kind)))
        schemas, self.components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
        self._of = dict(zip(kinds, schemas, strict=True))

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of a body's or an answer's type."""
        schemas: list[dict[str, Any]] = [self._of[part] for part in _parts(kind)]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def query(self, kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
        """The parameters of a query; types that they name go into the components."""
        (_,), components = msgspec.json.schema_components([kind], ref_template=REFERENCE)
        own = components.pop(kind.__name__)
        self.components.update(components)
        required = own.get("required", ())
        return [_query_parameter(name, schema, name in required) for name, schema in own["properties"].items()]


def _parts(kind: Any) -> tuple[Any, ...]:
    """The members of a union, each of which is described for itself; anything else is its own only part."""
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _query_parameter(name: str, schema: Mapping[str, Any], required: bool) -> dict[str, Any]:
    plain = dict(schema)
    parameter: dict[str, Any] = {"name": name, "in": "query", "required": required}
    if "description" in plain:
        parameter["description"] = plain.pop("description")
    # A parameter that is absent is null; nobody writes null into a query string.
    alternatives = [one for one in plain.pop("anyOf", ()) if one.get("type") != "null"]
    if len(alternatives) == 1:
        plain |= alternatives[0]
        if plain.get("default", "") is None:
            del plain["default"]
    elif alternatives:
        plain["anyOf"] = alternatives
    return parameter | {"schema": plain}


def _operation(route: Route, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [route.tag],
        "x-permission": list(route.permissions),
        "parameters": _parameters(route, schemas),
        "responses": _successes(route, schemas) | _problems(route),
    }
    body = _request_body(route, schemas)
    return operation | ({"requestBody": body} if body else {})


def operation_id(route: Route) -> str:
    """A name for generated clients: `post_bulk_actions_id_cancel`."""
    words = re.sub(r"[^a-z0-9]+", "_", route.path.removeprefix("/v1").lower()).strip("_")
    return f"{route.method.lower()}_{words}"


def _parameters(route: Route, schemas: _Schemas) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(route.path)
    ]
    if route.query is not None:
        parameters += schemas.query(route.query)
    if route.creates:
        text = "The same key with the same request is answered with the first answer, for 24 hours; quoted or bare."
        parameters.append(_header(IDEMPOTENCY_KEY, text))
    if route.merge_patch or "revision_mismatch" in route.refusals:
        parameters.append(_header("If-Match", "The ETag that the request is meant for; 412 if it has changed since."))
    return parameters


def _header(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}


def _request_body(route: Route, schemas: _Schemas) -> dict[str, Any] | None:
    if route.streams:
        raw = {"schema": {"type": "string", "contentEncoding": "binary"}}
        return {"required": True, "content": dict.fromkeys(route.streams, raw)}
    if route.body is None:
        return None
    schema = schemas.of(route.body)
    if not route.merge_patch:
        return {"required": route.body_required, "content": {"application/json": {"schema": schema}}}
    name = schema["$ref"].rpartition("/")[2]
    properties: dict[str, Any] = {field: {} for field in schemas.components[name]["properties"]}
    patch = {
        "type": "object",
        "description": f"RFC 7396: what is given replaces, null clears, objects are merged. The result is a {name}.",
        "properties": properties,
        "additionalProperties": False,
    }
    return {
        "required": route.body_required,
        "content": {media: {"schema": patch} for media in ("application/merge-patch+json", "application/json")},
    }


def _successes(route: Route, schemas: _Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.answer is not None:
        content["application/json"] = {"schema": schemas.of(route.answer)}
    for media_type in route.answers_also:
        content[media_type] = {"schema": {"type": "string"}}
    answer = {"description": route.summary} | ({"content": content} if content else {})
    return {str(status): answer for status in (route.status, *route.also)}


def _problems(route: Route) -> dict[str, Any]:
    """The refusals, with the codes of each status."""
    codes = ["malformed_request", "unauthenticated", "host_not_allowed", "origin_not_allowed"]
    codes += ["internal_error", "store_unavailable"]
    if route.permissions:
        codes.append("permission_denied")
    if "{" in route.path:
        codes.append("not_found")
    if route.body is not None or route.streams:
        codes += BODY_CODES
    if route.body is not None or route.query is not None or route.streams:
        codes.append("invalid")
    if route.creates:
        codes += ["in_progress", "idempotency_key_reused"]
    if route.merge_patch:
        codes.append("revision_mismatch")
    codes += route.refusals
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(status_of(code), []).append(code)
    return {str(status): _problem_answer(found) for status, found in sorted(by_status.items())}


def _problem_answer(codes: Sequence[str]) -> dict[str, Any]:
    told = "; ".join(f"`{code}`: {CODES[code][1]}" if code in CODES else f"`{code}`" for code in codes)
    return {"description": told, "content": {CONTENT_TYPE: {"schema": PROBLEM}}}
