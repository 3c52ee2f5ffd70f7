"""The API inside the test's own process, over real HTTP, with v0 registered as after ``intentloop migrate``."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from sqlalchemy import Engine

from api.app import make_app
from api.state import Api
from consumers.registry import register_builtin
from intentloop import BUILTIN
from schema.settings import Settings

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client_with_v0(settings: Settings, engine: Engine) -> AsyncIterator[Client]:
    """A client of the API."""
    register_builtin(settings, engine, BUILTIN)
    api = Api(settings)
    api.start()
    async with TestClient(TestServer(make_app(api))) as client:
        yield client
    await api.close()
