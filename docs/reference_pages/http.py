"""The API, as `/openapi.json` describes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.main import create_app
from core.settings import Settings
from docs.reference_pages.markdown import code, sections, table

Schema = dict[str, Any]


def routes() -> str:
    """Every route by tag, then every shape that the routes refer to."""
    document = create_app(Settings(_env_file=None)).openapi()
    told = []
    for tag in document["tags"]:
        told += [f"## {tag['name']}", tag["description"]]
        told += [
            _operation(method.upper(), path, operation)
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
            if tag["name"] in operation.get("tags", ())
        ]
    shapes = sorted(document["components"]["schemas"].items(), key=lambda shape: _name(shape[0]).lower())
    return sections([*told, "## Shapes", *(_shape(name, schema) for name, schema in shapes)])


def _operation(method: str, path: str, operation: Schema) -> str:
    parameters = [
        (
            code(p["name"]),
            p["in"],
            _kind(p["schema"]),
            _told(p | p["schema"], required=p.get("required", False)),
        )
        for p in operation.get("parameters", ())
    ]
    return sections(
        [
            f"### {method} {path}",
            f"{operation.get('summary', '')}.",
            operation.get("description", ""),
            table(("parameter", "in", "values", ""), parameters),
            *_body(operation.get("requestBody")),
            table(("status", "answer"), _answers(operation["responses"])),
        ]
    )


def _body(body: Schema | None) -> Iterator[str]:
    for media_type, content in (body or {}).get("content", {}).items():
        schema = content.get("schema", {})
        yield f"Body: {code(media_type)}: {_kind(schema)}"


def _answers(responses: Schema) -> Iterator[tuple[str, str]]:
    for status, answer in sorted(responses.items()):
        if status >= "400":
            yield status, "[a problem](problems.md)"
            continue
        shapes = [
            f"{_kind(content.get('schema', {}))} ({code(media_type)})"
            for media_type, content in answer.get("content", {}).items()
        ]
        told = "" if answer["description"] == "Successful Response" else answer["description"]
        yield status, " · ".join(filter(None, [told, ", ".join(shapes)])) or "–"


def _shape(name: str, schema: Schema) -> str:
    if "enum" in schema:
        values = ", ".join(code(value) for value in schema["enum"])
        return sections([f"### {_name(name)}", schema.get("description", ""), f"One of {values}."])
    return sections([f"### {_name(name)}", schema.get("description", ""), _fields(schema)])


def _fields(schema: Schema) -> str:
    required = schema.get("required", ())
    rows = [
        (code(name), _kind(field), _told(field, required=name in required))
        for name, field in schema.get("properties", {}).items()
    ]
    return table(("field", "values", ""), rows)


def _told(field: Schema, *, required: bool) -> str:
    default = field.get("default")
    return " ".join(
        filter(
            None,
            [
                "**Required.**" if required else "",
                field.get("description", ""),
                f"Default: {code(default)}." if default not in (None, [], {}, "") else "",
            ],
        )
    )


def _kind(schema: Schema) -> str:
    if "$ref" in schema:
        name = _name(schema["$ref"].rpartition("/")[2])
        return f"[{name}](#{name.lower()})"
    for some in ("anyOf", "oneOf", "allOf"):
        if some in schema:
            return " or ".join(dict.fromkeys(_kind(one) for one in schema[some]))
    if "enum" in schema or "const" in schema:
        return ", ".join(code(value) for value in schema.get("enum", [schema.get("const")]))
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    return " ".join([_NAMES.get(schema.get("format", ""), kind), *_limits(schema)])


def _limits(schema: Schema) -> Iterator[str]:
    for name, sign in (
        ("minimum", "≥"),
        ("exclusiveMinimum", ">"),
        ("maximum", "≤"),
        ("exclusiveMaximum", "<"),
    ):
        if abs(schema.get(name, float("inf"))) < 1e15:
            yield f"{sign} {schema[name]:g}"


def _name(name: str) -> str:
    return name.strip("_")


_NAMES = {"date-time": "time", "binary": "bytes"}
