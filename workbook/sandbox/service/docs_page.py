"""The page that shows the interface: made of its OpenAPI document, with nothing loaded from elsewhere."""

import json
from html import escape
from typing import Any

CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; } pre { background: #f4f4f4; padding: .6rem; overflow-x: auto; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; } details { margin: .4rem 0; } summary { cursor: pointer; }
b.method { display: inline-block; width: 4.5rem; } td { padding-right: 1rem; vertical-align: top; }
"""


def page(document: dict[str, Any]) -> str:
    """Returns an OpenAPI document as a page."""
    tags: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["service"])[0]
            tags.setdefault(tag, []).append(_operation(path, method, operation, document))
    parts = [f"<h2>{escape(tag)}</h2>{''.join(operations)}" for tag, operations in tags.items()]
    title = escape(document["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
        f"<h1>{title}</h1><p>{escape(document['info'].get('description', ''))}</p>"
        f"<p>The same for programs: <a href=openapi.json>openapi.json</a></p>{''.join(parts)}</html>\n"
    )


def _operation(path: str, method: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code><td>{escape(one['in'])}<td>{escape(one.get('description', ''))}"
        for one in operation.get("parameters", [])
    )
    body = operation.get("requestBody", {}).get("content", {})
    shown = "".join(f"<p>Body: <code>{escape(kind)}</code>{_schema(one, document)}" for kind, one in body.items())
    return (
        f"<details><summary><b class=method>{method.upper()}</b> <code>{escape(path)}</code> "
        f"{escape(operation.get('summary', ''))}</summary><p>{escape(operation.get('description', ''))}</p>"
        f"<table>{rows}</table>{shown}</details>"
    )


def _schema(content: dict[str, Any], document: dict[str, Any]) -> str:
    schema = content.get("schema", {})
    if name := schema.get("$ref", "").rpartition("/")[2]:
        schema = document["components"]["schemas"][name]
    return f"<pre>{escape(json.dumps(schema, indent=1))}</pre>"
