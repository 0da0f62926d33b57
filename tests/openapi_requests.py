"""Requests made from an OpenAPI document: for every operation the least that it accepts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True, slots=True)
class Operation:
    """One route as the document describes it. `permission` is '' for those that need no credential of the API."""

    method: str
    path: str
    permission: str
    is_public: bool
    schema: Mapping[str, Any]
    components: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.method.upper()} {self.path}"

    def request(self, ids: Mapping[str, str]) -> tuple[str, str, dict[str, Any]]:
        """Return method, address and options; path parameters come from `ids`, else they name what nobody has."""
        address, query, headers = self.path, {}, {}
        for parameter in self.schema.get("parameters", []):
            if parameter["in"] == "path":
                value = ids.get(parameter["name"], str(least(parameter["schema"], self.components)))
                address = address.replace(f"{{{parameter['name']}}}", value)
            elif parameter["in"] == "query" and parameter.get("required"):
                query[parameter["name"]] = str(least(parameter["schema"], self.components))
            elif parameter["in"] == "header" and parameter.get("required"):
                headers[parameter["name"]] = str(least(parameter["schema"], self.components))
        options: dict[str, Any] = {"params": query}
        content = self.schema.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            options["json"] = least(content["application/json"]["schema"], self.components)
        elif "multipart/form-data" in content:
            fields = resolved(content["multipart/form-data"]["schema"], self.components)["properties"]
            options["files"] = {
                name: (f"{uuid4()}.txt", uuid4().bytes.hex().encode()) for name in ("file", "files") if name in fields
            }
        elif content:
            # The pieces of an upload, say: bytes of the type that the route names.
            headers["Content-Type"] = next(iter(content))
            options["content"] = b""
        if headers:
            options["headers"] = headers
        return self.method.upper(), address, options


def operations_of(document: Mapping[str, Any]) -> Iterator[Operation]:
    """Yield every operation of the document."""
    components = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for method in METHODS:
            if described := methods.get(method):
                permission, is_public = described.get("x-permission", ""), bool(described.get("x-public"))
                yield Operation(method, path, permission, is_public, described, components)


def resolved(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema that a reference stands for."""
    while "$ref" in schema:
        schema = components[schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def least(schema: Mapping[str, Any], components: Mapping[str, Any]) -> Any:
    """Return about the smallest value that the schema allows."""
    schema = resolved(schema, components)
    if "enum" in schema or "const" in schema:
        return schema.get("enum", [schema.get("const")])[0]
    for kind in ("anyOf", "oneOf", "allOf"):
        if kind in schema:
            return least(schema[kind][0], components)
    if schema.get("type") == "object":
        return {name: least(schema["properties"][name], components) for name in schema.get("required", [])}
    if schema.get("type") == "array":
        return [least(schema["items"], components) for _ in range(schema.get("minItems", 0))]
    return _plain(schema)


def _plain(schema: Mapping[str, Any]) -> Any:
    kind = schema.get("type")
    if kind == "string":
        return _text(schema)
    if kind == "boolean":
        return False
    return schema.get("minimum", schema.get("default", 1)) if kind in ("integer", "number") else None


def _text(schema: Mapping[str, Any]) -> str:
    match schema.get("format"):
        case "uuid":
            return str(uuid4())
        case "email":
            return f"{uuid4().hex}@example.org"
        case "date-time":
            return "2026-01-01T00:00:00Z"
        case "uri":
            return "https://example.org/"
    # A name that is free and fits every pattern in use (slugs, domains).
    return f"x{uuid4().hex}"[: schema.get("maxLength", 32)]
