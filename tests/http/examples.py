"""Requests made from nothing but the OpenAPI document: for each operation the least that its schemas ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

METHODS = ("get", "put", "post", "patch", "delete")


@dataclass(frozen=True)
class Operation:
    """One method on one path, as the document describes it."""

    method: str
    path: str
    described: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(self.described["x-permission"])

    @property
    def about_one(self) -> bool:
        """Its path names a resource."""
        return "{" in self.path

    @property
    def streams(self) -> bool:
        """Its answer has no end."""
        return "text/event-stream" in self.described["responses"].get("200", {}).get("content", {})


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """All that take a key."""
    return [
        Operation(method.upper(), path, described)
        for path, item in document["paths"].items()
        for method, described in item.items()
        if method in METHODS and "x-permission" in described
    ]


@dataclass(frozen=True)
class Example:
    """A request without its address. `body` None: none is sent, or the bytes of another `content_type` than JSON."""

    query: Mapping[str, str]
    content_type: str | None
    body: Any


def example(document: Mapping[str, Any], operation: Operation) -> Example:
    """The least that the schemas of an operation ask for."""
    maker = _Maker(document)
    query = {
        one["name"]: str(maker.value(one["schema"]))
        for one in operation.described.get("parameters", ())
        if one["in"] == "query" and one.get("required")
    }
    content = operation.described.get("requestBody", {}).get("content", {})
    for kind in ("application/json", "application/merge-patch+json"):
        if kind in content:
            return Example(query, kind, maker.value(content[kind]["schema"]))
    return Example(query, next(iter(content), None), None)


class _Maker:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._schemas = document["components"]["schemas"]

    def value(self, schema: Mapping[str, Any]) -> Any:
        """Something small that the schema allows."""
        if "$ref" in schema:
            return self.value(self._schemas[schema["$ref"].rpartition("/")[2]])
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return self.value(schema[choice][0])
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        return self._of_type(schema)

    def _of_type(self, schema: Mapping[str, Any]) -> Any:
        match schema.get("type"):
            case "object":
                properties = schema.get("properties", {})
                return {name: self.value(properties[name]) for name in schema.get("required", ())}
            case "array":
                return [self.value(schema["items"])] * max(1, schema.get("minItems", 1))
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return False
            case "string":
                return "2026-06-01T08:00:00Z" if schema.get("format") == "date-time" else "x"
        return None
