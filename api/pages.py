"""The console's files at ``/``: read once, and sent with their type, a tag for revalidation and a strict content policy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

FOLDER: Final = "console"
"""In the package ``api``, and in the paths: ``/console/js/main.js``."""
TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",  # the pictures of model cards
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "object-src 'none'",
    )
)


@dataclass(frozen=True, slots=True)
class Page:
    """One file of the console, as it is sent."""

    body: bytes
    content_type: str
    etag: str

    def answer(self, known: tuple[str, ...]) -> web.Response:
        """200 with the file, or 304 where the browser has it: `known` are the tags that it named."""
        headers = {
            "Cache-Control": "no-cache",  # kept, but asked for each time: a new release is seen at once
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "ETag": f'"{self.etag}"',
        }
        if self.etag in known or "*" in known:
            return web.Response(status=304, headers=headers)
        return web.Response(body=self.body, content_type=self.content_type, charset="utf-8", headers=headers)


def read_pages() -> dict[str, Page]:
    """Every file of the console by its path below `FOLDER`, such as ``js/main.js``."""
    return {path: _page(path, file.read_bytes()) for path, file in _walk(files("api").joinpath(FOLDER), "")}


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _walk(entry, f"{path}/")
        elif _suffix(path) in TYPES:
            yield path, entry


def _suffix(path: str) -> str:
    return path[path.rfind(".") :]


def _page(path: str, body: bytes) -> Page:
    return Page(body, TYPES[_suffix(path)], hashlib.sha256(body).hexdigest()[:32])


def add_console(app: web.Application) -> None:
    """Serve the console at ``/`` and its parts below ``/console/``."""
    pages = read_pages()
    app.router.add_get("/", _sender(pages, "index.html"))
    app.router.add_get(f"/{FOLDER}/{{path:.+}}", _sender(pages))


def _sender(pages: dict[str, Page], always: str | None = None) -> Handler:
    async def send(request: web.Request) -> web.StreamResponse:
        page = pages.get(always or request.match_info["path"])
        if page is None:
            raise web.HTTPNotFound
        return page.answer(tuple(tag.value for tag in request.if_none_match or ()))

    return send
