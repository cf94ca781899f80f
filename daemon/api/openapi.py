"""The OpenAPI 3.1 document, made of the route table and its models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from hark._version import __version__
from hark.daemon.api.models.problems import ProblemDocument
from hark.daemon.api.table import NoBody, Route

_REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_MEANING = {
    "workflow": "Slug or id of a workflow.",
    "execution": "Id of an execution.",
    "event": "Id of an event.",
    "action": "Type of an action.",
    "key": "Key of the context.",
    "archive": "Id of a file of the archive.",
    "kind": "Kind of a subject: client, agent …",
    "subject": "Id of a subject.",
}


def openapi_document(routes: Sequence[Route], url: str) -> dict[str, Any]:
    """Describe the API of a daemon that is reached at `url`."""
    refs, schemas = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hark",
            "version": __version__,
            "description": "Workflows on rows, clocks and webhooks. Errors are RFC 9457 problem documents.",
        },
        "servers": [{"url": url}],
        "security": [{"bearer": []}, {"apiKey": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
            "responses": {
                "Problem": {
                    "description": "What is wrong, and what would be right",
                    "content": {"application/problem+json": {"schema": refs[ProblemDocument, "serialization"]}},
                }
            },
        },
    }


Key = tuple[type[BaseModel], JsonSchemaMode]


def _schemas(routes: Iterable[Route]) -> tuple[dict[Any, Any], dict[str, Any]]:
    wanted: dict[Key, None] = {(ProblemDocument, "serialization"): None}
    for route in routes:
        if isinstance(route.answer, type) and issubclass(route.answer, BaseModel):
            wanted[route.answer, "serialization"] = None
        if route.body is not NoBody:
            wanted[route.body, "validation"] = None
    refs, definitions = models_json_schema(list(wanted), ref_template=_REF)
    return refs, definitions["$defs"]


def _operation(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "tags": [route.tag],
        "description": f"Needs a key with the scope `{route.scope}`.",
        "parameters": [*_path_parameters(route.path), *_query_parameters(route.query)],
        "responses": {str(route.status): _answer(route, refs), "default": {"$ref": "#/components/responses/Problem"}},
    }
    if route.body is not NoBody or route.media:
        operation["requestBody"] = _body(route, refs)
    return operation


def _answer(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    if route.answer is str:
        return {"description": "A stream", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    if route.answer is bytes:
        return {"description": "JSON Lines", "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}
    return {
        "description": "Done",
        "content": {"application/json": {"schema": refs[route.answer, "serialization"]}},
    }


def _body(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    schema = {"type": "object"} if route.body is NoBody else refs[route.body, "validation"]
    media = route.media or ("application/json",)
    return {"required": bool(route.media), "content": {kind: {"schema": schema} for kind in media}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _MEANING[name],
            "schema": {"type": "string"},
        }
        for name in _PARAMETER.findall(path)
    ]


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": found.pop("description", ""),
            "schema": found,
        }
        for name, found in schema.get("properties", {}).items()
    ]
