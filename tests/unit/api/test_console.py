"""The console's files: what they say in both languages, what they load, and how they are sent."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import api
from api.middleware import measured, shaped
from api.pages import add_console, read_pages
from schema.taxonomy import INTENTS

FOLDER = Path(api.__file__).parent / "console"
SCRIPTS = sorted(FOLDER.rglob("*.js"))
FIRST_VIEW_BYTES = 300_000
Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    app = web.Application(middlewares=[measured, shaped])
    add_console(app)
    async with TestClient(TestServer(app)) as opened:
        yield opened


def texts(language: str) -> dict[str, str]:
    source = (FOLDER / "js" / "texts" / f"{language}.js").read_text(encoding="utf-8")
    found: list[tuple[str, str]] = re.findall(r'"([\w.]+)": "((?:[^"\\]|\\.)*)"', source)
    assert len({key for key, _ in found}) == len(found), "no key twice"
    return dict(found)


def test_both_languages_say_the_same_things() -> None:
    chinese, english = texts("zh"), texts("en")
    assert chinese.keys() == english.keys()
    for key in chinese:
        assert set(re.findall(r"\{\w+\}", chinese[key])) == set(re.findall(r"\{\w+\}", english[key])), key


def test_every_text_that_is_asked_for_exists() -> None:
    known = texts("zh").keys()
    for script in SCRIPTS:
        source = script.read_text(encoding="utf-8")
        assert set(re.findall(r'\bt\("([\w.]+)"', source)) <= known, script.name
        for start in re.findall(r"\b(?:t|word)\(`([\w.]+)\$", source):
            assert any(key.startswith(start) for key in known), f"{script.name}: {start}"


def test_the_intents_are_those_of_the_taxonomy_in_their_order() -> None:
    source = (FOLDER / "js" / "intents.js").read_text(encoding="utf-8")
    listed = re.search(r"INTENTS = \[(.*?)\]", source, re.DOTALL)
    assert listed is not None
    assert tuple(re.findall(r'"(\w+)"', listed[1])) == INTENTS


def test_nothing_comes_from_another_host_and_no_text_becomes_markup() -> None:
    for file in FOLDER.rglob("*.*"):
        source = file.read_text(encoding="utf-8")
        assert set(re.findall(r"https?://[\w.]+", source)) <= {"http://www.w3.org"}, file.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", source), file.name


def test_files_are_short_and_the_first_view_is_small() -> None:
    for file in FOLDER.rglob("*.*"):
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 400, file.name
    assert sum(len(page.body) for page in read_pages().values()) <= FIRST_VIEW_BYTES


async def test_a_file_is_sent_with_its_type_a_tag_and_a_policy(client: Client) -> None:
    kinds = {"/": "text/html", "/console/js/main.js": "text/javascript", "/console/css/base.css": "text/css"}
    for path, kind in (kinds | {"/console/icon.svg": "image/svg+xml"}).items():
        async with client.get(path) as answer:
            assert (answer.status, answer.content_type) == (200, kind)
            assert answer.headers["Cache-Control"] == "no-cache"
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            tag = answer.headers["ETag"]
        async with client.get(path, headers={"If-None-Match": tag}) as answer:
            assert (answer.status, await answer.read(), answer.headers["ETag"]) == (304, b"", tag)
        async with client.get(path, headers={"If-None-Match": '"another"'}) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("path", ["nothing.js", "../app.py", "%2e%2e/app.py", "js", "js/../index.html/x"])
async def test_what_is_no_file_of_the_console_is_not_found(client: Client, path: str) -> None:
    async with client.get(f"/console/{path}") as answer:
        assert answer.status == 404
        assert (await answer.json())["error"]["code"] == "unknown_route"
