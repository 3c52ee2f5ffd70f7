"""The OpenAPI 3.1 document, made from the route table and the models of bodies and query strings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from api.wire import KEY_HEADER, LABELER_HEADER, MAX_KEY_CHARS, MAX_NAME_CHARS, PREFIX, Nothing, Route

PLAIN: Final = {
    "/livez": ("Whether the process runs", "text/plain"),
    "/readyz": ("Whether the database, Kafka and the replicas' state are there; 503 says what is not", "text/plain"),
    "/metrics": ("Prometheus metrics", "text/plain"),
    "/openapi.json": ("This document", "application/json"),
    "/asyncapi.yaml": ("The events and topics, AsyncAPI 3.0", "application/yaml"),
}
WORDS: Final = {
    200: "Done",
    201: "Made",
    202: "Taken on; `look` says where to watch it",
    400: "The body is not JSON",
    403: "The request comes from another site's page",
    404: "The named thing does not exist",
    409: "The request does not fit the present state",
    413: "The body is too large",
    422: "A field is at fault; `error.field` names it",
    503: "The database or Kafka is away; try again after Retry-After seconds",
}
SUCCESS: Final = {"type": "object", "required": ["success"], "properties": {"success": {"const": True}}}
FAILURE: Final = {
    "type": "object",
    "required": ["success", "error"],
    "properties": {
        "success": {"const": False},
        "error": {
            "type": "object",
            "required": ["code", "message", "field"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "field": {"type": ["string", "null"]},
            },
        },
    },
}


def openapi(routes: Iterable[Route[Any, Any]]) -> dict[str, Any]:
    """The document as plain data."""
    routes = tuple(routes)
    bodies = {route.body for route in routes if route.body is not Nothing}
    template = "#/components/schemas/{model}"
    refs, found = models_json_schema([(body, "validation") for body in sorted(bodies, key=str)], ref_template=template)
    schemas = found.get("$defs", {}) | {"Success": SUCCESS, "Failure": FAILURE}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route, refs, schemas)
    for path, (summary, content) in PLAIN.items():
        answers = {"200": {"description": "The text", "content": {content: {}}}}
        paths[path] = {"get": {"summary": summary, "responses": answers}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "intentloop ops API", "version": "1"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(route: Route[Any, Any], refs: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    statuses = {route.status, *route.also, 422, 503} | ({400, 403, 413} if route.method == "POST" else set())
    operation: dict[str, Any] = {
        "operationId": route.handle.__name__,
        "summary": route.summary,
        "description": (route.handle.__doc__ or "").strip(),
        "parameters": [_in_path(name) for name in re.findall(r"{(\w+)}", route.path)]
        + _in_query(route, schemas)
        + _in_headers(route),
        "responses": {str(status): _response(status, route.events) for status in sorted(statuses)},
    }
    if route.body is not Nothing:
        required = any(field.is_required() for field in route.body.model_fields.values())
        content = {"application/json": {"schema": refs[route.body, "validation"]}}
        operation["requestBody"] = {"required": required, "content": content}
    return operation


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "integer" if name == "id" else "string"}}


def _in_query(route: Route[Any, Any], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    schema = route.query.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(schema.get("$defs", {}))
    required = schema.get("required", ())
    fields = schema.get("properties", {}).items()
    return [{"name": name, "in": "query", "required": name in required, "schema": field} for name, field in fields]


def _in_headers(route: Route[Any, Any]) -> list[dict[str, Any]]:
    found = []
    if route.takes_key:
        said = "The same request with the same key has one effect: use it to repeat after an answer that was lost"
        found.append(_header(KEY_HEADER, said, MAX_KEY_CHARS, required=False))
    if route.takes_labeler:
        found.append(_header(LABELER_HEADER, "Who asks; per cent encoded (UTF-8)", MAX_NAME_CHARS, required=True))
    return found


def _header(name: str, said: str, longest: int, *, required: bool) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": longest}
    return {"name": name, "in": "header", "required": required, "description": said, "schema": schema}


def _response(status: int, events: bool) -> dict[str, Any]:
    if events and status == 200:
        return {"description": "The events, without end", "content": {"text/event-stream": {}}}
    ref = {"$ref": f"#/components/schemas/{'Success' if status < 400 else 'Failure'}"}
    return {"description": WORDS[status], "content": {"application/json": {"schema": ref}}}
