"""Write docs/reference/http.md from the application's own OpenAPI: `python scripts/generate_http_reference.py`."""

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ragecho.platform.settings import Settings
from ragecho.roles.api import build_app
from ragecho.wiring import build_services

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "http.md"

HEAD = """\
# HTTP

<!-- Made by scripts/generate_http_reference.py; a test holds it equal to the routes. -->

A running server describes itself at `/docs` (to read and try) and `/openapi.json` (OpenAPI 3.1). This page is made from the same
description.

- **Authentication**: `Authorization: Bearer KEY` or `X-API-Key: KEY`, everywhere but `/health`, `/health/ready`, `/metrics` and the
  description itself. A key works in its own workspace.
- **Errors** are problem details (RFC 9457, `application/problem+json`) with a stable `code`. What you may not see is a 404.
- **Lists** are `{"items": […], "total": n, "limit": n, "offset": n}`, newest first unless said.
- **Times** are RFC 3339 in UTC. **Offsets** (`start`, `end`) count Unicode code points of the text at `/documents/{id}/text`.
- Every answer carries `X-Request-ID`; `traceparent` is honoured.
"""

ORDER = ("answers", "search", "documents", "jobs", "tenancy")
METHODS = ("get", "post", "put", "patch", "delete")


def reference() -> str:
    """Return the text of the reference. Nothing is connected to or loaded."""
    settings = Settings(
        _env_file=None, database_url=SecretStr("postgresql://reference@localhost/reference"), reranker="none"
    )
    document = build_app(build_services(settings)).openapi()
    schemas = document.get("components", {}).get("schemas", {})
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method in METHODS:
            if operation := operations.get(method):
                tag = (operation.get("tags") or ["other"])[0]
                groups.setdefault(tag, []).append(_operation(method, path, operation, schemas))
    names = sorted(groups, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return HEAD + "".join(f"\n## {name.capitalize()}\n" + "".join(groups[name]) for name in names)


def _operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    lines = ["", f"### `{method.upper()} {path}`", ""]
    text = operation.get("description") or operation.get("summary", "")
    lines += [" ".join(text.split()), ""]
    parameters = [item for item in operation.get("parameters", []) if item["in"] in ("query", "path")]
    if parameters:
        lines += ["| parameter | in | type | meaning |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{item['name']}`{' (required)' if item.get('required') else ''} | {item['in']} |"
            f" {_type(item.get('schema', {}), schemas)} | {_cell(item.get('description'))} |"
            for item in parameters
        ]
        lines.append("")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += [f"Body (`{media}`):", "", *_fields(content.get("schema", {}), schemas), ""]
    for status, response in operation.get("responses", {}).items():
        if not status.startswith("2"):
            continue
        for media, content in response.get("content", {}).items() or [("", {})]:
            fields = _fields(content.get("schema", {}), schemas, is_answer=True)
            lines += [f"Answer {status}{f' (`{media}`)' if media else ''}{':' if fields else '.'}", "", *fields, ""]
    return "\n".join(lines).rstrip() + "\n"


def _fields(schema: dict[str, Any], schemas: dict[str, Any], *, is_answer: bool = False) -> list[str]:
    """Return a table of the fields, those of objects inside one level down as `outer.inner`."""
    resolved = _resolve(schema, schemas)
    rows = _rows(resolved, schemas, prefix="", depth=0, is_answer=is_answer)
    if not rows:
        kind = _type(schema, schemas)
        return [f"{kind}."] if kind != "any" else []
    return ["| field | type | meaning |", "| --- | --- | --- |", *rows]


def _rows(schema: dict[str, Any], schemas: dict[str, Any], *, prefix: str, depth: int, is_answer: bool) -> list[str]:
    rows = []
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        is_required = not is_answer and name in required and "default" not in field
        mark = " (required)" if is_required else ""
        description = field.get("description", "")
        if "default" in field and field["default"] not in (None, [], {}, ""):
            description = f"{description} Default `{field['default']}`.".strip()
        rows.append(f"| `{prefix}{name}`{mark} | {_type(field, schemas)} | {_cell(description)} |")
        inner, suffix = _inner(field, schemas)
        if depth < 2 and inner.get("properties"):  # noqa: PLR2004 - deeper is for /docs
            rows += _rows(inner, schemas, prefix=f"{prefix}{name}{suffix}.", depth=depth + 1, is_answer=is_answer)
    return rows


def _inner(field: dict[str, Any], schemas: dict[str, Any]) -> tuple[dict[str, Any], str]:
    if field.get("type") == "array":
        return _resolve(field.get("items", {}), schemas), "[]"
    for option in field.get("anyOf", []):
        if option.get("type") != "null":
            return _resolve(option, schemas), ""
    return _resolve(field, schemas), ""


def _resolve(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return dict(schemas.get(schema["$ref"].rsplit("/", 1)[-1], {}))
    return schema


def _type(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    resolved = _resolve(schema, schemas)
    if values := resolved.get("enum", [resolved["const"]] if "const" in resolved else None):
        return " \\| ".join(f"`{value}`" for value in values)
    if "anyOf" in resolved:
        return " or ".join(_type(option, schemas) for option in resolved["anyOf"])
    if resolved.get("type") == "array":
        return f"list of {_type(resolved.get('items', {}), schemas)}"
    kind = str(resolved.get("type", "any"))
    return f"{kind} ({resolved['format']})" if "format" in resolved else kind


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(reference(), encoding="utf-8")
