"""The OpenAPI document of the routes in app.py; a test compares the two."""

from __future__ import annotations

from typing import Any

from nanostream.gateway.pictures import FORMS, PARTS
from nanostream.gateway.store import SAMPLES

__all__ = ["document"]

_JSON = "application/json"
_BINARY = {"type": "string", "format": "binary"}
_INTEGER = {"type": "integer", "minimum": 0, "maximum": 2**53}
_ERROR = {
    "description": "What was expected, what came, and what to do",
    "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def document(names: list[str], *, token: bool) -> dict[str, Any]:
    """The document, for the recipes of these names."""
    recipe = _parameter(
        "recipe", {"type": "string", "enum": names}, "A recipe's name; with variants, also NAME,FIELD=NUMBER"
    )
    seed, index = (
        _parameter("seed", _INTEGER, "Seed of the stream"),
        _parameter("index", _INTEGER, "Index of the sample"),
    )
    shard = {"type": "string", "pattern": r"^[0-9]{6}\.tar$"}
    at = [recipe, seed]
    form = {"name": "format", "in": "query", "schema": {"type": "string", "enum": list(FORMS), "default": "png"}}
    numbers = [{"name": name, "in": "query", "schema": _INTEGER} for name in ("start", "stop", "batch", "stride")]
    chunk = {
        "type": "string",
        "enum": ["zarr.json", "image/c/0/0/0", f"mask/c/{SAMPLES - 1}/0/0", "particles/label/c/5/0"],
    }
    paths = {
        "/v1/{recipe}/samples/{seed}/{index}": _get(
            "A sample", [*at, index, form], dict.fromkeys(FORMS.values(), _BINARY)
        ),
        "/v1/{recipe}/samples/{seed}/{index}/{part}": _get(
            "A part of a sample",
            [*at, index, _parameter("part", {"type": "string", "enum": list(PARTS)}, "Which part")],
            dict.fromkeys(PARTS.values(), _BINARY) | {_JSON: {"type": "object"}},
        ),
        "/v1/{recipe}/shards/{seed}/{shard}": _get(
            "A WebDataset shard", [*at, _parameter("shard", shard, "Its name")], {"application/x-tar": _BINARY}
        ),
        "/v1/{recipe}/zarr/{seed}/{path}": _get(
            "A document or a chunk of a Zarr v3 store",
            [*at, _parameter("path", chunk, "Its path in the store")],
            {_JSON: {"type": "object"}, "application/octet-stream": _BINARY},
        ),
        "/v1/{recipe}/stream/{seed}": _get(
            "Frames of samples: length (4 bytes, big-endian), then msgpack",
            [*at, *numbers],
            {"application/vnd.nanostream.frames": _BINARY},
        ),
        "/v1/replay": {"post": _replay()},
        "/v1/{recipe}": _get("A recipe", [recipe], {_JSON: {"type": "object"}}),
        "/v1": _get("The recipes served", [], {_JSON: {"type": "object"}}),
        "/": _get("The live page", [], {"text/html": {"type": "string"}}),
        "/page.css": _get("Its style", [], {"text/css": {"type": "string"}}),
        "/page.js": _get("Its script", [], {"text/javascript": {"type": "string"}}),
        "/live": _get("How the gateway stands", [], {_JSON: {"type": "object"}}),
        "/healthz": _get("Whether the process answers", [], {_JSON: {"type": "object"}}),
        "/readyz": _get("Whether it can render", [], {_JSON: {"type": "object"}}),
        "/metrics": _get("Prometheus's text", [], {"text/plain": {"type": "string"}}),
        "/openapi.json": _get("This document", [], {_JSON: {"type": "object"}}),
    }
    schemes: dict[str, Any] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if token else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "nanostream", "version": "1", "description": "Rendered particle pictures and their masks."},
        "paths": paths,
        "components": {
            "schemas": {
                "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
            },
            **schemes,
        },
        **({"security": [{"token": []}]} if token else {}),
    }


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def _get(summary: str, parameters: list[dict[str, Any]], content: dict[str, Any]) -> dict[str, Any]:
    answers = {
        "200": {"description": summary, "content": {kind: {"schema": schema} for kind, schema in content.items()}}
    }
    return {"get": {"summary": summary, "parameters": parameters, "responses": {**answers, **_errors()}}}


def _errors() -> dict[str, Any]:
    return {
        "4XX": _ERROR,
        "429": {**_ERROR, "headers": {"Retry-After": {"schema": {"type": "integer"}}}},
        "5XX": _ERROR,
    }


def _replay() -> dict[str, Any]:
    texts = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 64}
    body = {
        "type": "object",
        "required": ["receipts"],
        "properties": {
            "receipts": texts,
            "recipes": {**texts, "minItems": 0},
            "strict": {"type": "boolean"},
        },
        "additionalProperties": False,
    }
    content = {"application/msgpack": {"schema": _BINARY}}
    return {
        "summary": "The samples of receipts",
        "requestBody": {"required": True, "content": {_JSON: {"schema": body}}},
        "responses": {"200": {"description": "The samples, in order", "content": content}, **_errors()},
    }
