"""The ops API while its servers are away, and how its process starts and ends."""

from __future__ import annotations

import asyncio
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr
from sqlalchemy import Engine

from api.app import make_app
from api.state import Api
from local.ports import free_port
from schema.settings import Settings
from schema.tables import outbox
from tests.integration.test_api import LABEL, ROOT, Client, add_question, labels_sent
from tests.running import Process, wait_until


@pytest.fixture
async def cut_off(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """The api with one of its servers away."""
    url = settings.database_url.get_secret_value()
    away: dict[str, dict[str, Any]] = {
        "kafka": {"kafka": f"127.0.0.1:{free_port()}"},
        "database": {"database_url": SecretStr("mysql+pymysql://root@127.0.0.1:1/" + url.rsplit("/", 1)[1])},
    }
    api = Api(settings.model_copy(update=away[request.param]))
    api.start()
    async with TestClient(TestServer(make_app(api))) as opened:
        yield opened
    await api.close()


async def fault_of(response: Any) -> tuple[int, str, bool]:
    return response.status, (await response.json())["error"]["code"], "Retry-After" in response.headers


@pytest.mark.parametrize("cut_off", ["database"], indirect=True)
async def test_a_database_that_is_away_is_a_503_and_nothing_is_sent(cut_off: Client, settings: Settings) -> None:
    assert (await cut_off.get("/livez")).status == 200
    ready = await cut_off.get("/readyz")
    assert ready.status == 503
    assert "[-]database" in await ready.text()
    assert await fault_of(await cut_off.get(f"{ROOT}/stats")) == (503, "database_unavailable", True)
    assert await fault_of(await cut_off.post(f"{ROOT}/questions/1/label", json=LABEL)) == (503, "database_unavailable", True)
    assert await asyncio.to_thread(labels_sent, settings) == []


@pytest.mark.parametrize("cut_off", ["kafka"], indirect=True)
async def test_a_kafka_that_is_away_is_a_503_and_the_database_still_answers(cut_off: Client, engine: Engine) -> None:
    number = add_question(engine, "今年财运如何")
    label = await cut_off.post(f"{ROOT}/questions/{number}/label", json=LABEL)
    assert await fault_of(label) == (503, "kafka_unavailable", True)
    assert await fault_of(await cut_off.get(f"{ROOT}/rollout")) == (503, "kafka_unavailable", True)
    assert (await cut_off.get(f"{ROOT}/stats")).status == 200
    ready = await cut_off.get("/readyz")
    assert (ready.status, "[-]kafka" in await ready.text(), "[+]database" in await ready.text()) == (503, True, True)


async def test_readyz_says_what_was_never_migrated(settings: Settings, engine: Engine) -> None:
    with engine.begin() as connection:
        outbox.drop(connection)
    api = Api(settings.model_copy(update={"topic_prefix": "never."}))
    api.start()
    async with TestClient(TestServer(make_app(api))) as client:
        response = await client.get("/readyz")
        told = await response.text()
    await api.close()
    assert response.status == 503
    assert "tables are missing, run `intentloop migrate`: outbox" in told
    assert "topics are missing, run `intentloop migrate`: never.question.asked" in told


def test_a_port_in_use_is_one_line_and_exit_2(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind((settings.host, settings.api_port))
        taken.listen()
        api = Process(settings, "api", settings.api_port)
        assert api.child.wait(20) == 2, api.tail()
    assert api.tail().strip().splitlines()[-1].startswith("error: cannot listen on")


def test_sigterm_ends_the_process_orderly(settings: Settings) -> None:
    with Process(settings, "api", settings.api_port) as api:
        api.ready()
        assert api.end(20) == 0, api.tail()


def test_the_process_starts_with_its_database_away_and_ends_orderly(settings: Settings) -> None:
    url = SecretStr("mysql+pymysql://root@127.0.0.1:1/nowhere")
    with Process(settings.model_copy(update={"database_url": url}), "api", settings.api_port) as api:
        wait_until(lambda: "livez" in reach(f"{api.url}/livez"), "it lives")
        assert "[-]database" in reach(f"{api.url}/readyz")
        assert api.end(20) == 0, api.tail()


def reach(url: str) -> str:
    """The path and the text at `url`, whatever its status; nothing while no one listens."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return f"{url} {answer.read().decode()}"
    except urllib.error.HTTPError as error:
        with error:
            return f"{url} {error.read().decode()}"
    except OSError:
        return ""
