"""One system and one browser for all browser tests; each test has a page, and a name of its own to label under."""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from pydantic import SecretStr
from sqlalchemy import Engine

from local.ports import free_port
from schema.database import open_engine
from schema.migrate import create_database, migrate_database, migrate_topics
from schema.settings import Settings
from tests.browser.system import HOSTILE, add_candidate, ask, seed
from tests.integration.test_replica import start_with_v0
from tests.running import Process, running, wait_until

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
API = "/api/v1/model-tuning"
SEEDED = 160
COPIES = 3
expect.set_options(timeout=10_000)


class System:
    """A running system, as the tests see it from outside."""

    def __init__(self, settings: Settings, engine: Engine, processes: dict[str, Process]) -> None:
        self.settings = settings
        self.engine = engine
        self.processes = processes
        self.url = processes["api"].url

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + API + path, timeout=20) as answer:
            return json.load(answer)

    def post(self, path: str, body: Any, labeler: str = "a test") -> tuple[int, Any]:
        headers = {"Content-Type": "application/json", "X-Labeler": labeler}
        request = urllib.request.Request(self.url + API + path, data=json.dumps(body).encode(), headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def question(self, number: int) -> dict[str, Any]:
        return dict(self.get(f"/questions/{number}")["question"])

    def ask(self, texts: list[str]) -> None:
        """Ask more questions, and wait until they are stored."""
        before = self.get("/stats")["data_quality"]["total"]
        ask(self.settings, texts)
        wait_until(lambda: self.get("/stats")["data_quality"]["total"] == before + len(texts), "the questions are stored")

    def end_api(self) -> None:
        self.processes["api"].end()

    def start_api(self) -> None:
        self.processes["api"] = Process(self.settings, "api", self.settings.api_port).ready()


@pytest.fixture(scope="package")
def system(kafka: str, database_server: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Everything but a labeler: `SEEDED` questions and one asked `COPIES` times; v0 serves, v1 may, v2 failed its gate."""
    url, folder = database_server(f"t_{uuid.uuid4().hex[:12]}"), tmp_path_factory.mktemp("browser")
    create_database(url)
    settings = Settings(
        kafka=kafka,
        database_url=SecretStr(url),
        topic_prefix=f"t{uuid.uuid4().hex[:8]}.",
        pseudonym_key=SecretStr("a key for tests only"),
        var=folder / "var",
        api_port=free_port(),
        replica_port=free_port(),
        streams_port=free_port(),
        trainer_port=free_port(),
        train_threshold=10_000,
        guard_agreement=0.0,
        review_share=0.0,  # else some of what is given was labelled before, by another test
    )
    settings.var.mkdir()
    migrate_topics(settings)
    with ExitStack() as stack:
        engine = open_engine(url)
        stack.callback(engine.dispose)
        migrate_database(engine)
        start_with_v0(settings, engine)
        add_candidate(settings, engine, folder / "v1", "v1")
        add_candidate(settings, engine, folder / "v2", "v2", passed=False)
        seed(settings, SEEDED)
        ask(settings, [HOSTILE] * COPIES)
        processes = stack.enter_context(running(settings, "api", "streams", "replica", "trainer"))
        made = System(settings, engine, processes)
        stack.callback(lambda: made.processes["api"].__exit__(None, None, None))
        wait_until(lambda: made.get("/stats")["data_quality"]["total"] == SEEDED + COPIES, "the questions are stored")
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Not longer than a module: while it is there, this thread has a running event loop."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, system: System, tmp_path: Path) -> Iterator[Open]:
    """A function that opens the console in a browser of its own: who labels, in which language, how wide."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def opened(where: str = "label", *, name: str | None = "", lang: str = "zh", width: int = 1280, dark: bool = False) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 860}, color_scheme="dark" if dark else "light")
        contexts.append(context)
        remembered = {"il.lang": lang}
        if name is not None:
            remembered["il.labeler"] = json.dumps(name or f"标注员 {uuid.uuid4().hex[:6]}")
        script = "for (const [k, v] of Object.entries(%s)) if (!localStorage.getItem(k)) localStorage.setItem(k, v)"
        context.add_init_script(script % json.dumps(remembered))
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
        page.goto(f"{system.url}/#/{where}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def labeler_of(page: Page) -> str:
    """Who labels on `page`."""
    return str(page.evaluate("JSON.parse(localStorage.getItem('il.labeler'))"))
