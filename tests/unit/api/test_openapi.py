"""The document knows every route that is served, and serves every route that it knows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from api.app import make_app
from api.openapi import openapi
from api.routes import ROUTES
from api.state import Api
from api.wire import PREFIX
from schema.errors import ConfigError
from schema.settings import Settings

NOWHERE = Settings(kafka="127.0.0.1:1", database_url=SecretStr("mysql+pymysql://u:p@127.0.0.1:1/d"))


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    made = Api(NOWHERE)
    yield made
    await made.close()


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(json.dumps(openapi(ROUTES)))


async def test_every_served_route_is_listed_and_every_listed_one_is_served(api: Api, document: Any) -> None:
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in make_app(api).router.routes()
        if route.resource is not None and route.method != "HEAD"
    } - {("get", "/"), ("get", "/console/{path}")}  # pages for people
    listed = {(method, path) for path, operations in document["paths"].items() for method in operations}
    assert served == listed
    assert len(served) == len(ROUTES) + 5


def test_every_reference_leads_somewhere(document: Any) -> None:
    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
            return own.union(*(references(value) for value in node.values()))
        return set().union(*map(references, node)) if isinstance(node, list) else set()

    found = references(document)
    assert found
    assert {ref.removeprefix("#/components/schemas/") for ref in found} <= document["components"]["schemas"].keys()


def test_bodies_queries_and_path_variables_are_described(document: Any) -> None:
    label = document["paths"][f"{PREFIX}/questions/{{id}}/label"]["post"]
    assert label["requestBody"]["required"] is True
    assert [(p["name"], p["in"]) for p in label["parameters"]] == [("id", "path"), ("Idempotency-Key", "header")]
    assert {"202", "400", "403", "404", "409", "413", "422", "503"} == label["responses"].keys()
    activate = document["paths"][f"{PREFIX}/models/{{version}}/activate"]["post"]
    assert activate["requestBody"]["required"] is False
    waiting = document["paths"][f"{PREFIX}/questions/unlabeled"]["get"]["parameters"]
    assert {p["name"]: p["schema"].get("default") for p in waiting} == {"limit": 100, "strategy": "uncertain"}
    operations = [operation for operations in document["paths"].values() for operation in operations.values()]
    names = [operation["operationId"] for operation in operations if "operationId" in operation]
    assert len(names) == len(set(names)) == len(ROUTES)


@pytest.mark.parametrize("missing", ["kafka", "database_url"])
def test_what_is_not_set_is_named_before_anything_starts(missing: str) -> None:
    empty = SecretStr("") if missing == "database_url" else ""
    with pytest.raises(ConfigError, match=f"INTENTLOOP_{missing.upper()}"):
        Api(NOWHERE.model_copy(update={missing: empty}))
